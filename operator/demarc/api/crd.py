"""What does an API server have to know of the four kinds? Their CustomResourceDefinitions.

The schemas come from the models: inlined, structural, without defaults. What a CRD cannot say is an
error here and not a silent loss.

INVARIANT: every list has a type and `maxItems`; every string has a bound.
INVARIANT: a policy kind keeps unknown and empty fields on every node, so that a restriction that is
misspelt, or stated without a value, reaches us and is refused instead of being dropped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from demarc.api.cluster import DATA_RESIDENCY, MODEL_DEPLOYMENT, ROUTING_POLICY, SITE, Kind
from demarc.api.v1alpha1.common import Object
from demarc.api.v1alpha1.data_residency import DataResidency
from demarc.api.v1alpha1.model_deployment import ModelDeployment
from demarc.api.v1alpha1.routing_policy import RoutingPolicy
from demarc.api.v1alpha1.site import Site

HEADER = "# Written by tools/generate.py from operator/demarc/api. Change the models instead.\n"

_KEPT = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
)
_READ = ("$ref", "anyOf", "const", "items", "properties", "patternProperties", "propertyNames")
_DROPPED = ("$defs", "title", "default", "additionalProperties", "required")
_API_VERSION = "The version of this object's schema."
_KIND = "The kind of this object."


class SchemaError(Exception):
    """A model says something that a CRD cannot; the text holds the path of the field."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; a wide one is shown with `-o wide` only."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Definition:
    """What a CRD says beside the schema."""

    kind: Kind
    model: type[Object]
    short_name: str
    columns: tuple[Column, ...]
    scales: bool = False

    @property
    def name(self) -> str:
        """Name of the CRD."""
        return f"{self.kind.plural}.{self.kind.group}"


def _condition(kind: str) -> Column:
    path = f'.status.conditions[?(@.type=="{kind}")].status'
    return Column(kind, path, f"Status of the condition {kind}.")


# A column shows the first value that its path finds, and paths cannot count: what sums up a list
# stands in the status.
_REASON = Column(
    "Reason", '.status.conditions[?(@.type=="Ready")].reason', "Reason of the condition Ready."
)
_URL = Column("URL", ".status.url", "Base URL of the gateway's OpenAI API.", wide=True)
_EPOCH = Column("Epoch", ".status.epoch", "First epoch that holds this generation.")
_AGE = Column("Age", ".metadata.creationTimestamp", "Time since creation.", type="date")
_CONDITIONS = (_condition("Accepted"), _condition("Programmed"), _condition("Ready"), _REASON)

DEFINITIONS = (
    Definition(
        SITE,
        Site,
        "dsite",
        (
            Column("Scope", ".status.scope", "Private or Public, derived from the connection."),
            Column("Processing", ".spec.jurisdictions.processing", "Where prompts are computed."),
            Column("GPUs", ".status.gpus", "GPUs in use of those observed."),
            *_CONDITIONS,
            _AGE,
        ),
    ),
    Definition(
        MODEL_DEPLOYMENT,
        ModelDeployment,
        "dmd",
        (
            Column("Model", ".spec.model.servedName", "Name under which the model is served."),
            Column("Sites", ".status.sites", "Sites it is wanted on."),
            Column("Serving", ".status.serving", "Ready replicas of those wanted."),
            *_CONDITIONS,
            _URL,
            _AGE,
        ),
        scales=True,
    ),
    Definition(
        ROUTING_POLICY,
        RoutingPolicy,
        "rpol",
        (
            Column("Clients", ".status.clients", "Clients that are declared.", type="integer"),
            Column("Models", ".status.models", "Model names that are offered.", type="integer"),
            _EPOCH,
            *_CONDITIONS,
            _URL,
            _AGE,
        ),
    ),
    Definition(
        DATA_RESIDENCY,
        DataResidency,
        "dres",
        (
            Column("Rules", ".status.rules", "Restrictions that are stated.", type="integer"),
            Column(
                "Registrations",
                ".status.registrations",
                "Apps that are registered.",
                type="integer",
            ),
            _EPOCH,
            *_CONDITIONS,
            _AGE,
        ),
    ),
)


def crds() -> Mapping[str, str]:
    """The CRDs as YAML, by file name: `demarc.dev_sites.yaml` and its three siblings.

    Raises:
        SchemaError: a model says something that a CRD cannot.
    """
    return {
        f"{definition.kind.group}_{definition.kind.plural}.yaml": HEADER
        + yaml.dump(
            manifest(definition), Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True
        )
        for definition in DEFINITIONS
    }


def manifest(definition: Definition) -> dict[str, Any]:
    """One CustomResourceDefinition as JSON values."""
    kind = definition.kind
    version: dict[str, Any] = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema(definition.model)},
        "additionalPrinterColumns": [_column(column) for column in definition.columns],
        "subresources": {"status": {}},
    }
    if definition.scales:
        version["subresources"]["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": definition.name},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [definition.short_name],
                "categories": ["demarc"],
            },
            "versions": [version],
        },
    }


