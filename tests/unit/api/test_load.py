from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from demarc.api import load
from demarc.api.cluster import NAMESPACE, SECRET
from demarc.api.load import CoreObject
from demarc.api.problem import Problem
from demarc.api.v1alpha1 import Site
from support import objects

SAMPLE = tuple(yaml.safe_load_all(objects.good()["01-design-sample.yaml"]))
SITE: dict[str, Any] = SAMPLE[0]

REFUSED = {
    "no kind": (
        "apiVersion: v1\nmetadata: {name: a}\n",
        (
            "f:1:1: a: kind: is missing and must be stated: known are Site, ModelDeployment,"
            " RoutingPolicy, DataResidency, Namespace, Secret, ServiceAccount"
        ),
    ),
    "a kind of somebody else": (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n",
        (
            "f:2:1: Deployment a: kind: objects of kind `Deployment` (apps/v1) are not read here:"
            " known are Site, ModelDeployment, RoutingPolicy, DataResidency, Namespace, Secret,"
            " ServiceAccount"
        ),
    ),
    "a misspelt kind": (
        "apiVersion: demarc.dev/v1alpha1\nkind: RoutingPolcy\nmetadata: {name: a}\n",
        (
            "f:2:1: RoutingPolcy a: kind: `RoutingPolcy` is no known kind: did you mean"
            " `RoutingPolicy`?"
        ),
    ),
    "another version": (
        "apiVersion: demarc.dev/v1beta1\nkind: Site\nmetadata: {name: a}\n",
        (
            "f:1:1: Site a: apiVersion: must be demarc.dev/v1alpha1 for kind Site, not"
            " `demarc.dev/v1beta1`"
        ),
    ),
    "no version": (
        "kind: Site\nmetadata: {name: a}\n",
        "f:1:1: Site a: apiVersion: must be demarc.dev/v1alpha1 for kind Site",
    ),
    "no object": ("- a\n- b\n", "f:1:1: an object must hold fields"),
    "text": ("hello\n", "f:1:1: an object must hold fields"),
    "a namespace that has a namespace": (
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n",
        (
            "f:3:21: Namespace b/a: metadata.namespace: must be absent: a Namespace lives in no"
            " namespace: remove it"
        ),
    ),
    "a secret without a namespace": (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n",
        "f:3:1: Secret a: metadata.namespace: is missing: a Secret lives in a namespace: state it",
    ),
    "a misspelt field of a secret": (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: b}\nstringdata: {k: v}\n",
        "f:4:1: Secret b/a: stringdata: there is no such field: did you mean `stringData`?",
    ),
    "a secret without metadata": (
        "apiVersion: v1\nkind: Secret\n",
        "f:1:1: Secret: metadata.namespace: is missing: a Secret lives in a namespace: state it",
    ),
    "a name with capitals": (
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: A_b, namespace: b}\n",
        (
            "f:3:12: ServiceAccount b/A_b: metadata.name: must be lower-case letters, digits and"
            " `-`, with a letter or digit at both ends, in parts joined by `.`"
        ),
    ),
    "labels that are no text": (
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {on-call: yes}}\n",
        "f:3:30: Namespace a: metadata.labels[on-call]: must be text: write it in quotes",
    ),
    "labels that are a list": (
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: [x]}\n",
        "f:3:21: Namespace a: metadata.labels: must hold fields",
    ),
    "a misspelt field of the metadata": (
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labelz: {}}\n",
        "f:3:21: Namespace a: metadata.labelz: there is no such field: did you mean `labels`?",
    ),
    "a duplicate key": (
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, name: b}\n",
        "f:3:21: the key `name` is already in line 3: remove one of the two",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_object_of_ours_is_refused(case: str) -> None:
    """A mistake outside the spec is not found, or its text is of no help."""
    text, want = REFUSED[case]
    _, problems = load.load(text, file="f")

    assert want in [str(each) for each in problems]


SECRETS = {
    "data": "data: {token: 'dmk secret-value'}",
    "number": "stringData: {token: 123454321}",
    "list": "stringData: [secret-value]",
    "key": "stringData: {'a b': secret-value}",
    "duplicate": "stringData: {token: secret-value, token: secret-value}",
    "broken": "stringData: {token: 'secret-value",
    "misspelt": "stringDate: {token: secret-value}",
    "misplaced": "token: secret-value",
}


@pytest.mark.parametrize("case", SECRETS)
def test_no_problem_shows_a_value_of_a_secret(case: str) -> None:
    """A key stands in a terminal or a log."""
    text = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: a, namespace: b}}\n{SECRETS[case]}\n"
    _, problems = load.load(text, file="f")

    assert problems
    for each in problems:
        assert "secret-value" not in repr(each)
        assert "123454321" not in repr(each)


def test_a_core_object_does_not_print_its_content() -> None:
    """A Secret stands in a traceback."""
    text = objects.good()["13-core-objects.yaml"]
    found, _ = load.load(text, file="f")

    assert [NAMESPACE, SECRET] == [found[0].kind, found[2].kind]
    assert "CoreObject(Secret retail/faq-key)" == repr(found[2])
    assert isinstance(found[2], CoreObject)
    assert {"token": "dmk_example_faq"} == found[2].manifest["stringData"]


