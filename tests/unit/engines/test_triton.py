"""Is every form of fault in Triton's answers told apart, and is the call always let go?"""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from demarc.engines.generation import (
    Chunk,
    EngineError,
    EngineFailedError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    Finish,
    Generation,
    Prompt,
)
from demarc.engines.triton import TritonEngine, TritonOptions

SECRET = "4111 1111 1111 1111"
GENERATION = Generation(prompt=Prompt(SECRET), max_tokens=5, timeout_seconds=1)


@dataclass
class Result:
    """One message of the stream, as the client gives it."""

    text: str | None = "a"
    finish: str | None = None

    def as_numpy(self, name: str) -> Any:
        value = self.text if name == "text_output" else self.finish
        return None if value is None else np.array([value.encode()], dtype=np.object_)


@dataclass
class Stream:
    """The answers of one call; an exception in the list is raised, one in a pair is not."""

    items: list[Any]
    cancelled: int = 0

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        if not self.items:
            raise StopAsyncIteration
        item = self.items.pop(0)
        match item:
            case Result():
                return item, None
            case (None, error):
                return None, error
            case _:
                raise item

    def cancel(self) -> None:
        self.cancelled += 1


@dataclass
class Client:
    """What stands for Triton's client."""

    stream: Stream
    asked: list[Any] = field(default_factory=list)

    def stream_infer(self, requests: AsyncIterator[Any], stream_timeout: float) -> Stream:
        self.asked.append((requests, stream_timeout))
        return self.stream


class Code:
    """As grpc.StatusCode."""

    def __init__(self, name: str) -> None:
        self.name = name


class RpcError(Exception):
    """As grpc.aio.AioRpcError, which has no base in common with Triton's exception."""

    def __init__(self, name: str) -> None:
        super().__init__(SECRET)
        self._code = Code(name)

    def code(self) -> Code:
        return self._code


async def collect(*items: Any) -> tuple[list[Chunk], Stream]:
    stream = Stream(list(items))
    engine = TritonEngine(Client(stream), TritonOptions("x"))  # type: ignore[arg-type]  # a fake
    try:
        async with aclosing(engine.generate(GENERATION)) as chunks:
            return [chunk async for chunk in chunks], stream
    finally:
        assert 1 == stream.cancelled


async def test_the_end_of_the_stream_is_the_end_of_the_answer() -> None:
    chunks, _ = await collect(Result("a", "None"), Result("ab", ""), Result("abc", "STOP"))

    assert [Chunk("a"), Chunk("ab"), Chunk("abc", Finish.STOP)] == chunks


@pytest.mark.parametrize(
    "item,want",
    [
        (RpcError("UNAVAILABLE"), EngineUnavailableError),
        (RpcError("NOT_FOUND"), EngineUnavailableError),
        (RpcError("INVALID_ARGUMENT"), EngineRefusedError),
        (RpcError("DEADLINE_EXCEEDED"), EngineTimeoutError),
        (RpcError("INTERNAL"), EngineUnavailableError),
        (RpcError("UNKNOWN"), EngineUnavailableError),
        (RpcError("RESOURCE_EXHAUSTED"), EngineFailedError),
        (ValueError(SECRET), EngineFailedError),
        ((None, InferenceServerException(SECRET)), EngineFailedError),
        (
            (None, InferenceServerException(SECRET, "StatusCode.INVALID_ARGUMENT")),
            EngineRefusedError,
        ),
        (Result(text=None), EngineFailedError),
        (Result("a", "exploded"), EngineFailedError),
    ],
)
async def test_each_fault_has_its_kind_and_repeats_nothing(
    item: Any, want: type[EngineError]
) -> None:
    with pytest.raises(want) as caught:
        await collect(Result("a"), item, Result("a", "stop"))

    assert "4111" not in "".join(traceback.format_exception_only(caught.value))
    shown = traceback.TracebackException.from_exception(caught.value)
    assert "4111" not in "".join(line for line in shown.format() if "Error" in line)


async def test_an_answer_without_a_reason_for_its_end_is_a_fault() -> None:
    with pytest.raises(EngineFailedError, match="without a reason"):
        await collect(Result("a"))


async def test_leaving_cancels_the_call() -> None:
    stream = Stream([Result("a"), Result("ab"), Result("abc", "stop")])
    engine = TritonEngine(Client(stream), TritonOptions("x"))  # type: ignore[arg-type]  # a fake
    async with aclosing(engine.generate(GENERATION)) as chunks:
        await anext(chunks)

    assert (1, 2) == (stream.cancelled, len(stream.items))
