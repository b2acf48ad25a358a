"""What does each stage of a decision cost, without a network? Processor time in this process.

Every stage is the product's own function on the values that the stage before gave. Pure stages are
told in processor time of the thread, which a busy machine disturbs least; records in wall time,
because they wait for a disk.

    receive        the question's head and body are parsed
    authenticate   the credential is proved
    parse          strict JSON, fields, messages
    detect         every text against every pack
    permit         E0 to E4
    choose         health and order
    seal           keyed MAC of the body
    encode         a record's bytes and frame
    durable        a record waits for the disk: one at a time, and of 64 at once each
    grant          SHA-256 of the body and Ed25519, for a Public endpoint only
    answer         Envoy's headers
    whole          a question to its answer in one turn, with a disk that costs nothing
    rest           whole less the stages in it: ids, the record's fields, a log line, metrics, and
                   what changing between stages costs the processor's caches
"""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import bodies
import inputs
from bodies import Size

from demarc.app import clock
from demarc.audit import record, segments
from demarc.gateway import availability, replies, wire
from demarc.gateway.availability import FarSides, Seen
from demarc.gateway.counting import Metrics
from demarc.gateway.facts import Recent
from demarc.gateway.granting import Grants
from demarc.gateway.inner import Inner
from demarc.gateway.keeping import InForce
from demarc.gateway.recording import Recorder, Settled
from demarc.gateway.sealing import BodyMac
from demarc.gateway.understanding import Outcome, Understanding, Understood
from demarc.gateway.wire import Exchange
from demarc.ledger.disk import FolderDisk
from demarc.ledger.records import RecordLog
from demarc.policy import choice, detection, grant, identity, parsing, permission, signature
from demarc.policy.decision import Eligible, Findings, Health, Request
from demarc.policy.epoch import ClientIdentity, Endpoint, Epoch
from demarc.policy.grant import Grant
from demarc.policy.parsing import ParsedRequest
from support import builders
from support.agents import HOME

WITHIN = ("authenticate", "parse", "detect", "permit", "choose", "seal", "answer")
"""The stages that `whole` holds."""
_PREFIX = "/decide"
_BATCH = 64
_SHORTEST = 0.01
"""Seconds that one series of calls takes at least."""
_SERIES = 9
_RECORDS = 400


@dataclass(frozen=True, slots=True)
class Stages:
    """What was measured, in microseconds.

    Attributes:
        costs: size of the request -> stage -> processor time; `rest` below zero is noise.
        durable: records at once -> wall time of each.
    """

    costs: Mapping[str, Mapping[str, float]]
    durable: Mapping[str, float]


@dataclass
class _Wire:
    """A connection's other end that keeps nothing."""

    sent: int = 0

    def write(self, data: bytes) -> None:
        self.sent += len(data)

    def close(self) -> None:
        pass


@dataclass
class _Recorder:
    """A disk that costs nothing; keeps the newest record."""

    is_recording: bool = True
    entries: list[record.Decision] = field(default_factory=list)

    def submit(self, decision: record.Decision, at: datetime, settled: Settled) -> None:
        del at
        self.entries[:] = [decision]
        settled(True)  # as `Settled`


@dataclass(frozen=True, slots=True)
class _Looking:
    """Looks at every body at once; the product gives large ones to a thread."""

    detectors: detection.Detectors

    def look(self, exchange: Exchange, path: str, then: Callable[[Outcome], None]) -> None:
        parsed = parsing.parse(
            exchange.body, method=exchange.method, path=path, headers=exchange.headers
        )
        assert isinstance(parsed, ParsedRequest)
        then(Understood(parsed, detection.scan(parsed.texts, self.detectors)))


@dataclass
class _Bench:
    """What all stages share."""

    epoch: Epoch
    detectors: detection.Detectors
    grants: Grants
    mac: BodyMac
    recorder: _Recorder
    inner: Inner
    seen: Seen


def measure(folder: Path, *, seconds: float) -> Stages:
    """Measure all of them.

    Args:
        folder: an empty one, for keys and records.
        seconds: that each stage may take, about.
    """
    bench = _bench(folder)
    costs = {size.name: _of_size(bench, size, seconds) for size in bodies.SIZES}
    sample = bench.recorder.entries[0]
    durable = asyncio.run(_durable(folder / "records", sample))
    return Stages(costs, durable)


def _bench(folder: Path) -> _Bench:
    signs = inputs.issuer()
    epoch = builders.compiled(inputs.document(signs))
    (folder / "grant").mkdir()
    (folder / "grant" / "grant.key").write_bytes(signature.private_pem(signs.grant_key))
    grants = Grants(folder / "grant", f"spiffe://demarc/{HOME}/inner")
    up = Health(up=True)
    seen = Seen({item.name: up for item in epoch.endpoints}, up)
    in_force = InForce(epoch, epoch, epoch.closed("bench"), "")
    mac = BodyMac(folder / "mac", lambda count: b"k" * count)
    recorder = _Recorder()
    inner = Inner(
        policy=lambda: in_force,
        seen=lambda: seen,
        far=FarSides(),
        understanding=cast("Understanding", _Looking(signs.detectors)),
        recorder=cast("Recorder", recorder),
        recent=Recent(folder),
        mac=mac,
        grants=grants,
        clock=clock.now,
        monotonic=clock.monotonic,
        new_id=clock.new_id,
        metrics=Metrics(),
    )
    return _Bench(epoch, signs.detectors, grants, mac, recorder, inner, seen)


