"""A team points the official client at the gateway, and it works as it does with OpenAI."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from e2e.support.bank import AML, COPILOT, FAQ, INSIDE, OUTSIDE, Bank
from e2e.support.marks import Marks
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "open_hours",
        "description": "hours of a branch",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def asked(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def test_models_are_listed_for_the_app_that_asks(bank: Bank) -> None:
    """A client that reads the list must find the names that it may ask for, and no others."""
    copilot = {model.id for model in bank.openai(COPILOT).models.list()}
    marketing = {model.id for model in bank.openai("retail/marketing").models.list()}

    assert {"auto", "glm-4.5-air"} == copilot
    assert {"draft"} == marketing


@pytest.mark.parametrize("app, site", [(COPILOT, INSIDE), (FAQ, OUTSIDE)])
def test_a_plain_answer_has_text_usage_and_its_place(bank: Bank, app: str, site: str) -> None:
    """The official client drops an answer whose shape is not OpenAI's."""
    raw = bank.openai(app).chat.completions.with_raw_response.create(
        model="auto", messages=asked("say: the branch opens at nine"), temperature=0
    )
    answer = raw.parse()

    assert "the branch opens at nine" == answer.choices[0].message.content
    assert "stop" == answer.choices[0].finish_reason
    assert "auto" == answer.model
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert site == raw.headers["x-demarc-site"]
    assert answer.id.endswith(raw.headers["x-demarc-decision"])


@pytest.mark.parametrize("app", [COPILOT, FAQ])
def test_an_answer_carries_its_decision_and_site_and_no_other_header_of_ours(
    bank: Bank, app: str
) -> None:
    """What the tiers say to each other (grants, clusters, usage) is none of a client's business."""
    raw = bank.openai(app).chat.completions.with_raw_response.create(
        model="auto", messages=asked("hello"), max_tokens=4
    )

    ours = {name for name in raw.headers if name.startswith(("x-demarc", "demarc"))}
    assert {"x-demarc-decision", "x-demarc-site"} == ours
    assert not [name for name in raw.headers if name.startswith("x-envoy")]


@pytest.mark.parametrize("app, site", [(COPILOT, INSIDE), (FAQ, OUTSIDE)])
def test_a_stream_gives_the_answer_in_pieces_and_its_usage_last(
    bank: Bank, app: str, site: str
) -> None:
    """A gateway that buffers a stream, or loses its end, breaks every chat window."""
    text = "every branch of the bank is open from nine to five on working days"
    raw = bank.openai(app).chat.completions.with_raw_response.create(
        model="auto",
        messages=asked(f"say: {text}"),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(raw.parse())

    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert text == "".join(pieces)
    assert len([piece for piece in pieces if piece]) > 5
    assert ["stop"] == [c.choices[0].finish_reason for c in chunks if c.choices][-1:]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 5
    assert site == raw.headers["x-demarc-site"]


def test_the_usage_chunk_comes_only_when_it_is_asked_for(bank: Bank) -> None:
    """Old clients fail on a chunk without choices."""
    stream = bank.openai(FAQ).chat.completions.create(
        model="auto", messages=asked("hello"), stream=True, max_tokens=4
    )

    for chunk in stream:
        assert chunk.choices
        assert chunk.usage is None


@pytest.mark.parametrize("app", [COPILOT, FAQ])
def test_a_tool_is_called_and_its_result_answered(bank: Bank, app: str) -> None:
    """Agents send back what they were given; a lost id or argument ends them."""
    client = bank.openai(app)
    question = asked('call:open_hours {"city": "Shanghai"}')
    first = client.chat.completions.create(model="auto", messages=question, tools=[TOOL])
    message = first.choices[0].message
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert call.type == "function"

    second = client.chat.completions.create(
        model="auto",
        messages=[
            *question,
            {
                "role": "assistant",
                "content": message.content,
                "tool_calls": [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {
                            "name": call.function.name,
                            "arguments": call.function.arguments,
                        },
                    }
                ],
            },
            {"role": "tool", "tool_call_id": call.id, "content": "from nine to five"},
        ],
        tools=[TOOL],
    )

    assert "tool_calls" == first.choices[0].finish_reason
    assert "open_hours" == call.function.name
    assert {"city": "Shanghai"} == json.loads(call.function.arguments)
    assert "from nine to five" in str(second.choices[0].message.content)


