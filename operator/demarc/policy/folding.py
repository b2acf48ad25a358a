"""Which plain characters does a reader see in these? Folding brings disguised text back to ASCII.

`fold` undoes compatibility forms (full-width, circled, mathematical), invisible characters,
combining marks, decimal digits of any script and letters of other scripts that look like Latin.
Chinese numerals and letters in the place of digits have alphabets of their own, because plain text
is full of them: only sequences of them are read as digits (see `digits`).

Folding changes lengths: offsets in a folded text mean nothing in the original.
"""

# ruff: noqa: RUF001  # lookalikes are what this module is about

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from itertools import groupby

KEPT_CONTROLS = "\t\n\r\x1f"
"""Controls that separate; U+001F stands between parts that were joined (see `detection`)."""

_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Mn", "Me", "Cn", "Co", "Cs"})
_INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0\u180b\u180c\u180d\u180e\u17b4\u17b5")
"""Fillers that print nothing although they are letters."""

_LOOKALIKES: Mapping[str, str] = dict(
    zip(
        "АВЕЅІЈКМНОРСТХУаеѕіјоРрсухԁԛԝһΑΒΕΖΗΙΚΜΝΟΡΤΥΧοıʟⅼ∣ǀ│｜○◯⚪🔴⭕",
        "ABESIJKMHOPCTXYaesijoPpcyxdqwhABEZHIKMNOPTYXoiLl|||||OOOOO",
        strict=False,
    )
)
"""Letters that print like Latin ones: Cyrillic, Greek and a few signs."""

NUMERALS: Mapping[str, str] = {
    character: str(digit)
    for digit, characters in enumerate(
        (
            "〇零",
            "一壹弌幺",
            "二贰貳弍两兩",
            "三叁參叄弎",
            "四肆",
            "五伍",
            "六陆陸",
            "七柒",
            "八捌",
            "九玖",
        )
    )
    for character in characters
}
"""Chinese numerals, plain and financial, as ASCII digits."""

LETTERS_AS_DIGITS: Mapping[str, str] = {
    "O": "0", "o": "0", "Q": "0", "D": "0", "I": "1", "l": "1", "|": "1", "i": "1",
    "Z": "2", "z": "2", "S": "5", "s": "5", "B": "8",
}  # fmt: skip
"""Letters that pass for digits."""

_TAGS = re.compile("[\U000e0020-\U000e007e]")
_TAG_BASE = 0xE0000
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_LAST_LOW_SELECTOR = 0xFE0F
_SHORTEST_SPELLING = 4
"""Shorter ones are emoji that ask for their coloured form."""


@lru_cache(maxsize=16384)
def _fold_character(character: str) -> str:
    """The plain form of one character; empty for what is not seen."""
    if character in KEPT_CONTROLS:
        return character
    plain = _LOOKALIKES.get(character)
    if plain is not None:
        return plain
    if character in _INVISIBLE or unicodedata.category(character) in _INVISIBLE_CATEGORIES:
        return ""
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    decomposed = unicodedata.normalize("NFKD", character)
    if decomposed == character:
        return character
    return "".join(_fold_character(part) for part in decomposed)


def fold(text: str) -> str:
    """The text as a reader sees it, in plain characters where there are any."""
    characters = set(text)
    plain = {
        ord(character): character if "\x20" <= character <= "\x7e" else _fold_character(character)
        for character in characters
    }
    if all(plain[ord(character)] == character for character in characters):
        return text
    return text.translate(plain)  # quick only because no character is missing in the table


def hidden(text: str) -> str:
    """What tag characters and variation selectors spell, which print nothing at all.

    Tags (U+E0020 to U+E007E) stand for ASCII. Of variation selectors, 1 to 16 stand for the bytes 0
    to 15 and 17 to 256 for 16 to 255.
    """
    tags = "".join(chr(ord(tag) - _TAG_BASE) for tag in _TAGS.findall(text))
    smuggled = bytes(map(_selected, _SELECTORS.findall(text))).decode("utf-8", "ignore")
    return "\n\n\n".join(spelt for spelt in (tags, smuggled) if len(spelt) >= _SHORTEST_SPELLING)


def _selected(selector: str) -> int:
    point = ord(selector)
    return point - 0xFE00 if point <= _LAST_LOW_SELECTOR else point - 0xE0100 + 16


@cache
def disguised_class() -> str:
    """The RE2 class of characters that `fold` removes or turns into something with plain ASCII.

    Left out are spaces, compatibility ideographs and the punctuation of Chinese prose, which would
    call for a second look at every Chinese text: rules that need a colon name both.
    """
    ranges = "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in _ranges())
    return f"[{ranges}{_BEYOND_IDEOGRAPHS}]"


_PROSE = frozenset("，（）；！？：…‥")
"""Punctuation that Chinese prose is full of, and that no rule looks for in its ASCII form alone."""
_SCANNED = (range(0x20), range(0x7F, 0x40000))
"""Where characters that fold stand among others."""
_BEYOND_IDEOGRAPHS = "\\x{40000}-\\x{10ffff}"
"""Tags, selectors, private and unassigned planes: none of it is seen."""


def _ranges() -> Iterator[tuple[int, int]]:
    for block in _SCANNED:
        for disguise, points in groupby(block, _is_disguise):
            if disguise:
                inside = list(points)
                yield inside[0], inside[-1]


def _is_disguise(point: int) -> bool:
    character = chr(point)
    if unicodedata.category(character) == "Cs":
        return False  # no UTF-8 holds one
    plain = _fold_character.__wrapped__(character)
    if plain == character or character in _PROSE:
        return False
    return not plain or any("!" <= each <= "~" for each in plain)
