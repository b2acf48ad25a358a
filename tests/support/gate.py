"""How do tests ask an agent without Envoy? The decision services over a disk in memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demarc.audit import record, segments, verification
from demarc.audit.record import Decision, Note, Record
from demarc.audit.segments import Frame
from demarc.gateway.availability import FarSides, Seen
from demarc.gateway.counting import Metrics
from demarc.gateway.edge import Edge
from demarc.gateway.egress import Egress
from demarc.gateway.facts import Recent
from demarc.gateway.granting import Grants
from demarc.gateway.inner import Inner
from demarc.gateway.keeping import UNRECORDED, InForce
from demarc.gateway.recording import Recorder
from demarc.gateway.replays import Replays
from demarc.gateway.sealing import BodyMac
from demarc.gateway.understanding import Understanding
from demarc.gateway.wire import Exchange, Header
from demarc.ledger.records import RecordLog
from demarc.policy import detection, extract, grant, parsing, permission, signature
from demarc.policy.decision import Health, Request
from demarc.policy.epoch import Epoch, GrantKey
from demarc.policy.extract import EdgeExtract
from demarc.policy.grant import Grant
from support import builders
from support.agents import HOME, packs
from support.recorded import MemoryDisk

NEAR = "models/glm-4-air@shanghai-dc"
FAR = "models/glm-4-flash@cloud-sg"
INNER = f"spiffe://demarc/{HOME}/inner"
CHAT = "/v1/chat/completions"
DETECTORS = packs()
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
UP = Seen({NEAR: Health(up=True)}, Health(up=True))


@dataclass
class Clock:
    """Both clocks; they move when a test says so."""

    now: datetime = builders.NOW
    seconds: float = 1000.0

    def wall(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Let time pass on both."""
        self.now += timedelta(seconds=seconds)
        self.seconds += seconds


@dataclass
class Answer:
    """What Envoy would read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The error's code."""
        return str(json.loads(self.body)["error"]["code"])

    @property
    def message(self) -> str:
        """The error's message."""
        return str(json.loads(self.body)["error"]["message"])

    @property
    def cluster(self) -> str:
        """Where Envoy would go; empty for a refusal."""
        return self.headers.get("x-demarc-cluster", "") if self.status == 200 else ""


