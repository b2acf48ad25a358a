"""What does the store do beyond the contract of `Cluster`? Journal, restart, owners, history."""

from __future__ import annotations

from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest

from demarc.api.cluster import (
    CONFIG_MAP,
    NAMESPACE,
    SERVICE,
    Change,
    GoneError,
    InvalidError,
    NotFoundError,
    Ref,
    TransientError,
    WatchEvent,
)
from support.cluster import Clock, MemoryCluster, config_map, namespace


def _ref(name: str, place: str = "models") -> Ref:
    return Ref(CONFIG_MAP, place, name)


def _owned(name: str, *owners: dict[str, Any]) -> dict[str, Any]:
    references = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        }
        for owner in owners
    ]
    return config_map("models", name, ownerReferences=references)


async def _cluster(**arguments: Any) -> MemoryCluster:
    cluster = MemoryCluster(**arguments)
    await cluster.apply(namespace("models"), manager="test")
    return cluster


async def test_the_journal_hears_every_change() -> None:
    """A restarted node would otherwise miss objects."""
    heard: list[WatchEvent] = []
    cluster = await _cluster(journal=heard.append)
    heard.clear()

    created = await cluster.apply(config_map("models", "a", {"x": "1"}), manager="test")
    await cluster.apply(config_map("models", "a", {"x": "1"}), manager="test")
    changed = await cluster.apply(config_map("models", "a", {"x": "2"}), manager="test")
    await cluster.apply(config_map("models", "b"), manager="test", dry_run=True)
    await cluster.delete(_ref("a"))

    assert [Change.ADDED, Change.MODIFIED, Change.DELETED] == [event.change for event in heard]
    assert [created, changed] == [event.object for event in heard[:2]]


async def test_what_the_journal_cannot_keep_does_not_happen() -> None:
    """An object that vanishes at the next start was promised to its writer."""

    def full(event: WatchEvent) -> None:
        if event.object["kind"] == "ConfigMap":
            raise OSError(28, "No space left on device")

    cluster = await _cluster(journal=full)
    before = cluster.version

    with pytest.raises(TransientError, match="No space left"):
        await cluster.apply(config_map("models", "a"), manager="test")

    assert await cluster.get(_ref("a")) is None
    assert before == cluster.version


async def test_a_restarted_store_goes_on_where_it_was() -> None:
    """Same objects, same uids, and versions that only grow."""
    first = await _cluster()
    kept = await first.apply(config_map("models", "a", {"x": "1"}), manager="test")
    objects = [item for kind in (NAMESPACE, CONFIG_MAP) for item in (await first.list(kind)).items]

    second = MemoryCluster()
    second.load(objects)

    assert kept == await second.get(_ref("a"))
    assert first.version == second.version
    changed = await second.apply(config_map("models", "a", {"x": "2"}), manager="test")
    assert int(changed["metadata"]["resourceVersion"]) > int(kept["metadata"]["resourceVersion"])
    assert kept["metadata"]["uid"] == changed["metadata"]["uid"]


async def test_a_watch_from_before_a_restart_is_too_old() -> None:
    first = await _cluster()
    kept = await first.apply(config_map("models", "a"), manager="test")
    await first.apply(config_map("models", "b"), manager="test")
    second = MemoryCluster()
    second.load((await first.list(NAMESPACE)).items)
    second.load((await first.list(CONFIG_MAP)).items)

    async with aclosing(
        second.watch(CONFIG_MAP, since=kept["metadata"]["resourceVersion"])
    ) as events:
        with pytest.raises(GoneError):
            await anext(events)


async def test_a_watch_from_the_future_is_refused() -> None:
    """It would wait for versions that another store gave out."""
    cluster = await _cluster()

    async with aclosing(cluster.watch(CONFIG_MAP, since="1000000")) as events:
        with pytest.raises(GoneError):
            await anext(events)


@pytest.mark.parametrize("since", ["", "0"])
async def test_a_watch_from_nowhere_starts_with_what_is_there(since: str) -> None:
    cluster = await _cluster()
    there = await cluster.apply(config_map("models", "a"), manager="test")

    async with aclosing(cluster.watch(CONFIG_MAP, since=since)) as events:
        assert WatchEvent(Change.ADDED, there) == await anext(events)
        later = await cluster.apply(config_map("models", "b"), manager="test")
        assert WatchEvent(Change.ADDED, later) == await anext(events)


