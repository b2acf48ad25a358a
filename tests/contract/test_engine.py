"""What does the frontend rely on, whichever engine is behind the port?

One suite on the fake in memory and on real Triton with the simulator, spoken to over gRPC.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from demarc.engines.generation import (
    Chunk,
    EngineError,
    EngineFailedError,
    EngineTimeoutError,
    EngineUnavailableError,
    Finish,
    Generation,
    Prompt,
)
from demarc.engines.triton import TritonEngine, TritonOptions
from support.engines import (
    EngineToolError,
    FakeEngine,
    RunningTriton,
    ask,
    running_triton,
)

pytestmark = pytest.mark.timeout(60)

SECRET = "card 4111 1111 1111 1111"
PLAIN = Generation(prompt=Prompt("tell me"), max_tokens=100, timeout_seconds=20)
SAY = "say:first second third fourth"


@dataclass
class Rig:
    """An engine and the handle that changes how it behaves."""

    engine: Any
    change: Callable[..., None]


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    with running_triton(tmp_path_factory.mktemp("triton"), max_seq_len=4096) as running:
        yield running


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.engine)])
async def rig(request: pytest.FixtureRequest) -> AsyncGenerator[Rig]:
    if request.param == "fake":
        fake = FakeEngine()

        def change(**parameters: Any) -> None:
            fake.parameters = parameters
            fake.hold_after = None

        yield Rig(fake, change)
        return
    running: RunningTriton = request.getfixturevalue("triton")
    running.change()
    async with TritonEngine.connect(TritonOptions(running.grpc)) as engine:
        yield Rig(engine, running.change)


@asynccontextmanager
async def connected(running: RunningTriton) -> AsyncGenerator[TritonEngine]:
    async with TritonEngine.connect(TritonOptions(running.grpc)) as engine:
        yield engine


async def collect(engine: Any, generation: Generation) -> list[Chunk]:
    async with aclosing(engine.generate(generation)) as chunks:
        return [chunk async for chunk in chunks]


async def test_each_chunk_holds_the_whole_answer_so_far(rig: Rig) -> None:
    chunks = await collect(rig.engine, ask(PLAIN, prompt=Prompt(SAY)))

    assert "first second third fourth" == chunks[-1].text
    assert all(later.text.startswith(earlier.text) for earlier, later in pairwise(chunks))
    assert len(chunks) > 1


async def test_only_the_last_chunk_says_why_the_answer_ended(rig: Rig) -> None:
    chunks = await collect(rig.engine, PLAIN)

    assert {None} == {chunk.finish for chunk in chunks[:-1]}
    assert Finish.STOP is chunks[-1].finish


async def test_the_prompt_is_not_part_of_the_answer(rig: Rig) -> None:
    chunks = await collect(rig.engine, ask(PLAIN, prompt=Prompt(SAY)))

    assert not any("say:" in chunk.text for chunk in chunks)


async def test_max_tokens_ends_the_answer_with_length(rig: Rig) -> None:
    chunks = await collect(rig.engine, ask(PLAIN, prompt=Prompt(SAY), max_tokens=2))

    assert ("first second", Finish.LENGTH) == (chunks[-1].text, chunks[-1].finish)


async def test_a_stop_text_ends_the_answer_and_is_not_part_of_it(rig: Rig) -> None:
    chunks = await collect(rig.engine, ask(PLAIN, prompt=Prompt(SAY), stop=(" third", "never")))

    assert ("first second", Finish.STOP) == (chunks[-1].text, chunks[-1].finish)


async def test_an_incomplete_character_shows_as_a_replacement_until_it_is_complete(
    rig: Rig,
) -> None:
    chunks = await collect(rig.engine, ask(PLAIN, prompt=Prompt("say:你好")))

    assert ["\ufffd", "你", "你\ufffd", "你好"] == [chunk.text for chunk in chunks]


async def test_the_same_request_gets_the_same_answer(rig: Rig) -> None:
    drawn = ask(PLAIN, temperature=0.7, top_p=0.9, seed=7)

    first, again = [await collect(rig.engine, drawn) for _ in range(2)]

    assert first[-1] == again[-1]


async def test_seed_and_temperature_change_a_drawn_answer(rig: Rig) -> None:
    drawn = ask(PLAIN, temperature=0.7, seed=7)
    others = (ask(drawn, seed=8), ask(drawn, temperature=0.8), ask(drawn, top_p=0.5))

    texts = {(await collect(rig.engine, one))[-1].text for one in (drawn, *others)}

    assert 4 == len(texts)


async def test_a_greedy_answer_ignores_the_seed(rig: Rig) -> None:
    greedy = ask(PLAIN, top_k=1)

    texts = {(await collect(rig.engine, ask(greedy, seed=seed)))[-1].text for seed in (1, 2)}

    assert 1 == len(texts)


async def test_leaving_early_frees_the_engine_for_the_next(rig: Rig) -> None:
    """One place, an answer that lasts for minutes: the second request runs only after a cancel."""
    rig.change(maxConcurrentRequests=1, timePerTokenMilliseconds=2000, minAnswerTokens=40)
    async with aclosing(rig.engine.generate(PLAIN)) as chunks:
        first = await anext(chunks)

    second = await collect(rig.engine, ask(PLAIN, prompt=Prompt("say:done")))

    assert first.finish is None
    assert "done" == second[-1].text


async def test_a_broken_engine_is_ready_and_fails(rig: Rig) -> None:
    rig.change(broken="Error")

    assert await rig.engine.ready()
    with pytest.raises(EngineFailedError):
        await collect(rig.engine, PLAIN)


async def test_an_engine_that_says_nothing_times_out(rig: Rig) -> None:
    rig.change(broken="Hang")

    with pytest.raises(EngineTimeoutError):
        await collect(rig.engine, ask(PLAIN, timeout_seconds=0.3))


async def test_no_error_repeats_what_was_asked(rig: Rig) -> None:
    rig.change(broken="Error")

    with pytest.raises(EngineError) as caught:
        await collect(rig.engine, ask(PLAIN, prompt=Prompt(SECRET)))

    assert "4111" not in repr(caught.value) + str(caught.value)
    assert caught.value.__cause__ is None
    assert "4111" not in repr(ask(PLAIN, prompt=Prompt(SECRET), stop=("4111",)))


async def test_an_engine_that_is_gone_is_unavailable_and_not_ready() -> None:
    fake = FakeEngine(available=False)
    async with TritonEngine.connect(TritonOptions("127.61.0.2:1")) as real:
        for engine in (fake, real):
            assert not await engine.ready()
            with pytest.raises(EngineUnavailableError):
                await collect(engine, PLAIN)


@pytest.mark.engine
async def test_a_model_that_is_not_there_is_unavailable(triton: RunningTriton) -> None:
    options = TritonOptions(triton.grpc, model="absent")
    async with TritonEngine.connect(options) as engine:
        assert not await engine.ready()
        with pytest.raises(EngineError):
            await collect(engine, PLAIN)


@pytest.mark.engine
async def test_a_prompt_larger_than_the_engine_fails(triton: RunningTriton) -> None:
    triton.change()
    async with connected(triton) as engine:
        with pytest.raises(EngineFailedError):
            await collect(engine, ask(PLAIN, prompt=Prompt("word " * 5000)))


@pytest.mark.engine
async def test_a_wish_larger_than_the_engine_is_cut(triton: RunningTriton) -> None:
    triton.change()
    async with connected(triton) as engine:
        chunks = await collect(engine, ask(PLAIN, max_tokens=5000))

    assert chunks[-1].finish is not None


@pytest.mark.engine
async def test_the_simulator_records_what_it_receives(triton: RunningTriton) -> None:
    triton.change()
    async with connected(triton) as engine:
        await collect(engine, ask(PLAIN, prompt=Prompt(SECRET)))

    assert SECRET == triton.recorded()[-1]


@pytest.mark.engine
async def test_a_full_cache_makes_requests_wait_for_each_other(triton: RunningTriton) -> None:
    """Room for one request of this size: the second gets its turn when the first is gone."""
    triton.change(kvCacheTokens=150, timePerTokenMilliseconds=50, minAnswerTokens=40)
    async with connected(triton) as engine:
        async with aclosing(engine.generate(PLAIN)) as chunks:
            await anext(chunks)
            with pytest.raises(EngineTimeoutError):
                await collect(engine, ask(PLAIN, timeout_seconds=0.3))

        assert (
            Finish.STOP is (await collect(engine, ask(PLAIN, prompt=Prompt("say:now"))))[-1].finish
        )


@pytest.mark.engine
def test_an_unknown_key_of_the_engine_fails_the_load(tmp_path: Path) -> None:
    with pytest.raises(EngineToolError), running_triton(tmp_path, pytorch_backend_config={}):
        pass

    log = (tmp_path / "triton.log").read_text()
    assert "Extra inputs are not permitted: ['pytorch_backend_config']" in log
