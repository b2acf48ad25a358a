"""Is the last good policy kept, is a lower one ever loaded, and does Public close in time?"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demarc.gateway.counting import Metrics
from demarc.gateway.keeping import EpochKeeper, ExtractKeeper, TrustFile
from demarc.policy import document, extract, heartbeat, signature
from demarc.policy.document import Document
from demarc.policy.epoch import Epoch, EpochNumber
from demarc.policy.heartbeat import Heartbeat
from support import builders
from support.gate import Clock

KEY = Ed25519PrivateKey.generate()


@dataclass
class Kept:
    """A keeper, the operator's key and the clocks."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    metrics: Metrics = field(default_factory=Metrics)
    packs: dict[str, str] = field(default_factory=lambda: dict(builders.PACKS))

    def __post_init__(self) -> None:
        trust = signature.render_trust({"k1": signature.public_bytes(KEY)})
        (self.folder / "trust.json").write_text(trust)
        self.keeper = self.open()

    def open(self) -> EpochKeeper:
        return EpochKeeper(
            self.folder,
            TrustFile(self.folder),
            clock=self.clock.wall,
            monotonic=self.clock.monotonic,
            packs=self.packs,
            metrics=self.metrics,
        )

    def offer(self, value: Document, key: Ed25519PrivateKey = KEY) -> bool:
        return self.keeper.offer_epoch(data_of(value, key))

    def beat(self, epoch: Epoch | None = None, *, ago: float = 0) -> bool:
        assert epoch or self.keeper.latest
        content = epoch.hash if epoch else self.keeper.latest.epoch.hash  # type: ignore[union-attr]
        found = Heartbeat(content, self.clock.now - timedelta(seconds=ago))
        return self.keeper.offer_heartbeat({"heartbeat": heartbeat.sign(found, KEY, "k1")})

    @property
    def number(self) -> str:
        return str(self.keeper.latest.epoch.number) if self.keeper.latest else ""

    @property
    def is_open(self) -> bool:
        assert self.keeper.latest is not None
        return self.keeper.latest.view.public_open


def hash_of(kept: Kept) -> str:
    assert kept.keeper.latest
    return kept.keeper.latest.epoch.hash


def data_of(value: Document, key: Ed25519PrivateKey = KEY) -> dict[str, str]:
    content = document.canonical(value)
    signed = json.dumps(document.sign(content, key, "k1").to_json())
    return {"epoch.json": content.decode(), "signature.json": signed}


def version(term: int, counter: int, **options: Any) -> Document:
    return builders.document_of(builders.sample(), number=EpochNumber(term, counter), **options)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_a_signed_epoch_is_loaded_and_open(kept: Kept) -> None:
    assert kept.keeper.latest is None
    assert kept.offer(version(1, 1))
    assert ("1.1", True) == (kept.number, kept.is_open)
    assert not kept.keeper.latest.unrecorded.public_open  # type: ignore[union-attr]


@pytest.mark.parametrize("newer", [version(1, 2), version(2, 0)])
def test_a_higher_number_takes_over_and_a_lower_one_never(kept: Kept, newer: Document) -> None:
    """A rollback of the ConfigMap brings an old, wider policy back."""
    kept.offer(newer)

    assert not kept.offer(version(1, 1))
    assert str(newer.number) == kept.number
    assert 1 == kept.metrics.value("demarc_epoch_refused_total", what="epoch", reason="not_newer")


def test_the_same_number_is_taken_with_the_same_bytes_alone(kept: Kept) -> None:
    """Two signers, or one that was tricked, give two policies one number."""
    kept.offer(version(1, 1))

    assert not kept.offer(version(1, 1, public="Closed", public_reason="x"))
    assert kept.is_open
    assert not kept.offer(version(1, 1))
    assert "1.1" == kept.number


def test_a_refusal_is_counted_once_while_it_stands_there(kept: Kept) -> None:
    kept.offer(version(1, 2))
    for _ in range(3):
        kept.offer(version(1, 1))

    assert 1 == kept.metrics.value("demarc_epoch_refused_total", what="epoch", reason="not_newer")


def test_another_signer_is_refused(kept: Kept) -> None:
    assert not kept.offer(version(1, 1), Ed25519PrivateKey.generate())
    assert kept.keeper.latest is None


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"epoch.json": "", "signature.json": ""},
        {"epoch.json": "{}", "signature.json": "{}"},
        {"epoch.json": "\ud800", "signature.json": ""},
        {"epoch.json": "[" * 100_000, "signature.json": "[" * 100_000},
        {"epoch.json": "{}", "signature.json": '{"keyId":"k1","algorithm":"none","value":""}'},
        {"epoch.json": 7, "signature.json": None},
    ],
)
def test_garbage_in_the_config_map_changes_nothing(kept: Kept, data: dict[str, Any]) -> None:
    kept.offer(version(1, 1))
    kept.keeper.offer_epoch(data)
    kept.keeper.offer_heartbeat(data)
    kept.keeper.offer_heartbeat({"heartbeat": data.get("epoch.json", "x")})

    assert ("1.1", True) == (kept.number, kept.is_open)


