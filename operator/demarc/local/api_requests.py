"""What does a request to the Kubernetes API ask for? Its path and query, parsed.

Only reading is understood, and one writing request: a ServiceAccount's token.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from demarc.api import cluster
from demarc.api.cluster import Kind, Ref


class RequestError(ValueError):
    """A parameter means nothing here; the text names it."""


@dataclass(frozen=True, slots=True)
class Collection:
    """All objects of a kind, in one namespace or in all."""

    kind: Kind
    namespace: str


@dataclass(frozen=True, slots=True)
class Object:
    """One object."""

    ref: Ref


@dataclass(frozen=True, slots=True)
class Token:
    """The token of a ServiceAccount."""

    namespace: str
    account: str


@dataclass(frozen=True, slots=True)
class Resources:
    """The kinds of one API version; empty for the list of all groups."""

    api_version: str


Target: TypeAlias = Collection | Object | Token | Resources


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a collection are meant.

    Attributes:
        labels: labels that an object carries.
        name: the one object that is meant; empty for all.
    """

    labels: Mapping[str, str]
    name: str


def parse_path(path: str, kinds: Iterable[Kind]) -> Target | None:
    """What a path names; None if nothing is served there."""
    match path.strip("/").split("/"):
        case ["api" | "apis"]:
            return Resources("")
        case ["api", version, *rest]:
            api_version = version
        case ["apis", group, version, *rest]:
            api_version = f"{group}/{version}"
        case _:
            return None
    served = [kind for kind in kinds if kind.api_version == api_version]
    if not served:
        return None
    return _below(rest, served) if rest else Resources(api_version)


def parse_selection(query: Mapping[str, str]) -> Selection:
    """`labelSelector` with equalities and `fieldSelector` with a name; else `RequestError`."""
    labels: dict[str, str] = {}
    for term in _terms(query.get("labelSelector", "")):
        key, equals, value = term.replace("==", "=").partition("=")
        if not equals or not key or key.endswith("!") or "(" in term:
            raise RequestError(f"labelSelector `{term}`: only `key=value` is served")
        labels[key.strip()] = value.strip()
    name = ""
    for term in _terms(query.get("fieldSelector", "")):
        field, _, value = term.replace("==", "=").partition("=")
        if field != "metadata.name":
            raise RequestError(f"fieldSelector `{term}`: only `metadata.name=NAME` is served")
        name = value
    return Selection(labels, name)


def is_watch(query: Mapping[str, str]) -> bool:
    """Whether the request asks for changes."""
    return query.get("watch", "").lower() in {"1", "true"}


def timeout_seconds(query: Mapping[str, str], longest: int) -> int:
    """How long a watch may run; `RequestError` if the query's limit is no number."""
    text = query.get("timeoutSeconds") or str(longest)
    if not text.isdecimal():
        raise RequestError(f"timeoutSeconds `{text}` is no number")
    return min(int(text), longest) or longest


def _below(parts: list[str], served: Iterable[Kind]) -> Target | None:
    match parts:
        case ["namespaces", namespace, plural, *rest]:
            kind = _kind(plural, served, namespaced=True)
        case [plural, *rest]:
            namespace = ""
            kind = _kind(plural, served, namespaced=None)
        case _:
            return None
    if kind is None:
        return None
    match rest:
        case []:
            return Collection(kind, namespace)
        case [name] if bool(namespace) == kind.namespaced:
            return Object(Ref(kind, namespace, name))
        case [name, "token"] if kind == cluster.SERVICE_ACCOUNT and namespace:
            return Token(namespace, name)
        case _:
            return None


def _kind(plural: str, served: Iterable[Kind], *, namespaced: bool | None) -> Kind | None:
    for kind in served:
        if kind.plural == plural and namespaced in {None, kind.namespaced}:
            return kind
    return None


def _terms(selector: str) -> list[str]:
    return [term.strip() for term in selector.split(",") if term.strip()]
