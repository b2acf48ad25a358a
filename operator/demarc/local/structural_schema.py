"""Does an object fit the schema of its CRD? What an API server checks without CEL.

Rules in CEL are left out: each of ours has a twin in Python, and Demarc refuses what breaks it.
A field that the schema does not name is kept under `x-kubernetes-preserve-unknown-fields` and
refused elsewhere, as it is in an apply.
Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def problems(value: Any, schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """One sentence for each rule that the value breaks, with the path of the field."""
    match schema["type"]:
        case "object" if isinstance(value, dict):
            yield from _object(value, schema, path)
        case "array" if isinstance(value, list):
            yield from _array(value, schema, path)
        case "string" if isinstance(value, str):
            yield from _string(value, schema, path)
        case "integer" if isinstance(value, int) and not isinstance(value, bool):
            yield from _within(value, schema, path, "minimum", "maximum")
        case wanted:
            yield f"{_shown(path)}: must be of type {wanted}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{_shown(path)}: must be one of {', '.join(map(str, schema['enum']))}"


def _object(value: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}.{name}: required"
    yield from _within(len(value), schema, path, "minProperties", "maxProperties")
    named: Mapping[str, Any] = schema.get("properties", {})
    other = schema.get("additionalProperties")
    # The API server knows metadata better than a CRD does, and whatever else a schema leaves open.
    is_open = not named and other is None
    for name, child in value.items():
        if name in named:
            yield from problems(child, named[name], f"{path}.{name}")
        elif other is not None:
            yield from problems(child, other, f"{path}.{name}")
        elif not is_open and not schema.get("x-kubernetes-preserve-unknown-fields"):
            yield f"{path}.{name}: no such field"


def _array(value: Sequence[Any], schema: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from _within(len(value), schema, path, "minItems", "maxItems")
    for number, item in enumerate(value):
        yield from problems(item, schema["items"], f"{path}[{number}]")
    keys: Sequence[str] = schema.get("x-kubernetes-list-map-keys", ())
    match schema.get("x-kubernetes-list-type"):
        case "set":
            identities = [json.dumps(item, sort_keys=True) for item in value]
        case "map":
            identities = [
                json.dumps([item.get(key) for key in keys])
                for item in value
                if isinstance(item, dict)
            ]
        case _:
            return
    if len(set(identities)) < len(identities):
        yield f"{_shown(path)}: an item is there twice"


def _string(value: str, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from _within(len(value), schema, path, "minLength", "maxLength")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{_shown(path)}: does not match `{schema['pattern']}`"


def _within(size: int, schema: Mapping[str, Any], path: str, low: str, high: str) -> Iterator[str]:
    if low in schema and size < schema[low]:
        yield f"{_shown(path)}: {low} is {schema[low]}"
    if high in schema and size > schema[high]:
        yield f"{_shown(path)}: {high} is {schema[high]}"


def _shown(path: str) -> str:
    return path or "the object"
