"""Does a real API server take our CRDs, and refuse or keep each bad object as we say?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from demarc.api import crd, load
from support import objects
from support.apiserver import ApiServer
from support.objects import Case
from support.raw_api import Answer, RawApi, collection, raw_api

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(90)]

_SECONDS = 20.0
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_MERGE = "application/merge-patch+json"
_NAMESPACES = ("crd-models", "crd-retail")


@pytest.fixture(scope="module")
def api(apiserver: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> RawApi:
    """A client, and CRDs that are served."""
    client = raw_api(apiserver, tmp_path_factory.mktemp("client"))
    for definition in crd.DEFINITIONS:
        _wait_until_established(client, definition.name)
    for name in _NAMESPACES:
        client.send("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    return client


@pytest.fixture
def sample(api: RawApi) -> Iterator[Mapping[str, dict[str, Any]]]:
    """The objects of the design's sample, in namespaces of this module, by kind and name."""
    text = objects.good()["01-design-sample.yaml"]
    manifests = list[dict[str, Any]](yaml.safe_load_all(text))
    for manifest in manifests:
        metadata = manifest["metadata"]
        metadata["name"] = f"crd-{metadata['name']}"
        if "namespace" in metadata:
            metadata["namespace"] = f"crd-{metadata['namespace']}"
        answer = api.send("POST", f"{collection(manifest)}?fieldValidation=Strict", manifest)
        assert (answer.status, answer.warnings) == (201, ()), answer.body
    yield {f"{each['kind']}/{each['metadata']['name']}": each for each in manifests}
    for manifest in manifests:
        api.send("DELETE", _path(manifest))


@pytest.mark.parametrize("definition", crd.DEFINITIONS, ids=lambda each: each.kind.name)
def test_a_crd_is_established_and_structural(api: RawApi, definition: crd.Definition) -> None:
    """The server serves less than the CRD says, or warns about it."""
    found = api.send("GET", f"{_CRDS}/{definition.name}").body["status"]
    again = api.send(
        "PATCH",
        f"{_CRDS}/{definition.name}?fieldManager=check&force=true&dryRun=All",
        crd.manifest(definition),
        content_type="application/apply-patch+yaml",
    )

    conditions = {each["type"]: each["status"] for each in found["conditions"]}
    assert (
        {"NamesAccepted": "True", "Established": "True"},
        200,
        (),
    ) == (conditions, again.status, again.warnings)


@pytest.mark.parametrize("name", objects.good())
def test_a_good_object_is_taken(api: RawApi, name: str) -> None:
    """The server refuses what we accept, prunes it, or hands it back changed."""
    for loaded in load.load(objects.good()[name], file=name)[0]:
        if isinstance(loaded, load.CoreObject):
            continue
        manifest = _dry(loaded.manifest())
        answer = api.send("POST", _strict(manifest), manifest)

        assert (answer.status, answer.warnings) == (201, ()), answer.body
        found = load.parse(answer.body)
        assert not isinstance(found, tuple), found
        assert loaded.spec == found.spec


@pytest.mark.parametrize("case", objects.bad(), ids=lambda case: case.name)
def test_a_bad_object_is_refused_or_kept_for_us(api: RawApi, case: Case) -> None:
    """A mistake is dropped by the server, so that nobody refuses it."""
    manifest = _dry(case.manifest)
    answer = api.send("POST", _strict(manifest), manifest)

    if answer.status == 201:
        assert isinstance(load.parse(answer.body), tuple)
    case.check("server", _outcome(answer))


def test_a_misspelt_restriction_in_a_raw_patch_is_kept_and_refused_by_us(
    api: RawApi, sample: Mapping[str, dict[str, Any]]
) -> None:
    """A restriction was dropped between the user and us."""
    residency = sample["DataResidency/crd-cn-bank"]
    rules = [dict(each) for each in residency["spec"]["rules"]]
    rules[0]["appliesTo"] = {"level": {"atLeast": 3}, "origns": {"hasAny": ["CN"]}}
    answer = api.send("PATCH", _path(residency), {"spec": {"rules": rules}}, content_type=_MERGE)

    found = load.parse(answer.body)
    assert answer.status == 200
    assert isinstance(found, tuple)
    assert ["spec.rules[in-country].appliesTo.origns"] == [each.field for each in found]


