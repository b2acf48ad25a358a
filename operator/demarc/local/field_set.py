"""Which fields does a manager own? Sets of paths, and `fieldsV1` as Kubernetes writes it.

A path is a tuple of steps; a step is a named field, an item of a keyed list, or a value of a set.
INVARIANT: `decode(encode(fields)) == fields`.
Source: https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.36/#fieldsv1-v1-meta
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from demarc.local.merge_schema import UNKNOWN, Place, Shape


@dataclass(frozen=True, slots=True)
class Field:
    """A named field of a struct or a key of a map."""

    name: str


@dataclass(frozen=True, slots=True)
class Item:
    """The item of a keyed list that has these key values, sorted by key name."""

    keys: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a set."""

    value: Any


Step: TypeAlias = Field | Item | Value
Path: TypeAlias = tuple[Step, ...]
Fields: TypeAlias = frozenset[Path]


class FieldsError(ValueError):
    """An object or a `fieldsV1` text does not fit the merge rules of its kind."""


def text(path: Path) -> str:
    """A path as the API server writes it in messages: `.spec.ports[port=80].name`."""
    parts: list[str] = []
    for step in path:
        match step:
            case Field(name):
                parts.append(f".{name}")
            case Item(keys):
                inner = ",".join(f"{name}={_compact(value)}" for name, value in keys)
                parts.append(f"[{inner}]")
            case Value(value):
                parts.append(f"[={_compact(value)}]")
    return "".join(parts)


def encode(fields: Fields) -> dict[str, Any]:
    """The `fieldsV1` object of a set of paths."""
    root: dict[str, Any] = {}
    inner = _inner_paths(fields)
    for path in sorted(fields, key=text):
        node = root
        for step in path:
            node = node.setdefault(_encode_step(step), {})
        if path in inner:
            node["."] = {}
    return root


def decode(encoded: Mapping[str, Any]) -> Fields:
    """The set of paths of a `fieldsV1` object; `FieldsError` on a step of no known form."""
    found: set[Path] = set()

    def walk(node: Mapping[str, Any], path: Path) -> None:
        if not node or "." in node:
            found.add(path)
        for key, child in node.items():
            if key != ".":
                walk(child, (*path, _decode_step(key)))

    walk(encoded, ())
    found.discard(())
    return frozenset(found)


def of(value: Any, place: Place, path: Path = ()) -> Fields:
    """Every path that the value at `path` states: its leaves, its items, what is atomic.

    An empty object is stated, an empty keyed list or set is not: so the API server has it.
    """
    found: set[Path] = set()
    _collect(value, place, path, found)
    found.discard(())
    return frozenset(found)


def with_named_parents(fields: Fields, place: Place) -> Fields:
    """The set and every struct field on the way to its members."""
    found = set(fields)
    for path in fields:
        current = place
        for length, step in enumerate(path[:-1], start=1):
            if isinstance(step, Field) and current.shape is not Shape.MAP:
                found.add(path[:length])
            current = step_into(current, step)
    return frozenset(found)


def with_prefixes(fields: Fields) -> Fields:
    """The set and every step on the way to its members."""
    return frozenset(path[:length] for path in fields for length in range(1, len(path) + 1))


def step_into(place: Place, step: Step) -> Place:
    """The merge rule one step further down."""
    match step:
        case Field(name):
            return place.child(name)
        case Item():
            return place.item
        case Value():
            return UNKNOWN


def item_step(item: Any, place: Place) -> Item:
    """The step of an item of a keyed list; `FieldsError` if a key is missing."""
    if not isinstance(item, Mapping):
        raise FieldsError(f"an item is no object, but its list is keyed by {', '.join(place.keys)}")
    keys: list[tuple[str, Any]] = []
    for name in sorted(place.keys):
        if name in item:
            keys.append((name, item[name]))
        elif name in place.defaults:
            keys.append((name, place.defaults[name]))
        else:
            raise FieldsError(f"an item has no `{name}`, which is a key of its list")
    return Item(tuple(keys))


def _collect(value: Any, place: Place, path: Path, found: set[Path]) -> None:
    match value:
        case dict() if value and place.shape is not Shape.ATOMIC:
            for name, child in value.items():
                here = (*path, Field(name))
                if place.shape is Shape.MAP:
                    found.add(here)
                _collect(child, place.child(name), here, found)
        case list() if place.shape is Shape.KEYED:
            for item in value:
                here = (*path, item_step(item, place))
                _no_duplicate(here, found)
                _collect(item, place.item, here, found)
                found.add(here)
        case list() if place.shape is Shape.SET:
            for item in value:
                here = (*path, Value(item))
                _no_duplicate(here, found)
                found.add(here)
        case _:
            found.add(path)


def _no_duplicate(path: Path, found: set[Path]) -> None:
    if path in found:
        raise FieldsError(f"{text(path)}: duplicate entry")


def _inner_paths(fields: Iterable[Path]) -> set[Path]:
    """Members that are items of a keyed list, or that have members below them."""
    parents = {path[:length] for path in fields for length in range(1, len(path))}
    return {path for path in fields if path in parents}


def _encode_step(step: Step) -> str:
    match step:
        case Field(name):
            return f"f:{name}"
        case Item(keys):
            return f"k:{_compact(dict(keys))}"
        case Value(value):
            return f"v:{_compact(value)}"


def _decode_step(key: str) -> Step:
    form, _, rest = key.partition(":")
    match form:
        case "f":
            return Field(rest)
        case "k":
            return Item(tuple(sorted(json.loads(rest).items())))
        case "v":
            return Value(json.loads(rest))
        case _:
            raise FieldsError(f"`{key}` is no step of a fieldsV1 path")


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