def test_a_tool_call_is_streamed(bank: Bank) -> None:
    """A streamed call must come together to valid JSON, without the markup of the model."""
    stream = bank.openai(FAQ).chat.completions.create(
        model="auto",
        messages=asked('call:open_hours {"city": "Beijing"}'),
        tools=[TOOL],
        stream=True,
    )

    names, arguments, said, reasons = "", "", "", []
    for chunk in stream:
        delta = chunk.choices[0].delta
        said += delta.content or ""
        for call in delta.tool_calls or ():
            assert call.function is not None
            names += call.function.name or ""
            arguments += call.function.arguments or ""
        reasons += [chunk.choices[0].finish_reason] if chunk.choices[0].finish_reason else []

    assert ("open_hours", {"city": "Beijing"}) == (names, json.loads(arguments))
    assert ["tool_calls"] == reasons
    assert "tool_call" not in said


def test_errors_are_those_that_the_client_knows(bank: Bank) -> None:
    """A client sorts errors by status and code; one that it cannot sort is retried or lost."""
    client = bank.openai(FAQ)

    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4", messages=asked("hello"))
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="auto", messages=asked("hello"), temperature=9)
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model="auto", messages=asked("hello"), max_tokens=1_000_000)
    with pytest.raises(openai.AuthenticationError) as unknown:
        client.with_options(api_key="dmk_wrong").models.list()

    assert "model_not_found" == missing.value.code
    assert ("invalid_value", "temperature") == (wrong.value.code, wrong.value.param)
    assert "context_length_exceeded" == long.value.code
    assert "invalid_api_key" == unknown.value.code


def test_a_stream_that_the_client_leaves_is_ended(bank: Bank) -> None:
    """A tab that is closed must not keep an engine busy; the next request is served as before."""
    client = bank.openai(AML)
    stream = client.chat.completions.create(
        model="auto", messages=asked("say:" + " more" * 5000), stream=True, max_tokens=5000
    )
    first = next(iter(stream))
    stream.close()

    after = client.chat.completions.create(model="auto", messages=asked("say: still here"))

    assert first.choices
    assert "still here" == after.choices[0].message.content


def test_two_streams_run_at_the_same_time(bank: Bank) -> None:
    """Streams that wait for each other look like a hung model to the second user."""

    async def both() -> list[tuple[str, str]]:
        order: list[tuple[str, str]] = []
        inside = AsyncOpenAI(
            base_url=str(bank.run["gateway"]),
            api_key=bank.credential(COPILOT),
            max_retries=0,
            http_client=DefaultAsyncHttpxClient(verify=bank.context(), trust_env=False),
        )
        outside = inside.with_options(api_key=bank.credential(FAQ))

        async def read(client: AsyncOpenAI, word: str) -> None:
            stream = await client.chat.completions.create(
                model="auto", messages=asked("say:" + f" {word}" * 150), stream=True, max_tokens=200
            )
            async for chunk in stream:
                piece = chunk.choices[0].delta.content if chunk.choices else None
                order.extend([(word, piece)] if piece else [])

        async with inside, asyncio.TaskGroup() as group:
            group.create_task(read(inside, "inside"))
            group.create_task(read(outside, "outside"))
        return order

    order = asyncio.run(both())

    words = [word for word, _ in order]
    assert {"inside", "outside"} == set(words)
    for word in ("inside", "outside"):
        text = "".join(piece for whose, piece in order if whose == word)
        assert [word] * 150 == text.split()
    # the second began before the first had ended
    assert words.index("outside") < len(words) - words[::-1].index("inside")
    assert words.index("inside") < len(words) - words[::-1].index("outside")


def test_many_users_at_once_get_their_own_answers(bank: Bank, marks: Marks) -> None:
    """A connection that is used again must not bring another user's answer."""
    words = [marks.word() for _ in range(60)]

    def ask(word: str) -> str:
        answer = client.chat.completions.create(model="auto", messages=asked(f"say: {word}"))
        return str(answer.choices[0].message.content)

    client = bank.openai(FAQ)
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(ask, words))

    assert words == answers