def test_a_signed_document_that_cannot_be_compiled_is_refused(kept: Kept) -> None:
    kept.offer(version(1, 1))
    broken = [{**item, "spec": {"unknown": 1}} for item in builders.sample()]

    assert not kept.offer(builders.document_of(broken, number=EpochNumber(1, 2)))
    assert "1.1" == kept.number


def test_a_restart_serves_the_last_good_one_without_the_cluster(kept: Kept) -> None:
    kept.offer(version(1, 3))
    kept.beat()
    kept.keeper = kept.open()

    assert ("1.3", True) == (kept.number, kept.is_open)
    assert not kept.offer(version(1, 2))
    assert kept.offer(version(1, 4))


def test_a_restart_with_another_trust_keeps_the_number_and_loads_nothing(kept: Kept) -> None:
    """After a change of keys the old policy is not trusted, and a lower one is not taken."""
    kept.offer(version(1, 3))
    other = Ed25519PrivateKey.generate()
    trust = signature.render_trust({"k1": signature.public_bytes(other)})
    (kept.folder / "trust.json").write_text(trust)
    kept.keeper = kept.open()

    assert kept.keeper.latest is None
    assert not kept.offer(version(1, 2), other)
    assert kept.offer(version(1, 4), other)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}", b"[]", b"\xff", b'{"number": {"term": "x"}}']
)
def test_a_stored_file_that_is_broken_is_as_none(kept: Kept, content: bytes) -> None:
    (kept.folder / "policy.json").write_bytes(content)
    kept.keeper = kept.open()

    assert kept.keeper.latest is None
    assert kept.offer(version(1, 1))


STORED = {
    "number": {"term": 1, "counter": 2},
    "hash": "0" * 64,
    "lastSigned": "2026-01-01T00:00:00Z",
    "epoch": "",
    "signature": "",
    "heartbeat": "",
}


@pytest.mark.parametrize(
    "changes",
    [
        {"number": {"term": "1", "counter": 2}},
        {"number": {"term": 1, "counter": 2.5}},
        {"number": {"term": True, "counter": 2}},
        {"number": {"term": None, "counter": 2}},
        {"number": {"term": [1], "counter": 2}},
        {"number": [1, 2]},
        {"number": "1.2"},
        {"lastSigned": 5},
        {"lastSigned": None},
        {"lastSigned": "2026-01-01T00:00:00"},
        {"lastSigned": "0001-01-01T00:00:00+23:59"},
        {"hash": 1},
        {"epoch": {}},
        {"heartbeat": None},
        {"epoch": "\ud800", "signature": "\ud800", "heartbeat": "\ud800"},
    ],
)
@pytest.mark.parametrize("role", ["keeper", "edge"])
def test_a_stored_file_with_values_of_other_types_ends_nothing(
    kept: Kept, changes: dict[str, Any], role: str
) -> None:
    """The agent would end at each start, and private answers with it."""
    (kept.folder / "policy.json").write_text(json.dumps(STORED | changes))

    if role == "edge":
        edge = ExtractKeeper(
            kept.folder, TrustFile(kept.folder), site="cloud-sg", metrics=kept.metrics
        )
        assert edge.latest is None
        assert edge.offer(edge_text(version(1, 3)))
    else:
        kept.keeper = kept.open()
        assert kept.keeper.latest is None
        assert kept.offer(version(1, 3))


def test_a_stored_number_whose_policy_cannot_be_used_is_still_the_least(kept: Kept) -> None:
    """Damage to a part of the file would let an older policy in."""
    (kept.folder / "policy.json").write_text(json.dumps(STORED))
    kept.keeper = kept.open()

    assert not kept.offer(version(1, 1))
    assert kept.offer(version(1, 3))


def test_a_stored_file_that_is_nested_without_end_is_as_none(kept: Kept) -> None:
    (kept.folder / "policy.json").write_text("[" * 200_000)
    kept.keeper = kept.open()

    assert kept.keeper.latest is None


def test_a_disk_that_takes_nothing_does_not_keep_policy_out(kept: Kept) -> None:
    (kept.folder / "policy.json").mkdir()

    assert kept.offer(version(1, 1))
    assert kept.is_open


def test_without_a_trust_bundle_nothing_is_trusted(kept: Kept) -> None:
    (kept.folder / "trust.json").unlink()

    assert not kept.offer(version(1, 1))


