"""How does a pod learn whether its engine works? A loop that asks, and pages that tell."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

import structlog

from demarc.engines.generation import EngineError, EngineTimeoutError, Generation, Prompt
from demarc.frontend import readiness, refusals
from demarc.frontend.http import Exchange, Handler, Request
from demarc.frontend.metrics import Metrics
from demarc.frontend.ports import Engine
from demarc.frontend.readiness import Probe, ProbeTimes, Readiness

_TEXT = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}
_QUESTION = Prompt("1")


class Health:
    """What is known of the engine, kept fresh by `watch`."""

    def __init__(self, engine: Engine, times: ProbeTimes, metrics: Metrics) -> None:
        self._engine = engine
        self._times = times
        self._metrics = metrics
        self._state = Readiness()
        self._wake = asyncio.Event()
        self._draining = False
        self._log = structlog.get_logger("demarc.frontend")

    @property
    def ready(self) -> bool:
        """Whether requests may come."""
        return self._state.proved and not self._draining

    def drain(self) -> None:
        """Say that no more requests may come."""
        self._draining = True

    def saw_engine(self, alive: bool) -> None:  # noqa: FBT001  # the form of a callback
        """A real request got a chunk, or met a fault: then the engine is asked at once."""
        if alive:
            self._state = readiness.sign(self._state, asyncio.get_running_loop().time())
        else:
            self._wake.set()

    async def watch(self) -> None:
        """Ask the engine again and again; never returns."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            began = loop.time()
            outcome = await self._probe()
            before = self._state.proved
            self._state = readiness.probed(
                self._state, began=began, now=loop.time(), outcome=outcome
            )
            self._metrics.ready = self._state.proved
            if self._state.proved is not before:
                self._log.info("readiness_changed", ready=self._state.proved)
            times = self._times
            good = outcome is Probe.ANSWERED
            await self._pause(times.every_seconds if good else times.again_seconds)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _probe(self) -> Probe:
        seconds = self._times.timeout_seconds
        question = Generation(prompt=_QUESTION, max_tokens=1, timeout_seconds=seconds, top_k=1)
        try:
            async with (
                asyncio.timeout(seconds),
                aclosing(self._engine.generate(question)) as chunks,
            ):
                async for _ in chunks:
                    return Probe.ANSWERED
        except (EngineTimeoutError, TimeoutError):
            return Probe.LATE
        except EngineError:
            return Probe.FAILED
        return Probe.FAILED


def health_handler(health: Health, metrics: Metrics) -> Handler:
    """Make the handler of the plain listener."""

    async def handle(request: Request, exchange: Exchange) -> None:
        match request.method, request.target:
            case "GET", "/livez":
                await exchange.answer(200, b"ok\n", headers=_TEXT)
            case "GET", "/readyz" if health.ready:
                await exchange.answer(200, b"ok\n", headers=_TEXT)
            case "GET", "/readyz":
                await exchange.answer(503, b"the engine has not answered\n", headers=_TEXT)
            case "GET", "/metrics":
                await exchange.answer(200, metrics.render(), headers=_TEXT)
            case _:
                await exchange.refuse(refusals.transport(404, "unknown_url", "no such page"))

    return handle
