"""What does the body of a chat completion ask for? Pure; nothing else reads that body.

Rules:
  * A field that nobody reads is refused by name, so that no wish is dropped in silence.
  * What the engine cannot do is refused, unless the value asks for nothing (`n: 1`).
  * What only names the caller or tunes a cache is read and has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from demarc.frontend import body, messages, refusals
from demarc.frontend.body import refuse
from demarc.frontend.messages import Message, Tool
from demarc.frontend.refusals import Refusal, RefusedError

_MOST_TOKENS = 2**31 - 1  # the tensor is INT32
_MOST_STOPS = 4  # OpenAI's limit

# each with the values that ask for nothing; null always does
_NEUTRAL: Mapping[str, tuple[object, ...]] = MappingProxyType(
    {
        "n": (1,),
        "logprobs": (False,),
        "top_logprobs": (),
        "logit_bias": ({},),
        "response_format": ({"type": "text"},),
        "modalities": (["text"],),
        "audio": (),
        "store": (False,),
        "service_tier": ("auto", "default"),
        "functions": (),
        "function_call": (),
        "prediction": (),
        "reasoning_effort": (),
        "verbosity": (),
        "web_search_options": (),
    }
)
_WITHOUT_EFFECT = frozenset({"user", "safety_identifier", "prompt_cache_key"})
_READ = frozenset(
    {
        "model",
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "seed",
        "stop",
        "presence_penalty",
        "frequency_penalty",
        "metadata",
    }
)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat completion that this frontend can give.

    Attributes:
        model: the client's word for the model.
        messages: for the chat template.
        tools: for the chat template; empty when the client forbids their use.
        stream: whether the answer is sent in events.
        include_usage: whether the last event of a stream counts tokens.
        max_tokens: most tokens of the answer; None: what the context leaves.
        temperature: 0 to 2.
        top_p: 0 to 1.
        seed: 0 or more.
        presence_penalty: -2 to 2.
        frequency_penalty: -2 to 2.
        stop: at most four texts.
        parallel_tool_calls: False: the answer ends with its first tool call.
    """

    model: str
    messages: tuple[Message, ...] = field(repr=False)
    tools: tuple[Tool, ...] = field(default=(), repr=False)
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: tuple[str, ...] = field(default=(), repr=False)
    parallel_tool_calls: bool = True


def parse(raw: bytes) -> ChatRequest | Refusal:
    """Read the body of a chat completion; total."""
    try:
        return _request(body.read_object(raw))
    except RefusedError as refused:
        return refused.refusal


def _request(document: Mapping[str, Any]) -> ChatRequest:
    for name, value in document.items():
        if name in _NEUTRAL:
            _refuse_wish(name, value)
        elif name in _WITHOUT_EFFECT:
            if value is not None:
                body.text(value, name)
        elif name not in _READ:
            refuse(refusals.unknown(name))
    given = {name: value for name, value in document.items() if value is not None}
    for name in ("model", "messages"):
        if name not in given:
            refuse(refusals.missing(name))
    if "metadata" in given:
        body.mapping(given["metadata"], "metadata")
    stream = "stream" in given and body.boolean(given["stream"], "stream")
    return ChatRequest(
        model=body.text(given["model"], "model"),
        messages=messages.read_messages(given["messages"]),
        tools=_tools(given),
        stream=stream,
        include_usage=_include_usage(given, stream=stream),
        max_tokens=_max_tokens(given),
        temperature=_number(given, "temperature", 0, 2),
        top_p=_number(given, "top_p", 0, 1),
        seed=(body.integer(given["seed"], "seed", low=0, high=2**53) if "seed" in given else None),
        presence_penalty=_number(given, "presence_penalty", -2, 2),
        frequency_penalty=_number(given, "frequency_penalty", -2, 2),
        stop=_stop(given),
        parallel_tool_calls=(
            "parallel_tool_calls" not in given
            or body.boolean(given["parallel_tool_calls"], "parallel_tool_calls")
        ),
    )


def _refuse_wish(name: str, value: object) -> None:
    neutral = _NEUTRAL[name]
    if value is None or any(value == one and type(value) is type(one) for one in neutral):
        return
    hint = " other than 1" if name == "n" else ""
    hint = ": use `tools`" if name in {"functions", "function_call"} else hint
    refuse(refusals.unsupported(name, f"`{name}`{hint} is not supported by this model"))


def _number(given: Mapping[str, Any], name: str, low: float, high: float) -> float | None:
    return body.number(given[name], name, low=low, high=high) if name in given else None


def _max_tokens(given: Mapping[str, Any]) -> int | None:
    names = [name for name in ("max_completion_tokens", "max_tokens") if name in given]
    values = {body.integer(given[name], name, low=1, high=_MOST_TOKENS) for name in names}
    if len(values) > 1:
        refuse(refusals.invalid("`max_tokens` and `max_completion_tokens` differ", "max_tokens"))
    return values.pop() if values else None


def _stop(given: Mapping[str, Any]) -> tuple[str, ...]:
    if "stop" not in given:
        return ()
    value = given["stop"]
    listed = [value] if isinstance(value, str) else body.sequence(value, "stop")
    if len(listed) > _MOST_STOPS:
        refuse(refusals.invalid(f"`stop` takes at most {_MOST_STOPS} texts", "stop"))
    read = tuple(body.text(one, f"stop[{i}]") for i, one in enumerate(listed))
    if "" in read:
        refuse(refusals.invalid("`stop` must not hold an empty text", "stop"))
    return read


def _include_usage(given: Mapping[str, Any], *, stream: bool) -> bool:
    if "stream_options" not in given:
        return False
    if not stream:
        refuse(refusals.invalid("`stream_options` goes with `stream`", "stream_options"))
    options = body.mapping(given["stream_options"], "stream_options")
    body.only(options, frozenset({"include_usage", "include_obfuscation"}), "stream_options")
    if options.get("include_obfuscation"):
        where = "stream_options.include_obfuscation"
        refuse(refusals.unsupported(where, "obfuscation of a stream is not supported"))
    wish = options.get("include_usage")
    return wish is not None and body.boolean(wish, "stream_options.include_usage")


def _tools(given: Mapping[str, Any]) -> tuple[Tool, ...]:
    tools = messages.read_tools(given["tools"]) if "tools" in given else ()
    choice = given.get("tool_choice", "auto")
    if choice not in ("auto", "none"):
        what = "`tool_choice` other than auto and none needs guided decoding: not supported"
        refuse(refusals.unsupported("tool_choice", what))
    return tools if choice == "auto" else ()
