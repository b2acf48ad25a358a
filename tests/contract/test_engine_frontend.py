"""Does the whole private path work? Mutual TLS, the frontend, gRPC, Triton, the simulator.

The same stories run on the fake engine, so that they run where Triton is not at hand.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from demarc.engines.triton import TritonEngine, TritonOptions
from demarc.frontend.readiness import ProbeTimes
from demarc.frontend.server import Frontend, running
from demarc.local.simulator import folder
from support import frontends
from support.engines import FakeEngine, RunningTriton, running_triton
from support.frontends import GATEWAY, LOOPBACK, MODEL, NOW, Answer, SpiffeAuthority, chat, post

pytestmark = pytest.mark.timeout(60)

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "how it is outside",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
USER = {"role": "user", "content": "tell me"}


@dataclass
class Rig:
    """A frontend over an engine, and the ways to speak to it."""

    frontend: Frontend
    context: ssl.SSLContext
    authority: SpiffeAuthority
    home: Path
    change: Callable[..., None]
    fake: FakeEngine | None

    async def ask(self, raw: bytes) -> Answer:
        async with frontends.wire(self.frontend.port, self.context) as wire:
            await wire.send(raw)
            return await wire.answer()

    async def page(self, path: str) -> Answer:
        async with frontends.wire(self.frontend.health_port, None) as wire:
            await wire.send(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            return await wire.answer()

    async def readiness(self, want: int) -> None:
        """Wait until /readyz gives this status."""

        async def reached() -> bool:
            return want == (await self.page("/readyz")).status

        await frontends.until(reached)

    def rows(self, decision: str) -> list[Any]:
        """The journal's lines of a decision."""
        path = self.home / "usage.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [row for row in map(json.loads, lines) if row["decision"] == decision]

    async def booked(self, decision: str) -> Any:
        """Wait for the journal's line of a decision."""

        async def written() -> bool:
            return bool(self.rows(decision))

        await frontends.until(written)
        (row,) = self.rows(decision)
        return row


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    with running_triton(tmp_path_factory.mktemp("triton")) as started:
        yield started


@pytest.fixture(scope="module")
def authority() -> SpiffeAuthority:
    return SpiffeAuthority()


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.engine)])
async def rig(
    request: pytest.FixtureRequest, tmp_path: Path, authority: SpiffeAuthority
) -> AsyncGenerator[Rig]:
    server_tls = authority.write(tmp_path / "tls", frontends.FRONTEND)
    client_tls = authority.write(tmp_path / "client", GATEWAY)
    async with AsyncExitStack() as stack:
        fake: FakeEngine | None = None
        engine: Any
        if request.param == "fake":
            model_dir = tmp_path / "model"
            folder.make(model_dir, name="simulated")
            engine = fake = FakeEngine()

            def change(**parameters: Any) -> None:
                assert fake is not None
                fake.parameters, fake.hold_after = parameters, None
        else:
            started: RunningTriton = request.getfixturevalue("triton")
            model_dir, change = started.model_folder, started.change
            change()
            engine = await stack.enter_async_context(
                TritonEngine.connect(TritonOptions(started.grpc))
            )
        options = frontends.options(
            tmp_path,
            server_tls,
            model_dir,
            first_chunk_seconds=3,
            probe=ProbeTimes(every_seconds=0.2, again_seconds=0.05, timeout_seconds=1),
            reload_seconds=0.05,
        )
        frontend = await stack.enter_async_context(running(options, engine, now=lambda: NOW))
        yield Rig(frontend, frontends.client_context(client_tls), authority, tmp_path, change, fake)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def test_a_whole_answer_has_text_counts_and_a_trailer(rig: Rig) -> None:
    answer = await rig.ask(post(chat(messages=user("say:good day to you")), decision="d-1"))

    assert 200 == answer.status
    assert {
        "id": "chatcmpl-d-1",
        "object": "chat.completion",
        "created": int(NOW.timestamp()),
        "model": "auto",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "good day to you", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": answer.json["usage"]["prompt_tokens"],
            "completion_tokens": 4,
            "total_tokens": answer.json["usage"]["prompt_tokens"] + 4,
        },
    } == answer.json
    count = answer.json["usage"]["prompt_tokens"]
    assert count > 4
    assert "x-demarc-usage" == answer.headers["trailer"]
    assert {"x-demarc-usage": f"in={count};out=4;source=tokenizer;finish=stop"} == answer.trailers
    assert {
        "decision": "d-1",
        "at": "2026-11-24T12:00:00.000+00:00",
        "in": count,
        "out": 4,
        "source": "tokenizer",
        "finish": "stop",
    } == await rig.booked("d-1")


