"""What bytes does a client of the OpenAI API get? JSON bodies and server-sent events; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from demarc.frontend import usage as counting
from demarc.frontend.refusals import Refusal
from demarc.frontend.tool_calls import Content, Event, ToolCall
from demarc.frontend.usage import Usage

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Head:
    """What every part of one answer repeats.

    Attributes:
        decision: id of the decision; the answer's id is made from it.
        created: Unix time in seconds.
        model: the client's word for the model.
        include_usage: events carry `usage`, null but in the last one.
    """

    decision: str
    created: int
    model: str = field(repr=False)
    include_usage: bool = False


def completion(head: Head, events: Sequence[Event], finish: str, usage: Usage) -> bytes:
    """Write the body of a whole answer."""
    text = "".join(event.text for event in events if isinstance(event, Content))
    calls = [_call(head, event) for event in events if isinstance(event, ToolCall)]
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if calls:
        message |= {"content": text or None, "tool_calls": calls}
    return _json(
        {
            "id": _id(head),
            "object": "chat.completion",
            "created": head.created,
            "model": head.model,
            "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
            ],
            "usage": counting.body(usage),
        }
    )


def role_event(head: Head) -> bytes:
    """Write the first event of a stream."""
    return _event(head, {"role": "assistant", "content": "", "refusal": None}, None)


def part_event(head: Head, event: Event) -> bytes:
    """Write more of the answer."""
    match event:
        case Content(text):
            return _event(head, {"content": text}, None)
        case ToolCall():
            call = {"index": event.index, **_call(head, event)}
            return _event(head, {"tool_calls": [call]}, None)


def finish_event(head: Head, finish: str) -> bytes:
    """Write the event that says why the answer ended."""
    return _event(head, {}, finish)


def usage_event(head: Head, usage: Usage) -> bytes:
    """Write the event with the counts, which only a client that asked gets."""
    return _sse(_chunk(head, []) | {"usage": counting.body(usage)})


def error_event(refusal: Refusal) -> bytes:
    """Write the event that ends a stream which broke; no `[DONE]` follows it."""
    return _sse({"error": _error(refusal)})


def error(refusal: Refusal) -> bytes:
    """Write the body of a refusal."""
    return _json({"error": _error(refusal)})


def models(name: str, created: int) -> bytes:
    """Write the list of models."""
    row = {"id": name, "object": "model", "created": created, "owned_by": "demarc"}
    return _json({"object": "list", "data": [row]})


def _id(head: Head) -> str:
    return f"chatcmpl-{head.decision}"


def _call(head: Head, call: ToolCall) -> dict[str, Any]:
    return {
        "id": f"call_{head.decision}_{call.index}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _event(head: Head, delta: Mapping[str, Any], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    usage = {"usage": None} if head.include_usage else {}
    return _sse(_chunk(head, [choice]) | usage)


def _chunk(head: Head, choices: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "id": _id(head),
        "object": "chat.completion.chunk",
        "created": head.created,
        "model": head.model,
        "choices": choices,
    }


def _error(refusal: Refusal) -> Mapping[str, Any]:
    return {
        "message": refusal.message,
        "type": refusal.type,
        "param": refusal.param,
        "code": refusal.code,
    }


def _sse(value: Mapping[str, Any]) -> bytes:
    return b"data: " + _json(value) + b"\n\n"


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