@pytest.mark.parametrize("field", ["when", "levell"])
def test_an_empty_or_unknown_condition_of_a_permit_is_kept_by_server_side_apply(
    api: RawApi, sample: Mapping[str, dict[str, Any]], field: str
) -> None:
    """A permit row for some requests became one for all of them."""
    policy = sample["RoutingPolicy/crd-chat"]
    row = {**policy["spec"]["permit"][0], field: None if field == "when" else {"atMost": 2}}
    spec = {**policy["spec"], "permit": [row]}
    answer = api.send(
        "PATCH",
        f"{_path(policy)}?fieldManager=user&force=true",
        {**policy, "spec": spec},
        content_type="application/apply-patch+yaml",
    )

    found = load.parse(answer.body)
    assert answer.status == 200, answer.body
    assert isinstance(found, tuple)
    assert [f"spec.permit[inside].{field}"] == [each.field for each in found]


def test_a_misspelt_field_of_a_platform_kind_is_refused_when_written_strictly(
    api: RawApi, sample: Mapping[str, dict[str, Any]]
) -> None:
    """kubectl's own check does not see our schema."""
    deployment = sample["ModelDeployment/crd-glm-4-air"]
    answer = api.send(
        "PATCH",
        f"{_path(deployment)}?fieldValidation=Strict",
        {"spec": {"allowedTenant": ["retail"]}},
        content_type=_MERGE,
    )

    assert 422 == answer.status
    assert 'unknown field "spec.allowedTenant"' in answer.body["message"]


def test_the_scale_subresource_writes_replicas_and_reads_the_status(
    api: RawApi, sample: Mapping[str, dict[str, Any]]
) -> None:
    """An autoscaler cannot scale, or sees other replicas than we report."""
    path = _path(sample["ModelDeployment/crd-glm-4-air"])
    status = {"replicas": 2, "selector": "app.kubernetes.io/instance=glm-4-air"}
    api.send("PATCH", f"{path}/status", {"status": status}, content_type=_MERGE)
    scaled = api.send("PATCH", f"{path}/scale", {"spec": {"replicas": 3}}, content_type=_MERGE)
    found = api.send("GET", path).body

    assert (200, {"replicas": 3}, status) == (
        scaled.status,
        scaled.body["spec"],
        scaled.body["status"],
    )
    assert (3, 2) == (found["spec"]["replicas"], found["metadata"]["generation"])


def test_a_status_write_leaves_the_generation(
    api: RawApi, sample: Mapping[str, dict[str, Any]]
) -> None:
    """A status would wake the operator that wrote it, or let a user write a status."""
    site = sample["Site/crd-shanghai-dc"]
    path = _path(site)
    body = {"status": {"scope": "Private"}, "spec": {"gpuPools": []}}
    through_status = api.send("PATCH", f"{path}/status", body, content_type=_MERGE).body
    through_spec = api.send(
        "PATCH", path, {"status": {"scope": "Public"}}, content_type=_MERGE
    ).body

    assert (1, "Private", 1) == (
        through_status["metadata"]["generation"],
        through_spec["status"]["scope"],
        len(through_spec["spec"]["gpuPools"]),
    )


_STATUS: Mapping[str, Mapping[str, Any]] = {
    "Site": {"scope": "Private", "gpus": "8/32"},
    "ModelDeployment": {"sites": "shanghai-dc,cloud-sg", "serving": "2/3", "url": "https://gw/v1"},
    "RoutingPolicy": {"clients": 2, "models": 1, "epoch": "1.7", "url": "https://gw/v1"},
    "DataResidency": {"rules": 1, "registrations": 1, "epoch": "1.7"},
}
_CONDITIONS = [
    {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T12:00:00Z",
    }
    for kind, status, reason in (
        ("Accepted", "True", "Accepted"),
        ("Programmed", "True", "Programmed"),
        ("Ready", "False", "PartlyReady"),
    )
]
_ROWS = {
    "Site/crd-shanghai-dc": ("Private", '["CN"]', "8/32"),
    "ModelDeployment/crd-glm-4-air": ("glm-4.5-air", "shanghai-dc,cloud-sg", "2/3"),
    "RoutingPolicy/crd-chat": (2, 1, "1.7"),
    "DataResidency/crd-cn-bank": (1, 1, "1.7"),
}