def test_public_closes_without_a_heartbeat_and_opens_with_one(kept: Kept) -> None:
    kept.offer(version(1, 1))
    kept.clock.advance(899)
    assert not kept.keeper.tick()
    kept.clock.advance(1)
    assert kept.keeper.tick()
    assert not kept.is_open
    assert "1.1" == kept.number
    assert kept.beat()
    assert kept.is_open
    assert 1 == kept.metrics.value("demarc_public_open")


def test_a_clock_that_stands_still_does_not_keep_public_open(kept: Kept) -> None:
    """Wall time is set back; the monotonic clock says the truth."""
    kept.offer(version(1, 1))
    kept.clock.seconds += 900
    kept.keeper.tick()

    assert not kept.is_open


def test_a_suspended_machine_does_not_keep_public_open(kept: Kept) -> None:
    """The monotonic clock stood still; wall time says the truth."""
    kept.offer(version(1, 1))
    kept.clock.now += timedelta(seconds=900)
    kept.keeper.tick()

    assert not kept.is_open


def test_a_clock_behind_the_last_signed_time_closes_public(kept: Kept) -> None:
    """An old heartbeat is young again when the clock is set back, over a restart too."""
    kept.offer(version(1, 1))
    kept.clock.advance(600)
    kept.beat()
    kept.clock.now -= timedelta(seconds=300)
    kept.keeper.tick()
    assert not kept.is_open
    kept.keeper = kept.open()
    assert not kept.is_open


def test_an_older_heartbeat_says_nothing(kept: Kept) -> None:
    """A replayed heartbeat keeps Public open."""
    kept.offer(version(1, 1))
    kept.clock.advance(600)
    kept.beat()
    kept.clock.advance(600)
    kept.beat(ago=650)
    kept.clock.advance(300)
    kept.keeper.tick()

    assert not kept.is_open


def test_old_heartbeats_that_are_said_again_do_not_count_as_heard(kept: Kept) -> None:
    """Two old statements, replayed in turn, hold Public open while the wall clock stands still."""
    kept.offer(version(1, 1))
    said = [
        {"heartbeat": heartbeat.sign(Heartbeat(hash_of(kept), kept.clock.now), KEY, "k1")}
        for _ in range(3)
        if kept.clock.advance(1) is None
    ]
    for item in said:
        kept.keeper.offer_heartbeat(item)
    for item in (said[0], said[1]):
        kept.clock.seconds += 450
        kept.keeper.offer_heartbeat(item)

    assert not kept.is_open


def test_a_signed_time_of_an_earlier_policy_counts_over_a_restart(kept: Kept) -> None:
    kept.offer(version(1, 1))
    kept.clock.advance(600)
    kept.beat()
    kept.offer(version(1, 2))
    assert kept.is_open
    kept.clock.now -= timedelta(seconds=300)
    kept.keeper = kept.open()

    assert not kept.is_open


def test_a_heartbeat_of_another_epoch_says_nothing(kept: Kept) -> None:
    kept.offer(version(1, 1))
    kept.clock.advance(600)
    kept.beat(builders.compiled(version(9, 9)))
    kept.clock.advance(300)
    kept.keeper.tick()

    assert not kept.is_open


def test_packs_that_are_not_those_of_the_policy_close_public(kept: Kept) -> None:
    """An agent with older detectors lets out what newer ones would have found."""
    kept.packs = {**kept.packs, "secrets": "0" * 64}
    kept.keeper = kept.open()
    kept.offer(version(1, 1))

    assert not kept.is_open
    assert "secrets" in kept.keeper.latest.closed  # type: ignore[union-attr]


def edge_text(value: Document, site: str = "cloud-sg") -> dict[str, str]:
    found = extract.extract(builders.compiled(value), site)
    return {"extract": extract.sign(found, KEY, "k1")}


def test_an_extract_is_kept_as_an_epoch_is(kept: Kept) -> None:
    trust = TrustFile(kept.folder)

    def opened() -> ExtractKeeper:
        return ExtractKeeper(kept.folder, trust, site="cloud-sg", metrics=kept.metrics)

    keeper = opened()
    assert keeper.latest is None
    assert keeper.offer(edge_text(version(1, 2)))
    assert not keeper.offer(edge_text(version(1, 2)))
    assert not keeper.offer(edge_text(version(1, 1)))
    assert not keeper.offer(edge_text(version(1, 3), "shanghai-dc"))
    assert not keeper.offer({"extract": "garbage"})
    again = opened()

    assert again.latest == keeper.latest
    assert not again.offer(edge_text(version(1, 1)))
    assert again.offer(edge_text(version(1, 3)))


def test_an_edge_whose_disk_takes_nothing_still_serves(kept: Kept) -> None:
    (kept.folder / "policy.json").mkdir()
    keeper = ExtractKeeper(
        kept.folder, TrustFile(kept.folder), site="cloud-sg", metrics=kept.metrics
    )

    assert keeper.offer(edge_text(version(1, 2)))
    assert keeper.latest
