"""Which numbers does a text show, whatever stands between their digits?

A *chain* is digits with at most two separators between neighbours. Its *groups* are the digits
that stand together. Dates, tables and lists make chains too, so a number is read off a chain only
where its ends are ends of groups, and then in one of two ways:

- *alone*: one group, the whole chain, a stretch with the same separator throughout, or groups as
  cards are printed;
- *within*: any sequence of groups. Only rules with a strong check may look there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

import re2

from demarc.policy.folding import LETTERS_AS_DIGITS, NUMERALS

MIN_DIGITS = 11
MAX_DIGITS = 24
"""Shortest and longest number that a rule can look for."""

JOINT = "\x1f"
"""Stands between parts that were joined: an end of a group."""

_SEPARATOR = r"[\pP\pZ\pS\t\n\r\f\x1f]"
_LIST_SEPARATORS = frozenset(",;\t\n\r\f|/:+*=，；、")  # noqa: RUF001  # full-width ones too
"""Separate the items of a list rather than the groups of one number."""


def _chain(digit: str) -> str:
    return f"{digit}(?:{_SEPARATOR}{{0,2}}{digit}){{{MIN_DIGITS - 1},}}(?:{_SEPARATOR}{{0,2}}[Xx])?"


_NUMERAL_CLASS = f"[0-9{''.join(NUMERALS)}]"
_LETTER_CLASS = f"[0-9{''.join(LETTERS_AS_DIGITS)}]"
_TO_DIGITS = {
    "plain": {},
    "numerals": str.maketrans(dict(NUMERALS)),
    "letters": str.maketrans(dict(LETTERS_AS_DIGITS)),
}
CHAINS = {
    "plain": _chain("[0-9]"),
    "numerals": f"{_chain(_NUMERAL_CLASS)}",
    "letters": f"{_chain(_LETTER_CLASS)}",
}
"""RE2 patterns of chains by alphabet."""
_COMPILED = {name: re2.compile(pattern.encode()) for name, pattern in CHAINS.items()}
_PIECES = re.compile(r"[0-9]+X?|X|[^0-9X]+")


_CARD_FORMS = (
    (4, 4, 4, 4),
    (4, 4, 4, 4, 1),
    (4, 4, 4, 4, 2),
    (4, 4, 4, 4, 3),
    (4, 6, 5),
    (4, 6, 4),
    (8, 8),
    (6, 10),
    (6, 11),
    (6, 12),
    (6, 13),
)
"""Sizes of groups in which cards print and people write their numbers."""
_LONGEST_ROW = 10
"""Groups of a stretch beyond which it is a table, and groups of four are its cells."""


@dataclass(frozen=True, slots=True, repr=False)
class Candidate:
    """A number that a chain shows.

    Attributes:
        digits: ASCII digits, the last of which may be `X`.
        alone: false for a sequence of groups inside a longer chain.
        start, end: bytes of the chain in the text, for context.
    """

    digits: bytes
    alone: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """How many digits the numbers have that rules look for, alone and within chains."""

    alone: frozenset[int]
    within: frozenset[int]


def candidates(data: bytes, alphabet: str, lengths: Lengths) -> Iterator[Candidate]:
    """The numbers of a text.

    Args:
        data: the text as UTF-8.
        alphabet: `plain`, `numerals` or `letters`.
        lengths: of numbers that are looked for.
    """
    for match in _COMPILED[alphabet].finditer(data):
        start, end = match.span()
        chain = _Chain(data[start:end].decode("utf-8").translate(_TO_DIGITS[alphabet]))
        for digits in chain.alone(lengths.alone | lengths.within):
            yield Candidate(digits.encode("ascii"), alone=True, start=start, end=end)
        for digits in chain.within(lengths.within):
            yield Candidate(digits.encode("ascii"), alone=False, start=start, end=end)


class _Chain:
    """One chain, cut into groups.

    `offsets[i]` is where group i begins in `joined`; the last offset is the length of `joined`.
    """

    __slots__ = ("gaps", "joined", "offsets")

    def __init__(self, text: str) -> None:
        groups: list[str] = []
        self.gaps: list[str] = []
        gap = ""
        for piece in _PIECES.findall(text.upper()):
            if piece == "X":  # belongs to the digits before it, whatever stands between
                groups[-1] += piece
                gap = ""
            elif piece[0].isdigit():
                if groups:
                    self.gaps.append(gap)
                groups.append(piece)
            else:
                gap = piece
        self.joined = "".join(groups)
        self.offsets = [0, *accumulate(map(len, groups))]

    def alone(self, lengths: frozenset[int]) -> set[str]:
        """Single groups, the whole chain, stretches of one separator, groups printed as cards."""
        offsets = self.offsets
        spans = set(pairwise(offsets))
        spans.add((0, offsets[-1]))
        for first, last in self._stretches():
            spans.add((offsets[first], offsets[last]))
            if last - first <= _LONGEST_ROW and _LIST_SEPARATORS.isdisjoint(self.gaps[first]):
                spans |= self._printed(first, last)
        return {self.joined[start:end] for start, end in spans if end - start in lengths}

    def within(self, lengths: frozenset[int]) -> set[str]:
        """Every sequence of groups."""
        ends = set(self.offsets)
        return {
            self.joined[start : start + length]
            for length in lengths
            for start in self.offsets
            if start + length in ends
        }

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """Maximal sequences of groups with one separator throughout, as first and past-last."""
        first = 0
        for _, same in groupby(self.gaps):
            last = first + len(list(same))
            yield first, last + 1
            first = last

    def _printed(self, first: int, last: int) -> set[tuple[int, int]]:
        """Sequences in a stretch whose groups are as cards print them."""
        sizes = [after - before for before, after in pairwise(self.offsets[first : last + 1])]
        return {
            (self.offsets[first + start], self.offsets[first + start + len(form)])
            for form in _CARD_FORMS
            for start in range(len(sizes) - len(form) + 1)
            if tuple(sizes[start : start + len(form)]) == form
        }
