"""Do the merge rules of the store agree with a real API server? Rule by rule, and at random."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from demarc.api.cluster import (
    DATA_RESIDENCY,
    KINDS,
    MODEL_DEPLOYMENT,
    ROUTING_POLICY,
    SITE,
    Cluster,
    ConflictError,
    InvalidError,
    Kind,
    Ref,
)
from demarc.kube.kube_cluster import KubeCluster
from demarc.local import merge_schema
from demarc.local.merge_schema import Place, Shape
from support.apiserver import ApiServer
from support.cluster import MemoryCluster, container, deployment
from support.subjects import Subject, new_namespace

_RECURSIVE = "JSONSchemaProps"
_SHAPES = {"set": Shape.SET, "map": Shape.KEYED, "atomic": Shape.ATOMIC}


@pytest.mark.cluster
@pytest.mark.timeout(90)
async def test_the_merge_rules_are_those_of_the_api_server(apiserver: ApiServer) -> None:
    """A rule that differs gives fields to the wrong owner, in memory alone."""
    definitions = (await apiserver.document("/openapi/v2"))["definitions"]
    roots = {
        (f"{item['group']}/{item['version']}".lstrip("/"), item["kind"]): name
        for name, definition in definitions.items()
        for item in definition.get("x-kubernetes-group-version-kind", ())
    }
    places = merge_schema.of_every_kind()

    differences = [
        f"{kind.name}{difference}"
        for kind in KINDS
        for difference in _differences(
            definitions[roots[kind.api_version, kind.name]], places[kind], definitions, ""
        )
    ]

    assert [] == differences


def _differences(
    schema: Mapping[str, Any], place: Place, definitions: Mapping[str, Any], path: str
) -> Iterator[str]:
    """Every place below `path` whose rule differs; fields that no table names are structs."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name.endswith(_RECURSIVE):
            return
        schema = {**definitions[name], **{k: v for k, v in schema.items() if k != "$ref"}}
    served, keys = _served_shape(schema)
    if served is None or (path.endswith(".managedFields") and served is Shape.ATOMIC):
        return
    local = place.shape
    if served is Shape.ATOMIC and schema.get("type") == "array" and local is Shape.STRUCT:
        return  # the default of the table for a list
    if (served, keys) != (local, frozenset(place.keys)):
        yield f"{path}: {served} {sorted(keys)}, but {local} {sorted(place.keys)}"
        return
    if served is Shape.KEYED:
        yield from _differences(schema["items"], place.item, definitions, f"{path}[]")
    for name, child in schema.get("properties", {}).items():
        if served is Shape.STRUCT:
            yield from _differences(child, place.child(name), definitions, f"{path}.{name}")


def _served_shape(schema: Mapping[str, Any]) -> tuple[Shape | None, frozenset[str]]:
    if schema.get("type") == "array":
        shape = _SHAPES[schema.get("x-kubernetes-list-type", "atomic")]
        return shape, frozenset(schema.get("x-kubernetes-list-map-keys", ()))
    if schema.get("x-kubernetes-map-type") == "atomic":
        return Shape.ATOMIC, frozenset()
    if "additionalProperties" in schema:
        return Shape.MAP, frozenset()
    if "properties" in schema:
        return Shape.STRUCT, frozenset()
    return None, frozenset()


@pytest.mark.cluster
@pytest.mark.timeout(90)
@pytest.mark.parametrize("seed", range(4))
async def test_random_applies_leave_the_same_object_on_both(
    kube_cluster: KubeCluster, seed: int
) -> None:
    """The cases above are those that somebody thought of."""
    memory = MemoryCluster()
    places: dict[Cluster, str] = {
        memory: await new_namespace(memory),
        kube_cluster: await new_namespace(kube_cluster),
    }
    source = random.Random(seed)
    for step in range(40):
        manager = source.choice(("a", "b", "c"))
        force = source.random() < 0.5
        drawn = _drawn_deployment(source)
        outcomes = [
            await _outcome(
                cluster,
                {**drawn, "metadata": {**drawn["metadata"], "namespace": name}},
                manager,
                force=force,
            )
            for cluster, name in places.items()
        ]

        assert outcomes[0] == outcomes[1], f"step {step} by {manager}, force {force}: {drawn}"