def test_all_problems_of_all_objects_are_found_at_once() -> None:
    """The second mistake is only seen after the first is repaired."""
    text = "\n---\n".join(case.text for case in objects.bad())
    wanted = [str(each) for case in objects.bad() for each in load.load(case.text, file="")[1]]
    _, problems = load.load(text, file="")

    strip = [each.split(": ", 1)[1] for each in wanted]
    assert strip == [str(each).split(": ", 1)[1] for each in problems]


def test_one_object_twice_is_a_problem_across_files() -> None:
    """The last of two writes wins, and nobody knows which was last."""
    text = yaml.safe_dump(SITE)
    found, problems = load.load_all({"a.yaml": text, "b.yaml": f"# again\n{text}"})

    assert 1 == len(found)
    assert [
        (
            "b.yaml:2:1: Site shanghai-dc: the same object is already in a.yaml:1: remove one of"
            " the two"
        )
    ] == [str(each) for each in problems]


def test_lists_are_unpacked_in_their_place() -> None:
    """The items of a List are not seen, or their lines are lost."""
    item = copy.deepcopy(SITE)
    item["spec"]["connection"]["type"] = "Other"
    text = yaml.safe_dump(
        {"apiVersion": "v1", "kind": "List", "items": [SITE, item]}, sort_keys=False
    )
    found, problems = load.load(text, file="f")

    assert (1, 1) == (len(found), len(problems))
    assert text.splitlines()[problems[0].line - 1].strip() == "type: Other"


def test_a_status_that_nobody_can_read_decides_nothing() -> None:
    """A status of another version makes a valid object invalid."""
    unreadable = {**SITE, "status": {"scope": "Nowhere", "newField": 1}}
    readable = {**SITE, "status": {"scope": "Private"}}

    assert isinstance(load.parse(unreadable), Site)
    found = load.parse(readable)
    assert isinstance(found, Site)
    assert found.status is not None
    [from_file], _ = load.load(yaml.safe_dump(readable), file="f")
    assert isinstance(from_file, Site)
    assert from_file.status is None


def test_metadata_of_a_server_is_no_obstacle() -> None:
    """An object from an API is refused for what the server wrote."""
    manifest = copy.deepcopy(SITE)
    manifest["metadata"] |= {
        "uid": "u",
        "generation": 7,
        "managedFields": [{"manager": "x"}],
        "somethingNew": {"a": None},
        "annotations": {"a": "b"},
    }
    found = load.parse(manifest)

    assert isinstance(found, Site)
    assert ("u", 7, {"a": "b"}) == (
        found.metadata.uid,
        found.metadata.generation,
        found.metadata.annotations,
    )
    assert {"name": "shanghai-dc", "annotations": {"a": "b"}} == found.manifest()["metadata"]


def test_only_our_kinds_are_parsed() -> None:
    """A Secret is taken for a resource."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": "b"}}
    found = load.parse(secret)

    assert isinstance(found, tuple)
    assert ["Secret is no kind of demarc.dev"] == [each.message for each in found]


def test_a_field_in_snake_case_is_unknown() -> None:
    """The Python name of a field is taken, and an API server would drop it."""
    manifest = copy.deepcopy(SITE)
    manifest["spec"]["gpu_pools"] = manifest["spec"].pop("gpuPools")
    found = load.parse(manifest)

    assert isinstance(found, tuple)
    assert ["did you mean `gpuPools`?"] == [each.remedy for each in found]


NULLS = (
    "spec.floors",
    "spec.rules[in-country].legalBasis",
    "spec.rules[in-country].appliesTo.level",
)


@pytest.mark.parametrize("field", NULLS)
def test_a_field_without_a_value_is_refused_wherever_it_is(field: str) -> None:
    """A restriction that is stated and empty restricts nothing, silently."""
    manifest: dict[str, Any] = copy.deepcopy(
        next(each for each in SAMPLE if each["kind"] == "DataResidency")
    )
    rule = manifest["spec"]["rules"][0]
    match field:
        case "spec.floors":
            manifest["spec"]["floors"] = None
        case "spec.rules[in-country].legalBasis":
            rule["legalBasis"] = None
        case _:
            rule["appliesTo"]["level"] = None
    found = load.parse(manifest)

    assert isinstance(found, tuple)
    assert [(field, "is stated and empty")] == [(each.field, each.message) for each in found]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.data())
def test_any_change_of_an_object_is_judged_without_an_exception(data: st.DataObject) -> None:
    """An object ends the operator."""
    manifest = copy.deepcopy(data.draw(st.sampled_from(SAMPLE)))
    for _ in range(data.draw(st.integers(1, 2))):
        _change(manifest, data)
    found = load.parse(manifest)

    if isinstance(found, tuple):
        for each in found:
            assert isinstance(each, Problem)
            assert "\n" not in str(each)
            assert each.message


def _change(manifest: dict[str, Any], data: st.DataObject) -> None:
    """Put any JSON in the place of any value."""
    place: Any = manifest
    while True:
        if isinstance(place, dict) and place:
            keys: list[Any] = sorted(place)
        elif isinstance(place, list) and place:
            keys = list(range(len(place)))
        else:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(JSON)
        return
