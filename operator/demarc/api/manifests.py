"""What does a manifest say about itself? Its address, read the same way by every cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from demarc.api.cluster import KINDS, InvalidError, Kind, Manifest, Ref


def ref_of(manifest: Manifest, kinds: Iterable[Kind] = KINDS) -> Ref:
    """The address of a manifest.

    `InvalidError` if the kind is none of `kinds`, the name is missing or cannot stand in a path, or
    the namespace is missing where the kind needs one or present where it has none.
    """
    stated = manifest.get("apiVersion"), manifest.get("kind")
    kind = next((item for item in kinds if (item.api_version, item.name) == stated), None)
    if kind is None:
        raise InvalidError(f"there is no kind `{stated[1]}` in `{stated[0]}`")
    metadata = manifest.get("metadata")
    if not isinstance(metadata, Mapping) or not metadata.get("name"):
        raise InvalidError(f"a {kind.name} has no `metadata.name`")
    name = str(metadata["name"])
    if name in {".", ".."} or "/" in name or "%" in name:
        raise InvalidError(f"{kind.name} `{name}`: the name cannot stand in a path")
    namespace = str(metadata.get("namespace") or "")
    if kind.namespaced and not namespace:
        raise InvalidError(f"{kind.name} `{name}` has no `metadata.namespace`")
    if not kind.namespaced and namespace:
        raise InvalidError(f"{kind.name} `{name}` belongs to no namespace")
    return Ref(kind, namespace, name)


def plain(value: Any) -> Any:
    """A copy made of dicts and lists alone, as JSON libraries take it."""
    match value:
        case Mapping():
            return {str(name): plain(child) for name, child in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return value
