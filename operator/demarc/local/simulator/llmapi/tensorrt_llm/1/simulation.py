"""What does the simulated engine say, and when? No Triton in here, and no clock.

Rules:
  * The text is a function of the prompt and the sampling parameters. With `top_k` 1 or
    temperature 0 the seed is without effect.
  * A token is a word with the blank before it, or a sign, or half of a character outside ASCII; so
    a text that is cut between two tokens may end in an incomplete character, as with real
    vocabularies.
  * The last user message directs the answer: `say:TEXT` is answered with TEXT, `call:NAME {json}`
    with a tool call when the prompt offers tools.
"""
# ruff: noqa: INP001  # Triton wants this folder, whose name is a number

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

_LLM = """
    model tokenizer tokenizer_mode skip_tokenizer_init trust_remote_code dtype revision
    tokenizer_revision load_format backend
    tensor_parallel_size pipeline_parallel_size context_parallel_size gpus_per_node
    moe_cluster_parallel_size moe_tensor_parallel_size moe_expert_parallel_size enable_attention_dp
    attention_dp_config cp_config
    max_batch_size max_input_len max_seq_len max_beam_width max_num_tokens
    kv_cache_config
    enable_chunked_prefill scheduler_config batch_wait_timeout_ms stream_interval
    disable_overlap_scheduler
    cuda_graph_config moe_config torch_compile_config allreduce_strategy attn_backend
    sparse_attention_config
    guided_decoding_backend enable_lora lora_config speculative_config cache_transceiver_config
    enable_iter_perf_stats perf_metrics_max_requests return_perf_metrics
"""
_KV_CACHE = """
    enable_block_reuse max_tokens max_attention_window sink_token_length free_gpu_memory_fraction
    host_cache_size onboard_blocks dtype tokens_per_block enable_partial_reuse
    copy_on_partial_reuse use_uvm max_gpu_total_bytes event_buffer_max_size
"""
LLM_KEYS = frozenset(_LLM.split())
KV_CACHE_KEYS = frozenset(_KV_CACHE.split())
TRITON_KEYS = frozenset({"max_batch_size", "decoupled", "cancellation_check_period_ms"})
BROKEN = ("None", "Error", "Hang", "Death")

_TOOL_SECTION = "<tools>"
_TURN = re.compile(r"<\|(system|user|assistant|tool)\|>\n(.*?)(?:<\|end\|>|\Z)", re.DOTALL)
_CALL = re.compile(r"call:([A-Za-z0-9_.-]{1,64})\s+(?=\{)")
_SAY = re.compile(r"say:(.*)", re.DOTALL)
_PIECE = re.compile(r" ?[A-Za-z]+| ?[0-9]{1,3}|\s+|[\x00-\x7f]|[^\x00-\x7f]")


class SimulationError(ValueError):
    """The engine refuses its configuration or a request."""


@dataclass(frozen=True)
class EngineArguments:
    """What model.yaml asks for, as far as the simulator reads it."""

    model: str
    decoupled: bool
    max_seq_len: int | None
    cancellation_check_period_ms: int


def engine_arguments(document: Any) -> EngineArguments:
    """Read model.yaml as `LLM(**args)` would: an unknown key fails the load.

    Raises:
        SimulationError: a key is unknown, or `triton_config` lacks one that has no default.
    """
    if not isinstance(document, dict):
        raise SimulationError("model.yaml is not a mapping")
    arguments = {k: v for k, v in document.items() if k != "triton_config"}
    _refuse_unknown(arguments, LLM_KEYS, "")
    kv_cache = arguments.get("kv_cache_config") or {}
    _refuse_unknown(kv_cache, KV_CACHE_KEYS, "kv_cache_config.")
    triton = document.get("triton_config") or {}
    _refuse_unknown(triton, TRITON_KEYS, "triton_config.")
    for key in ("max_batch_size", "decoupled"):
        if key not in triton:
            raise SimulationError(f"triton_config lacks `{key}`")
    if triton["max_batch_size"] != 0:
        raise SimulationError("batched prompts are not implemented: max_batch_size must be 0")
    if not isinstance(triton["decoupled"], bool):
        raise SimulationError("triton_config.decoupled must be true or false")
    model = arguments.get("model")
    if not isinstance(model, str) or not model:
        raise SimulationError("`model` is missing")
    return EngineArguments(
        model=model,
        decoupled=triton["decoupled"],
        max_seq_len=arguments.get("max_seq_len"),
        cancellation_check_period_ms=triton.get("cancellation_check_period_ms", 100),
    )


