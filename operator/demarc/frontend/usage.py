"""What did an answer cost, and how is that said? One count in the trailer, body and journal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

TRAILER = "x-demarc-usage"


class Outcome(StrEnum):
    """How a request ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CANCELLED = "cancelled"  # the client left
    TIMEOUT = "timeout"
    ERROR = "error"
    REFUSED = "refused"  # the engine was not asked


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens by the model's tokenizer.

    Attributes:
        input_tokens: of the prompt, after the chat template.
        output_tokens: of the text that the engine gave, sent or not.
        outcome: how the request ended.
    """

    input_tokens: int
    output_tokens: int
    outcome: Outcome


NOTHING = Usage(0, 0, Outcome.REFUSED)


def trailer(usage: Usage) -> str:
    """Write the value of the trailer `x-demarc-usage`, for example `in=12;out=3;source=...`."""
    return (
        f"in={usage.input_tokens};out={usage.output_tokens};source=tokenizer;finish={usage.outcome}"
    )


def body(usage: Usage) -> Mapping[str, int]:
    """Write the `usage` object of OpenAI's API."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def journal_line(usage: Usage, *, decision: str, at: datetime) -> bytes:
    """Write one line of the journal: counts only."""
    row = {
        "decision": decision,
        "at": at.isoformat(timespec="milliseconds"),
        "in": usage.input_tokens,
        "out": usage.output_tokens,
        "source": "tokenizer",
        "finish": usage.outcome.value,
    }
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"
