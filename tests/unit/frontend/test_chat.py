"""Is every wish either granted or refused by name?"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.frontend import chat
from demarc.frontend.chat import ChatRequest
from demarc.frontend.refusals import Refusal

USER = {"role": "user", "content": "hi"}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
SECRET = "4111 1111 1111 1111"


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "auto", "messages": [USER], **fields}).encode()


def read(**fields: Any) -> ChatRequest:
    parsed = chat.parse(body(**fields))
    assert isinstance(parsed, ChatRequest), parsed
    return parsed


def refused(raw: bytes) -> tuple[int, str | None, str]:
    parsed = chat.parse(raw)
    assert isinstance(parsed, Refusal)
    return parsed.status, parsed.param, parsed.code


def test_the_least_request_asks_for_nothing_special() -> None:
    assert ChatRequest(model="auto", messages=(USER,)) == read()


def test_every_wish_that_is_granted_is_read() -> None:
    want = ChatRequest(
        model="auto",
        messages=(USER,),
        tools=(FUNCTION,),
        stream=True,
        include_usage=True,
        max_tokens=5,
        temperature=0.5,
        top_p=0.25,
        seed=7,
        presence_penalty=-1.0,
        frequency_penalty=1.0,
        stop=("a", "b"),
        parallel_tool_calls=False,
    )
    assert want == read(
        tools=[FUNCTION],
        stream=True,
        stream_options={"include_usage": True},
        max_completion_tokens=5,
        temperature=0.5,
        top_p=0.25,
        seed=7,
        presence_penalty=-1,
        frequency_penalty=1,
        stop=["a", "b"],
        parallel_tool_calls=False,
    )


def test_what_asks_for_nothing_is_accepted() -> None:
    """SDKs send these by themselves."""
    parsed = read(
        n=1,
        logprobs=False,
        logit_bias={},
        response_format={"type": "text"},
        modalities=["text"],
        store=False,
        service_tier="auto",
        user="u",
        metadata={"a": "b"},
        safety_identifier="s",
        prompt_cache_key="k",
        tool_choice="auto",
        parallel_tool_calls=True,
        audio=None,
        top_logprobs=None,
        max_tokens=None,
        stop=None,
        tools=None,
        stream=None,
        stream_options=None,
    )

    assert read() == parsed


@pytest.mark.parametrize(
    "name,value",
    [
        ("n", 2),
        ("n", True),
        ("logprobs", True),
        ("top_logprobs", 2),
        ("logit_bias", {"5": 1}),
        ("response_format", {"type": "json_schema", "json_schema": {}}),
        ("response_format", {"type": "json_object"}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "x"}),
        ("store", True),
        ("service_tier", "flex"),
        ("functions", []),
        ("function_call", "auto"),
        ("prediction", {}),
        ("reasoning_effort", "low"),
        ("web_search_options", {}),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_what_the_engine_cannot_do_is_refused_by_name(name: str, value: object) -> None:
    assert (400, name, "unsupported_parameter") == refused(body(**{name: value}))


def test_a_field_that_nobody_reads_is_refused_by_name() -> None:
    assert (400, "max_token", "unknown_parameter") == refused(body(max_token=5))


def test_a_field_name_that_may_be_text_is_not_repeated() -> None:
    parsed = chat.parse(body(**{SECRET: 1}))

    assert isinstance(parsed, Refusal)
    assert parsed.param is None
    assert "4111" not in parsed.message


@pytest.mark.parametrize(
    "fields,want",
    [
        ({"model": None}, ("model", "missing_required_parameter")),
        ({"messages": None}, ("messages", "missing_required_parameter")),
        ({"model": 3}, ("model", "invalid_type")),
        ({"messages": []}, ("messages", "invalid_value")),
        ({"messages": {}}, ("messages", "invalid_type")),
        ({"messages": ["x"]}, ("messages[0]", "invalid_type")),
        ({"max_tokens": 0}, ("max_tokens", "invalid_value")),
        ({"max_tokens": 1.5}, ("max_tokens", "invalid_type")),
        ({"max_tokens": True}, ("max_tokens", "invalid_type")),
        ({"max_tokens": 3, "max_completion_tokens": 4}, ("max_tokens", "invalid_value")),
        ({"temperature": 2.1}, ("temperature", "invalid_value")),
        ({"temperature": "1"}, ("temperature", "invalid_type")),
        ({"top_p": -0.1}, ("top_p", "invalid_value")),
        ({"seed": -1}, ("seed", "invalid_value")),
        ({"stop": ["a"] * 5}, ("stop", "invalid_value")),
        ({"stop": [""]}, ("stop", "invalid_value")),
        ({"stop": [1]}, ("stop[0]", "invalid_type")),
        ({"stream": 1}, ("stream", "invalid_type")),
        ({"stream_options": {"include_usage": True}}, ("stream_options", "invalid_value")),
        (
            {"stream": True, "stream_options": {"x": 1}},
            ("stream_options.x", "unknown_parameter"),
        ),
        ({"user": 5}, ("user", "invalid_type")),
        ({"metadata": "x"}, ("metadata", "invalid_type")),
        ({"tools": []}, ("tools", "invalid_value")),
        ({"tools": [{"type": "web_search"}]}, ("tools[0].type", "unsupported_parameter")),
        (
            {"tools": [{"type": "function", "function": {"name": "two words"}}]},
            ("tools[0].function.name", "invalid_value"),
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "x": 1}}]},
            ("tools[0].function.x", "unknown_parameter"),
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(
    fields: dict[str, Any], want: tuple[str, str]
) -> None:
    assert (400, *want) == refused(body(**fields))


@pytest.mark.parametrize(
    "message,want",
    [
        ({"content": "x"}, ("messages[0].role", "missing_required_parameter")),
        ({"role": "judge", "content": "x"}, ("messages[0].role", "invalid_value")),
        ({"role": "user"}, ("messages[0].content", "missing_required_parameter")),
        ({"role": "user", "content": 5}, ("messages[0].content", "invalid_type")),
        ({"role": "user", "content": []}, ("messages[0].content", "invalid_value")),
        ({"role": "user", "content": "x", "cat": 1}, ("messages[0].cat", "unknown_parameter")),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            ("messages[0].content[0].type", "unsupported_parameter"),
        ),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
            ("messages[0].content[0].type", "unsupported_parameter"),
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "x", "y": 1}]},
            ("messages[0].content[0].y", "unknown_parameter"),
        ),
        (
            {"role": "tool", "content": "x"},
            ("messages[0].tool_call_id", "missing_required_parameter"),
        ),
        ({"role": "assistant"}, ("messages[0].content", "missing_required_parameter")),
        (
            {"role": "assistant", "content": "x", "function_call": {"name": "f"}},
            ("messages[0].function_call", "unsupported_parameter"),
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "[1]"}}],
            },
            ("messages[0].tool_calls[0].function.arguments", "invalid_value"),
        ),
    ],
)
def test_a_wrong_message_is_refused_with_its_place(
    message: dict[str, Any], want: tuple[str, str]
) -> None:
    assert (400, *want) == refused(body(messages=[message]))


def test_messages_are_read_as_templates_expect_them() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    parsed = read(
        messages=[
            {"role": "developer", "content": "be brief"},
            {"role": "user", "name": "ann", "content": parts},
            {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
            {"role": "tool", "tool_call_id": "c1", "content": "it rains"},
        ]
    )

    assert (
        {"role": "system", "content": "be brief"},
        {"role": "user", "name": "ann", "content": "one\ntwo"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "it rains"},
    ) == parsed.messages


def test_forbidden_tools_are_not_offered_to_the_model() -> None:
    assert () == read(tools=[FUNCTION], tool_choice="none").tools


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{",
        b'{"model": "a", "model": "b", "messages": []}',
        b'{"model": "a", "messages": [], "temperature": NaN}',
        b'{"model": "a", "messages": [], "temperature": 1e999}',
        b'{"model": "a", "messages": [], "seed": 9007199254740993}',
        b'{"model": "a", "messages": [{"role": "user", "content": "x", "content": "y"}]}',
        b'\xef\xbb\xbf{"model": "a"}',
        b'{"model": "\xff"}',
        b'{"a":' * 100_000,
        b'{"seed": ' + b"9" * 100_000 + b"}",
    ],
)
def test_bytes_that_two_parsers_could_read_differently_are_refused(raw: bytes) -> None:
    assert (400, None, "invalid_json") == refused(raw)


def test_half_of_a_surrogate_pair_is_refused() -> None:
    raw = b'{"model": "auto", "messages": [{"role": "user", "content": "\\ud800"}]}'

    assert (400, "messages[0].content", "invalid_value") == refused(raw)


def test_no_refusal_and_no_repr_shows_what_was_written() -> None:
    for fields in (
        {"messages": [{"role": SECRET, "content": SECRET}]},
        {"messages": [{"role": "user", "content": [{"type": SECRET}]}]},
        {"messages": [{"role": "user", "content": SECRET, SECRET: 1}]},
        {"temperature": SECRET},
        {"tool_choice": SECRET},
        {"stop": [SECRET] * 5},
    ):
        parsed = chat.parse(body(**fields))
        assert isinstance(parsed, Refusal)
        assert "4111" not in repr(parsed)
    kept = read(messages=[{"role": "user", "content": SECRET}], stop=[SECRET])
    assert "4111" not in repr(kept)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
FIELDS = st.sampled_from(
    [
        "messages",
        "tools",
        "tool_choice",
        "stop",
        "seed",
        "n",
        "stream",
        "stream_options",
        "max_tokens",
        "temperature",
        "metadata",
        "user",
        "response_format",
        "logit_bias",
        "x",
    ]
)


@given(st.dictionaries(FIELDS, JSON))
def test_whatever_comes_is_answered(fields: dict[str, Any]) -> None:
    assert isinstance(chat.parse(body(**fields)), ChatRequest | Refusal)


@given(st.binary(max_size=200))
def test_whatever_bytes_come_are_answered(raw: bytes) -> None:
    assert isinstance(chat.parse(raw), ChatRequest | Refusal)


def test_half_of_a_surrogate_pair_deep_inside_is_refused() -> None:
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": '{"a":"\\ud800"}'},
    }
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    where = "messages[0].tool_calls[0].function.arguments"
    assert (400, where, "invalid_value") == refused(body(messages=[message]))
    tool = {"type": "function", "function": {"name": "f", "parameters": {"\udc00": 1}}}
    where = "tools[0].function.parameters"
    assert (400, where, "invalid_value") == refused(body(tools=[tool]))
