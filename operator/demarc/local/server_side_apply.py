"""What does an apply by one field manager make of an object? Merge, ownership, conflicts, removal.

1. The applied fields are laid over the live object.
2. A field that this changes and that another manager owns is a conflict; with `force` it changes
   hands.
3. A field that the manager sent last time, sends no longer and shares with nobody is removed.
INVARIANT: an object in which every manager applies again what it applied last is unchanged.
Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demarc.api.cluster import ConflictError
from demarc.local import field_set, merge
from demarc.local.field_set import Field, Fields
from demarc.local.merge_schema import Place

_UNOWNED = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)
"""Fields of `metadata` that belong to the API server."""


@dataclass(frozen=True, slots=True, order=True)
class Manager:
    """Who owns fields: one entry of `metadata.managedFields`."""

    name: str
    operation: str = "Apply"
    subresource: str = ""


_BEFORE_FIRST_APPLY = Manager("before-first-apply", operation="Update")
"""The owner of what an object held before anybody owned a part of it."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The outcome of an apply.

    Attributes:
        object: the object without `metadata.managedFields`.
        owners: what each manager owns; a manager of nothing is left out.
    """

    object: dict[str, Any]
    owners: Mapping[Manager, Fields]


def owners_of(manifest: Mapping[str, Any]) -> dict[Manager, Fields]:
    """What each manager owns in a stored object."""
    found: dict[Manager, Fields] = {}
    for entry in manifest["metadata"].get("managedFields", ()):
        manager = Manager(entry["manager"], entry["operation"], str(entry.get("subresource", "")))
        found[manager] = found.get(manager, frozenset()) | field_set.decode(entry["fieldsV1"])
    return found


def managed_fields(
    applied: Applied, before: Sequence[Mapping[str, Any]], *, now: str
) -> list[dict[str, Any]]:
    """The `metadata.managedFields` entries; an unchanged owner keeps the time it had."""
    api_version = applied.object["apiVersion"]
    earlier = {
        Manager(entry["manager"], entry["operation"], str(entry.get("subresource", ""))): entry
        for entry in before
    }
    entries: list[dict[str, Any]] = []
    for manager, fields in applied.owners.items():
        encoded = field_set.encode(fields)
        known = earlier.get(manager)
        entry: dict[str, Any] = {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": known["apiVersion"] if known else api_version,
            "time": known["time"] if known and known["fieldsV1"] == encoded else now,
            "fieldsType": "FieldsV1",
            "fieldsV1": encoded,
        }
        if manager.subresource:
            entry["subresource"] = manager.subresource
        entries.append(entry)
    return sorted(entries, key=_entry_order)


def apply(
    live: Mapping[str, Any] | None,
    wanted: Mapping[str, Any],
    *,
    manager: Manager,
    place: Place,
    force: bool,
) -> Applied:
    """Apply `wanted` to the live object, or to nothing.

    `ConflictError` names each field that another manager owns and that would change;
    `FieldsError` says what in `wanted` does not fit the merge rules.
    """
    current = _without_managed_fields(live) if live is not None else {}
    owners = owners_of(live) if live is not None else {}
    if live is not None and not owners:
        before = _owned(current, place)
        owners = {_BEFORE_FIRST_APPLY: before} if before else {}
    sent = _owned(wanted, place)
    merged = merge.merge(current, dict(wanted), place)
    difference = merge.compare(current, merged, place)
    changed = difference.added | difference.modified

    others = {owner: fields for owner, fields in owners.items() if owner != manager}
    conflicts = {owner: taken for owner, fields in others.items() if (taken := fields & changed)}
    if conflicts and not force:
        raise ConflictError(_conflict_text(conflicts))
    kept = {owner: fields - conflicts.get(owner, frozenset()) for owner, fields in others.items()}
    now_owned = {owner: fields for owner, fields in {**kept, manager: sent}.items() if fields}

    last = owners.get(manager, frozenset())
    pruned = _prune(merged, last, frozenset().union(*now_owned.values()), place)
    return Applied(object=pruned, owners=now_owned)


def _prune(merged: Any, last: Fields, owned: Fields, place: Place) -> Any:
    """Remove what the manager owned before and nobody owns now, with what hangs on it."""
    dropped = field_set.with_named_parents(last, place) - field_set.with_prefixes(owned)
    return merge.remove(merged, frozenset(filter(_ownable, dropped)), place)


def _owned(manifest: Mapping[str, Any], place: Place) -> Fields:
    return frozenset(path for path in field_set.of(dict(manifest), place) if _ownable(path))


def _ownable(path: field_set.Path) -> bool:
    match path:
        case (Field("apiVersion" | "kind"), *_) | (Field("metadata"),):
            return False
        case (Field("metadata"), Field(name), *_):
            return name not in _UNOWNED
        case _:
            return True


def _without_managed_fields(manifest: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {
        name: value for name, value in manifest["metadata"].items() if name != "managedFields"
    }
    return {**manifest, "metadata": metadata}


def _conflict_text(conflicts: Mapping[Manager, Fields]) -> str:
    count = sum(len(fields) for fields in conflicts.values())
    parts = [
        f"`{field_set.text(path)}` belongs to field manager `{owner.name}`"
        for owner, fields in sorted(conflicts.items())
        for path in sorted(fields, key=field_set.text)
    ]
    return f"apply failed with {count} conflict{'' if count == 1 else 's'}: {', '.join(parts)}"


def _entry_order(entry: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return (entry["operation"], entry["time"], entry["manager"], entry.get("subresource", ""))
