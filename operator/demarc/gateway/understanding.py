"""What does the body ask, and what is in it? A large one is looked at beside the event loop.

A small body takes microseconds and is looked at at once. A large one takes up to a second, in which
nobody else could be answered, so it is looked at in a thread; the detectors give way to others
while they search. The threads and what waits for them are bounded: beyond it a large body is
refused for now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from demarc.gateway.wire import Exchange
from demarc.policy import detection, parsing
from demarc.policy.decision import Findings
from demarc.policy.detection import Detectors
from demarc.policy.parsing import ListModels, ParsedRequest
from demarc.policy.refusal import Refusal

LARGE = 64 * 1024
THREADS = 2
MOST = 64
"""Large bodies that are looked at or wait for it."""


@dataclass(frozen=True, slots=True)
class Understood:
    """A request and what the detectors found in it."""

    parsed: ParsedRequest
    findings: Findings


@dataclass(frozen=True, slots=True)
class Failed:
    """The look itself failed; `kind` is the error's, never its text."""

    kind: str


@dataclass(frozen=True, slots=True)
class Overloaded:
    """Too many large bodies wait."""


Outcome = Understood | ListModels | Refusal | Failed | Overloaded


class Understanding:
    """Looks at bodies."""

    def __init__(self, detectors: Detectors) -> None:
        """No thread is started before it is needed."""
        self._detectors = detectors
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="large-body")
        self._waiting = 0

    def close(self) -> None:
        """Wait for what runs; what waits is dropped."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def look(self, exchange: Exchange, path: str, then: Callable[[Outcome], None]) -> None:
        """Call `then` in the event loop, at once or later.

        Args:
            exchange: Envoy's question.
            path: the client's path.
            then: must not raise.
        """
        if len(exchange.body) <= LARGE:
            then(_look(exchange, path, self._detectors))
            return
        if self._waiting >= MOST:
            then(Overloaded())
            return
        self._waiting += 1
        loop = asyncio.get_running_loop()
        self._threads.submit(self._work, loop, exchange, path, then)

    def _work(
        self,
        loop: asyncio.AbstractEventLoop,
        exchange: Exchange,
        path: str,
        then: Callable[[Outcome], None],
    ) -> None:
        outcome = _look(exchange, path, self._detectors)
        loop.call_soon_threadsafe(partial(self._done, outcome, then))

    def _done(self, outcome: Outcome, then: Callable[[Outcome], None]) -> None:
        self._waiting -= 1
        then(outcome)


def _look(exchange: Exchange, path: str, detectors: Detectors) -> Outcome:
    try:
        parsed = parsing.parse(
            exchange.body, method=exchange.method, path=path, headers=exchange.headers
        )
        if not isinstance(parsed, ParsedRequest):
            return parsed
        return Understood(parsed, detection.scan(parsed.texts, detectors))
    except Exception as error:  # noqa: BLE001  # both are total; if not, nothing passes
        return Failed(type(error).__name__)
