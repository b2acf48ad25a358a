"""How does a frontend start, listen and stop? Two listeners, one engine, one group of tasks.

The stop, in this order: not ready any more; no new connection, idle ones end; answers go on for the
grace; what is left is cut.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from demarc.engines.triton import TritonEngine, TritonOptions
from demarc.frontend import identity
from demarc.frontend.completion import NO_USAGE, Deadlines, OpenAiHandler
from demarc.frontend.health import Health, health_handler
from demarc.frontend.http import Server
from demarc.frontend.journal import Journal
from demarc.frontend.metrics import Metrics
from demarc.frontend.options import FrontendOptions
from demarc.frontend.ports import Engine
from demarc.frontend.served import read_served_model

_BACKLOG = 1024
_HANDSHAKE_SECONDS = 10.0
_BOOKING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Frontend:
    """A frontend that listens.

    Attributes:
        port: of the mutual TLS listener.
        health_port: of the plain listener.
    """

    port: int
    health_port: int


async def serve(options: FrontendOptions, *, now: Callable[[], datetime]) -> None:
    """Serve until cancelled, then drain.

    Args:
        options: everything that the frontend must know.
        now: the wall clock, with a zone.

    Raises:
        ServedModelError: the model folder is not what it should be.
        OSError: an address is taken, or a TLS file is missing.
    """
    async with (
        TritonEngine.connect(TritonOptions(options.triton)) as engine,
        running(options, engine, now=now),
    ):
        await asyncio.Event().wait()


@asynccontextmanager
async def running(
    options: FrontendOptions, engine: Engine, *, now: Callable[[], datetime]
) -> AsyncGenerator[Frontend]:
    """Listen while the context is open; its end drains.

    1 read the model, 2 read the certificate, 3 bind both ports, 4 watch the engine and the files.
    """
    log = structlog.get_logger("demarc.frontend")
    model = await asyncio.to_thread(
        read_served_model,
        options.model_dir,
        name=options.served_name,
        context_tokens=options.context_tokens,
    )
    metrics = Metrics()
    journal = Journal(options.journal, most_bytes=options.journal_bytes)
    health = Health(engine, options.probe, metrics)
    handler = OpenAiHandler(
        engine=engine,
        model=model,
        deadlines=Deadlines(options.first_chunk_seconds, options.request_seconds),
        journal=journal,
        metrics=metrics,
        now=now,
        saw_engine=health.saw_engine,
    )

    def failed(error: Exception) -> None:
        log.error("request_failed", error=type(error).__name__)  # its text may quote the request

    async with asyncio.TaskGroup() as tasks:

        def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            return tasks.create_task(work)

        api = Server(
            handler,
            spawn,
            failed,
            options.limits,
            identify=_identify(options.allow, metrics),
            refusal_trailers=NO_USAGE,
        )
        plain = Server(health_handler(health, metrics), spawn, failed)
        with (
            _bound(options.address, options.port) as api_socket,
            _bound(options.address, options.health_port) as health_socket,
        ):
            listener = await _TlsListener.open(api, api_socket, options.tls)
            health_listener = await asyncio.get_running_loop().create_server(
                plain.connect, sock=health_socket.dup()
            )
            watchers = [
                tasks.create_task(health.watch()),
                tasks.create_task(listener.watch(options.reload_seconds)),
            ]
            log.info("frontend_started", model=options.served_name)
            try:
                yield Frontend(
                    port=api_socket.getsockname()[1],
                    health_port=health_socket.getsockname()[1],
                )
            finally:
                health.drain()
                listener.close()
                api_socket.close()  # while it is open the kernel goes on taking connections
                await _drain(api, options.grace_seconds)
                for watcher in watchers:
                    watcher.cancel()
                health_listener.close()
                plain.cut()
                journal.close()
                log.info("frontend_stopped")


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.create_server((address, port), family=family, backlog=_BACKLOG)
    # accepted sockets inherit it; asyncio sets it only where it made the listening socket itself,
    # and without it each small event of a stream waits 40 ms for an acknowledgement
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def _identify(allow: tuple[str, ...], metrics: Metrics) -> Callable[[Any], str | None]:
    allowed = frozenset(allow)
    log = structlog.get_logger("demarc.frontend")

    def identify(transport: asyncio.Transport) -> str | None:
        tls = transport.get_extra_info("ssl_object")
        certificate = None if tls is None else tls.getpeercert(binary_form=True)
        name = identity.allowed_name(certificate, allowed)
        if name is None:
            metrics.refused_peers += 1
            log.warning("client_refused", reason="its certificate names no allowed client")
        return name

    return identify


async def _drain(server: Server, grace_seconds: float) -> None:
    """Let answers end; cut what is left after the grace, and let it be booked."""
    server.drain()
    for seconds in (grace_seconds, _BOOKING_SECONDS):
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await server.emptied()
        server.cut()


class _TlsListener:
    """Listens with the certificate on disk; a new one is taken without a closed port.

    A context cannot forget an authority, so a change opens a second listener on the same socket and
    then closes the first. Connections that are open keep what they were opened with.
    """

    def __init__(self, server: Server, bound: socket.socket, folder: Path) -> None:
        self._server = server
        self._socket = bound
        self._folder = folder
        self._listener: asyncio.Server | None = None
        self._stamp: tuple[tuple[int, int], ...] = ()
        self._log = structlog.get_logger("demarc.frontend")

    @classmethod
    async def open(cls, server: Server, bound: socket.socket, folder: Path) -> _TlsListener:
        """Listen.

        Raises:
            OSError: a file is missing or not what it should be.
        """
        made = cls(server, bound, folder)
        await made._listen(made._read_stamp())
        return made

    async def watch(self, every_seconds: float) -> None:
        """Look at the files again and again; never returns."""
        while True:
            await asyncio.sleep(every_seconds)
            try:
                stamp = self._read_stamp()
                if stamp != self._stamp:
                    await self._listen(stamp)
                    self._log.info("certificate_reloaded")
            except OSError as error:  # half of a change: the old certificate serves until the rest
                self._log.warning("certificate_not_reloaded", error=type(error).__name__)

    def close(self) -> None:
        """Take no further connection."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _listen(self, stamp: tuple[tuple[int, int], ...]) -> None:
        context: ssl.SSLContext = identity.server_context(self._folder)
        listener = await asyncio.get_running_loop().create_server(
            self._server.connect,
            sock=self._socket.dup(),
            ssl=context,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS,
            backlog=_BACKLOG,
        )
        self.close()
        self._listener, self._stamp = listener, stamp

    def _read_stamp(self) -> tuple[tuple[int, int], ...]:
        files = [(self._folder / name).stat() for name in ("tls.crt", "tls.key", "ca.crt")]
        return tuple((file.st_mtime_ns, file.st_ino) for file in files)
