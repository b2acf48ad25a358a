"""Is every adapter of `Cluster` the same to its callers? Lists, watches, deletes and tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime

import jwt
import pytest

from demarc.api.cluster import (
    CONFIG_MAP,
    DEPLOYMENT,
    LEASE,
    NAMESPACE,
    SERVICE_ACCOUNT,
    Change,
    ConflictError,
    GoneError,
    InvalidError,
    Kind,
    NotFoundError,
    Ref,
    WatchEvent,
)
from support.cluster import config_map, deployment, namespace
from support.subjects import Subject, new_namespace

_EVENT_SECONDS = 5


def _lease(namespace: str, name: str, holder: str) -> dict[str, object]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"holderIdentity": holder},
    }


def _account(namespace: str, name: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"namespace": namespace, "name": name},
    }


def _names(manifests: tuple[object, ...]) -> list[str]:
    return sorted(item["metadata"]["name"] for item in manifests)  # type: ignore[index]  # JSON


async def _next(events: AsyncIterator[WatchEvent]) -> WatchEvent:
    async with asyncio.timeout(_EVENT_SECONDS):
        return await anext(events)


async def _version(subject: Subject, kind: Kind = CONFIG_MAP) -> str:
    return (await subject.cluster.list(kind, namespace=subject.namespace)).resource_version


async def test_a_list_holds_what_carries_every_label(subject: Subject) -> None:
    for name, labels in (("a", {"x": "1", "y": "1"}), ("b", {"x": "1"}), ("c", {})):
        await subject.cluster.apply(
            config_map(subject.namespace, name, labels=labels), manager="demarc"
        )

    async def listed(**labels: str) -> list[str]:
        found = await subject.cluster.list(CONFIG_MAP, namespace=subject.namespace, labels=labels)
        return _names(found.items)

    assert ["a", "b", "c"] == await listed()
    assert ["a", "b"] == await listed(x="1")
    assert ["a"] == await listed(x="1", y="1")
    assert [] == await listed(x="2")


async def test_listed_objects_are_whole(subject: Subject) -> None:
    """The API leaves kind and version out of listed items; a reader of several kinds needs them."""
    applied = await subject.cluster.apply(deployment(subject.namespace, "d"), manager="demarc")

    found = await subject.cluster.list(DEPLOYMENT, namespace=subject.namespace)

    assert (applied,) == found.items


async def test_a_list_can_span_namespaces(subject: Subject) -> None:
    other = await new_namespace(subject.cluster)
    for place in (subject.namespace, other):
        await subject.cluster.apply(
            config_map(place, "spread", labels={"spread": subject.namespace}), manager="demarc"
        )

    found = await subject.cluster.list(CONFIG_MAP, labels={"spread": subject.namespace})

    assert {subject.namespace, other} == {item["metadata"]["namespace"] for item in found.items}


async def test_what_carries_our_label_can_be_pruned(subject: Subject) -> None:
    for name in ("keep", "drop", "foreign"):
        labels = {} if name == "foreign" else {"demarc.dev/source": "glm"}
        await subject.cluster.apply(
            config_map(subject.namespace, name, labels=labels), manager="demarc"
        )

    found = await subject.cluster.list(
        CONFIG_MAP, namespace=subject.namespace, labels={"demarc.dev/source": "glm"}
    )
    for item in found.items:
        if item["metadata"]["name"] != "keep":
            ref = Ref(CONFIG_MAP, subject.namespace, item["metadata"]["name"])
            await subject.cluster.delete(ref, uid=item["metadata"]["uid"])

    left = await subject.cluster.list(CONFIG_MAP, namespace=subject.namespace)
    assert ["foreign", "keep"] == _names(left.items)


async def test_a_delete_can_demand_the_object_that_was_read(subject: Subject) -> None:
    """A slow prune would delete the successor of what it saw."""
    ref = Ref(CONFIG_MAP, subject.namespace, "twice")
    first = await subject.cluster.apply(config_map(subject.namespace, "twice"), manager="demarc")
    await subject.cluster.delete(ref, uid=first["metadata"]["uid"])
    second = await subject.cluster.apply(config_map(subject.namespace, "twice"), manager="demarc")
    assert first["metadata"]["uid"] != second["metadata"]["uid"]

    with pytest.raises(ConflictError):
        await subject.cluster.delete(ref, uid=first["metadata"]["uid"])

    assert await subject.cluster.get(ref) == second


async def test_deleting_what_is_not_there_is_fine(subject: Subject) -> None:
    await subject.cluster.delete(Ref(CONFIG_MAP, subject.namespace, "absent"))
    await subject.cluster.delete(Ref(CONFIG_MAP, subject.namespace, "absent"), uid="any")


async def test_a_finalizer_holds_an_object(subject: Subject) -> None:
    """A user's tool may set one: until it goes, the object is still there, and leaving."""
    ref = Ref(CONFIG_MAP, subject.namespace, "held")
    held = config_map(subject.namespace, "held", finalizers=["test.dev/hold"])
    await subject.cluster.apply(held, manager="holder")
    await subject.cluster.delete(ref)
    leaving = await subject.cluster.get(ref)
    assert leaving is not None
    assert leaving["metadata"]["deletionTimestamp"]

    await subject.cluster.apply(config_map(subject.namespace, "held"), manager="holder")

    assert await subject.cluster.get(ref) is None


