from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import pytest
import yaml
from pydantic import Field, StringConstraints

from demarc.api import crd
from demarc.api.crd import SchemaError
from demarc.api.schema import ApiModel, AtomicList, MapList, SetList
from demarc.api.v1alpha1.common import Object

SPECS = {each.kind.name: crd.schema(each.model) for each in crd.DEFINITIONS}


def nodes(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every node of a schema with its path."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield from nodes(schema[inner], f"{path}[]")


@pytest.mark.parametrize("kind", SPECS)
def test_every_node_is_structural_and_bounded(kind: str) -> None:
    """A value of any size is stored, or the schema is no structural one."""
    for path, node in nodes(SPECS[kind]):
        assert set(node).isdisjoint({"title", "default", "$ref", "anyOf", "const", "oneOf"}), path
        match node["type"]:
            case "array":
                assert "maxItems" in node, path
                assert node["x-kubernetes-list-type"] in ("map", "set", "atomic"), path
            case "string":
                assert {"maxLength", "enum"} & set(node) or node["format"] == "date-time", path
            case "object":
                assert "properties" in node or "maxProperties" in node or path == ".metadata", path
            case other:
                assert "integer" == other, path


@pytest.mark.parametrize("kind", SPECS)
def test_every_field_has_a_description(kind: str) -> None:
    """`kubectl explain` has nothing to say."""
    for path, node in nodes(SPECS[kind]):
        if path not in ("", ".metadata") and not path.endswith("[]"):
            assert node["description"], path


@pytest.mark.parametrize("kind", SPECS)
def test_the_policy_kinds_keep_what_they_do_not_know(kind: str) -> None:
    """A misspelt restriction is pruned instead of refused."""
    for path, node in nodes(SPECS[kind]):
        keeps = node.get("x-kubernetes-preserve-unknown-fields", False)
        is_object = node["type"] == "object" and "properties" in node

        assert keeps == (kind in ("RoutingPolicy", "DataResidency") and is_object), path


@pytest.mark.parametrize("kind", ["RoutingPolicy", "DataResidency"])
def test_the_policy_kinds_keep_what_is_stated_and_empty(kind: str) -> None:
    """`when:` without a value is dropped, and the row is for every request."""
    for path, node in nodes(SPECS[kind]["properties"]["spec"]):
        for name, field in node.get("properties", {}).items():
            optional = name not in node.get("required", ())

            assert field.get("nullable", False) == optional, f"{path}.{name}"


def test_files_are_valid_yaml_without_anchors() -> None:
    """A file says something that its reader does not see."""
    for name, text in crd.crds().items():
        manifest = yaml.safe_load(text)

        assert f"{manifest['spec']['group']}_{manifest['spec']['names']['plural']}.yaml" == name
        assert "&id" not in text
        assert text.startswith("# Written by tools/generate.py")


def test_only_a_deployment_scales() -> None:
    """An autoscaler finds no scale, or one where none is read."""
    scales = {
        each.kind.name: crd.manifest(each)["spec"]["versions"][0]["subresources"].get("scale")
        for each in crd.DEFINITIONS
    }

    assert {
        "Site": None,
        "ModelDeployment": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
        "RoutingPolicy": None,
        "DataResidency": None,
    } == scales


class _Item(ApiModel):
    """An item."""

    name: Annotated[str, StringConstraints(max_length=3)] | None = None
    """A name."""


class _Base(Object):
    """A kind."""

    kind: Literal["Odd"]
    """Always Odd."""


class _Unbounded(_Base):
    spec: str
    """No bound."""


class _Unmarked(_Base):
    spec: Annotated[tuple[int, ...], Field(max_length=1)]
    """No marker."""


class _Endless(_Base):
    spec: Annotated[tuple[int, ...], AtomicList()]
    """No bound."""


class _Float(_Base):
    spec: float
    """No CRD type of ours."""


class _Union(_Base):
    spec: int | _Item
    """Two types."""


class _OptionalKey(_Base):
    spec: Annotated[tuple[_Item, ...], Field(max_length=1), MapList(("name",))]
    """Keyed by a field that may be absent."""


class _FreeMap(_Base):
    spec: Annotated[dict[str, str], Field(max_length=1)]
    """Keys of any form."""


class _Multiple(_Base):
    spec: Annotated[int, Field(multiple_of=2)]
    """A keyword that we do not render."""


class _Scalars(_Base):
    keeps_unknown_fields: ClassVar[bool] = False
    spec: Annotated[tuple[Literal["a"], ...], Field(max_length=1), SetList()]
    """Fine."""


REFUSED: Mapping[type[Object], str] = {
    _Unbounded: "_Unbounded.spec: a string needs a bound (max_length)",
    _Unmarked: "_Unmarked.spec: a list needs a marker: MapList, SetList or AtomicList",
    _Endless: "_Endless.spec: a list needs a bound (max_length)",
    _Float: "_Float.spec: a CRD field cannot have type `number`",
    _Union: "_Union.spec: a CRD field has one type, or is absent",
    _OptionalKey: "_OptionalKey.spec: key name must be required",
    _FreeMap: "_FreeMap.spec: a map has one pattern for its keys, and a bound",
    _Multiple: "_Multiple.spec: a CRD has no multipleOf",
}


@pytest.mark.parametrize("model", REFUSED)
def test_what_a_crd_cannot_say_is_an_error_that_names_the_field(model: type[Object]) -> None:
    """A restriction of a model is lost in its CRD, silently."""
    with pytest.raises(SchemaError) as caught:
        crd.schema(model)

    assert REFUSED[model] == str(caught.value)


def test_a_constant_becomes_an_enum() -> None:
    """A constant is lost in the CRD."""
    assert ["a"] == crd.schema(_Scalars)["properties"]["spec"]["items"]["enum"]
