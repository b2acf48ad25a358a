"""Do the small parts of an agent hold what they say? Options, counters, keys, replays, watches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demarc.api.cluster import (
    CONFIG_MAP,
    Change,
    GoneError,
    Listing,
    TransientError,
    WatchEvent,
)
from demarc.engines.envoy import Applied
from demarc.gateway import watching
from demarc.gateway.counting import METRICS, Metrics
from demarc.gateway.dataplane import Dataplane
from demarc.gateway.granting import Grants
from demarc.gateway.options import AgentOptions, OptionsError
from demarc.gateway.replays import Replays
from demarc.gateway.sealing import BodyMac
from demarc.policy import signature
from demarc.policy.signature import SignatureError
from demarc.xds import translation, view
from demarc.xds.settings import GatewaySettings
from demarc.xds.view import Role
from support import builders, gate
from support.cluster import config_map
from support.gate import KEY


def options(folder: Path, **changes: Any) -> AgentOptions:
    values = {
        "role": Role.EDGE,
        "home": "dc",
        "site": "far",
        "pod_name": "p",
        "pod_ip": "127.64.0.1",
        **dict.fromkeys(("run", "record", "tls", "trust"), folder),
        **changes,
    }
    return AgentOptions(**values)


@pytest.mark.parametrize(
    "changes",
    [
        {"role": Role.INNER, "site": "dc"},
        {"role": Role.INNER, "site": "dc", "client_tls": Path()},
        {"role": Role.EGRESS},
        {"role": Role.EGRESS, "site": "dc", "rehearsal_recording": Path("x")},
    ],
)
def test_an_agent_that_lacks_something_does_not_start(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """A recording of prompts is made where real ones pass."""
    with pytest.raises(OptionsError):
        options(tmp_path, **changes)


def test_an_edge_may_rehearse(tmp_path: Path) -> None:
    assert options(tmp_path, rehearsal_recording=tmp_path / "x").rehearsal_recording


def test_metrics_are_prometheus_text() -> None:
    metrics = Metrics()
    metrics.count("demarc_decisions_total", outcome="Allow", reason="")
    metrics.count("demarc_decisions_total", outcome="Deny", reason='a"b\\c\nd')
    metrics.observe("demarc_decision_seconds", 0.0003)
    metrics.observe("demarc_decision_seconds", 9)
    metrics.set("demarc_endpoint_up", 1, endpoint="a")
    metrics.clear("demarc_endpoint_up")
    found = metrics.render()

    assert 'demarc_decisions_total{outcome="Allow",reason=""} 1' in found
    assert 'reason="a\\"b\\\\c\\nd"' in found
    assert 'demarc_decision_seconds_bucket{le="0.0005"} 1' in found
    assert 'demarc_decision_seconds_bucket{le="+Inf"} 2' in found
    assert "demarc_decision_seconds_count 2" in found
    assert "endpoint_up" not in found
    assert found.endswith("\n")
    assert all(name.startswith("demarc_") for name in METRICS)


def test_a_body_is_recognised_under_its_key_and_no_other(tmp_path: Path) -> None:
    keys = iter([b"\1" * 32, b"\2" * 4, b"\3" * 32, b"\4" * 4])
    mac = BodyMac(tmp_path / "mac", lambda _: next(keys))
    first = mac.of(b"body", builders.NOW)
    name = mac.key_id
    again = BodyMac(tmp_path / "mac", lambda _: next(keys))

    assert first == again.of(b"body", builders.NOW + timedelta(hours=23))
    assert name == again.key_id
    assert first != mac.of(b"body", builders.NOW + timedelta(days=1))
    assert name != mac.key_id
    assert {0o600} == {path.stat().st_mode & 0o777 for path in (tmp_path / "mac").iterdir()}


def test_a_key_that_cannot_be_stored_is_used_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "mac").write_text("no folder")
    mac = BodyMac(tmp_path / "mac", bytes)

    assert 64 == len(mac.of(b"body", builders.NOW))


@pytest.mark.parametrize("name", ["x.key", "20990101T000000Z-aa.key", "20261201T120000Z-aa.key"])
def test_a_stored_key_that_is_not_one_is_not_used(tmp_path: Path, name: str) -> None:
    """A key from the future, or one of no bytes, would stay for ever or say nothing."""
    folder = tmp_path / "mac"
    folder.mkdir()
    (folder / name).write_bytes(b"short" if name.startswith("2026") else b"\5" * 32)
    mac = BodyMac(folder, lambda size: b"\6" * size)
    mac.of(b"body", builders.NOW)

    assert name != f"{mac.key_id}.key"


def test_a_grant_is_used_once_while_it_lives() -> None:
    replays, now = Replays(most=3), builders.NOW
    until = now + timedelta(seconds=30)

    assert replays.is_new("a", until, now)
    assert not replays.is_new("a", until, now + timedelta(seconds=34))
    assert replays.is_new("a", until, now + timedelta(seconds=36))
    assert [True] * 4 == [replays.is_new(str(number), until, now) for number in range(4)]


def test_a_grant_key_is_read_again_when_it_was_rotated(tmp_path: Path) -> None:
    """After a rotation every grant is refused until the agent is restarted."""
    grants = Grants(tmp_path, gate.INNER)
    epoch = gate.epoch()
    assert not grants.usable(epoch)
    (tmp_path / "grant.key").write_bytes(signature.private_pem(KEY))
    assert grants.usable(epoch)
    other = signature.private_pem(Ed25519PrivateKey.generate())
    (tmp_path / "new").write_bytes(other)
    (tmp_path / "new").replace(tmp_path / "grant.key")
    assert not grants.usable(epoch)
    (tmp_path / "grant.key").write_bytes(b"no key")
    assert not grants.usable(epoch)
    with pytest.raises(SignatureError):
        grants.sign(None, epoch)  # type: ignore[arg-type]


def test_a_key_of_another_gateway_signs_nothing(tmp_path: Path) -> None:
    (tmp_path / "grant.key").write_bytes(signature.private_pem(KEY))

    assert not Grants(tmp_path, "spiffe://demarc/other/inner").usable(gate.epoch())


def test_only_what_changed_is_written_and_a_restart_writes_nothing(tmp_path: Path) -> None:
    settings = GatewaySettings("n", "127.64.0.1", str(tmp_path), "/tls", "/client")
    seen = view.of_epoch(Role.INNER, builders.sample_epoch())
    addresses = {gate.NEAR: (("10.244.0.1", 8443),)}
    plane = Dataplane(tmp_path, settings)

    assert ("nothing was written yet",) == plane.differences(Applied("", "", "", frozenset(), {}))
    assert plane.draw(seen, addresses)
    assert not plane.draw(seen, addresses)
    again = Dataplane(tmp_path, settings)
    assert not again.draw(seen, addresses)
    (tmp_path / "cds.json").write_text("{broken")
    (tmp_path / "rds.json").write_bytes(b"\xff")
    assert Dataplane(tmp_path, settings).draw(seen, addresses)
    assert {gate.NEAR, "egress"} == {
        item["name"] for item in json.loads((tmp_path / "cds.json").read_text())["resources"]
    }


def test_addresses_of_an_earlier_run_are_read_from_its_files(tmp_path: Path) -> None:
    """An agent that restarts while the cluster is away takes every engine out of use."""
    settings = GatewaySettings("n", "127.64.0.1", str(tmp_path), "/tls", "/client")
    seen = view.of_epoch(Role.INNER, builders.sample_epoch())
    given = {gate.NEAR: (("10.244.0.1", 8443), ("10.244.0.2", 8443)), "egress": ()}
    Dataplane(tmp_path, settings).draw(seen, given)

    assert given == Dataplane(tmp_path, settings).addresses()


@pytest.mark.parametrize("text", ["", "{", "{}", '{"resources": [{}]}', '{"resources": 1}'])
def test_a_broken_file_of_an_earlier_run_holds_no_address(tmp_path: Path, text: str) -> None:
    settings = GatewaySettings("n", "127.64.0.1", str(tmp_path), "/tls", "/client")
    (tmp_path / "cds.json").write_text(text)

    assert {} == Dataplane(tmp_path, settings).addresses()


def test_an_envoy_that_never_had_a_cluster_uses_a_file_without_clusters(tmp_path: Path) -> None:
    """A bank without a public site has an egress that never becomes ready."""
    settings = GatewaySettings("n", "127.64.0.1", str(tmp_path), "/tls", "/client")
    plane = Dataplane(tmp_path, settings)
    plane.draw(view.View(Role.EGRESS, "home", "spiffe://demarc/home/inner", "1.1", ()), {})
    versions = {
        name: translation.version((tmp_path / f"{name}.json").read_text())
        for name in ("cds", "lds", "rds")
    }

    assert () == plane.differences(
        Applied(**{**versions, "cds": ""}, clusters=frozenset(), errors={})
    )
    assert ("cds.json is not in use",) == plane.differences(
        Applied(**{**versions, "cds": "old"}, clusters=frozenset({"gone"}), errors={})
    )


def test_what_envoy_does_not_use_is_named(tmp_path: Path) -> None:
    settings = GatewaySettings("n", "127.64.0.1", str(tmp_path), "/tls", "/client")
    plane = Dataplane(tmp_path, settings)
    plane.draw(view.of_epoch(Role.INNER, builders.sample_epoch()), {})
    versions = {
        name: translation.version((tmp_path / f"{name}.json").read_text())
        for name in ("cds", "lds", "rds")
    }
    names = frozenset({gate.NEAR, "egress"})

    assert () == plane.differences(Applied(**versions, clusters=names, errors={}))
    assert ("rds.json is not in use",) == plane.differences(
        Applied(**{**versions, "rds": "old"}, clusters=names, errors={})
    )
    assert ("x was rejected: why",) == plane.differences(
        Applied(**versions, clusters=names, errors={"x": "why"})
    )


@dataclass
class Scripted:
    """A cluster whose list and watch do what a test wrote down."""

    script: list[Any]
    lists: int = 0
    states: list[dict[str, str]] = field(default_factory=list)

    async def list(self, *_: object, **__: object) -> Listing:
        self.lists += 1
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return Listing(tuple(step), "1")

    async def watch(self, *_: object, **__: object) -> AsyncIterator[WatchEvent]:
        for step in self.script.pop(0):
            if isinstance(step, Exception):
                raise step
            yield step

    def changed(self, state: watching.State) -> None:
        self.states.append({name: item["data"]["v"] for (_, name), item in state.items()})


def item(name: str, value: str) -> dict[str, Any]:
    return config_map("ns", name, {"v": value})


async def test_a_watch_that_breaks_is_followed_by_a_new_list() -> None:
    """A change during an outage of the API is never seen."""
    cluster = Scripted(
        [
            TransientError("down"),
            [item("a", "1")],
            [
                WatchEvent(Change.MODIFIED, item("a", "2")),
                WatchEvent(Change.ADDED, item("b", "1")),
                WatchEvent(Change.DELETED, item("a", "2")),
                GoneError("old"),
            ],
            [item("c", "1")],
            [],
            [],
            [TransientError("down")],
        ]
    )
    metrics = Metrics()

    async def run() -> None:
        await watching.follow(
            cluster,  # type: ignore[arg-type]
            CONFIG_MAP,
            cluster.changed,
            retry=0,
            metrics=metrics,
        )

    with pytest.raises(IndexError):
        async with asyncio.timeout(5):
            await run()

    assert [
        {"a": "1"},
        {"a": "2"},
        {"a": "2", "b": "1"},
        {"b": "1"},
        {"c": "1"},
        {},
    ] == cluster.states
    assert 2 == metrics.value("demarc_watch_errors_total", kind="ConfigMap")


async def test_a_watch_that_is_too_old_again_and_again_is_left_alone_for_a_while() -> None:
    """The agent would list without end, as fast as the server answers."""
    cluster = Scripted([[], [GoneError("old")]] * 2 + [[item("a", "1")], []])
    task = asyncio.get_running_loop().create_task(
        watching.follow(
            cluster,  # type: ignore[arg-type]
            CONFIG_MAP,
            cluster.changed,
            retry=3600,
            metrics=Metrics(),
        )
    )
    for _ in range(50):  # nothing in the script waits: more turns than it has steps
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert 2 == cluster.lists
