"""Does an answer end for the reason that the client is told?"""

from __future__ import annotations

import pytest

from demarc.engines.generation import Chunk, Finish
from demarc.frontend import translation
from demarc.frontend.chat import ChatRequest
from demarc.frontend.tool_calls import Content, ToolCall
from demarc.frontend.usage import Outcome

REQUEST = ChatRequest(model="m", messages=())
TOOL = {"type": "function", "function": {"name": "f"}}
CALL = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'


@pytest.mark.parametrize(
    "request_,chunk,want",
    [
        (REQUEST, Chunk("a"), None),
        (REQUEST, Chunk("a", Finish.STOP), Outcome.STOP),
        (REQUEST, Chunk("a", Finish.LENGTH), Outcome.LENGTH),
        (REQUEST, Chunk("a", Finish.TIMEOUT), Outcome.TIMEOUT),
        (REQUEST, Chunk("a", Finish.CANCELLED), Outcome.ERROR),
        (ChatRequest(model="m", messages=(), stop=("b",)), Chunk("ab c"), Outcome.STOP),
        (ChatRequest(model="m", messages=(), tools=(TOOL,)), Chunk(CALL), None),
        (
            ChatRequest(model="m", messages=(), tools=(TOOL,)),
            Chunk(CALL, Finish.STOP),
            Outcome.TOOL_CALLS,
        ),
        (
            ChatRequest(model="m", messages=(), tools=(TOOL,)),
            Chunk(CALL, Finish.LENGTH),
            Outcome.LENGTH,
        ),
        (
            ChatRequest(model="m", messages=(), tools=(TOOL,), parallel_tool_calls=False),
            Chunk(CALL),
            Outcome.TOOL_CALLS,
        ),
        (REQUEST, Chunk(CALL, Finish.STOP), Outcome.STOP),
    ],
)
def test_the_reason_is_the_first_that_applies(
    request_: ChatRequest, chunk: Chunk, want: Outcome | None
) -> None:
    state, _ = translation.advance(translation.begin(request_), chunk)

    assert want is state.outcome


def test_what_a_stop_text_held_back_is_given_with_the_end() -> None:
    """A stop text ends the answer at once: what waited for a tool call comes out."""
    request = ChatRequest(model="m", messages=(), tools=(TOOL,), stop=("END",))
    state, first = translation.advance(translation.begin(request), Chunk("hi <tool"))
    state, second = translation.advance(state, Chunk("hi <toolEND more"))

    assert ((Content("hi"),), (Content(" <tool"),)) == (first, second)
    assert Outcome.STOP is state.outcome


def test_a_call_and_the_talk_before_it_come_in_order() -> None:
    request = ChatRequest(model="m", messages=(), tools=(TOOL,))

    _, events = translation.advance(translation.begin(request), Chunk(f"look: {CALL}", Finish.STOP))

    assert (Content("look:"), ToolCall(0, "f", "{}")) == events
