"""Is every adapter of `Cluster` the same to its callers? What it refuses, and what it says then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from demarc.api.cluster import CONFIG_MAP, InvalidError, Kind, PermanentError, Ref
from support.cluster import config_map, container, deployment, stateful_set
from support.subjects import Subject

_MEBIBYTE = 1024 * 1024


def _secret(namespace: str, **fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": "s"},
        **fields,
    }


def _without(manifest: Mapping[str, Any], field: str) -> dict[str, Any]:
    spec = {name: value for name, value in manifest["spec"].items() if name != field}
    return {**manifest, "spec": spec}


def _core(namespace: str, kind: str, name: str, **fields: Any) -> dict[str, Any]:
    place = {"namespace": namespace} if namespace else {}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **place}, **fields}


def _refused(namespace: str) -> dict[str, dict[str, Any]]:
    twice = [container("main"), container("main")]
    mount = [{"name": "absent", "mountPath": "/a"}]
    other = {"metadata": {"labels": {"app": "other"}}, "spec": {"containers": [container("a")]}}
    return {
        "an upper-case name": config_map(namespace, "Upper"),
        "a name of 254 characters": config_map(namespace, "a" * 254),
        "a dot in the name of a Namespace": _core("", "Namespace", "a.b"),
        "a dot in the name of a Service": _core(
            namespace, "Service", "a.b", spec={"ports": [{"port": 80}]}
        ),
        "a Service without a port": _core(namespace, "Service", "a", spec={}),
        "a slash in the name of a Role": {
            **_core(namespace, "Role", "a/b"),
            "apiVersion": "rbac.authorization.k8s.io/v1",
        },
        "a RoleBinding to nothing": {
            **_core(namespace, "RoleBinding", "a"),
            "apiVersion": "rbac.authorization.k8s.io/v1",
        },
        "a label key with a prefix in upper case": config_map(namespace, "a", labels={"A/b": "c"}),
        "a label value that is a number": config_map(namespace, "a", labels={"a": 1}),
        "an annotation that is a number": config_map(namespace, "a", annotations={"a": 1}),
        "data that are a number": _core(namespace, "ConfigMap", "a", data={"a": 1}),
        "binary data that are no base64": _core(
            namespace, "ConfigMap", "a", binaryData={"a": "swordfish!"}
        ),
        "a label key with a space": config_map(namespace, "a", labels={"a b": "c"}),
        "a label value with a space": config_map(namespace, "a", labels={"a": "b c"}),
        "a label value of 64 characters": config_map(namespace, "a", labels={"a": "b" * 64}),
        "an annotation key with a space": config_map(namespace, "a", annotations={"a b": "c"}),
        "annotations of 257 KiB": config_map(namespace, "a", annotations={"a": "b" * 263168}),
        "a data key with a slash": config_map(namespace, "a", {"a/b": "c"}),
        "more than 1 MiB": config_map(namespace, "a", {"a": "b" * (_MEBIBYTE + 1)}),
        "an owner without a uid": config_map(
            namespace, "a", ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "p"}]
        ),
        "stated owners of fields": config_map(namespace, "a", managedFields=[{"manager": "a"}]),
        "a Secret that is no base64": _secret(namespace, data={"a": "swordfish!"}),
        "no selector": _without(deployment(namespace, "d"), "selector"),
        "a selector that misses its pods": deployment(namespace, "d", template=other),
        "no containers": deployment(
            namespace, "d", template={"metadata": {"labels": {"app": "d"}}, "spec": {}}
        ),
        "a container name twice": deployment(namespace, "d", *twice),
        "a container name in upper case": deployment(namespace, "d", container("Main")),
        "a container without an image": deployment(namespace, "d", {"name": "main"}),
        "a mount without a volume": deployment(
            namespace, "d", container("main", volumeMounts=mount)
        ),
        "a port without its number": deployment(
            namespace, "d", container("main", ports=[{"name": "http"}])
        ),
    }


@pytest.mark.parametrize("case", _refused("names-only"))
async def test_what_breaks_a_rule_is_refused(subject: Subject, case: str) -> None:
    """Tests in memory would pass for objects that no cluster takes."""
    with pytest.raises(InvalidError):
        await subject.cluster.apply(_refused(subject.namespace)[case], manager="demarc")


@pytest.mark.parametrize("size", [_MEBIBYTE, _MEBIBYTE - 1])
async def test_one_mebibyte_fits(subject: Subject, size: int) -> None:
    applied = await subject.cluster.apply(
        config_map(subject.namespace, "large", {"a": "b" * size}), manager="demarc"
    )

    assert size == len(applied["data"]["a"])


def _changes(namespace: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    selected: dict[str, Any] = {
        "selector": {"matchLabels": {"app": "other"}},
        "template": {
            "metadata": {"labels": {"app": "other"}},
            "spec": {"containers": [container("main")]},
        },
    }
    frozen = config_map(namespace, "frozen", {"a": "1"}) | {"immutable": True}
    binding: dict[str, Any] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"namespace": namespace, "name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"},
    }
    return {
        "a selector": (deployment(namespace, "d"), deployment(namespace, "d", **selected)),
        "the Service of a StatefulSet": (
            stateful_set(namespace, "s"),
            stateful_set(namespace, "s", serviceName="other"),
        ),
        "the type of a Secret": (
            _secret(namespace, type="Opaque", data={"a": "YQ=="}),
            _secret(namespace, type="demarc.dev/other", data={"a": "YQ=="}),
        ),
        "immutable data": (frozen, {**frozen, "data": {"a": "2"}}),
        "the Role of a RoleBinding": (
            binding,
            {**binding, "roleRef": {**binding["roleRef"], "name": "other"}},
        ),
    }


@pytest.mark.parametrize("case", _changes("names-only"))
async def test_what_cannot_change_is_refused(subject: Subject, case: str) -> None:
    before, after = _changes(subject.namespace)[case]
    await subject.cluster.apply(before, manager="demarc")

    with pytest.raises(InvalidError):
        await subject.cluster.apply(after, manager="demarc")


async def test_a_stateful_set_can_change_its_pods(subject: Subject) -> None:
    await subject.cluster.apply(stateful_set(subject.namespace, "s"), manager="demarc")

    applied = await subject.cluster.apply(
        stateful_set(subject.namespace, "s", container("main", image="other"), replicas=2),
        manager="demarc",
    )

    assert 2 == applied["spec"]["replicas"]
    assert 2 == applied["metadata"]["generation"]


async def test_plain_text_of_a_secret_goes_to_its_data(subject: Subject) -> None:
    """And stays there when its owner drops it: as in a cluster, `data` is what can be managed."""
    applied = await subject.cluster.apply(
        _secret(subject.namespace, stringData={"a": "swordfish"}), manager="demarc"
    )
    left = await subject.cluster.apply(_secret(subject.namespace), manager="demarc")

    assert {"a": "c3dvcmRmaXNo"} == applied["data"] == left["data"]
    assert "stringData" not in applied
    assert "Opaque" == applied["type"]


@pytest.mark.parametrize("value", ["swordfish!", 17071, ["swordfish"]])
async def test_a_refusal_quotes_no_secret(subject: Subject, value: object) -> None:
    """The text goes to logs, events and statuses."""
    with pytest.raises(PermanentError) as caught:
        await subject.cluster.apply(_secret(subject.namespace, data={"a": value}), manager="demarc")

    assert "swordfish" not in str(caught.value)
    assert "17071" not in str(caught.value)


async def test_an_address_must_be_complete(subject: Subject) -> None:
    nowhere = config_map("", "a")
    nameless = config_map(subject.namespace, "")
    misplaced = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "a", "namespace": subject.namespace},
    }
    unknown = {"apiVersion": "example.dev/v1", "kind": "Thing", "metadata": {"name": "a"}}

    for manifest in (nowhere, nameless, misplaced, unknown):
        with pytest.raises(InvalidError):
            await subject.cluster.apply(manifest, manager="demarc")


async def test_a_kind_that_is_not_served_is_refused(subject: Subject) -> None:
    """An empty answer would look like a cluster without objects."""
    thing = Kind("example.dev/v1", "Thing", "things")

    with pytest.raises(InvalidError, match=r"things|Thing"):
        await subject.cluster.get(Ref(thing, subject.namespace, "a"))
    with pytest.raises(InvalidError, match=r"things|Thing"):
        await subject.cluster.list(thing)


async def test_a_field_manager_has_a_name(subject: Subject) -> None:
    for manager in ("", "a" * 129):
        with pytest.raises(InvalidError):
            await subject.cluster.apply(config_map(subject.namespace, "a"), manager=manager)
    assert await subject.cluster.get(Ref(CONFIG_MAP, subject.namespace, "a")) is None
