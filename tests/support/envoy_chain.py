"""How do tests run the whole way of a request? Inner, egress and edge Envoys with doubles around.

The agents answer what a test tells them to; the frontends are small servers. The home site is
`dc` with the networks 127.62.0.0/17, the remote site is `far` with 127.62.128.0/17.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from demarc.engines.envoy import EnvoyAdmin
from demarc.xds import translation
from demarc.xds.settings import GatewaySettings, Limits
from demarc.xds.view import Role, Target, View
from support import envoy, wire
from support.wire import Message, Server

HOME = "dc"
FAR = "far"
NEAR_CIDRS = ("127.62.0.0/17",)
FAR_CIDRS = ("127.62.128.0/17",)
A = Target("models", "a", HOME, NEAR_CIDRS)
B = Target("models", "b", HOME, NEAR_CIDRS)
R = Target("models", "r", FAR, FAR_CIDRS)
ANSWER = b'{"choices":[]}'


def free_port(host: str) -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        found: int = probe.getsockname()[1]
        return found


def allow(**headers: str) -> bytes:
    """An allow of an agent; underscores of names become dashes."""
    named = tuple((f"x-demarc-{key.replace('_', '-')}", value) for key, value in headers.items())
    return wire.answer(200, headers=named)


def stay(cluster: str = A.name, **more: str) -> bytes:
    """The inner agent chooses a private endpoint."""
    values = {
        "cluster": cluster,
        "class": "private",
        "decision": "d-1",
        "endpoint": cluster,
        "site": HOME,
        "model": "served",
    }
    return allow(**{**values, **more})


def leave(**more: str) -> bytes:
    """The inner agent chooses the remote endpoint."""
    values = {
        "cluster": "egress",
        "class": "public",
        "decision": "d-1",
        "endpoint": R.name,
        "site": FAR,
        "grant": "g-1",
    }
    return allow(**{**values, **more})


def onward(**more: str) -> bytes:
    """The egress or edge agent lets a request on to the remote endpoint."""
    values = {
        "cluster": R.name,
        "class": "public",
        "decision": "d-1",
        "endpoint": R.name,
        "site": FAR,
        "model": "served",
    }
    return allow(**{**values, **more})


def always(payload: bytes | None) -> Callable[[Message], Awaitable[bytes | None]]:
    """A handler with one answer."""

    async def handle(_: Message) -> bytes | None:
        return payload

    return handle


def served(**more: str) -> bytes:
    """A frontend's answer with usage in the trailer."""
    headers = (
        ("content-type", "application/json"),
        *((key.replace("_", "-"), value) for key, value in more.items()),
    )
    usage = ("x-demarc-usage", "in=12;out=3;source=tokenizer")
    return wire.answer(200, body=ANSWER, headers=headers, trailers=(usage,))


@dataclass
class Gateway:
    """One Envoy, its agent and its files."""

    settings: GatewaySettings
    view: View
    addresses: dict[str, tuple[tuple[str, int], ...]]
    process: envoy.Envoy
    agent: Server
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def admin(self) -> EnvoyAdmin:
        """A client of the admin socket; close it."""
        return EnvoyAdmin(self.settings.admin_socket)

    def render(self) -> Mapping[str, str]:
        """The files as they should be."""
        return translation.translate(self.view, self.addresses, self.settings)

    def write(self) -> tuple[str, ...]:
        """Write what changed, in order; names of the files written."""
        new = self.render()
        writes = translation.changes(self.files, new)
        for write in writes:
            self.process.write(write.name, write.text)
        self.files = new
        return tuple(write.name for write in writes)

    async def settled(self) -> None:
        """Wait until Envoy has in use what was written last."""
        want = [translation.version(self.files[f"{name}.json"]) for name in ("cds", "lds", "rds")]
        async with self.admin as admin:

            async def same() -> bool:
                found = await admin.applied()
                return want == [found.cds, found.lds, found.rds]

            await until(same)

    def log(self) -> list[dict[str, object]]:
        """Lines of the access log so far."""
        path = Path(self.settings.access_log)
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    async def logged(self, count: int = 1) -> list[dict[str, object]]:
        """The access log once it has that many lines."""

        async def enough() -> bool:
            return len(self.log()) >= count

        await until(enough)
        return self.log()


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 8) -> None:
    """Poll until the condition holds.

    Raises:
        TimeoutError: it did not hold in time.
    """
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  # the condition is in another process
            await asyncio.sleep(0.01)


