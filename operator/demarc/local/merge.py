"""What does an object look like after fields were set or removed? Merging along the merge rules.

Every function returns new values and leaves its arguments as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demarc.local import field_set
from demarc.local.field_set import Field, Fields, Item, Path, Step, Value
from demarc.local.merge_schema import Place, Shape


@dataclass(frozen=True, slots=True)
class Difference:
    """The paths that are new, have another value, or are no longer there."""

    added: Fields
    modified: Fields
    removed: Fields


def merge(live: Any, applied: Any, place: Place) -> Any:
    """The live value with the applied one over it; lists keep the order of the applied one."""
    match live, applied:
        case (dict(), dict()) if place.shape is not Shape.ATOMIC:
            merged = dict(live)
            for name, value in applied.items():
                child = field_set.step_into(place, Field(name))
                merged[name] = merge(live.get(name), value, child)
            return copy.deepcopy(merged)
        case (list(), list()) if place.shape in {Shape.KEYED, Shape.SET}:
            return _merge_lists(live, applied, place)
        case _:
            return copy.deepcopy(applied)


def compare(old: Any, new: Any, place: Place) -> Difference:
    """How two values of one place differ, path by path."""
    collector = _Collector()
    collector.compare(old, new, place, ())
    return Difference(
        added=frozenset(collector.added),
        modified=frozenset(collector.modified),
        removed=frozenset(collector.removed),
    )


def without_empty(value: Any, place: Place) -> Any:
    """The value without empty lists and maps inside, which the built-in types do not hold.

    An empty struct stays: `emptyDir: {}` says something.
    """
    match value:
        case dict() if place.shape is Shape.STRUCT:
            return {
                name: without_empty(child, place.child(name))
                for name, child in value.items()
                if child or not (isinstance(child, list) or place.child(name).shape is Shape.MAP)
            }
        case list() if place.shape is Shape.KEYED:
            return [without_empty(item, place.item) for item in value]
        case _:
            return value


def remove(value: Any, fields: Fields, place: Place) -> Any:
    """The value without the given paths; an object or list that this empties goes too."""
    if not fields:
        return copy.deepcopy(value)
    below = _by_first_step(fields)
    match value:
        case dict() if place.shape is not Shape.ATOMIC:
            kept: dict[str, Any] = {}
            for name, child in value.items():
                step = Field(name)
                if (step,) in fields:
                    continue
                inner = below.get(step, frozenset())
                rest = remove(child, inner, field_set.step_into(place, step))
                if not (inner and child and _is_empty(rest)):
                    kept[name] = rest
            return kept
        case list() if place.shape in {Shape.KEYED, Shape.SET}:
            return [
                remove(item, below.get(step, frozenset()), place.item)
                for step, item in _steps(value, place)
                if (step,) not in fields
            ]
        case _:
            return copy.deepcopy(value)


def _merge_lists(live: Sequence[Any], applied: Sequence[Any], place: Place) -> list[Any]:
    """Items of both lists: shared ones in the applied order, others where they stood.

    What only the live list has comes as soon as the live order reaches it; what only the applied
    list has comes when both orders wait for the same shared item, or at the end.
    """
    before = dict(_steps(live, place))
    wanted = dict(_steps(applied, place))
    merged: dict[Step, Any] = {}
    waiting = list(wanted)

    def take() -> None:
        step = waiting.pop(0)
        merged[step] = merge(before.get(step), wanted[step], place.item)

    for step, item in before.items():
        if step not in wanted:
            merged[step] = item
            continue
        if step != next((other for other in waiting if other in before), None):
            continue  # taken already, or taken later in the applied order
        while step not in merged:
            take()
    while waiting:
        take()
    return copy.deepcopy(list(merged.values()))


def _steps(items: Sequence[Any], place: Place) -> list[tuple[Step, Any]]:
    if place.shape is Shape.SET:
        return [(Value(item), item) for item in items]
    return [(field_set.item_step(item, place), item) for item in items]


def _by_first_step(fields: Fields) -> Mapping[Step, Fields]:
    grouped: dict[Step, set[Path]] = {}
    for path in fields:
        if len(path) > 1:
            grouped.setdefault(path[0], set()).add(path[1:])
    return {step: frozenset(paths) for step, paths in grouped.items()}


class _Collector:
    """Walks two values side by side and keeps what differs."""

    def __init__(self) -> None:
        self.added: set[Path] = set()
        self.modified: set[Path] = set()
        self.removed: set[Path] = set()

    def compare(self, old: Any, new: Any, place: Place, path: Path) -> None:
        match old, new:
            case (dict(), dict()) if place.shape is not Shape.ATOMIC:
                before = {Field(name): value for name, value in old.items()}
                after = {Field(name): value for name, value in new.items()}
                self._compare_children(before, after, place, path)
            case (list(), list()) if place.shape in {Shape.KEYED, Shape.SET}:
                self._compare_children(
                    dict(_steps(old, place)), dict(_steps(new, place)), place, path
                )
            case _ if old != new:
                self.modified.add(path)
            case _:
                pass

    def _compare_children(
        self, before: Mapping[Any, Any], after: Mapping[Any, Any], place: Place, path: Path
    ) -> None:
        for step in before.keys() | after.keys():
            here: Path = (*path, step)
            child = field_set.step_into(place, step)
            if step not in before:
                self.added |= _stated(after[step], child, here)
            elif step not in after:
                self.removed |= _stated(before[step], child, here)
            else:
                self.compare(before[step], after[step], child, here)


def _stated(value: Any, place: Place, path: Path) -> Fields:
    """The paths of a value that stands at `path`, with everything on the way to them.

    An owner of an empty object owns `path` itself, and loses it when somebody fills the object.
    """
    stated = field_set.of(value, place, path)
    inner = {other[:length] for other in stated for length in range(len(path), len(other))}
    return stated | inner | ({path} if isinstance(path[-1], Item) else frozenset())


def _is_empty(value: Any) -> bool:
    return isinstance(value, dict | list) and not value
