"""What is the engine asked for one chat request? Pure.

Rules:
  * `max_tokens` is always sent: the engine's own default is 32.
  * Temperature 0 becomes `top_k` 1, which every version takes for greedy.
  * Prompt and answer must fit into the context together.
"""

from __future__ import annotations

from demarc.engines.generation import Generation, Prompt
from demarc.frontend import refusals
from demarc.frontend.chat import ChatRequest
from demarc.frontend.refusals import Refusal
from demarc.frontend.served import SamplingDefaults, ServedModel


def ask(
    request: ChatRequest,
    model: ServedModel,
    prompt: Prompt,
    *,
    prompt_tokens: int,
    timeout_seconds: float,
) -> Generation | Refusal:
    """Decide what the engine is asked, or that the request does not fit."""
    left = model.context_tokens - prompt_tokens
    if left < (request.max_tokens or 1):
        return refusals.context_length(model.context_tokens, prompt_tokens, request.max_tokens)
    temperature, top_p, top_k = _sampling(request, model.defaults)
    return Generation(
        prompt=prompt,
        max_tokens=left if request.max_tokens is None else request.max_tokens,
        timeout_seconds=timeout_seconds,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=request.seed,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        stop=request.stop,
    )


def _sampling(
    request: ChatRequest, defaults: SamplingDefaults
) -> tuple[float | None, float | None, int | None]:
    temperature = defaults.temperature if request.temperature is None else request.temperature
    top_p = defaults.top_p if request.top_p is None else request.top_p
    if temperature == 0 or top_p == 0:
        return None, None, 1
    return temperature, top_p, defaults.top_k