@dataclass
class Chain:
    """All three tiers and what stands around them."""

    inner: Gateway
    egress: Gateway
    edge: Gateway
    near: Server
    far: Server
    client: ssl.SSLContext
    folders: Mapping[str, Path]

    async def ask(self, *payloads: bytes) -> Message:
        """Send a request to the inner gateway."""
        sent = payloads or (wire.request("/v1/chat/completions", body=b"{}"),)
        settings = self.inner.settings
        async with asyncio.timeout(8):
            return await wire.send(settings.address, settings.port, self.client, *sent)

    async def call(self, gateway: Gateway, who: str, payload: bytes) -> Message:
        """Call a gateway with somebody's certificate."""
        context = envoy.client_context(self.folders[who], proves=True)
        async with asyncio.timeout(8):
            return await wire.send(
                gateway.settings.address, gateway.settings.port, context, payload
            )


@asynccontextmanager
async def chain(where: Path, binary: str, *, limits: Limits | None = None) -> AsyncIterator[Chain]:
    """Start everything and wait until each listener answers; end everything."""
    names = envoy.Names()
    uris = {
        "inner": f"spiffe://demarc/{HOME}/inner",
        "egress": f"spiffe://demarc/{HOME}/egress",
        "edge": f"spiffe://demarc/{FAR}/edge",
        "client": f"spiffe://demarc/{HOME}/gateway",
        "a": f"spiffe://demarc/{HOME}/models/a",
        "b": f"spiffe://demarc/{HOME}/models/b",
        "r": f"spiffe://demarc/{FAR}/models/r",
    }
    folders = {name: names.folder(where / "tls" / name, uri) for name, uri in uris.items()}
    hosts = {
        "inner": "127.62.1.1",
        "egress": "127.62.2.1",
        "edge": "127.62.129.1",
        "near": "127.62.10.1",
        "far": "127.62.130.1",
    }
    ports = {name: free_port(host) for name, host in hosts.items()}
    at = {name: ((host, ports[name]),) for name, host in hosts.items()}
    near = Server(always(served()))
    far = Server(always(served()))

    def gateway(
        role: Role, seen: View, addresses: Mapping[str, tuple[tuple[str, int], ...]]
    ) -> Gateway:
        run = where / role.value
        run.mkdir()
        settings = GatewaySettings(
            node=f"demarc-{role.value}-0",
            address=hosts[role.value],
            run=str(run),
            tls=str(folders[role.value]),
            client_tls=str(folders["client"]) if role is Role.INNER else "",
            port=ports[role.value],
            limits=limits or Limits(),
        )
        return Gateway(
            settings, seen, dict(addresses), envoy.Envoy(binary, run), Server(always(None))
        )

    inner = gateway(
        Role.INNER,
        View(Role.INNER, HOME, "", "1.1", (A,), leaves=True),
        {A.name: at["near"], "egress": at["egress"]},
    )
    egress = gateway(
        Role.EGRESS, View(Role.EGRESS, HOME, uris["inner"], "1.1", (R,)), {R.name: at["edge"]}
    )
    edge = gateway(
        Role.EDGE,
        View(Role.EDGE, FAR, uris["egress"], "1.1", (Target("models", "r", FAR),)),
        {R.name: at["far"]},
    )
    inner.agent.handler = always(stay())
    egress.agent.handler = always(onward())
    edge.agent.handler = always(onward())
    async with AsyncExitStack() as stack:
        for name, server, folder in (("near", near, "a"), ("far", far, "r")):
            await server.listen(hosts[name], ports[name], envoy.server_context(folders[folder]))
            stack.push_async_callback(server.close)
        for item in (inner, egress, edge):
            await item.agent.listen_unix(item.settings.decide_socket)
            stack.push_async_callback(item.agent.close)
            item.write()
            await item.process.start()
            stack.push_async_callback(item.process.stop)
        for item in (inner, egress, edge):
            await _ready(item)
        client = envoy.client_context(folders["inner"], proves=False)
        yield Chain(inner, egress, edge, near, far, client, folders)


async def _ready(gateway: Gateway) -> None:
    async with gateway.admin as admin:

        async def serving() -> bool:
            process = gateway.process.process
            assert process is not None
            assert process.returncode is None, gateway.process.messages
            return await admin.ready() and bool((await admin.applied()).lds)

        try:
            await until(serving)
        except TimeoutError:
            raise AssertionError(gateway.process.messages) from None