async def test_a_watch_reports_what_comes_changes_and_goes(subject: Subject) -> None:
    since = await _version(subject)
    created = await subject.cluster.apply(
        config_map(subject.namespace, "seen", {"a": "1"}), manager="demarc"
    )
    changed = await subject.cluster.apply(
        config_map(subject.namespace, "seen", {"a": "2"}), manager="demarc"
    )
    await subject.cluster.delete(Ref(CONFIG_MAP, subject.namespace, "seen"))

    watch = subject.cluster.watch(CONFIG_MAP, since=since, namespace=subject.namespace)
    async with aclosing(watch) as events:
        found = [await _next(events) for _ in range(3)]

    assert [WatchEvent(Change.ADDED, created), WatchEvent(Change.MODIFIED, changed)] == found[:2]
    assert Change.DELETED is found[2].change
    assert {"a": "2"} == found[2].object["data"]
    assert int(found[2].object["metadata"]["resourceVersion"]) > int(
        changed["metadata"]["resourceVersion"]
    )


async def test_a_running_watch_hears_of_later_changes(subject: Subject) -> None:
    since = await _version(subject)
    watch = subject.cluster.watch(CONFIG_MAP, since=since, namespace=subject.namespace)
    async with aclosing(watch) as events, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(_next(events))
        await asyncio.sleep(0)
        applied = await subject.cluster.apply(
            config_map(subject.namespace, "later", {"a": "1"}), manager="demarc"
        )

        assert WatchEvent(Change.ADDED, applied) == await waiting


async def test_a_watch_goes_on_from_the_last_version_seen(subject: Subject) -> None:
    since = await _version(subject)
    first = await subject.cluster.apply(
        config_map(subject.namespace, "first", {"a": "1"}), manager="demarc"
    )
    watch = subject.cluster.watch(CONFIG_MAP, since=since, namespace=subject.namespace)
    async with aclosing(watch) as events:
        seen = await _next(events)
    assert first == seen.object
    second = await subject.cluster.apply(
        config_map(subject.namespace, "second", {"a": "1"}), manager="demarc"
    )

    resumed = subject.cluster.watch(
        CONFIG_MAP,
        since=seen.object["metadata"]["resourceVersion"],
        namespace=subject.namespace,
    )
    async with aclosing(resumed) as events:
        assert WatchEvent(Change.ADDED, second) == await _next(events)


async def test_a_watch_keeps_to_its_kind_and_namespace(subject: Subject) -> None:
    other = await new_namespace(subject.cluster)
    since = await _version(subject)
    await subject.cluster.apply(config_map(other, "elsewhere"), manager="demarc")
    await subject.cluster.apply(_lease(subject.namespace, "lease", "a"), manager="demarc")
    here = await subject.cluster.apply(config_map(subject.namespace, "here"), manager="demarc")

    watch = subject.cluster.watch(CONFIG_MAP, since=since, namespace=subject.namespace)
    async with aclosing(watch) as events:
        assert WatchEvent(Change.ADDED, here) == await _next(events)


