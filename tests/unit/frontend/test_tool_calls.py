"""Does a client get the calls that the model wrote, and the talk around them?"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.frontend import tool_calls
from demarc.frontend.tool_calls import Content, Event, Split, ToolCall

TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "parameters": {
            "type": "object",
            "properties": {"text": {"type": "string"}, "most": {"type": "integer"}},
        },
    },
}
HERMES = '<tool_call>\n{"name": "find", "arguments": {"text": "名", "most": 3}}\n</tool_call>'
GLM = (
    "<tool_call>find\n<arg_key>text</arg_key>\n<arg_value>12</arg_value>\n"
    "<arg_key>most</arg_key>\n<arg_value>12</arg_value>\n</tool_call>"
)
PARTS = st.lists(
    st.sampled_from(
        ["hello", " ", "\n", "<tool_call>", "</tool_call>", "<tool", HERMES, GLM, "{", "x<"]
    ),
    max_size=8,
).map("".join)


def whole(text: str, **options: bool) -> tuple[Event, ...]:
    return tool_calls.split(Split(tools=(TOOL,), **options), text, final=True)[1]


def streamed(text: str, cuts: list[int]) -> tuple[Event, ...]:
    state, events = Split(tools=(TOOL,)), list[Event]()
    for end in sorted({min(cut, len(text)) for cut in cuts}):
        state, more = tool_calls.split(state, text[:end], final=False)
        events += more
    _, more = tool_calls.split(state, text, final=True)
    return (*events, *more)


def talk(events: tuple[Event, ...]) -> str:
    return "".join(event.text for event in events if isinstance(event, Content))


def calls(events: tuple[Event, ...]) -> list[tuple[int, str, object]]:
    return [
        (event.index, event.name, json.loads(event.arguments))
        for event in events
        if isinstance(event, ToolCall)
    ]


def test_a_call_in_json_is_read() -> None:
    events = whole(f"let me look\n\n{HERMES}")

    assert "let me look" == talk(events)
    assert [(0, "find", {"text": "名", "most": 3})] == calls(events)


def test_a_call_in_pairs_is_read_by_the_schema() -> None:
    """`12` is text where the schema says string, and a number where it does not."""
    assert [(0, "find", {"text": "12", "most": 12})] == calls(whole(GLM))


def test_a_call_in_pairs_may_have_no_arguments() -> None:
    assert [(0, "now", {})] == calls(whole("<tool_call>now</tool_call>"))


def test_calls_are_numbered_and_the_space_between_is_dropped() -> None:
    events = whole(f"{HERMES}\n{GLM}\n")

    assert "" == talk(events)
    assert [0, 1] == [index for index, _, _ in calls(events)]


def test_only_the_first_call_counts_where_one_is_wanted() -> None:
    events = whole(f"{HERMES} and {GLM}", parallel=False)

    assert [(0, "find")] == [row[:2] for row in calls(events)]
    assert "" == talk(events)


def test_without_tools_everything_is_talk() -> None:
    _, events = tool_calls.split(Split(), HERMES, final=True)

    assert (Content(HERMES),) == events


@pytest.mark.parametrize(
    "block",
    [
        "<tool_call>{not json}</tool_call>",
        '<tool_call>{"name": 3, "arguments": {}}</tool_call>',
        '<tool_call>{"name": "find", "arguments": []}</tool_call>',
        '<tool_call>{"name": "find", "arguments": {"a": NaN}}</tool_call>',
        '<tool_call>{"name": "find", "arguments": {"a": "\\ud800"}}</tool_call>',
        "<tool_call>two words</tool_call>",
        "<tool_call>find<arg_key>a</arg_key></tool_call>",
        "<tool_call></tool_call>",
        "<tool_call>",
        '<tool_call>{"name": "find", "arguments": {"a": 1}',
        "</tool_call>",
    ],
)
def test_what_is_no_whole_call_is_talk(block: str) -> None:
    events = whole(f"a {block} b")

    assert [] == calls(events)
    assert f"a {block} b" == talk(events)


@given(PARTS, st.lists(st.integers(0, 400)))
def test_the_cuts_of_the_engine_do_not_matter(text: str, cuts: list[int]) -> None:
    assert talk(whole(text)) == talk(streamed(text, cuts))
    assert calls(whole(text)) == calls(streamed(text, cuts))


@given(PARTS.filter(lambda text: "</tool_call>" not in text))
def test_an_answer_without_calls_is_given_unchanged(text: str) -> None:
    assert text == talk(whole(text))


def test_talk_does_not_wait_for_the_end() -> None:
    state, first = tool_calls.split(Split(tools=(TOOL,)), "hello you", final=False)
    _, second = tool_calls.split(state, "hello you and <tool", final=False)

    assert ("hello you", " and") == (talk(first), talk(second))