def _of_size(bench: _Bench, size: Size, seconds: float) -> dict[str, float]:
    """Each stage with a body of one size."""
    body = bodies.request(size, stream=False)
    asked = _asked(body)
    cost = partial(_cost, seconds=seconds)
    found: dict[str, float] = {}
    exchanges: list[Exchange] = []
    receiving = wire.Connection(wire.Server(exchanges.append))

    def receive() -> None:
        exchanges.clear()
        receiving.data_received(asked)
        exchanges[0].answer(b"")

    found["receive"] = cost(receive)
    exchange, now, epoch = exchanges[0], datetime.now(UTC), bench.epoch
    lines = wire.joined(exchange.headers)
    caller = identity.authenticate(lines, epoch, now)
    assert isinstance(caller, ClientIdentity)
    found["authenticate"] = cost(
        lambda: identity.authenticate(wire.joined(exchange.headers), epoch, now)
    )
    parse = partial(parsing.parse, body, method="POST", path=bodies.PATH, headers=exchange.headers)
    parsed = parse()
    assert isinstance(parsed, ParsedRequest)
    found["parse"] = cost(parse)
    findings = detection.scan(parsed.texts, bench.detectors)
    assert findings == Findings(), f"the ordinary text is not ordinary: {findings}"
    found["detect"] = cost(lambda: detection.scan(parsed.texts, bench.detectors))
    request = Request(caller, parsed.model, parsed.needs, findings, parsed.raise_to)
    eligible = permission.permit(request, epoch, now)
    assert isinstance(eligible, Eligible)
    found["permit"] = cost(lambda: permission.permit(request, epoch, now))
    app, far = epoch.apps[caller.tenant, caller.app], FarSides()

    def choose() -> Endpoint:
        health = availability.health(
            eligible.endpoints, bench.seen, far, 0.0, leaves=bench.grants.usable(epoch)
        )
        chosen = choice.choose(eligible, health, app, parsed.needs)
        assert isinstance(chosen, Endpoint)
        return chosen

    chosen = choose()
    found["choose"] = cost(choose)
    found["seal"] = cost(lambda: bench.mac.of(body, now))
    found["whole"] = cost(lambda: _whole(bench, exchange))
    entry = bench.recorder.entries[0]
    at = now.isoformat()
    found["encode"] = cost(
        lambda: segments.frame(
            record.encode(entry, at=at, gateway="demarc-inner-0", prev="0" * 64, seq=1)
        )
    )
    found["answer"] = cost(lambda: replies.to_private(chosen, "0" * 32, stream=False))
    value = _grant(epoch, caller, chosen, eligible)
    found["grant"] = cost(lambda: (hashlib.sha256(body), bench.grants.sign(value, epoch)))
    found["rest"] = found["whole"] - sum(found[name] for name in WITHIN)
    return found


def _whole(bench: _Bench, exchange: Exchange) -> None:
    """One question to its answer."""
    fresh = Exchange(
        cast("wire.Connection", _Answered()),
        exchange.method,
        exchange.path,
        exchange.headers,
        exchange.body,
    )
    bench.inner.serve(fresh)
    assert fresh.is_answered


class _Answered:
    """A connection that takes an answer."""

    def send(self) -> None:
        pass


def _grant(epoch: Epoch, caller: ClientIdentity, chosen: Endpoint, eligible: Eligible) -> Grant:
    return Grant(
        decision="0" * 32,
        tenant=caller.tenant,
        app=caller.app,
        client=caller.client,
        credential=caller.credential,
        endpoint=chosen.name,
        gateway=f"spiffe://demarc/{HOME}/inner",
        method="POST",
        path=bodies.PATH,
        body_sha256="0" * 64,
        label=eligible.judgement.label,
        epoch=epoch.number,
        epoch_hash=epoch.hash,
        permitted=grant.permitted_digest([item.name for item in eligible.endpoints]),
        expires=datetime.now(UTC) + timedelta(seconds=30),
    )


def _asked(body: bytes) -> bytes:
    """A question as Envoy asks it."""
    sent = inputs.request(body)
    head, _, rest = sent.partition(b"\r\n\r\n")
    start, _, lines = head.partition(b"\r\n")
    path = start.replace(b" /", b" " + _PREFIX.encode() + b"/", 1)
    return path + b"\r\n" + lines + b"\r\nx-forwarded-proto: https\r\n\r\n" + rest


def _cost(call: Callable[[], Any], *, seconds: float) -> float:
    """Median processor time of a call, in microseconds, over several series of calls."""
    call()
    count, spent = 1, 0.0
    while True:
        spent = _series(call, count)
        if spent >= _SHORTEST:
            break
        count *= 2
    rounds = max(3, min(_SERIES, int(seconds / spent)))
    return statistics.median(_series(call, count) for _ in range(rounds)) / count * 1e6


def _series(call: Callable[[], Any], count: int) -> float:
    began = time.thread_time()
    for _ in range(count):
        call()
    return time.thread_time() - began


async def _durable(folder: Path, entry: record.Decision) -> dict[str, float]:
    """Wall time for each record when one waits, and when many do."""
    disk = FolderDisk(folder)
    log = RecordLog(disk, gateway="demarc-inner-0", now=clock.now)
    log.start()
    try:
        found = {}
        for at_once in (1, _BATCH):
            rounds = max(_RECORDS // at_once, 20)
            spent = [await _append(log, entry, at_once) for _ in range(rounds)]
            found[str(at_once)] = statistics.median(spent) / at_once * 1e6
        return found
    finally:
        await asyncio.to_thread(log.close)
        disk.close()


async def _append(log: RecordLog, entry: record.Decision, count: int) -> float:
    """Seconds until that many records are durable."""
    ended, left = asyncio.Event(), count

    def done(ok: bool) -> None:  # noqa: FBT001  # as `Done`
        nonlocal left
        assert ok
        left -= 1
        if not left:
            ended.set()

    began = time.perf_counter()
    for _ in range(count):
        log.append(entry, clock.now(), done)
    await ended.wait()
    return time.perf_counter() - began