def _drawn_deployment(source: random.Random) -> dict[str, Any]:
    def some(names: tuple[str, ...]) -> list[str]:
        return [name for name in names if source.random() < 0.5]

    def value() -> str:
        return source.choice(("1", "2"))

    containers = [
        container(
            name,
            image="image:1",
            env=[{"name": each, "value": value()} for each in some(("A", "B"))],
            ports=[{"containerPort": int(port)} for port in some(("80", "81"))],
            args=some(("--x", "--y")),
        )
        for name in ("main", *some(("one", "two")))
    ]
    manifest = deployment("", "drawn", *containers)
    manifest["metadata"] |= {
        "labels": {each: value() for each in some(("x", "y"))},
        "finalizers": [f"test.dev/{each}" for each in some(("p", "q"))],
    }
    if source.random() < 0.5:
        manifest["spec"]["replicas"] = int(value())
    if source.random() < 0.5:
        manifest["spec"]["template"]["spec"]["tolerations"] = [
            {"key": value(), "operator": "Exists"}
        ]
    return manifest


async def _outcome(
    cluster: Cluster, manifest: Mapping[str, Any], manager: str, *, force: bool
) -> Mapping[str, Any]:
    """What both clusters must agree on: owners, the fields that are owned, or the conflict."""
    try:
        applied = await cluster.apply(manifest, manager=manager, force=force)
    except ConflictError as error:
        return {"conflict": sorted(_paths_in(str(error)))}
    metadata, spec = applied["metadata"], applied["spec"]
    pod = spec["template"]["spec"]
    return {
        "owners": {
            entry["manager"]: entry["fieldsV1"] for entry in metadata.get("managedFields", ())
        },
        "labels": metadata.get("labels", {}),
        "finalizers": metadata.get("finalizers", []),
        "containers": [
            {
                "name": item["name"],
                "env": item.get("env", []),
                "args": item.get("args", []),
                "ports": [port["containerPort"] for port in item.get("ports", ())],
            }
            for item in pod["containers"]
        ],
        "tolerations": pod.get("tolerations", []),
    }


def _paths_in(text: str) -> set[str]:
    words = text.replace("`", " ").replace(",", " ").replace("\n", " ").split()
    return {word for word in words if word.startswith(".")}


def _own(namespace: str) -> dict[Kind, dict[str, Any]]:
    def named(kind: Kind, **fields: Any) -> dict[str, Any]:
        place = {"namespace": namespace} if kind.namespaced else {}
        return {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": {"name": f"own-{namespace}", **place},
            **fields,
        }

    target = {"namespace": namespace, "name": "glm"}
    return {
        SITE: named(
            SITE,
            spec={
                "connection": {"type": "InCluster"},
                "jurisdictions": {"processing": ["CN"], "storage": ["CN"], "control": ["CN"]},
                "network": {"cidrs": ["10.244.0.0/16"]},
            },
        ),
        ROUTING_POLICY: named(
            ROUTING_POLICY,
            spec={
                "clients": [
                    {"name": "sa", "app": "copilot", "serviceAccountRef": {"name": "copilot"}}
                ],
                "models": [{"name": "auto", "targets": [target]}],
                "permit": [{"name": "inside", "scopes": ["Private"], "targets": [target]}],
                "order": "Cheapest",
            },
        ),
        DATA_RESIDENCY: named(
            DATA_RESIDENCY, spec={"floors": [{"name": "hr", "tenants": ["hr"], "level": 4}]}
        ),
    }


