"""What is asked of an engine, and what does it answer?

INVARIANT: prompt and answer text is in no `repr` and in no error message here.

EngineError                 the engine gave no answer, or no whole one
├── EngineUnavailableError  nothing listens, or the model is not loaded: another replica may answer
├── EngineTimeoutError      the deadline of the call passed
├── EngineRefusedError      the engine calls the request invalid: a second try ends the same way
└── EngineFailedError       the engine broke while it answered
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class EngineError(Exception):
    """The engine gave no answer, or no whole one."""


class EngineUnavailableError(EngineError):
    """Nothing listens, or the model is not loaded."""


class EngineTimeoutError(EngineError):
    """The deadline of the call passed."""


class EngineRefusedError(EngineError):
    """The engine calls the request invalid."""


class EngineFailedError(EngineError):
    """The engine broke while it answered."""


class Finish(StrEnum):
    """Why an answer ended, in the words of TensorRT-LLM."""

    STOP = "stop"
    LENGTH = "length"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text that a model reads, after its chat template; prints as `[redacted]`."""

    _text: str = field(repr=False)

    def reveal(self) -> str:
        """The text itself; only for the engine and the tokenizer."""
        return self._text

    def __repr__(self) -> str:
        return "[redacted]"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Generation:
    """One request to an engine.

    Attributes:
        prompt: what the model reads.
        max_tokens: most tokens of the answer, at least 1.
        timeout_seconds: the whole call ends after this.
        temperature: 0 or more; None leaves it to the engine, as for the other sampling values.
        top_p: from 0 to 1.
        top_k: 1 means greedy.
        seed: 0 to 2^64 - 1.
        presence_penalty: -2 to 2.
        frequency_penalty: -2 to 2.
        stop: texts at which the answer ends; they are not part of it.
    """

    prompt: Prompt
    max_tokens: int
    timeout_seconds: float
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Chunk:
    """The answer so far.

    Attributes:
        text: the whole answer so far, never only the new part; its end may be U+FFFD where a
            character is incomplete.
        finish: set on the last chunk.
    """

    text: str = field(repr=False)
    finish: Finish | None = None
