"""How fast are requests answered? A closed loop over TLS connections that stay open.

Each connection sends its next request when the answer is whole. Plain non-blocking sockets and one
poll, because what the load itself costs stands in every latency.

Rules:
    Connections join one after the other, so that the gateway does not open all of its own at once.
    What is answered within the window counts, also when it was sent during the warm-up: slow
    answers must not fall out at its beginning.
    Every answer is waited for at the end: a connection that is cut costs the gateway another.
    Processor time is read at both ends of the same window.
    A connection that ends, or an answer that cannot be read, ends the run.

    load.py < question.json > answer.json
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import ssl
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import figures
from figures import Sample

_READ = 64 * 1024
_DEADLINE = 10.0
_LAST_CHUNK = b"0\r\n\r\n"
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be measured.

    Attributes:
        address, port: of the gateway.
        authority: file with the certificate that its own is signed with.
        request: the whole request, head and body.
        connections: at once.
        warm_up, seconds: before the window, and its length.
        proxy, agent: process ids whose processor time is read; 0: there is none.
        core: the core on which they run.
    """

    address: str
    port: int
    authority: str
    request: bytes
    connections: int
    warm_up: float
    seconds: float
    proxy: int
    agent: int
    core: int

    def render(self) -> str:
        """As JSON."""
        request = base64.b64encode(self.request).decode()
        return json.dumps({**asdict(self), "request": request})

    @classmethod
    def read(cls, text: str) -> Question:
        """What `render` made."""
        values: dict[str, Any] = json.loads(text)
        request = base64.b64decode(values.pop("request"))
        return cls(**values, request=request)


@dataclass(frozen=True, slots=True)
class Used:
    """Processor time at one moment, in seconds.

    Attributes:
        proxy, agent: of the processes under test.
        busy, idle: of their core.
    """

    proxy: float
    agent: float
    busy: float
    idle: float


class BrokenError(Exception):
    """The gateway did not answer as it must."""


class Connection:
    """One connection and the request that is on its way."""

    __slots__ = ("answer", "first", "rest", "sent", "sock")

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.sock = sock
        self.rest = memoryview(b"")
        self.answer = bytearray()
        self.sent = 0.0
        self.first = 0.0

    @property
    def is_whole(self) -> bool:
        """Whether the answer is there; every answer of the upstream is chunked."""
        return self.answer.endswith(_LAST_CHUNK) or _has_length(self.answer)


class Load:
    """The connections of one run."""

    def __init__(self, question: Question) -> None:
        """Connect all of them."""
        self._question = question
        self._poll = select.epoll()
        self._open: dict[int, Connection] = {}
        self._is_measuring = False
        self._is_ending = False
        self._asked = 0
        self.totals: list[float] = []
        self.firsts: list[float] = []
        self.errors = 0
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(question.authority)
        for _ in range(question.connections):
            raw = socket.create_connection((question.address, question.port))
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock = context.wrap_socket(raw, server_hostname="gateway")
            sock.setblocking(False)
            self._open[sock.fileno()] = Connection(sock)
            self._poll.register(sock, select.EPOLLIN)

    def run(self) -> Sample:
        """Warm up, then measure."""
        question = self._question
        for connection in self._open.values():
            self._send(connection, time.perf_counter())
            self._turn(_DEADLINE)
        self._turn_until(time.perf_counter() + question.warm_up)
        before = used(question.proxy, question.agent, question.core)
        began = time.perf_counter()
        self._is_measuring = True
        self._turn_until(began + question.seconds)
        ended = time.perf_counter()
        self._is_measuring = False
        after = used(question.proxy, question.agent, question.core)
        self._drain(ended + _DEADLINE)
        proxy, agent = after.proxy - before.proxy, after.agent - before.agent
        return figures.sample(
            seconds=ended - began,
            totals=self.totals,
            firsts=self.firsts,
            errors=self.errors,
            proxy_seconds=proxy,
            agent_seconds=agent,
            others=figures.share_of_others(
                after.busy - before.busy, after.idle - before.idle, proxy + agent
            ),
        )

    def _turn_until(self, end: float) -> None:
        while (left := end - time.perf_counter()) > 0:
            self._turn(left)

    def _turn(self, seconds: float) -> None:
        for descriptor, events in self._poll.poll(seconds):
            connection = self._open[descriptor]
            if events & select.EPOLLOUT:
                self._push(connection)
            if events & ~select.EPOLLOUT:
                self._receive(connection)

    def _drain(self, end: float) -> None:
        """Send nothing new, and wait for what was asked."""
        self._is_ending = True
        while self._asked and (left := end - time.perf_counter()) > 0:
            self._turn(left)

    def _send(self, connection: Connection, now: float) -> None:
        self._asked += 1
        connection.answer.clear()
        connection.sent, connection.first = now, 0.0
        connection.rest = memoryview(self._question.request)
        self._push(connection)

    def _push(self, connection: Connection) -> None:
        waits = bool(connection.rest)
        try:
            while connection.rest:
                connection.rest = connection.rest[connection.sock.send(connection.rest) :]
        except ssl.SSLWantWriteError:
            self._poll.modify(connection.sock, select.EPOLLIN | select.EPOLLOUT)
            return
        if waits and len(self._question.request) > _READ:
            self._poll.modify(connection.sock, select.EPOLLIN)

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(_READ)
        except ssl.SSLWantReadError:
            return
        if not data:
            raise BrokenError("the gateway closed a connection")
        now = time.perf_counter()
        if not connection.answer:
            connection.first = now
        connection.answer += data
        if connection.is_whole:
            self._asked -= 1
            if self._is_measuring:
                self._take(connection, now)
            if not self._is_ending:
                self._send(connection, now)

    def _take(self, connection: Connection, now: float) -> None:
        self.totals.append(now - connection.sent)
        self.firsts.append(connection.first - connection.sent)
        if not connection.answer.startswith(b"HTTP/1.1 200 "):
            self.errors += 1


def used(proxy: int, agent: int, core: int) -> Used:
    """Processor time until now, as the kernel counts it (in steps of 1/100 s).

    Source: https://man7.org/linux/man-pages/man5/proc.5.html
    """
    found = next(
        line.split()[1:]
        for line in Path("/proc/stat").read_text("utf-8").splitlines()
        if line.startswith(f"cpu{core} ")
    )
    user, nice, system, idle, wait, irq, soft, steal = map(int, found[:8])
    busy = user + nice + system + irq + soft + steal
    return Used(_of_process(proxy), _of_process(agent), busy / _TICK, (idle + wait) / _TICK)


def _of_process(pid: int) -> float:
    if not pid:
        return 0.0
    # behind the name in brackets, which may hold anything: fields 14 and 15
    rest = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(rest[11]) + int(rest[12])) / _TICK


def _has_length(answer: bytearray) -> bool:
    """Whether it is a whole answer with a length, as refusals are."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return False


def main() -> None:
    """One run."""
    print(json.dumps(asdict(Load(Question.read(sys.stdin.read())).run())))


if __name__ == "__main__":
    main()