async def test_a_stream_is_the_same_text_in_parts(rig: Rig) -> None:
    answer = await rig.ask(post(chat(messages=user("say:你好, good day 😀"), stream=True)))

    assert (200, "text/event-stream") == (answer.status, answer.headers["content-type"])
    assert "你好, good day 😀" == answer.text
    first, *_, last, done = answer.events
    assert {"role": "assistant", "content": "", "refusal": None} == first["choices"][0]["delta"]
    assert ("stop", {}) == (last["choices"][0]["finish_reason"], last["choices"][0]["delta"])
    assert "[DONE]" == done
    assert "\ufffd" not in answer.body.decode()
    assert not any("usage" in event for event in answer.events[:-1])
    assert answer.trailers["x-demarc-usage"].endswith("source=tokenizer;finish=stop")


async def test_a_stream_counts_only_for_whom_asked(rig: Rig) -> None:
    answer = await rig.ask(
        post(
            chat(messages=user("say:one two"), stream=True, stream_options={"include_usage": True})
        )
    )

    *rest, last, done = answer.events
    assert "[DONE]" == done
    assert [] == last["choices"]
    assert 2 == last["usage"]["completion_tokens"]
    assert {None} == {event["usage"] for event in rest}


async def test_max_tokens_and_stop_end_an_answer(rig: Rig) -> None:
    short = await rig.ask(post(chat(messages=user("say:one two three"), max_tokens=2)))
    stopped = await rig.ask(
        post(chat(messages=user("say:one two three four"), stop=["o th"], stream=True))
    )

    assert ("one two", "length") == (
        short.json["choices"][0]["message"]["content"],
        short.json["choices"][0]["finish_reason"],
    )
    assert 2 == short.json["usage"]["completion_tokens"]
    assert "one tw" == stopped.text


async def test_a_tool_is_called_and_its_result_read(rig: Rig) -> None:
    asked = user('please call:weather {"city": "Köln"} and call:weather {"city": "上海"}')
    whole = await rig.ask(post(chat(messages=asked, tools=[TOOL]), decision="t1"))
    message = whole.json["choices"][0]["message"]

    assert "tool_calls" == whole.json["choices"][0]["finish_reason"]
    assert message["content"] is None
    assert [
        ("call_t1_0", "weather", {"city": "Köln"}),
        ("call_t1_1", "weather", {"city": "上海"}),
    ] == [
        (c["id"], c["function"]["name"], json.loads(c["function"]["arguments"]))
        for c in message["tool_calls"]
    ]
    result = {"role": "tool", "tool_call_id": "call_t1_0", "content": "it rains"}
    follow = await rig.ask(post(chat(messages=[*asked, message, result], tools=[TOOL])))
    assert "The tool answered: it rains" == follow.json["choices"][0]["message"]["content"]


async def test_tool_calls_are_streamed_whole(rig: Rig) -> None:
    asked = user('call:weather {"city": "Köln"}')
    answer = await rig.ask(post(chat(messages=asked, tools=[TOOL], stream=True), decision="t2"))

    deltas = [e["choices"][0]["delta"] for e in answer.events[:-1]]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert [(0, "call_t2_0", "weather")] == [
        (call["index"], call["id"], call["function"]["name"]) for call in calls
    ]
    assert "tool_calls" == answer.events[-2]["choices"][0]["finish_reason"]
    assert "" == answer.text


