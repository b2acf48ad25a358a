"""Did a text reach the public side? It is looked for in what that side received, in every spelling.

A recording has one JSON object a line: `at` is `edge` (the body as it came in, as text and in
base64) or `engine` (the prompt that the model saw).

Rules:
    Undecoded: the bytes of the file are searched for the text as it is, in hex, and in base64 at
    its three alignments.
    Decoded: JSON is undone, base64 is undone, and both are searched again, once with everything
    removed that is no letter and no digit, so that `4111 1111` and `41111111` are the same.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_IGNORED = re.compile(r"[\W_]+")
_SHORTEST = 8
"""A shorter text stands in a file by chance."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a recording; `texts` are what it holds, decoded."""

    at: str
    texts: tuple[str, ...]


def places(recording: bytes, text: str) -> frozenset[str]:
    """Where a text is found: any of `edge`, `engine`, and `undecoded`.

    Raises:
        ValueError: the text is too short to mean anything.
    """
    found = {entry.at for entry in entries(recording) if any(_says(t, text) for t in entry.texts)}
    return frozenset(found | ({"undecoded"} if holds(recording, text) else set()))


def holds(content: bytes, text: str) -> bool:
    """Whether bytes hold a text undecoded: as it is, in hex or in base64.

    Raises:
        ValueError: the text is too short to mean anything.
    """
    if len(text) < _SHORTEST:
        raise ValueError(f"`{text}` is too short to search for")
    lower = content.lower()
    plain = text.encode()
    return (
        plain.lower() in lower
        or plain.hex().encode() in lower
        or any(form in content for form in _base64_forms(plain))
    )


def entries(recording: bytes) -> Iterator[Entry]:
    """The whole lines of a recording, decoded; the last one may be still being written."""
    for line in recording.split(b"\n"):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        texts = [str(found.get("text", ""))]
        if "base64" in found:
            texts.append(base64.b64decode(found["base64"]).decode("utf-8", "replace"))
        texts += list(_inside(texts))
        yield Entry(str(found.get("at", "")), tuple(texts))


def spilled(folder: Path, texts: Iterable[str], *, except_for: Iterable[Path]) -> list[str]:
    """Files below a folder that hold one of the texts undecoded, as paths relative to it."""
    ignored = {path.resolve() for path in except_for}
    wanted = tuple(texts)
    found: list[str] = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.resolve() in ignored:
            continue
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue  # a file of a pod that has just been replaced
        if any(holds(content, text) for text in wanted):
            found.append(str(path.relative_to(folder)))
    return found


def _says(content: str, text: str) -> bool:
    return text.lower() in content.lower() or _bare(text) in _bare(content)


def _bare(text: str) -> str:
    return _IGNORED.sub("", text).lower()


def _inside(texts: Iterable[str]) -> Iterator[str]:
    r"""The strings of a body that is JSON itself: there, `\u0034` is a 4."""
    for text in texts:
        try:
            value = json.loads(text)
        except ValueError:
            continue
        yield " ".join(_strings(value))


def _strings(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, inner in value.items():
                yield str(key)
                yield from _strings(inner)
        case list():
            for inner in value:
                yield from _strings(inner)
        case _:
            yield str(value)


def _base64_forms(plain: bytes) -> Iterator[bytes]:
    """The parts of base64 that every text around it leaves as they are, at each alignment."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + plain)
        first = -(-before * 8 // 6)
        last = (before + len(plain)) * 8 // 6
        yield encoded[first:last]
        yield encoded[first:last].translate(bytes.maketrans(b"+/", b"-_"))
