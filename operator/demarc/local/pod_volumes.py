"""Which files does a pod's volume hold? Volumes as values, and their content from objects.

RULES
- Content is a function of the pod, the ConfigMaps, the Secrets and the tokens that it is given.
- A source that is missing and not optional is an answer, `MissingSource`, and never an empty file.
Source: https://kubernetes.io/docs/concepts/storage/projected-volumes/
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, assert_never

from demarc.api.cluster import Manifest

Data: TypeAlias = Mapping[str, bytes]
"""Key -> bytes, of one ConfigMap or Secret."""

SECRET_MODE: Final = 0o600
_FILE_MODE: Final = 0o644
_TOKEN_SECONDS: Final = 3600  # what Kubernetes takes when `expirationSeconds` is absent
_SUBSCRIPT: Final = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class MissingSource(Exception):  # noqa: N818  # an answer to the pod, not a fault of this program
    """A ConfigMap, Secret, key or field that a pod names is not there; the text names it."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What a pod can read from, all of its own namespace.

    Attributes:
        config_maps, secrets: name -> data; a missing one has no entry.
        tokens: (audience, seconds) -> a token of the pod's ServiceAccount.
    """

    config_maps: Mapping[str, Data] = field(default_factory=dict[str, Data])
    secrets: Mapping[str, Data] = field(default_factory=dict[str, Data])
    tokens: Mapping[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])


@dataclass(frozen=True, slots=True)
class Item:
    """One key of a source and the file that it becomes; `mode` overrides the volume's."""

    key: str
    path: str
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class ConfigMapFiles:
    """All keys of a ConfigMap as files, or those of `items`."""

    name: str
    items: tuple[Item, ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class SecretFiles:
    """All keys of a Secret as files, or those of `items`."""

    name: str
    items: tuple[Item, ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class PodFields:
    """Fields of the pod itself as files: each item's key is a field path."""

    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A ServiceAccount token in a file, renewed before it ends."""

    path: str
    audience: str
    seconds: int


FileSource: TypeAlias = ConfigMapFiles | SecretFiles | PodFields | TokenFile


@dataclass(frozen=True, slots=True)
class EmptyDir:
    """A folder that lives as long as the pod."""

    name: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A PersistentVolumeClaim: a folder that outlives the pod."""

    name: str
    claim: str


@dataclass(frozen=True, slots=True)
class Files:
    """Files made from objects and kept like them."""

    name: str
    sources: tuple[FileSource, ...]
    mode: int = _FILE_MODE


Volume: TypeAlias = EmptyDir | Claim | Files


@dataclass(frozen=True, slots=True)
class File:
    """One file of a volume."""

    content: bytes
    mode: int


def parse(volume: Mapping[str, Any]) -> Volume | None:
    """The volume of a pod's `spec.volumes[]`; None when it is of a type that no node here knows."""
    name = str(volume["name"])
    match volume:
        case {"persistentVolumeClaim": Mapping() as claim}:
            return Claim(name, str(claim["claimName"]))
        case {"configMap": Mapping() as source}:
            return Files(name, (_config_map(source, "name"),), _mode(source, _FILE_MODE))
        case {"secret": Mapping() as source}:
            return Files(name, (_secret(source, "secretName"),), _mode(source, SECRET_MODE))
        case {"downwardAPI": Mapping() as source}:
            return Files(name, (_fields(source),), _mode(source, _FILE_MODE))
        case {"projected": Mapping() as source}:
            parts = tuple(_projected(part) for part in source.get("sources") or ())
            return Files(name, parts, _mode(source, _FILE_MODE))
        case {"emptyDir": _}:
            return EmptyDir(name)
        case _:
            return None


def _projected(part: Mapping[str, Any]) -> FileSource:
    match part:
        case {"serviceAccountToken": Mapping() as token}:
            return TokenFile(
                str(token["path"]),
                str(token.get("audience", "")),
                int(token.get("expirationSeconds", _TOKEN_SECONDS)),
            )
        case {"configMap": Mapping() as source}:
            return _config_map(source, "name")
        case {"secret": Mapping() as source}:
            return _secret(source, "name")
        case _:
            return _fields(part["downwardAPI"])


def _config_map(source: Mapping[str, Any], name: str) -> ConfigMapFiles:
    return ConfigMapFiles(str(source[name]), _items(source), source.get("optional") is True)


def _secret(source: Mapping[str, Any], name: str) -> SecretFiles:
    return SecretFiles(str(source[name]), _items(source), source.get("optional") is True)


def _items(source: Mapping[str, Any]) -> tuple[Item, ...]:
    return tuple(
        Item(str(item["key"]), str(item["path"]), item.get("mode"))
        for item in source.get("items") or ()
    )


def _fields(source: Mapping[str, Any]) -> PodFields:
    return PodFields(
        tuple(
            Item(str(item["fieldRef"]["fieldPath"]), str(item["path"]), item.get("mode"))
            for item in source.get("items") or ()
        )
    )


def _mode(source: Mapping[str, Any], default: int) -> int:
    return int(source.get("defaultMode", default))


def token_files(volume: Volume) -> tuple[TokenFile, ...]:
    """The tokens that a volume holds."""
    if not isinstance(volume, Files):
        return ()
    return tuple(source for source in volume.sources if isinstance(source, TokenFile))


def content(volume: Files, pod: Manifest, sources: Sources) -> Mapping[str, File]:
    """Relative path -> file.

    Raises:
        MissingSource: something that the volume names is not there.
    """
    return {
        path: file
        for source in volume.sources
        for path, file in _source_content(source, volume.mode, pod, sources)
    }


def _source_content(
    source: FileSource, mode: int, pod: Manifest, sources: Sources
) -> Iterator[tuple[str, File]]:
    match source:
        case ConfigMapFiles():
            data = sources.config_maps.get(source.name)
            yield from _keys("ConfigMap", source, data, mode)
        case SecretFiles():
            data = sources.secrets.get(source.name)
            yield from _keys("Secret", source, data, mode)
        case PodFields(items):
            for item in items:
                text = field_text(pod, item.key)
                yield item.path, File(text.encode(), item.mode or mode)
        case TokenFile(path, audience, seconds):
            yield path, File(sources.tokens[audience, seconds].encode(), mode & SECRET_MODE)
        case _:
            assert_never(source)


def _keys(
    kind: str, source: ConfigMapFiles | SecretFiles, data: Data | None, mode: int
) -> Iterator[tuple[str, File]]:
    if data is None:
        if source.optional:
            return
        raise MissingSource(f"{kind} `{source.name}` is not there")
    for item in source.items or tuple(Item(key, key) for key in data):
        if item.key in data:
            item_mode = mode if item.mode is None else item.mode
            if kind == "Secret":
                item_mode &= SECRET_MODE  # never wider than the user, whatever the manifest says
            yield item.path, File(data[item.key], item_mode)
        elif not source.optional:
            raise MissingSource(f"{kind} `{source.name}` has no key `{item.key}`")


def data_of(manifest: Manifest) -> Data:
    """The bytes of a ConfigMap's or Secret's keys."""
    plain: Mapping[str, str] = manifest.get("data") or {}
    binary: Mapping[str, str] = manifest.get("binaryData") or {}
    if manifest["kind"] == "Secret":
        return {key: base64.b64decode(text) for key, text in plain.items()}
    return {
        **{key: text.encode() for key, text in plain.items()},
        **{key: base64.b64decode(text) for key, text in binary.items()},
    }


def field_text(pod: Manifest, path: str) -> str:
    """The text of a field of the pod, as the downward API gives it.

    Raises:
        MissingSource: the downward API has no such field.
    """
    metadata: Mapping[str, Any] = pod["metadata"]
    if subscript := _SUBSCRIPT.fullmatch(path):
        return str((metadata.get(subscript[1]) or {}).get(subscript[2], ""))
    spec: Mapping[str, Any] = pod.get("spec") or {}
    status: Mapping[str, Any] = pod.get("status") or {}
    match path:
        case "metadata.name" | "metadata.namespace" | "metadata.uid":
            return str(metadata[path.removeprefix("metadata.")])
        case "metadata.labels" | "metadata.annotations":
            return _lines(metadata.get(path.removeprefix("metadata.")) or {})
        case "spec.nodeName":
            return str(spec.get("nodeName", ""))
        case "spec.serviceAccountName":
            return str(spec.get("serviceAccountName", "default"))
        case "status.podIP" | "status.podIPs":
            return str(status.get("podIP", ""))
        case "status.hostIP" | "status.hostIPs":
            return str(status.get("hostIP", ""))
        case _:
            raise MissingSource(f"the downward API has no field `{path}`")


def _lines(pairs: Mapping[str, str]) -> str:
    def quoted(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return "".join(f'{key}="{quoted(value)}"\n' for key, value in sorted(pairs.items()))
