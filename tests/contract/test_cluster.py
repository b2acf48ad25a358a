"""Is every adapter of `Cluster` the same to its callers? Objects applied, and who owns them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from demarc.api.cluster import (
    CONFIG_MAP,
    DEPLOYMENT,
    POD_DISRUPTION_BUDGET,
    SECRET,
    SERVICE,
    ConflictError,
    NotFoundError,
    Ref,
)
from support.cluster import config_map, container, deployment, stateful_set
from support.subjects import Subject


def _version(manifest: Mapping[str, Any] | None) -> str:
    assert manifest is not None
    return str(manifest["metadata"]["resourceVersion"])


def _owners(manifest: Mapping[str, Any] | None) -> dict[str, Any]:
    assert manifest is not None
    return {
        entry["manager"]: entry["fieldsV1"]
        for entry in manifest["metadata"].get("managedFields", ())
    }


def _pod(manifest: Mapping[str, Any] | None) -> Mapping[str, Any]:
    assert manifest is not None
    spec: Mapping[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


def _ref(manifest: Mapping[str, Any]) -> Ref:
    kinds = {kind.name: kind for kind in (CONFIG_MAP, DEPLOYMENT, SERVICE, SECRET)}
    metadata = manifest["metadata"]
    return Ref(kinds[manifest["kind"]], metadata["namespace"], metadata["name"])


def _named(namespace: str, kind: str, api_version: str = "v1", **fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"namespace": namespace, "name": "glm"},
        **fields,
    }


def _service(namespace: str, *ports: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    return _named(namespace, "Service", spec={"ports": list(ports), **spec})


def _rendered(namespace: str) -> dict[str, dict[str, Any]]:
    """One object of every kind that planning renders."""
    rbac = "rbac.authorization.k8s.io"
    objects = (
        config_map(namespace, "glm", {"model.yaml": "a: 1"}),
        _named(namespace, "Secret", data={"tls.key": "a2V5"}, type="Opaque"),
        _named(namespace, "Secret", stringData={"tls.key": "key"}) | {"id": "plain text"},
        _named(namespace, "ServiceAccount", automountServiceAccountToken=False),
        _service(namespace, {"name": "https", "port": 8443, "targetPort": 8443}, clusterIP="None"),
        deployment(
            namespace,
            "glm",
            container(
                "triton",
                args=["--model-store", "$(MODEL_REPOSITORY)"],
                env=[
                    {"name": "MODEL_REPOSITORY", "value": "/models"},
                    {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                ],
                ports=[{"name": "grpc", "containerPort": 8001}],
                resources={"limits": {"nvidia.com/gpu": "4"}},
                volumeMounts=[{"name": "models", "mountPath": "/models"}],
            ),
            replicas=2,
            volumes=[{"name": "models", "emptyDir": {}}],
        ),
        stateful_set(namespace, "glm", replicas=1),
        _named(
            namespace,
            "NetworkPolicy",
            "networking.k8s.io/v1",
            spec={
                "podSelector": {"matchLabels": {"app": "glm"}},
                "policyTypes": ["Egress", "Ingress"],
                "ingress": [{"ports": [{"port": 8443, "protocol": "TCP"}]}],
            },
        ),
        _named(
            namespace,
            "PodDisruptionBudget",
            "policy/v1",
            spec={"maxUnavailable": 1, "selector": {"matchLabels": {"app": "glm"}}},
        ),
        _named(
            namespace,
            "EndpointSlice",
            "discovery.k8s.io/v1",
            addressType="IPv4",
            endpoints=[{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
            ports=[{"name": "https", "port": 8443, "protocol": "TCP"}],
        ),
        _named(namespace, "Lease", "coordination.k8s.io/v1", spec={"holderIdentity": "a"}),
        _named(namespace, "Role", f"{rbac}/v1", rules=[]),
        _named(
            namespace,
            "RoleBinding",
            f"{rbac}/v1",
            roleRef={"apiGroup": rbac, "kind": "Role", "name": "glm"},
            subjects=[{"kind": "ServiceAccount", "name": "glm", "namespace": namespace}],
        ),
    )
    return {str(item.pop("id", item["kind"])): item for item in objects}


RENDERED = tuple(_rendered("names-only"))


@pytest.mark.parametrize("name", RENDERED)
async def test_an_unchanged_apply_leaves_the_version(subject: Subject, name: str) -> None:
    """A second run of the operator would wake every watcher, and itself, for ever."""
    manifest = _rendered(subject.namespace)[name]
    first = await subject.cluster.apply(manifest, manager="demarc")

    second = await subject.cluster.apply(manifest, manager="demarc")

    assert first == second


async def test_a_new_object_gets_its_identity(subject: Subject) -> None:
    manifest = config_map(subject.namespace, "new", {"a": "1"})

    applied = await subject.cluster.apply(manifest, manager="demarc")

    assert await subject.cluster.get(_ref(manifest)) == applied
    assert {"a": "1"} == applied["data"]
    assert applied["metadata"]["uid"]
    assert applied["metadata"]["creationTimestamp"].endswith("Z")
    assert {"demarc": {"f:data": {"f:a": {}}}} == _owners(applied)


async def test_an_object_that_is_not_there_is_none(subject: Subject) -> None:
    assert await subject.cluster.get(Ref(CONFIG_MAP, subject.namespace, "absent")) is None
    assert await subject.cluster.get(Ref(CONFIG_MAP, "no-such-namespace", "absent")) is None


async def test_a_conflict_names_the_field_and_its_owner(subject: Subject) -> None:
    """A message without them leaves the user to guess who writes."""
    first = await subject.cluster.apply(
        config_map(subject.namespace, "owned", {"a": "1", "b": "1"}), manager="argocd"
    )

    with pytest.raises(ConflictError, match=r"\.data\.a\b") as caught:
        await subject.cluster.apply(
            config_map(subject.namespace, "owned", {"a": "2", "b": "1"}),
            manager="demarc",
            force=False,
        )

    assert "argocd" in str(caught.value)
    assert ".data.b" not in str(caught.value)
    assert await subject.cluster.get(_ref(first)) == first


async def test_force_moves_a_field_to_its_new_owner(subject: Subject) -> None:
    manifest = config_map(subject.namespace, "forced", {"a": "1", "b": "1"})
    await subject.cluster.apply(manifest, manager="first")

    taken = await subject.cluster.apply(
        config_map(subject.namespace, "forced", {"a": "2"}), manager="second"
    )

    assert {"a": "2", "b": "1"} == taken["data"]
    assert {
        "first": {"f:data": {"f:b": {}}},
        "second": {"f:data": {"f:a": {}}},
    } == _owners(taken)
    with pytest.raises(ConflictError):
        await subject.cluster.apply(manifest, manager="first", force=False)


async def test_equal_values_are_shared_and_no_conflict(subject: Subject) -> None:
    manifest = config_map(subject.namespace, "shared", {"a": "1"})
    await subject.cluster.apply(manifest, manager="first")
    both = await subject.cluster.apply(manifest, manager="second", force=False)
    assert {"first", "second"} == set(_owners(both))

    left = await subject.cluster.apply(config_map(subject.namespace, "shared"), manager="first")

    assert {"a": "1"} == left["data"]
    assert {"second"} == set(_owners(left))


async def test_a_field_that_is_no_longer_sent_goes(subject: Subject) -> None:
    await subject.cluster.apply(
        config_map(subject.namespace, "less", {"a": "1", "b": "1"}, labels={"x": "1", "y": "1"}),
        manager="demarc",
    )

    less = await subject.cluster.apply(
        config_map(subject.namespace, "less", {"a": "1"}, labels={"x": "1"}), manager="demarc"
    )
    none = await subject.cluster.apply(config_map(subject.namespace, "less"), manager="demarc")

    assert {"a": "1"} == less["data"]
    assert {"x": "1"} == less["metadata"]["labels"]
    assert "data" not in none
    assert "labels" not in none["metadata"]
    assert {} == _owners(none)


async def test_foreign_fields_stay(subject: Subject) -> None:
    """The operator would fight Argo CD and HPA for what it does not own."""
    await subject.cluster.apply(
        config_map(subject.namespace, "foreign", {"theirs": "1"}, annotations={"their/note": "1"}),
        manager="argocd",
    )
    await subject.cluster.apply(
        config_map(subject.namespace, "foreign", {"ours": "1"}), manager="demarc"
    )

    left = await subject.cluster.apply(config_map(subject.namespace, "foreign"), manager="demarc")

    assert {"theirs": "1"} == left["data"]
    assert {"their/note": "1"} == left["metadata"]["annotations"]


async def test_what_nobody_owned_before_the_first_apply_is_kept(subject: Subject) -> None:
    await subject.cluster.apply(config_map(subject.namespace, "bare"), manager="demarc")

    applied = await subject.cluster.apply(
        config_map(subject.namespace, "bare", {"a": "1"}), manager="demarc"
    )

    assert {"demarc": {"f:data": {"f:a": {}}}} == _owners(applied)


async def test_containers_merge_by_name(subject: Subject) -> None:
    """An injected sidecar would be removed at the next run."""
    ours = deployment(subject.namespace, "glm", container("triton"), container("frontend"))
    theirs = deployment(subject.namespace, "glm", container("sidecar"))
    await subject.cluster.apply(ours, manager="demarc")
    await subject.cluster.apply(theirs, manager="injector", force=False)

    less = await subject.cluster.apply(
        deployment(subject.namespace, "glm", container("triton")), manager="demarc"
    )

    assert {"triton", "sidecar"} == {item["name"] for item in _pod(less)["containers"]}


async def test_variables_mounts_and_ports_merge_by_their_keys(subject: Subject) -> None:
    volumes: list[dict[str, Any]] = [{"name": name, "emptyDir": {}} for name in ("run", "extra")]
    ours = container(
        "triton",
        env=[{"name": "A", "value": "1"}, {"name": "B", "value": "1"}],
        ports=[{"containerPort": 8000}, {"containerPort": 8001}],
        volumeMounts=[{"name": "run", "mountPath": "/run/demarc"}],
    )
    theirs = container(
        "triton",
        env=[{"name": "C", "value": "1"}],
        ports=[{"containerPort": 8001, "protocol": "UDP"}],
        volumeMounts=[{"name": "extra", "mountPath": "/extra"}],
    )
    for manager, item in (("demarc", ours), ("other", theirs)):
        manifest = deployment(subject.namespace, "keyed", item, volumes=volumes)
        await subject.cluster.apply(manifest, manager=manager, force=False)

    less = {**ours, "env": ours["env"][:1], "ports": ours["ports"][:1], "volumeMounts": []}
    manifest = deployment(subject.namespace, "keyed", less, volumes=volumes)
    applied = await subject.cluster.apply(manifest, manager="demarc")

    (found,) = _pod(applied)["containers"]
    assert {"A", "C"} == {item["name"] for item in found["env"]}
    assert {(8000, "TCP"), (8001, "UDP")} == {
        (item["containerPort"], item.get("protocol", "TCP")) for item in found["ports"]
    }
    assert ["/extra"] == [item["mountPath"] for item in found["volumeMounts"]]


async def test_service_ports_merge_by_port_and_protocol(subject: Subject) -> None:
    https = {"name": "https", "port": 8443}
    metrics = {"name": "metrics", "port": 8081}
    await subject.cluster.apply(_service(subject.namespace, https), manager="demarc")
    await subject.cluster.apply(_service(subject.namespace, metrics), manager="other", force=False)

    applied = await subject.cluster.apply(
        _service(subject.namespace, {"name": "https", "port": 9443}), manager="demarc"
    )

    assert {8081, 9443} == {item["port"] for item in applied["spec"]["ports"]}


async def test_a_list_without_keys_has_one_owner(subject: Subject) -> None:
    await subject.cluster.apply(
        deployment(subject.namespace, "atomic", container("main", args=["--a"])), manager="first"
    )
    second = deployment(subject.namespace, "atomic", container("main", args=["--b"]))

    with pytest.raises(ConflictError, match=r"args"):
        await subject.cluster.apply(second, manager="second", force=False)
    applied = await subject.cluster.apply(second, manager="second")

    assert ["--b"] == _pod(applied)["containers"][0]["args"]


async def test_owners_are_written_as_kubernetes_writes_them(subject: Subject) -> None:
    """`kubectl get --show-managed-fields` and our prune both read this text."""
    manifest = deployment(
        subject.namespace,
        "owners",
        container("main", env=[{"name": "A", "value": "1"}], ports=[{"containerPort": 80}]),
    )
    manifest["metadata"] |= {"finalizers": ["demarc.dev/test"], "labels": {"a": "1"}}

    applied = await subject.cluster.apply(manifest, manager="demarc")

    (entry,) = applied["metadata"]["managedFields"]
    assert "2026" <= entry.pop("time")
    assert {
        "manager": "demarc",
        "operation": "Apply",
        "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:metadata": {
                "f:finalizers": {'v:"demarc.dev/test"': {}},
                "f:labels": {"f:a": {}},
            },
            "f:spec": {
                "f:selector": {},
                "f:template": {
                    "f:metadata": {"f:labels": {"f:app": {}}},
                    "f:spec": {
                        "f:containers": {
                            'k:{"name":"main"}': {
                                ".": {},
                                "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}},
                                "f:image": {},
                                "f:name": {},
                                "f:ports": {
                                    'k:{"containerPort":80,"protocol":"TCP"}': {
                                        ".": {},
                                        "f:containerPort": {},
                                    }
                                },
                            }
                        }
                    },
                },
            },
        },
    } == entry


async def test_the_generation_counts_changes_of_the_spec(subject: Subject) -> None:
    """`observedGeneration` would claim that a change was seen, or never agree."""
    first = await subject.cluster.apply(
        deployment(subject.namespace, "counted", replicas=1), manager="demarc"
    )
    labelled = deployment(subject.namespace, "counted", replicas=1)
    labelled["metadata"]["labels"] = {"a": "1"}
    second = await subject.cluster.apply(labelled, manager="demarc")
    labelled["spec"]["replicas"] = 2
    third = await subject.cluster.apply(labelled, manager="demarc")

    assert [1, 1, 2] == [item["metadata"]["generation"] for item in (first, second, third)]
    assert len({_version(item) for item in (first, second, third)}) == 3


async def test_replicas_are_one_where_nobody_says(subject: Subject) -> None:
    """An autoscaler reads the number, and may own it: we must not."""
    applied = await subject.cluster.apply(deployment(subject.namespace, "one"), manager="demarc")
    scaled = await subject.cluster.apply(
        deployment(subject.namespace, "one", replicas=3), manager="hpa", force=False
    )
    again = await subject.cluster.apply(
        deployment(subject.namespace, "one"), manager="demarc", force=False
    )

    assert [1, 3, 3] == [item["spec"]["replicas"] for item in (applied, scaled, again)]
    assert "f:replicas" not in _owners(applied)["demarc"]["f:spec"]


async def test_a_dry_run_changes_nothing(subject: Subject) -> None:
    manifest = config_map(subject.namespace, "dry", {"a": "1"})
    created = await subject.cluster.apply(manifest, manager="demarc", dry_run=True)
    assert {"a": "1"} == created["data"]
    assert await subject.cluster.get(_ref(manifest)) is None

    kept = await subject.cluster.apply(manifest, manager="demarc")
    changed = await subject.cluster.apply(
        config_map(subject.namespace, "dry", {"a": "2"}), manager="demarc", dry_run=True
    )

    assert {"a": "2"} == changed["data"]
    assert await subject.cluster.get(_ref(manifest)) == kept


async def test_status_and_spec_are_written_apart(subject: Subject) -> None:
    """An apply of the object would wipe its status, or a status report change its spec."""
    manifest = deployment(subject.namespace, "apart", replicas=1)
    created = await subject.cluster.apply({**manifest, "status": {"replicas": 7}}, manager="demarc")
    assert 7 != created.get("status", {}).get("replicas")
    assert "f:status" not in _owners(created)["demarc"]
    conditions = [{"type": "Available", "status": "True", "reason": "Test", "message": ""}]

    reported = await subject.cluster.apply_status(
        {
            **manifest,
            "spec": {**manifest["spec"], "replicas": 9},
            "status": {"replicas": 1, "conditions": conditions},
        },
        manager="node",
    )
    applied = await subject.cluster.apply(manifest, manager="demarc")

    assert 1 == reported["status"]["replicas"]
    assert 1 == reported["spec"]["replicas"]
    assert 1 == reported["metadata"]["generation"]
    assert reported == applied


async def test_an_unchanged_status_leaves_the_version(subject: Subject) -> None:
    manifest = deployment(subject.namespace, "steady")
    await subject.cluster.apply(manifest, manager="demarc")
    status = {**manifest, "status": {"replicas": 1, "readyReplicas": 1}}
    first = await subject.cluster.apply_status(status, manager="node")

    second = await subject.cluster.apply_status(status, manager="node")

    assert first == second


async def test_conditions_merge_by_type(subject: Subject) -> None:
    manifest = _named(
        subject.namespace,
        "PodDisruptionBudget",
        "policy/v1",
        spec={"maxUnavailable": 1, "selector": {"matchLabels": {"app": "glm"}}},
    )
    await subject.cluster.apply(manifest, manager="demarc")
    counts = {
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "disruptionsAllowed": 0,
        "expectedPods": 0,
    }
    for manager, name in (("first", "A"), ("second", "B")):
        condition = {
            "type": name,
            "status": "True",
            "reason": "Test",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        await subject.cluster.apply_status(
            {**manifest, "status": {**counts, "conditions": [condition]}}, manager=manager
        )

    found = await subject.cluster.get(Ref(POD_DISRUPTION_BUDGET, subject.namespace, "glm"))

    assert found is not None
    assert {"A", "B"} == {item["type"] for item in found["status"]["conditions"]}


async def test_a_status_needs_its_object(subject: Subject) -> None:
    manifest = {**deployment(subject.namespace, "absent"), "status": {"replicas": 1}}

    with pytest.raises(NotFoundError):
        await subject.cluster.apply_status(manifest, manager="node")


async def test_an_apply_can_demand_the_object_that_was_read(subject: Subject) -> None:
    """A report on a deleted object would land on its successor of the same name."""
    first = await subject.cluster.apply(
        config_map(subject.namespace, "same", {"a": "1"}), manager="demarc"
    )
    metadata = first["metadata"]
    await subject.cluster.apply(
        config_map(subject.namespace, "same", {"a": "2"}, uid=metadata["uid"]), manager="demarc"
    )

    for wrong in ({"uid": "another"}, {"resourceVersion": metadata["resourceVersion"]}):
        with pytest.raises(ConflictError):
            await subject.cluster.apply(
                config_map(subject.namespace, "same", {"a": "3"}, **wrong), manager="demarc"
            )
    with pytest.raises(ConflictError):
        await subject.cluster.apply(
            config_map(subject.namespace, "never-there", {"a": "3"}, uid="another"),
            manager="demarc",
        )