async def test_a_watch_from_no_version_is_refused() -> None:
    cluster = await _cluster()

    async with aclosing(cluster.watch(CONFIG_MAP, since="yesterday")) as events:
        with pytest.raises(InvalidError, match="yesterday"):
            await anext(events)


async def test_a_reader_that_falls_behind_is_told() -> None:
    """Skipping what was forgotten would leave it wrong for ever."""
    cluster = await _cluster(history=4)
    since = cluster.version
    async with aclosing(cluster.watch(CONFIG_MAP, since=since)) as events:
        await cluster.apply(config_map("models", "first"), manager="test")
        assert "first" == (await anext(events)).object["metadata"]["name"]
        for number in range(8):
            await cluster.apply(config_map("models", f"n{number}"), manager="test")
        with pytest.raises(GoneError):
            await anext(events)


async def test_what_is_owned_goes_with_its_last_owner() -> None:
    cluster = await _cluster()
    first = dict(await cluster.apply(config_map("models", "first"), manager="test"))
    second = dict(await cluster.apply(config_map("models", "second"), manager="test"))
    child = dict(await cluster.apply(_owned("child", first, second), manager="test"))
    await cluster.apply(_owned("grandchild", child), manager="test")
    await cluster.apply(config_map("models", "free"), manager="test")

    await cluster.delete(_ref("first"))
    assert await cluster.get(_ref("grandchild")) is not None
    await cluster.delete(_ref("second"))

    left = await cluster.list(CONFIG_MAP)
    assert ["free"] == [item["metadata"]["name"] for item in left.items]


async def test_a_namespace_takes_its_objects_along() -> None:
    cluster = await _cluster()
    since = cluster.version
    await cluster.apply(config_map("models", "a"), manager="test")
    await cluster.apply(config_map("default", "a"), manager="test")

    await cluster.delete(Ref(NAMESPACE, "", "models"))

    left = await cluster.list(CONFIG_MAP)
    assert ["default"] == [item["metadata"]["namespace"] for item in left.items]
    async with aclosing(cluster.watch(CONFIG_MAP, since=since, namespace="models")) as events:
        found = [(await anext(events)).change for _ in range(2)]
    assert [Change.ADDED, Change.DELETED] == found


async def test_nobody_can_change_what_is_stored() -> None:
    """A test that edits what it read would edit the cluster."""
    cluster = await _cluster()
    sent = config_map("models", "a", {"x": "1"}, labels={"l": "1"})
    applied = await cluster.apply(sent, manager="test")
    sent["data"]["x"] = "2"
    applied["data"]["x"] = "2"
    listed = (await cluster.list(CONFIG_MAP)).items[0]
    listed["metadata"]["labels"]["l"] = "2"

    found = await cluster.get(_ref("a"))

    assert found is not None
    assert {"x": "1"} == found["data"]
    assert {"l": "1"} == found["metadata"]["labels"]


async def test_an_owner_that_did_not_change_keeps_its_time() -> None:
    clock = Clock()
    cluster = await _cluster(clock=clock)
    await cluster.apply(config_map("models", "a", {"x": "1"}), manager="first")
    clock.advance(timedelta(hours=1))

    applied = await cluster.apply(config_map("models", "a", {"y": "1"}), manager="second")

    times = {item["manager"]: item["time"] for item in applied["metadata"]["managedFields"]}
    assert {"first": "2026-01-01T12:00:00Z", "second": "2026-01-01T13:00:00Z"} == times
    assert "2026-01-01T12:00:00Z" == applied["metadata"]["creationTimestamp"]


async def test_a_kind_without_a_status_takes_none() -> None:
    cluster = await _cluster()
    await cluster.apply(config_map("models", "a"), manager="test")

    with pytest.raises(NotFoundError):
        await cluster.apply_status(config_map("models", "a"), manager="test")


async def test_every_cluster_has_its_first_namespaces() -> None:
    cluster = MemoryCluster()

    found = await cluster.list(NAMESPACE)

    names = [item["metadata"]["name"] for item in found.items]
    assert ["default", "kube-node-lease", "kube-public", "kube-system"] == names
    assert (await cluster.list(SERVICE)).resource_version == found.resource_version
