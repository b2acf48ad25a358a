"""How does a test speak to a frontend? Certificates with SPIFFE names, options, and raw sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from demarc.frontend.options import FrontendOptions
from demarc.frontend.readiness import ProbeTimes

GATEWAY = "spiffe://demarc/home/inner"
FRONTEND = "spiffe://demarc/home/models/simulated"
LOOPBACK = "127.61.0.3"
MODEL = "simulated-1"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class SpiffeAuthority:
    """An authority whose leaves carry URIs."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "spiffe-test")])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self._certificate = (
            self._builder(self._name, self._key)
            .add_extension(constraints, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
        )

    def write(self, folder: Path, *uris: str) -> Path:
        """Write tls.crt, tls.key and ca.crt of a leaf with these names."""
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([]), key)
        if uris:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(u) for u in uris])
            builder = builder.add_extension(names, critical=True)
        leaf = builder.sign(self._key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        (folder / "tls.key").write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        (folder / "tls.crt").write_bytes(leaf.public_bytes(pem))
        (folder / "ca.crt").write_bytes(self._certificate.public_bytes(pem))
        return folder


def client_context(folder: Path) -> ssl.SSLContext:
    """A client that proves the name in `folder`; the server's name is not looked at here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(folder / "ca.crt")
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


def options(home: Path, tls: Path, model_dir: Path, **changes: Any) -> FrontendOptions:
    """Options of a frontend on free ports."""
    given: dict[str, Any] = {
        "address": LOOPBACK,
        "port": 0,
        "health_port": 0,
        "tls": tls,
        "allow": (GATEWAY,),
        "model_dir": model_dir,
        "served_name": MODEL,
        "context_tokens": 2048,
        "triton": "127.61.0.2:1",
        "journal": home / "usage.jsonl",
        "probe": ProbeTimes(every_seconds=0.2, again_seconds=0.05, timeout_seconds=2),
        "grace_seconds": 5,
        **changes,
    }
    return FrontendOptions(**given)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it stood on the wire."""

    status: int
    headers: Mapping[str, str]
    chunks: tuple[bytes, ...]
    trailers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of the server-sent events; `[DONE]` stays text."""
        rows = self.body.decode().split("\n\n")
        assert "" == rows.pop()
        data = [row.removeprefix("data: ") for row in rows]
        return [row if row == "[DONE]" else json.loads(row) for row in data]

    @property
    def text(self) -> str:
        """The content of a stream, joined."""
        deltas = [e["choices"][0]["delta"] for e in self.events if e != "[DONE]" and e["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)


@dataclass(slots=True)
class Wire:
    """One connection to a frontend."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *rows = raw.decode("latin-1").split("\r\n")[:-2]
        pairs = [row.split(": ", 1) for row in rows]
        return int(first.split(" ")[1]), {name.lower(): value for name, value in pairs}

    async def chunk(self) -> bytes:
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        if size == 0:
            return b""
        data = await self.reader.readexactly(size)
        assert b"\r\n" == await self.reader.readexactly(2)
        return data

    async def trailers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        while (row := await self.reader.readuntil(b"\r\n")) != b"\r\n":
            name, value = row.decode().strip().split(": ", 1)
            found[name.lower()] = value
        return found

    async def answer(self) -> Answer:
        status, headers = await self.head()
        if "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
            return Answer(status, headers, (body,))
        chunks, trailers = await self.answer_rest()
        return Answer(status, headers, tuple(chunks), trailers)

    async def answer_rest(self) -> tuple[list[bytes], dict[str, str]]:
        """The chunks from here to the end, and the trailers."""
        chunks = list[bytes]()
        while data := await self.chunk():
            chunks.append(data)
        return chunks, await self.trailers()

    async def ended(self) -> bool:
        """Wait for the end of the connection; True if nothing else came."""
        try:
            return b"" == await self.reader.read(1)
        except (ConnectionError, ssl.SSLError):
            return True


@asynccontextmanager
async def wire(
    port: int, context: ssl.SSLContext | None, address: str = LOOPBACK
) -> AsyncGenerator[Wire]:
    reader, writer = await asyncio.open_connection(address, port, ssl=context)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def chat(**fields: Any) -> bytes:
    """The body of a chat completion."""
    given = {"model": "auto", "messages": [{"role": "user", "content": "tell me"}], **fields}
    return json.dumps(given, ensure_ascii=False).encode()


def post(body: bytes, *, decision: str = "d1", **headers: str) -> bytes:
    """A request as it stands on the wire, from a gateway that chose this model."""
    given = {
        "host": "frontend",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-demarc-decision": decision,
        "x-demarc-model": MODEL,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    rows = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value)
    return f"POST /v1/chat/completions HTTP/1.1\r\n{rows}\r\n".encode() + body


def free_ports(address: str, count: int) -> list[int]:
    """Ports that nothing listens on just now."""
    with ExitStack() as sockets:
        held = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for item in held:
            item.bind((address, 0))
        return [item.getsockname()[1] for item in held]


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 30) -> None:
    """Wait for something that only shows from outside; `TimeoutError` if it never does."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.02)
