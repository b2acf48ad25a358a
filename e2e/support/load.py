"""What does a busy hour look like? Ordinary and sensitive requests, mixed, each marked."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from e2e.support import disguises
from e2e.support.bank import AML, ASSISTANT, CHAT, COPILOT, FAQ, Bank
from e2e.support.disguises import DISGUISES
from e2e.support.marks import Marks

BROKEN = 0
"""Status of a request whose connection or stream broke off."""
_WORKERS = 8
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the mix.

    Attributes:
        word: its mark.
        number: the identifier in it; empty in an ordinary one.
    """

    app: str
    body: Mapping[str, Any]
    word: str
    number: str = ""

    @property
    def is_sensitive(self) -> bool:
        return self.app != FAQ or bool(self.number)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request; `code` is that of its refusal."""

    request: Request
    status: int
    site: str
    code: str


def mix(marks: Marks, turn: int) -> Request:
    """The next request: half of them ordinary, a quarter in streams, the rest in all disguises."""
    word = marks.word()
    stream = {"stream": True} if turn % 4 == 3 else {}
    common = {"model": "auto", "max_tokens": 4, **stream}
    if turn % 2 == 0:
        return Request(FAQ, {**common, **disguises.say(f"good morning {word}")}, word)
    if turn % 3 == 0:
        app = (COPILOT, AML, ASSISTANT)[turn % 9 // 3]
        return Request(app, {**common, **disguises.say(f"good morning {word}")}, word)
    hide = tuple(DISGUISES.values())[turn % len(DISGUISES)]
    number = marks.card()
    return Request(FAQ, {**common, **hide(number, word)}, word, number)


class Load:
    """Asks on and on, on a few connections at a time, until it is told to stop."""

    def __init__(self, bank: Bank, marks: Marks) -> None:
        self.outcomes: list[Outcome] = []
        self._marks = marks
        self._address = bank.address
        self._context: ssl.SSLContext = bank.context()
        self._keys = {app: bank.credential(app) for app in (FAQ, COPILOT, AML, ASSISTANT)}
        self._turn = 0

    async def run(self, enough: Callable[[], bool]) -> None:
        """Ask until `enough`; it is asked after each answer."""
        connector = aiohttp.TCPConnector(ssl=self._context, limit=_WORKERS)
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(_WORKERS):
                group.create_task(self._work(session, enough))

    async def _work(self, session: aiohttp.ClientSession, enough: Callable[[], bool]) -> None:
        while not enough():
            self._turn += 1
            self.outcomes.append(await self._ask(session, mix(self._marks, self._turn)))

    async def _ask(self, session: aiohttp.ClientSession, request: Request) -> Outcome:
        url = "https://{}:{}{}".format(*self._address, CHAT)
        headers = {
            "authorization": f"Bearer {self._keys[request.app]}",
            "content-type": "application/json",
        }
        data = json.dumps(request.body).encode()
        try:
            async with session.post(url, data=data, headers=headers) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            return Outcome(request, BROKEN, "", "")
        site = answer.headers.get("x-demarc-site", "")
        if answer.status == 200:
            whole = b"[DONE]" in body if request.body.get("stream") else b'"choices"' in body
            return Outcome(request, 200 if whole else BROKEN, site, "")
        return Outcome(request, answer.status, site, str(json.loads(body)["error"]["code"]))


def tally(outcomes: Sequence[Outcome]) -> Mapping[str, int]:
    """How often each outcome came, for messages."""
    found: dict[str, int] = {}
    for outcome in outcomes:
        kind = "sensitive" if outcome.request.is_sensitive else "ordinary"
        key = f"{kind} {outcome.status} {outcome.site or outcome.code}".rstrip()
        found[key] = found.get(key, 0) + 1
    return dict(sorted(found.items()))