async def test_one_call_at_a_time_if_the_client_wants_that(rig: Rig) -> None:
    asked = user('call:weather {"city": "a"} call:weather {"city": "b"}')
    answer = await rig.ask(post(chat(messages=asked, tools=[TOOL], parallel_tool_calls=False)))

    assert 1 == len(answer.json["choices"][0]["message"]["tool_calls"])


async def test_the_openai_client_is_content(rig: Rig) -> None:
    """The real SDK reads answers, streams, tool calls and errors."""
    base = f"https://{LOOPBACK}:{rig.frontend.port}/v1"
    headers = {"x-demarc-decision": "sdk", "x-demarc-model": MODEL}
    async with (
        httpx.AsyncClient(verify=rig.context, trust_env=False) as http,
        openai.AsyncOpenAI(
            base_url=base, api_key="-", http_client=http, default_headers=headers, max_retries=0
        ) as client,
    ):
        whole = await client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": "say:hello there"}], user="u"
        )
        stream = await client.chat.completions.create(
            model="auto",
            messages=[{"role": "user", "content": 'call:weather {"city": "x"}'}],
            tools=[TOOL],  # type: ignore[list-item]  # a literal of the test
            stream=True,
        )
        chunks = [chunk async for chunk in stream]
        listed = await client.models.list()
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(
                model="auto", messages=[{"role": "user", "content": "x"}], n=2
            )

    assert "hello there" == whole.choices[0].message.content
    assert "tool_calls" == chunks[-1].choices[0].finish_reason
    assert [MODEL] == [model.id for model in listed.data]
    assert ("n", "unsupported_parameter") == (caught.value.param, caught.value.code)


async def test_a_client_that_leaves_is_booked_and_frees_the_engine(rig: Rig) -> None:
    rig.change(maxConcurrentRequests=1, timePerTokenMilliseconds=500, minAnswerTokens=40)
    if rig.fake is not None:
        rig.fake.hold_after = 3
    async with frontends.wire(rig.frontend.port, rig.context) as wire:
        await wire.send(post(chat(stream=True), decision="gone"))
        await wire.head()
        await wire.chunk()

    row = await rig.booked("gone")
    rig.change()
    after = await rig.ask(post(chat(messages=user("say:next"))))
    assert "cancelled" == row["finish"]
    assert row["in"] > 0
    assert 1 <= row["out"] <= 5
    assert "next" == after.json["choices"][0]["message"]["content"]
    if rig.fake is not None:
        assert 1 == rig.fake.cancelled


async def test_an_engine_that_breaks_makes_the_pod_unready_and_it_comes_back(rig: Rig) -> None:
    await rig.readiness(200)
    rig.change(broken="Error")
    answer = await rig.ask(post(chat(), decision="broken"))
    await rig.readiness(503)
    rig.change()
    await rig.readiness(200)

    assert (500, "engine_failed") == (answer.status, answer.json["error"]["code"])
    assert answer.trailers["x-demarc-usage"].endswith("out=0;source=tokenizer;finish=error")
    assert "error" == (await rig.booked("broken"))["finish"]


async def test_a_silent_engine_is_a_timeout_and_makes_the_pod_unready(rig: Rig) -> None:
    await rig.readiness(200)
    rig.change(broken="Hang")
    answer = await rig.ask(post(chat(stream=True)))
    await rig.readiness(503)
    rig.change()
    await rig.readiness(200)

    assert (504, "engine_timeout") == (answer.status, answer.json["error"]["code"])
    assert "application/json" == answer.headers["content-type"]


async def test_a_new_certificate_is_taken_while_the_port_stays_open(rig: Rig) -> None:
    """After the change of the authority the old client is nobody."""
    other = SpiffeAuthority()
    other.write(rig.home / "tls", frontends.FRONTEND)
    context = frontends.client_context(other.write(rig.home / "client2", GATEWAY))

    async with asyncio.timeout(20):
        while True:
            try:
                async with frontends.wire(rig.frontend.port, context) as wire:
                    await wire.send(post(chat(messages=user("say:new"))))
                    answer = await wire.answer()
                break
            except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.02)

    assert 200 == answer.status
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        await rig.ask(post(chat()))
