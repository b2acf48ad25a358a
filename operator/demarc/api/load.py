"""Which objects are in a text, or in the API's answer, and what is wrong with them?

All problems are found at once. An object with a problem is not in the result: nothing is guessed,
repaired or left out silently.

INVARIANT: a field that nobody knows makes the object invalid, and so does a field that is stated
and empty: both may be a restriction that does not restrict.
INVARIANT: a problem shows no value of a Secret.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError

from demarc.api import problem, yaml_text
from demarc.api.cluster import (
    DEMARC_KINDS,
    NAMESPACE,
    SECRET,
    SERVICE_ACCOUNT,
    SITE,
    Kind,
    Manifest,
)
from demarc.api.problem import Finding, Problem
from demarc.api.schema import DNS_LABEL, DNS_SUBDOMAIN, SECRET_KEY
from demarc.api.v1alpha1 import (
    DataResidency,
    ModelDeployment,
    Resource,
    RoutingPolicy,
    Site,
)
from demarc.api.yaml_text import Node

_MODELS: Mapping[str, type[Site | ModelDeployment | RoutingPolicy | DataResidency]] = {
    "Site": Site,
    "ModelDeployment": ModelDeployment,
    "RoutingPolicy": RoutingPolicy,
    "DataResidency": DataResidency,
}
_CORE_KINDS = (NAMESPACE, SECRET, SERVICE_ACCOUNT)
_KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (*DEMARC_KINDS, *_CORE_KINDS)}
_CORE_FIELDS: Mapping[str, tuple[str, ...]] = {
    "Namespace": ("spec", "status"),
    "Secret": ("data", "immutable", "stringData", "type"),
    "ServiceAccount": ("automountServiceAccountToken", "imagePullSecrets", "secrets"),
}
_METADATA = (
    "name",
    "namespace",
    "labels",
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
"""https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/"""


@dataclass(frozen=True, slots=True)
class CoreObject:
    """A Namespace, Secret or ServiceAccount that stands beside our kinds, as it was written.

    It may be a Secret, so that its text form is its address alone.
    """

    kind: Kind
    manifest: Manifest

    @property
    def key(self) -> str:
        """`namespace/name`, or the name alone for a Namespace."""
        return _key(self.manifest)

    def __repr__(self) -> str:
        return f"CoreObject({self.kind.name} {self.key})"


Loaded: TypeAlias = Resource | CoreObject


def load(text: str, *, file: str) -> tuple[tuple[Loaded, ...], tuple[Problem, ...]]:
    """The objects of a YAML text with any number of documents, and all problems.

    Args:
        text: YAML; `List` objects are unpacked, empty documents and `status` are left out.
        file: stands in the problems.
    """
    return load_all({file: text})


def load_all(texts: Mapping[str, str]) -> tuple[tuple[Loaded, ...], tuple[Problem, ...]]:
    """The objects of several texts, by file name; one object twice is a problem."""
    objects = list[Loaded]()
    problems = list[Problem]()
    first = dict[tuple[str, str], str]()
    for file, text in texts.items():
        documents, faults = yaml_text.read(text)
        problems += [
            Problem(file, "", "", "", "", fault.message, fault.remedy, fault.line, fault.column)
            for fault in faults
        ]
        for node in _unpacked(documents):
            result = _load_one(node, file)
            if isinstance(result, tuple):
                problems += result
                continue
            address = (_kind_of(result), result.key)
            if address in first:
                message = f"the same object is already in {first[address]}"
                place = Problem(file, *address, "", "", message, "remove one of the two")
                problems.append(replace(place, line=node.line, column=node.column))
                continue
            first[address] = f"{file}:{node.line}"
            objects.append(result)
    return tuple(objects), tuple(problems)


def parse(manifest: Manifest) -> Resource | tuple[Problem, ...]:
    """One object of our four kinds, as an API gives it, or all its problems.

    A `status` that cannot be read (another version wrote it) is left out: it decides nothing.
    """
    match _checked(manifest):
        case CoreObject() as core:
            message = f"{core.kind.name} is no kind of demarc.dev"
            return (Problem("", core.kind.name, core.key, "kind", "", message, ""),)
        case tuple() as found:
            return tuple(_problem(finding, manifest, "", None) for finding in found)
        case resource:
            return resource


def _load_one(node: Node, file: str) -> Loaded | tuple[Problem, ...]:
    data = node.plain()
    if not isinstance(data, dict):
        return (_problem(Finding((), "", "an object must hold fields"), {}, file, node),)
    data.pop("status", None)
    found = [*_metadata_findings(data)]
    result = _checked(data)
    if isinstance(result, tuple):
        found += result
    elif not found:
        return result
    return tuple(_problem(finding, data, file, node) for finding in found)


def _unpacked(nodes: Sequence[Node]) -> Iterator[Node]:
    """The documents, with the items of `List` objects in their place."""
    for node in nodes:
        members = node.value if isinstance(node.value, Mapping) else {}
        kind = members["kind"].value if "kind" in members else None
        items = members["items"].value if "items" in members else None
        if isinstance(kind, str) and kind.endswith("List") and isinstance(items, tuple):
            yield from _unpacked(items)
        else:
            yield node


def _checked(manifest: Manifest) -> Loaded | tuple[Finding, ...]:
    kind = manifest.get("kind")
    known = _KINDS.get(kind) if isinstance(kind, str) else None
    if known is None:
        return (_unknown_kind(manifest),)
    if manifest.get("apiVersion") != known.api_version:
        text = problem.shown(manifest.get("apiVersion"))
        message = f"must be {known.api_version} for kind {known.name}"
        return (Finding(("apiVersion",), text, f"{message}{f', not `{text}`' if text else ''}"),)
    if known in _CORE_KINDS:
        found = tuple(_core_findings(known, manifest))
        return found or CoreObject(known, manifest)
    return _resource(_MODELS[known.name], known, manifest)


def _unknown_kind(manifest: Manifest) -> Finding:
    kind, version = problem.shown(manifest.get("kind")), problem.shown(manifest.get("apiVersion"))
    if not kind:
        return Finding(("kind",), "", "is missing and must be stated", f"known are {_names()}")
    ours = version in ("", "v1") or version.partition("/")[0] == SITE.group
    hint = problem.suggestion(kind, tuple(_KINDS))
    if ours and hint.startswith("did you"):
        return Finding(("kind",), kind, f"`{kind}` is no known kind", hint)
    message = f"objects of kind `{kind}` ({version or 'without apiVersion'}) are not read here"
    return Finding(("kind",), kind, message, f"known are {_names()}")


def _names() -> str:
    return ", ".join(_KINDS)


def _resource(
    model: type[Site | ModelDeployment | RoutingPolicy | DataResidency],
    kind: Kind,
    manifest: Manifest,
) -> Resource | tuple[Finding, ...]:
    stated = {key: value for key, value in manifest.items() if key != "status"}
    found = [*_scope_findings(kind, manifest)]
    if "spec" in stated:
        found += _nulls(stated["spec"], ("spec",))
    status = _status(model, manifest)
    try:
        whole = stated if status is None else {**stated, "status": status}
        resource = model.model_validate(whole, by_alias=True, by_name=False)
    except ValidationError as error:
        empty = {each.path for each in found}
        found += [each for each in problem.findings(error, model) if each.path not in empty]
    else:
        if not found:
            return resource
    return tuple(found)


def _status(model: type[BaseModel], manifest: Manifest) -> Any:
    """The status if this version can read it, else None."""
    status = manifest.get("status")
    if status is None:
        return None
    for kind in problem.models_in(model.model_fields["status"].annotation):
        try:
            kind.model_validate(status, by_alias=True, by_name=False)
        except ValidationError:
            return None
    return status


def _nulls(value: Any, path: problem.Path) -> Iterator[Finding]:
    """Fields that are stated and empty: an API server would drop them, restriction or not."""
    match value:
        case None:
            yield Finding(path, "", "is stated and empty", "give it a value, or leave it out")
        case Mapping():
            for key, member in value.items():
                yield from _nulls(member, (*path, key))
        case list():
            for index, member in enumerate(value):
                yield from _nulls(member, (*path, index))
        case _:
            return


def _metadata_findings(manifest: Manifest) -> Iterator[Finding]:
    """What an API server would drop or refuse in metadata that a person wrote."""
    metadata = manifest.get("metadata")
    if not isinstance(metadata, Mapping):
        return
    for key in metadata:
        if key not in _METADATA:
            hint = problem.suggestion(str(key), _METADATA)
            yield Finding(("metadata", key), "", "there is no such field", hint)
    for field in ("labels", "annotations"):
        words = metadata.get(field, {})
        if not isinstance(words, Mapping):
            yield Finding(("metadata", field), "", "must hold fields")
            continue
        for key, value in words.items():
            if not isinstance(value, str):
                path = ("metadata", field, key)
                yield Finding(path, problem.shown(value), "must be text", "write it in quotes")


def _scope_findings(kind: Kind, manifest: Manifest) -> Iterator[Finding]:
    metadata = manifest.get("metadata")
    namespace = metadata.get("namespace") if isinstance(metadata, Mapping) else None
    if kind.namespaced and namespace is None:
        message = f"is missing: a {kind.name} lives in a namespace"
        yield Finding(("metadata", "namespace"), "", message, "state it")
    if not kind.namespaced and namespace is not None:
        message = f"must be absent: a {kind.name} lives in no namespace"
        yield Finding(("metadata", "namespace"), problem.shown(namespace), message, "remove it")


def _core_findings(kind: Kind, manifest: Manifest) -> Iterator[Finding]:
    allowed = ("apiVersion", "kind", "metadata", *_CORE_FIELDS[kind.name])
    for key in manifest:
        if key not in allowed:
            hint = problem.suggestion(str(key), allowed)
            yield Finding((key,), "", "there is no such field", hint)
    yield from _scope_findings(kind, manifest)
    metadata = manifest.get("metadata")
    if not isinstance(metadata, Mapping):
        yield Finding(("metadata",), "", "is missing and must be stated")
        return
    pattern = DNS_LABEL if kind == NAMESPACE else DNS_SUBDOMAIN
    name = metadata.get("name")
    if not isinstance(name, str) or not re.fullmatch(pattern, name):
        message = f"must be {problem.PATTERN_WORDS[pattern]}"
        yield Finding(("metadata", "name"), problem.shown(name), message)
    if kind == SECRET:
        yield from _secret_findings(manifest)


def _secret_findings(manifest: Manifest) -> Iterator[Finding]:
    for field in ("data", "stringData"):
        values = manifest.get(field, {})
        if not isinstance(values, Mapping):
            yield Finding((field,), "", "must hold keys and their values")
            continue
        for key, value in values.items():
            if not re.fullmatch(SECRET_KEY, str(key)):
                words = problem.PATTERN_WORDS[SECRET_KEY]
                yield Finding((field, key), "", f"a key must be {words}")
            if not isinstance(value, str):
                yield Finding((field, key), "", "must be text", "write it in quotes")
            elif field == "data" and not _is_base64(value):
                yield Finding((field, key), "", "must be base64", "plain text goes to stringData")


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _problem(finding: Finding, data: Manifest, file: str, node: Node | None) -> Problem:
    place = node.at(finding.path) if node else None
    value, message = finding.value, finding.message
    if value and place and place.text and place.text != value:
        # as it was written: YAML reads NO as false, which nobody would recognise
        message = message.replace(f"`{value}`", f"`{problem.shown(place.text)}`")
        value = problem.shown(place.text)
    kind = data.get("kind")
    return Problem(
        file=file,
        kind=problem.shown(kind),
        name=_key(data),
        field=problem.field_name(finding.path, data),
        value=value,
        message=message,
        remedy=finding.remedy,
        line=place.line if place else 0,
        column=place.column if place else 0,
    )


def _key(manifest: Manifest) -> str:
    metadata = manifest.get("metadata")
    if not isinstance(metadata, Mapping):
        return ""
    return "/".join(
        problem.shown(metadata[key]) for key in ("namespace", "name") if metadata.get(key)
    )


def _kind_of(loaded: Loaded) -> str:
    return loaded.kind.name if isinstance(loaded, CoreObject) else loaded.kind