def _refuse_unknown(given: Any, known: frozenset[str], prefix: str) -> None:
    if not isinstance(given, dict):
        raise SimulationError(f"{prefix or 'model.yaml '}is not a mapping")
    unknown = sorted(f"{prefix}{key}" for key in given if key not in known)
    if unknown:
        raise SimulationError(f"Extra inputs are not permitted: {unknown}")


@dataclass(frozen=True)
class Answer:
    """A fixed answer to every last user message that contains a text."""

    contains: str
    text: str


@dataclass(frozen=True)
class Parameters:
    """simulator.json of the model folder; the names there are those in camel case."""

    time_to_first_token_milliseconds: float = 20
    time_per_token_milliseconds: float = 2
    kv_cache_tokens: int = 1_000_000
    max_concurrent_requests: int = 256
    load_delay_milliseconds: float = 0
    min_answer_tokens: int = 8
    max_answer_tokens: int = 40
    broken: str = "None"
    answers: tuple[Answer, ...] = ()


def parameters(document: Any) -> Parameters:
    """Read simulator.json.

    Raises:
        SimulationError: a key is unknown or a value cannot be.
    """
    if not isinstance(document, dict):
        raise SimulationError("simulator.json is not an object")
    names = {_camel(f.name): f.name for f in fields(Parameters)}
    unknown = sorted(set(document) - set(names))
    if unknown:
        raise SimulationError(f"simulator.json has unknown keys: {unknown}")
    values = {names[key]: value for key, value in document.items()}
    values["answers"] = tuple(Answer(**row) for row in values.get("answers", ()))
    read = Parameters(**values)
    if read.broken not in BROKEN:
        raise SimulationError(f"`broken` must be one of {BROKEN}")
    if not 1 <= read.min_answer_tokens <= read.max_answer_tokens:
        raise SimulationError("minAnswerTokens must be from 1 to maxAnswerTokens")
    return read


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


@dataclass(frozen=True)
class Sampling:
    """The sampling tensors of one request; None where none was sent."""

    max_tokens: int = 32
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def within(self, prompt_tokens: int, limit: int | None) -> Sampling:
        """The same with at most the tokens that the sequence still holds, as the engine cuts it.

        Source: NVIDIA/TensorRT-LLM `tensorrt_llm/executor/base_worker.py`, `_deduce_max_tokens`.

        Raises:
            SimulationError: the prompt alone fills the sequence.
        """
        if limit is None:
            return self
        left = limit - prompt_tokens
        if left <= 0:
            raise SimulationError(f"the prompt ({prompt_tokens}) exceeds max_seq_len ({limit})")
        return replace(self, max_tokens=min(self.max_tokens, left))

    @property
    def greedy(self) -> bool:
        """Nothing is drawn: the likeliest token is taken each time."""
        nothing_set = self.temperature is None and self.top_p is None and self.top_k is None
        return nothing_set or self.top_k == 1 or self.temperature == 0 or self.top_p == 0


@dataclass(frozen=True)
class Step:
    """What one token made of the answer: the whole text so far, and why it ends if it ends."""

    text: str
    finish: str | None = None
    stop_reason: str | None = None


def pieces(text: str) -> list[bytes]:
    """Cut a text into tokens; characters outside ASCII give two."""
    found: list[bytes] = []
    for match in _PIECE.finditer(text):
        raw = match.group().encode("utf-8", "surrogatepass")
        if raw[0] < 0x80:  # noqa: PLR2004  # ASCII
            found.append(raw)
        else:
            found += [raw[:2], raw[2:]] if len(raw) > 2 else [raw[:1], raw[1:]]  # noqa: PLR2004
    return found


