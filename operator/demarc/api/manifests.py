"""What does a manifest say about itself? Its address, read the same way by every cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from demarc.api.cluster import KINDS, InvalidError, Kind, Manifest, Ref


def ref_of(manifest: Manifest, kinds: Iterable[Kind] = KINDS) -> Ref:
    """The address of a manifest.

    `InvalidError` if the kind is none of `kinds`, the name is missing, or the namespace is missing
    where the kind needs one or present where it has none.
    """
    api_version, name = manifest.get("apiVersion"), manifest.get("kind")
    kind = next(
        (item for item in kinds if (item.api_version, item.name) == (api_version, name)), None
    )
    if kind is None:
        raise InvalidError(f"there is no kind `{name}` in `{api_version}`")
    metadata = manifest.get("metadata")
    if not isinstance(metadata, Mapping) or not metadata.get("name"):
        raise InvalidError(f"a {kind.name} has no `metadata.name`")
    namespace = str(metadata.get("namespace") or "")
    if kind.namespaced and not namespace:
        raise InvalidError(f"{kind.name} `{metadata['name']}` has no `metadata.namespace`")
    if not kind.namespaced and namespace:
        raise InvalidError(f"{kind.name} `{metadata['name']}` belongs to no namespace")
    return Ref(kind, namespace, str(metadata["name"]))


def plain(value: Any) -> Any:
    """A copy made of dicts and lists alone, as JSON libraries take it."""
    match value:
        case Mapping():
            return {str(name): plain(child) for name, child in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return value