async def test_an_apply_that_changes_nothing_is_not_reported(subject: Subject) -> None:
    manifest = config_map(subject.namespace, "still", {"a": "1"})
    await subject.cluster.apply(manifest, manager="demarc")
    since = await _version(subject)
    await subject.cluster.apply(manifest, manager="demarc")
    after = await subject.cluster.apply(config_map(subject.namespace, "mark"), manager="demarc")

    watch = subject.cluster.watch(CONFIG_MAP, since=since, namespace=subject.namespace)
    async with aclosing(watch) as events:
        assert WatchEvent(Change.ADDED, after) == await _next(events)


async def test_a_watch_from_a_forgotten_version_is_gone(subject: Subject) -> None:
    """It would skip changes without a word."""
    assert LEASE == subject.forgetful
    first = await subject.cluster.apply(_lease(subject.namespace, "l", "a"), manager="demarc")
    for holder in ("b", "c"):
        await subject.cluster.apply(_lease(subject.namespace, "l", holder), manager="demarc")
    subject.forget_history()

    watch = subject.cluster.watch(
        LEASE, since=first["metadata"]["resourceVersion"], namespace=subject.namespace
    )
    async with aclosing(watch) as events:
        with pytest.raises(GoneError):
            await _next(events)


async def test_an_object_needs_its_namespace(subject: Subject) -> None:
    with pytest.raises(NotFoundError, match="no-such-namespace"):
        await subject.cluster.apply(config_map("no-such-namespace", "a"), manager="demarc")


async def test_a_namespace_is_an_object_like_others(subject: Subject) -> None:
    found = await subject.cluster.get(Ref(NAMESPACE, "", subject.namespace))

    assert found is not None
    assert {"kubernetes.io/metadata.name": subject.namespace} == found["metadata"]["labels"]
    assert "Active" == found["status"]["phase"]


async def test_a_labelled_namespace_stays_as_it_is(subject: Subject) -> None:
    """Without a field of ours the API would note `before-first-apply` at the second apply."""
    manifest = namespace(subject.namespace)
    manifest["metadata"]["labels"] = {"demarc.dev/role": "egress"}

    first = await subject.cluster.apply(manifest, manager="demarc")
    second = await subject.cluster.apply(manifest, manager="demarc")

    assert "egress" == first["metadata"]["labels"]["demarc.dev/role"]
    assert first == second


async def test_a_token_proves_its_account(subject: Subject) -> None:
    account = await subject.cluster.apply(_account(subject.namespace, "copilot"), manager="demarc")
    token = await subject.cluster.issue_token(
        subject.namespace, "copilot", audience="demarc", seconds=600
    )
    keys = await subject.cluster.token_keys()

    header = jwt.get_unverified_header(token)
    (key,) = [item for item in keys["keys"] if item["kid"] == header["kid"]]
    claims = jwt.decode(
        token,
        jwt.PyJWK(key),
        algorithms=["ES256"],
        audience="demarc",
        issuer=keys["issuer"],
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )

    assert {"ES256"} == {header["alg"], key["alg"]}
    assert "sig" == key["use"]
    assert f"system:serviceaccount:{subject.namespace}:copilot" == claims["sub"]
    assert ["demarc"] == claims["aud"]
    assert {
        "namespace": subject.namespace,
        "serviceaccount": {"name": "copilot", "uid": account["metadata"]["uid"]},
    } == claims["kubernetes.io"]
    assert 600 == claims["exp"] - claims["iat"]
    assert claims["iat"] == claims["nbf"]
    assert datetime.fromtimestamp(claims["iat"], UTC).year >= 2026
    assert claims["jti"]


async def test_a_token_needs_its_account(subject: Subject) -> None:
    with pytest.raises(NotFoundError):
        await subject.cluster.issue_token(
            subject.namespace, "nobody", audience="demarc", seconds=600
        )


async def test_a_token_of_less_than_ten_minutes_is_refused(subject: Subject) -> None:
    await subject.cluster.apply(_account(subject.namespace, "short"), manager="demarc")

    with pytest.raises(InvalidError):
        await subject.cluster.issue_token(
            subject.namespace, "short", audience="demarc", seconds=599
        )
    assert await subject.cluster.get(Ref(SERVICE_ACCOUNT, subject.namespace, "short"))