class _Connection:
    """The other end of an exchange: it notices that it was answered."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()

    def send(self) -> None:
        self.answered.set()


def parse(data: bytes) -> Answer:
    """An answer off the wire."""
    head, _, body = data.partition(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return Answer(int(start.split(" ")[1]), {name: value for name, _, value in pairs}, body)


async def ask(
    serve: Callable[[Exchange], None],
    path: str,
    *,
    body: bytes = b"",
    method: str = "POST",
    headers: tuple[Header, ...] = (),
) -> Answer:
    """Put a question and wait for its answer."""
    connection = _Connection()
    exchange = Exchange(connection, method, path, headers, body)  # type: ignore[arg-type]  # a double
    serve(exchange)
    async with asyncio.timeout(5):
        await connection.answered.wait()
    assert exchange.data is not None
    return parse(exchange.data)


def chat(text: str = "How do I open an account?", **more: Any) -> bytes:
    """The body of a chat request."""
    value = {"model": "auto", "messages": [{"role": "user", "content": text}], **more}
    return json.dumps(value).encode()


def lines(body: bytes, key: str = builders.FAQ_KEY, **more: str) -> tuple[Header, ...]:
    """The headers of a chat request; underscores of names become dashes."""
    found = [("content-type", "application/json"), ("content-length", str(len(body)))]
    if key:
        found.append(("authorization", f"Bearer {key}"))
    return (*found, *((name.replace("_", "-"), value) for name, value in more.items()))


def grant_keys() -> tuple[GrantKey, ...]:
    """The public half of KEY."""
    return (GrantKey("g1", INNER, signature.public_bytes(KEY)),)


@cache
def _sample() -> Epoch:
    return _epoch({})


def epoch(**options: Any) -> Epoch:
    """The sample with the grant key of these tests."""
    return _epoch(options) if options else _sample()


def _epoch(options: Mapping[str, Any]) -> Epoch:
    values = {"grant_keys": grant_keys(), "packs": dict(DETECTORS.hashes), **options}
    return builders.sample_epoch(**values)


def in_force(value: Epoch | None = None, *, closed: str = "") -> InForce:
    """An epoch in force; `closed` says why Public is closed."""
    found = value or epoch()
    return InForce(
        found, found.closed(closed) if closed else found, found.closed(UNRECORDED), closed
    )


@dataclass
class Bench:
    """One tier without Envoy.

    Attributes:
        policy: what is in force; None: nothing yet.
        seen: what Envoy shows.
    """

    folder: Path
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    clock: Clock = field(default_factory=Clock)
    policy: InForce | None = field(default_factory=in_force)
    seen: Seen = UP
    metrics: Metrics = field(default_factory=Metrics)
    far: FarSides = field(default_factory=FarSides)
    rehearsed: list[bytes] = field(default_factory=list)
    patience: float = 5.0
    serial: int = 0
    extract: EdgeExtract | None = None

    def __post_init__(self) -> None:
        self.records = RecordLog(self.disk, gateway="demarc-0", now=self.clock.wall)
        self.records.start()
        self.recorder = Recorder(
            self.records,
            clock=self.clock.wall,
            monotonic=self.clock.monotonic,
            metrics=self.metrics,
            patience=self.patience,
            retry=1.0,
        )
        self.recent = Recent(self.folder)
        self.mac = BodyMac(self.folder / "mac", bytes)
        (self.folder / "grant.key").write_bytes(signature.private_pem(KEY))
        self.understanding = Understanding(DETECTORS)
        self.inner = Inner(
            policy=lambda: self.policy,
            seen=lambda: self.seen,
            far=self.far,
            understanding=self.understanding,
            recorder=self.recorder,
            recent=self.recent,
            mac=self.mac,
            grants=Grants(self.folder, INNER),
            clock=self.clock.wall,
            monotonic=self.clock.monotonic,
            new_id=self.new_id,
            metrics=self.metrics,
        )
        self.egress = Egress(
            policy=lambda: self.policy,
            understanding=self.understanding,
            recorder=self.recorder,
            replays=Replays(),
            mac=self.mac,
            inner_name=INNER,
            clock=self.clock.wall,
            monotonic=self.clock.monotonic,
            new_id=self.new_id,
            metrics=self.metrics,
        )
        self.extract = extract.extract(epoch(), "cloud-sg")
        self.edge = Edge(
            extract=lambda: self.extract,
            recorder=self.recorder,
            replays=Replays(),
            mac=self.mac,
            inner_name=INNER,
            rehearse=self.rehearsed.append,
            clock=self.clock.wall,
            monotonic=self.clock.monotonic,
            new_id=self.new_id,
            metrics=self.metrics,
        )

    def new_id(self) -> str:
        """Counted ids."""
        self.serial += 1
        return f"{self.serial:032x}"

    def close(self) -> None:
        """End the threads."""
        self.records.close()
        self.understanding.close()

    async def decide(
        self,
        text: str = "How do I open an account?",
        *,
        key: str = builders.FAQ_KEY,
        path: str = CHAT,
        **more: Any,
    ) -> Answer:
        """Ask the inner service for a chat."""
        body = chat(text, **more)
        return await ask(self.inner.serve, f"/decide{path}", body=body, headers=lines(body, key))

    def granted(self, body: bytes, **changes: Any) -> str:
        """A grant as the inner gateway of these tests would sign it for FAR."""
        value = self.policy.epoch if self.policy else epoch()
        fields = {
            "decision": self.new_id(),
            "tenant": "retail",
            "app": "branch-faq",
            "client": "faq-key",
            "credential": "secret:retail/faq-key/token",
            "endpoint": FAR,
            "gateway": INNER,
            "method": "POST",
            "path": CHAT,
            "body_sha256": hashlib.sha256(body).hexdigest(),
            "label": changes.get("label") or self.label(body),
            "epoch": value.number,
            "epoch_hash": value.hash,
            "permitted": grant.permitted_digest((NEAR, FAR)),
            "expires": self.clock.now + grant.LIFETIME,
            **changes,
        }
        return grant.sign(Grant(**fields), KEY, "g1")

    def label(self, body: bytes) -> Any:
        """The label that this policy gives to a body of branch-faq."""
        value = self.policy.epoch if self.policy else epoch()
        parsed = parsing.parse(body, method="POST", path=CHAT, headers=lines(body))
        assert isinstance(parsed, parsing.ParsedRequest)
        findings = detection.scan(parsed.texts, DETECTORS)
        request = Request(builders.BRANCH_FAQ, parsed.model, parsed.needs, findings)
        return permission.label_of(request, value, self.clock.now)[0]

    async def verify(
        self,
        body: bytes,
        text: str,
        *,
        endpoint: str = FAR,
        key: str = builders.FAQ_KEY,
        **more: str,
    ) -> Answer:
        """Ask the egress service with a grant."""
        found = lines(body, key, x_demarc_grant=text, x_demarc_endpoint=endpoint, **more)
        return await ask(self.egress.serve, f"/verify{CHAT}", body=body, headers=found)

    async def admit(self, body: bytes, text: str, *, endpoint: str = FAR) -> Answer:
        """Ask the edge service with a grant."""
        found = lines(body, "", x_demarc_grant=text, x_demarc_endpoint=endpoint)
        return await ask(self.edge.serve, f"/admit{CHAT}", body=body, headers=found)

    def entries(self) -> list[Record]:
        """All records so far; the log must be whole."""
        report = verification.verify(self.disk.log())
        assert () == report.problems
        return [
            record.decode(item.payload)
            for _, data in self.disk.log()
            for item in segments.read(data)
            if isinstance(item, Frame)
        ]

    def decisions(self) -> list[Decision]:
        """All recorded decisions."""
        return [item.decision for item in self.entries() if isinstance(item.decision, Decision)]

    def notes(self, kind: str) -> list[Note]:
        """All notes of a type."""
        found = [item.note for item in self.entries() if isinstance(item.note, Note)]
        return [note for note in found if note.type == kind]