def steps(tokens: list[bytes], sampling: Sampling) -> list[Step]:
    """Give the answer token by token, cut by `max_tokens` and by the stop strings."""
    given: list[Step] = []
    for count in range(1, len(tokens) + 1):
        text = b"".join(tokens[:count]).decode("utf-8", "replace")
        hit = min(((text.find(s), s) for s in sampling.stop if s and s in text), default=None)
        if hit is not None:
            given.append(Step(text[: hit[0]], "stop", hit[1]))
            return given
        if count == len(tokens):
            given.append(Step(text, "stop"))
        elif count == sampling.max_tokens:
            given.append(Step(text, "length"))
            return given
        else:
            given.append(Step(text))
    return given or [Step("", "stop")]


def answer(
    prompt: str, sampling: Sampling, given: Parameters, words: tuple[str, ...]
) -> list[bytes]:
    """Decide the whole answer, as tokens, before any limit cuts it."""
    turns = [(m.group(1), m.group(2)) for m in _TURN.finditer(prompt)]
    spoken = [turn for turn in turns if turn[0] in ("user", "tool")]
    role, text = spoken[-1] if spoken else ("user", prompt)
    if role == "tool":
        return pieces(f"The tool answered: {text.strip()}")
    if _TOOL_SECTION in prompt and (calls := _calls(text)):
        return pieces("\n".join(calls))
    for row in given.answers:
        if row.contains in text:
            return pieces(row.text)
    if said := _SAY.search(text):
        return pieces(said.group(1).strip())
    return pieces(_prose(prompt, sampling, given, words))


def _calls(text: str) -> list[str]:
    found: list[str] = []
    for match in _CALL.finditer(text):
        try:
            value, _ = json.JSONDecoder().raw_decode(text, match.end())
        except ValueError:
            continue
        call = {"name": match.group(1), "arguments": value}
        found.append(f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>")
    return found


def _prose(prompt: str, sampling: Sampling, given: Parameters, words: tuple[str, ...]) -> str:
    drawn = (
        ()
        if sampling.greedy
        else (sampling.seed or 0, sampling.temperature, sampling.top_p, sampling.top_k)
    )
    penalties = (sampling.frequency_penalty or 0, sampling.presence_penalty or 0)
    key = repr((prompt, drawn, penalties)).encode("utf-8", "surrogatepass")
    stream = _numbers(key)
    width = given.max_answer_tokens - given.min_answer_tokens + 1
    length = given.min_answer_tokens + next(stream) % width
    return " ".join(words[next(stream) % len(words)] for _ in range(length))


def _numbers(key: bytes) -> Any:
    block = 0
    while True:
        digest = hashlib.sha256(key + block.to_bytes(8, "big")).digest()
        yield from (int.from_bytes(digest[i : i + 4], "big") for i in range(0, 32, 4))
        block += 1


@dataclass
class Queue:
    """Who may run: first come, first served, inside the batch size and the attention cache."""

    running: int = 0
    tokens: int = 0
    waiting: deque[tuple[object, int]] = field(default_factory=deque)

    def ask(self, ticket: object, tokens: int, limits: Parameters) -> None:
        """Line up.

        Raises:
            SimulationError: the request would not fit into an empty cache.
        """
        if tokens > limits.kv_cache_tokens:
            raise SimulationError("the request does not fit into the attention cache")
        self.waiting.append((ticket, tokens))

    def admit(self, limits: Parameters) -> list[object]:
        """Take everyone from the head of the line who fits now."""
        admitted: list[object] = []
        while self.waiting:
            ticket, tokens = self.waiting[0]
            full = self.running >= limits.max_concurrent_requests
            if full or self.tokens + tokens > limits.kv_cache_tokens:
                break
            self.waiting.popleft()
            self.running += 1
            self.tokens += tokens
            admitted.append(ticket)
        return admitted

    def leave(self, tokens: int) -> None:
        """Give back what `admit` took."""
        self.running -= 1
        self.tokens -= tokens

    def forget(self, ticket: object) -> None:
        """Leave the line without having run."""
        self.waiting = deque(row for row in self.waiting if row[0] is not ticket)


def read_parameters(folder: Path) -> Parameters:
    """Read simulator.json of a model folder.

    Raises:
        SimulationError: there is none: these are no weights that this engine can run.
    """
    path = folder / "simulator.json"
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SimulationError(f"no simulator.json in `{folder}`") from None
    except ValueError as error:
        raise SimulationError(f"simulator.json: {error}") from error
    return parameters(document)
