"""What did the public side receive? Its recording, searched as it lies there and decoded.

The edge records the bytes of each request as they came in, the engine each prompt as it got it.
Each line is looked at in every form that an attacker outside could give it: as it stands, with its
JSON read, with base64, hex and escapes taken back, in one alphabet, without what stands between,
and as its digits alone.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from e2e.support import disguises, marks

_TOKEN = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was received.

    Attributes:
        at: `edge` or `engine`.
        line: as it stands in the file.
    """

    at: str
    line: str
    text: str = field(repr=False)
    base64: str = field(repr=False)

    def views(self) -> frozenset[str]:
        """Every form of it."""
        found = {self.line}
        _add(found, self.text, _DEPTH)
        if self.base64:
            _add(found, base64.b64decode(self.base64).decode("utf-8", "replace"), _DEPTH)
        return frozenset(found)

    def holds(self, needle: str) -> bool:
        """Whether a word or a number stands in any form of it."""
        wanted = _plain(needle)
        digits = needle if needle.isdigit() else ""
        return any(
            needle in view or wanted in _plain(view) or (digits and digits in _digits(view))
            for view in self.views()
        )


class Recording:
    """The file of one public site; it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def end(self) -> int:
        """How long it is now: what comes later is read from here."""
        return self.path.stat().st_size if self.path.exists() else 0

    def entries(self, *, since: int = 0, at: str = "") -> tuple[Entry, ...]:
        """What came in behind a position, at one place or at both."""
        return tuple(entry for entry in self._read(since) if at in {"", entry.at})

    def holding(self, needle: str, *, since: int = 0, at: str = "") -> tuple[Entry, ...]:
        """The entries in which a word or number stands, in whatever form."""
        return tuple(entry for entry in self.entries(since=since, at=at) if entry.holds(needle))

    def words(self, *, since: int = 0, at: str = "") -> frozenset[str]:
        """Every mark that came in behind a position, in whatever form."""
        return frozenset(
            word
            for entry in self.entries(since=since, at=at)
            for view in entry.views()
            for word in (*marks.find(view), *marks.find(_plain(view)))
        )

    def numbers(self, wanted: Iterable[str], *, since: int = 0) -> frozenset[str]:
        """Those of some numbers that came in behind a position, in whatever form."""
        views = {view for entry in self.entries(since=since) for view in entry.views()}
        digits = "|".join({*map(_digits, views)} | views)
        return frozenset(number for number in wanted if number in digits)

    def _read(self, since: int) -> Iterator[Entry]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(since)
            for line in file:
                read: dict[str, Any] = json.loads(line)
                yield Entry(
                    str(read["at"]),
                    line.decode(),
                    str(read["text"]),
                    str(read.get("base64", "")),
                )


def _add(found: set[str], text: str, depth: int) -> None:
    """A text and everything that it can be decoded to."""
    if text in found:
        return
    found.add(text)
    if depth == 0:
        return
    for other in (disguises.undone(text), unquote(text), unicodedata.normalize("NFKC", text)):
        _add(found, other, depth - 1)
    try:
        strings = tuple(_strings(json.loads(text)))
    except ValueError:
        strings = ()
    if strings:
        _add(found, "\n".join(strings), depth - 1)
        for string in strings:
            _add(found, string, depth - 1)
    for token in _TOKEN.findall(text):
        for read in _decoded(token):
            _add(found, read, depth - 1)


def _strings(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for key, item in value.items():
                yield str(key)
                yield from _strings(item)
        case list():
            for item in value:
                yield from _strings(item)
        case str() | int() | float():
            yield str(value)
        case _:
            return


def _decoded(token: str) -> Iterator[str]:
    bare = token.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4))
    except binascii.Error:
        data = b""
    for read in (data, bytes.fromhex(token) if re.fullmatch("(?:[0-9a-fA-F]{2})+", token) else b""):
        text = read.replace(b"\0", b"").decode("utf-8", "replace")
        if text and "�" not in text:
            yield text


def _plain(text: str) -> str:
    """Letters and digits of one alphabet, in lower case, with nothing between."""
    return "".join(
        str(int(value)) if (value := unicodedata.numeric(sign, -1.0)) in range(10) else sign
        for sign in unicodedata.normalize("NFKC", text).lower()
        if sign.isalnum()
    )


def _digits(text: str) -> str:
    return "".join(sign for sign in _plain(text) if sign.isdigit())