def schema(model: type[Object]) -> dict[str, Any]:
    """The structural schema of a kind.

    Raises:
        SchemaError: the model says something that a CRD cannot.
    """
    whole = model.model_json_schema(by_alias=True, mode="validation")
    rendering = _Rendering(whole.get("$defs", {}), keeps_unknown=model.keeps_unknown_fields)
    # metadata is the API server's: a schema may name it and say no more
    properties = {
        "apiVersion": {"type": "string", "maxLength": 63, "description": _API_VERSION},
        "kind": {"type": "string", "maxLength": 63, "description": _KIND},
        "metadata": {"type": "object"},
    }
    own = {key: value for key, value in whole["properties"].items() if key not in properties}
    result = rendering.node({**whole, "properties": own}, model.__name__)
    result["properties"] = properties | result["properties"]
    result["required"] = ["metadata", "spec"]
    return result


@dataclass(frozen=True, slots=True)
class _Rendering:
    definitions: Mapping[str, Any]
    keeps_unknown: bool

    def node(self, source: Mapping[str, Any], path: str) -> dict[str, Any]:
        source = self._plain(source, path)
        unread = set(source).difference(_KEPT, _READ, _DROPPED)
        if unread:
            raise SchemaError(f"{path}: a CRD has no {', '.join(sorted(unread))}")
        result = {key: source[key] for key in _KEPT if key in source}
        if "const" in source:
            result["enum"] = [source["const"]]
        match source.get("type"):
            case "object":
                self._object(source, result, path)
            case "array":
                self._array(source, result, path)
            case "string":
                _check_string(result, path)
            case "integer":
                pass
            case other:
                raise SchemaError(f"{path}: a CRD field cannot have type `{other}`")
        return result

    def _plain(self, source: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        """`source` with `$ref` inlined and `X | None` folded; outer words win."""
        while "$ref" in source or "anyOf" in source:
            outer = {key: value for key, value in source.items() if key not in ("$ref", "anyOf")}
            if "$ref" in source:
                inner = self.definitions[source["$ref"].removeprefix("#/$defs/")]
            else:
                members = [each for each in source["anyOf"] if each.get("type") != "null"]
                if len(members) != 1:
                    raise SchemaError(f"{path}: a CRD field has one type, or is absent")
                inner = members[0]
            source = {**inner, **outer}
        return source

    def _object(self, source: Mapping[str, Any], result: dict[str, Any], path: str) -> None:
        if "properties" not in source:
            self._map(source, result, path)
            return
        result["properties"] = {
            name: self.node(field, f"{path}.{name}") for name, field in source["properties"].items()
        }
        if required := source.get("required"):
            result["required"] = [name for name in required if name in source["properties"]]
        if self.keeps_unknown:
            result["x-kubernetes-preserve-unknown-fields"] = True
        if self.keeps_unknown and ".spec" in path:
            # without this a server drops `when: null` silently, and the row is for every request
            for name in set(result["properties"]).difference(result.get("required", ())):
                result["properties"][name]["nullable"] = True

    def _map(self, source: Mapping[str, Any], result: dict[str, Any], path: str) -> None:
        patterns = source.get("patternProperties", {})
        if len(patterns) != 1 or "maxProperties" not in source:
            raise SchemaError(f"{path}: a map has one pattern for its keys, and a bound")
        [(pattern, value)] = patterns.items()
        result["additionalProperties"] = self.node(value, f"{path}[]")
        names = source.get("propertyNames", {})
        quoted = json.dumps(pattern)
        result["x-kubernetes-validations"] = [
            {
                "rule": f"self.all(k, size(k) <= {names['maxLength']} && k.matches({quoted}))",
                "message": "each key must be a label key",
            }
        ]

    def _array(self, source: Mapping[str, Any], result: dict[str, Any], path: str) -> None:
        if "maxItems" not in source:
            raise SchemaError(f"{path}: a list needs a bound (max_length)")
        if "x-kubernetes-list-type" not in source:
            raise SchemaError(f"{path}: a list needs a marker: MapList, SetList or AtomicList")
        result["items"] = self.node(source["items"], f"{path}[]")
        required = result["items"].get("required", ())
        if missing := set(source.get("x-kubernetes-list-map-keys", ())).difference(required):
            raise SchemaError(f"{path}: key {', '.join(sorted(missing))} must be required")


def _check_string(result: Mapping[str, Any], path: str) -> None:
    if not {"maxLength", "enum"} & set(result) and result.get("format") != "date-time":
        raise SchemaError(f"{path}: a string needs a bound (max_length)")


def _column(column: Column) -> dict[str, Any]:
    rendered: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "description": column.description,
        "jsonPath": column.path,
    }
    return rendered | ({"priority": 1} if column.wide else {})


class _Dumper(yaml.SafeDumper):
    """Writes equal values twice instead of as an anchor, which nobody could read."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # the base class calls it
        return True
