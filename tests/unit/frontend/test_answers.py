"""Can a client read every answer, and is every byte what OpenAI's API says?"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from demarc.frontend import answers, refusals, usage
from demarc.frontend.answers import Head
from demarc.frontend.tool_calls import Content, ToolCall
from demarc.frontend.usage import Outcome, Usage

HEAD = Head("d7", 1_700_000_000, "auto")
USED = Usage(12, 3, Outcome.STOP)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def parse_events(stream: bytes) -> list[Any]:
    """Read a stream as an independent reader of server-sent events does."""
    events: list[Any] = []
    data: list[str] = []
    for line in stream.decode().split("\n"):
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            joined = "\n".join(data)
            events.append(joined if joined == "[DONE]" else json.loads(joined))
            data = []
    assert not data
    return events


@given(st.lists(TEXT))
def test_a_stream_that_is_read_back_is_the_text(parts: list[str]) -> None:
    raw = b"".join(answers.part_event(HEAD, Content(part)) for part in parts)

    assert parts == [e["choices"][0]["delta"]["content"] for e in parse_events(raw)]


@given(TEXT, TEXT)
def test_a_whole_answer_that_is_read_back_is_the_text(first: str, second: str) -> None:
    raw = answers.completion(HEAD, (Content(first), Content(second)), "stop", USED)

    assert first + second == json.loads(raw)["choices"][0]["message"]["content"]


def test_every_event_has_the_same_head() -> None:
    raw = b"".join(
        (
            answers.role_event(HEAD),
            answers.part_event(HEAD, Content("x")),
            answers.part_event(HEAD, ToolCall(0, "f", "{}")),
            answers.finish_event(HEAD, "stop"),
            answers.usage_event(HEAD, USED),
        )
    )

    heads = [(e["id"], e["object"], e["created"], e["model"]) for e in parse_events(raw)]
    assert {("chatcmpl-d7", "chat.completion.chunk", 1_700_000_000, "auto")} == set(heads)


def test_a_tool_call_has_an_id_that_its_result_can_name() -> None:
    (event,) = parse_events(answers.part_event(HEAD, ToolCall(1, "f", '{"a": 1}')))

    assert [
        {
            "index": 1,
            "id": "call_d7_1",
            "type": "function",
            "function": {"name": "f", "arguments": '{"a": 1}'},
        }
    ] == event["choices"][0]["delta"]["tool_calls"]


def test_an_answer_with_calls_alone_has_no_content() -> None:
    raw = answers.completion(HEAD, (ToolCall(0, "f", "{}"),), "tool_calls", USED)

    message = json.loads(raw)["choices"][0]["message"]
    assert (None, 1) == (message["content"], len(message["tool_calls"]))


def test_a_refusal_names_the_field() -> None:
    raw = answers.error(refusals.unsupported("n", "no"))

    assert {
        "error": {
            "message": "no",
            "type": "invalid_request_error",
            "param": "n",
            "code": "unsupported_parameter",
        }
    } == json.loads(raw)


def test_the_trailer_and_the_journal_say_the_same() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    assert "in=12;out=3;source=tokenizer;finish=stop" == usage.trailer(USED)
    assert {
        "decision": "d7",
        "at": "2026-01-02T03:04:05.000+00:00",
        "in": 12,
        "out": 3,
        "source": "tokenizer",
        "finish": "stop",
    } == json.loads(usage.journal_line(USED, decision="d7", at=at))
    assert 15 == usage.body(USED)["total_tokens"]