@pytest.mark.parametrize("address", _ROWS)
def test_kubectl_get_tells_the_story(
    api: RawApi, sample: Mapping[str, dict[str, Any]], address: str
) -> None:
    """A column is empty although the status has its value."""
    manifest = sample[address]
    status = {**_STATUS[manifest["kind"]], "conditions": _CONDITIONS}
    written = api.send(
        "PATCH", f"{_path(manifest)}/status", {"status": status}, content_type=_MERGE
    )
    table = api.send("GET", _path(manifest), accept=_TABLE).body

    names = [column["name"] for column in table["columnDefinitions"]]
    row = dict(zip(names, table["rows"][0]["cells"], strict=True))
    definition = next(each for each in crd.DEFINITIONS if each.kind.name == manifest["kind"])
    assert (200, ["Name", *(column.name for column in definition.columns)]) == (
        written.status,
        names,
    )
    assert (*_ROWS[address], "True", "True", "False", "PartlyReady") == tuple(
        row[name] for name in names[1:8]
    )
    assert all(row[name] for name in names), row


def test_the_short_names_and_the_category_are_served(api: RawApi) -> None:
    """`kubectl get dmd` or `kubectl get demarc` finds nothing."""
    resources = api.send("GET", "/apis/demarc.dev/v1alpha1").body["resources"]

    found = {
        each["name"]: (tuple(each["shortNames"]), tuple(each["categories"]))
        for each in resources
        if "/" not in each["name"]
    }
    assert {
        "sites": (("dsite",), ("demarc",)),
        "modeldeployments": (("dmd",), ("demarc",)),
        "routingpolicies": (("rpol",), ("demarc",)),
        "dataresidencies": (("dres",), ("demarc",)),
    } == found


def _wait_until_established(api: RawApi, name: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        status = api.send("GET", f"{_CRDS}/{name}").body.get("status", {})
        conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
        if conditions.get("Established") == "True":
            return
        time.sleep(0.02)
    pytest.fail(f"{name} was not established after {_SECONDS:.0f} s")


def _path(manifest: Mapping[str, Any]) -> str:
    return f"{collection(manifest)}/{manifest['metadata']['name']}"


def _strict(manifest: Mapping[str, Any]) -> str:
    return f"{collection(manifest)}?dryRun=All&fieldValidation=Strict"


def _dry(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The object in a namespace of this module, under a name that nobody has."""
    metadata = dict(manifest["metadata"])
    if "namespace" in metadata:
        metadata["namespace"] = _NAMESPACES[0]
    if len(metadata["name"]) <= 40:
        metadata["name"] = f"dry-{metadata['name']}"
    return {**manifest, "metadata": metadata}


def _outcome(answer: Answer) -> Any:
    """`Keeps`, or what the server refuses, in the words that outlive its versions."""
    if answer.status == 201:
        return "Keeps"
    causes = answer.body.get("details", {}).get("causes", ())
    if not causes:
        return {"Refuses": [answer.body["message"].rpartition(": ")[2]]}
    return {
        "Refuses": [
            _cause(each)
            for each in causes
            if "some validation rules were not checked" not in each["message"]
        ]
    }


def _cause(cause: Mapping[str, str]) -> str:
    message = cause["message"].removeprefix("Invalid value: ")
    field = "" if cause["field"] == "<nil>" else f"{cause['field']}: "
    return f"{field}{message if message in _MESSAGES else cause['reason']}"


def _messages(schema: Any) -> Iterator[str]:
    match schema:
        case Mapping():
            yield from (rule["message"] for rule in schema.get("x-kubernetes-validations", ()))
            for value in schema.values():
                yield from _messages(value)
        case list():
            for item in schema:
                yield from _messages(item)
        case _:
            return


_MESSAGES = frozenset(
    message for each in crd.DEFINITIONS for message in _messages(crd.schema(each.model))
)