@pytest.mark.parametrize("kind", [SITE, ROUTING_POLICY, DATA_RESIDENCY], ids=lambda kind: kind.name)
async def test_our_kinds_keep_spec_and_status_apart(subject: Subject, kind: Kind) -> None:
    manifest = _own(subject.namespace)[kind]
    first = await subject.cluster.apply(manifest, manager="user")
    unchanged = await subject.cluster.apply(manifest, manager="user")
    condition = {
        "type": "Accepted",
        "status": "True",
        "reason": "Accepted",
        "message": "The spec is valid",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }

    reported = await subject.cluster.apply_status(
        {**manifest, "status": {"conditions": [condition]}}, manager="demarc"
    )
    found = await subject.cluster.get(
        Ref(kind, manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"])
    )

    assert first == unchanged
    assert found == reported
    assert 1 == reported["metadata"]["generation"]
    assert [condition] == reported["status"]["conditions"]
    assert manifest["spec"] == reported["spec"]


def _broken_sites(namespace: str) -> dict[str, dict[str, Any]]:
    site = _own(namespace)[SITE]
    spec = site["spec"]
    law = spec["jurisdictions"]

    def changed(**fields: Any) -> dict[str, Any]:
        return {**site, "spec": {**spec, **fields}}

    def ruled(processing: Any) -> dict[str, Any]:
        return changed(jurisdictions={**law, "processing": processing})

    return {
        "a field that is missing": {
            **site,
            "spec": {k: spec[k] for k in ("connection", "network")},
        },
        "a field that nobody knows": changed(scope="Private"),
        "a value that is not offered": changed(connection={"type": "OutOfCluster"}),
        "a list that is empty": ruled([]),
        "a list that is a string": ruled("CN"),
        "a list that is too long": ruled([f"{a}{b}" for a in "ABCDEFGHI" for b in "ABCDEFGHI"]),
        "a string that is too long": changed(network={"cidrs": ["10.244.0.0/16" + "0" * 20]}),
        "a string that does not match": changed(network={"cidrs": ["10.244.0.0"]}),
        "a string that is a number": ruled([156]),
        "a value twice in a set": ruled(["CN", "CN"]),
        "no spec": {name: site[name] for name in ("apiVersion", "kind", "metadata")},
    }


@pytest.mark.parametrize("case", _broken_sites("names-only"))
async def test_what_does_not_fit_its_crd_is_refused(subject: Subject, case: str) -> None:
    with pytest.raises(InvalidError):
        await subject.cluster.apply(_broken_sites(subject.namespace)[case], manager="platform")


async def test_a_row_twice_in_a_policy_is_refused(subject: Subject) -> None:
    manifest = _own(subject.namespace)[DATA_RESIDENCY]
    manifest["spec"]["floors"] *= 2

    with pytest.raises(InvalidError):
        await subject.cluster.apply(manifest, manager="compliance")


async def test_a_number_out_of_its_range_is_refused(subject: Subject) -> None:
    manifest = _own(subject.namespace)[DATA_RESIDENCY]
    manifest["spec"]["floors"][0]["level"] = 6

    with pytest.raises(InvalidError):
        await subject.cluster.apply(manifest, manager="compliance")


async def test_a_status_that_does_not_fit_is_refused(subject: Subject) -> None:
    manifest = _own(subject.namespace)[SITE]
    await subject.cluster.apply(manifest, manager="platform")

    with pytest.raises(InvalidError):
        await subject.cluster.apply_status(
            {**manifest, "status": {"conditions": [{"type": "Ready"}]}}, manager="demarc"
        )


async def test_rows_of_a_policy_merge_by_name(subject: Subject) -> None:
    """One team's row must survive what another team applies."""
    manifest = _own(subject.namespace)[DATA_RESIDENCY]
    await subject.cluster.apply(manifest, manager="compliance")
    row = {"name": "risk", "tenants": ["risk"], "level": 5}

    both = await subject.cluster.apply(
        {**manifest, "spec": {"floors": [row]}}, manager="risk", force=False
    )
    with pytest.raises(ConflictError, match="level"):
        await subject.cluster.apply(
            {**manifest, "spec": {"floors": [{**row, "level": 3}]}}, manager="other", force=False
        )

    assert {"hr", "risk"} == {item["name"] for item in both["spec"]["floors"]}
    assert 2 == both["metadata"]["generation"]


async def test_a_misspelt_restriction_is_kept(subject: Subject) -> None:
    """Pruned by the API server it would vanish; kept it reaches us and is refused."""
    manifest = _own(subject.namespace)[DATA_RESIDENCY]
    manifest["spec"]["florrs"] = [{"name": "all", "level": 5}]

    applied = await subject.cluster.apply(manifest, manager="compliance")

    assert manifest["spec"] == applied["spec"]


def test_every_kind_has_merge_rules() -> None:
    assert set(KINDS) == set(merge_schema.of_every_kind())
    assert MODEL_DEPLOYMENT in merge_schema.of_every_kind()
