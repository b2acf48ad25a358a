"""Which numbers does a text show, whatever stands between their digits?

A *chain* is digits with at most two separators between neighbours. Its *groups* are the digits
that stand together. Dates, tables and lists make chains too, so a number is read off a chain only
where its ends are ends of groups, and then in one of two ways:

- *alone*: one group, the whole chain, a stretch with one separator throughout that is not the
  separator of a list, or groups of such a stretch as cards are printed;
- *within*: any sequence of groups in such a stretch. Only rules with a strong check look there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
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


_GAP = rf"(?:{_SEPARATOR}{{0,2}}|[\pZ][\p{{Pd}}._·][\pZ])"
"""At most two separators, or a dash between spaces."""


def _chain(digit: str) -> str:
    return f"{digit}(?:{_GAP}{digit}){{{MIN_DIGITS - 1},}}(?:{_GAP}[Xx])?"


PLAIN = "plain"
_NUMERAL_CLASS = f"[0-9{''.join(NUMERALS)}]"
_LETTER_CLASS = f"[0-9{''.join(LETTERS_AS_DIGITS)}]"
_TO_DIGITS = {
    PLAIN: {},
    "numerals": str.maketrans(dict(NUMERALS)),
    "letters": str.maketrans(dict(LETTERS_AS_DIGITS)),
}
CHAINS = {
    PLAIN: _chain("[0-9]"),
    "numerals": f"{_chain(_NUMERAL_CLASS)}",
    "letters": f"{_chain(_LETTER_CLASS)}",
}
"""RE2 patterns of chains by alphabet."""
_COMPILED = {name: re2.compile(pattern.encode()) for name, pattern in CHAINS.items()}
SCALED = (
    r"(?:^|[^0-9A-Za-z.])"
    r"(?:[0-9]{11,40}\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{1,40})?[eE][-+]?[0-9]{1,3})"
    r"(?:[^0-9A-Za-z]|$)"
)
"""RE2 pattern of a number that a JSON reader would write otherwise: a long one with a fraction, or
one with an exponent."""
_SCALED = re.compile(
    r"(?<![0-9A-Za-z.])(?:[0-9]{11,40}\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{1,40})?[eE][-+]?[0-9]{1,3})"
    r"(?![0-9A-Za-z])"
)
_GROUP = re.compile("[0-9]+|[Xx]")
_SCATTERED = re.compile("[0-9Xx](?:(?<=[0-9])[0-9]*|(?<![A-Za-z][Xx])(?![A-Za-z]))")
"""`[0-9]+|(?<![A-Za-z])[Xx](?![A-Za-z])`, with one class in front: the search skips what is in none
five times as fast."""


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


@dataclass(frozen=True, slots=True)
class Lengths:
    """How many digits the numbers have that rules look for, alone and within chains."""

    alone: frozenset[int]
    within: frozenset[int]


def chains(data: bytes, alphabet: str) -> Iterator[Chain]:
    """The chains of a text.

    Args:
        data: the text as UTF-8.
        alphabet: `plain`, `numerals` or `letters`; in the last two, chains of plain digits alone
            are left out, because `plain` has them.
    """
    for match in _COMPILED[alphabet].finditer(data):
        start, end = match.span()
        written = data[start:end].decode("utf-8")
        text = written.translate(_TO_DIGITS[alphabet])
        if alphabet == PLAIN or text != written:
            yield _read(text, _GROUP, start, end)


def scattered(data: bytes) -> Chain | None:
    """All digits of joined parts as one chain, whatever words stand between them; None if few."""
    if len(data) - len(data.translate(None, b"0123456789")) < MIN_DIGITS:
        return None
    return _read(data.decode("utf-8", "replace"), _SCATTERED, 0, len(data))


def written_out(text: str) -> str:
    """The text with its long numbers as binary64 holds them, written without exponents.

    A model reads numbers of a schema or of a tool's arguments after they went through a parser:
    `6.22e3` as 6220.0, and a fraction beyond what binary64 holds as the next whole number.
    """
    return _SCALED.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    value = float(match.group())
    if not 10 ** (MIN_DIGITS - 1) <= value < 10**MAX_DIGITS:
        return match.group()
    return format(Decimal(repr(value)), "f").removesuffix(".0")


def _read(text: str, group: re.Pattern[str], start: int, end: int) -> Chain:
    """Cut a text into groups; a final X is a group of its own, since it may belong to nothing."""
    groups: list[str] = []
    gaps: list[str] = []
    last = 0
    for match in group.finditer(text):
        groups.append(match.group())
        gaps.append(text[last : match.start()])
        last = match.end()
    offsets = (0, *accumulate(map(len, groups)))
    return Chain("".join(groups).upper(), offsets, tuple(gaps[1:]), start, end)


@dataclass(frozen=True, slots=True, repr=False)
class Chain:
    """One chain, cut into groups.

    Attributes:
        joined: the digits without gaps; an `X` may be among them.
        offsets: where each group begins in `joined`; the last is the length of `joined`.
        gaps: what stands between neighbouring groups.
        start, end: bytes of the chain in the text, for context.
    """

    joined: str
    offsets: tuple[int, ...]
    gaps: tuple[str, ...]
    start: int
    end: int

    def alone(self, lengths: frozenset[int]) -> set[str]:
        """Single groups, the whole chain, stretches of one separator, groups printed as cards."""
        offsets = self.offsets
        spans = {span for span in pairwise(offsets) if span[1] - span[0] in lengths}
        spans.add((0, offsets[-1]))
        for first, last in self._stretches():
            span = (offsets[first], offsets[last])
            if span[1] - span[0] < MIN_DIGITS or not _LIST_SEPARATORS.isdisjoint(self.gaps[first]):
                continue
            spans.add(span)
            if last - first <= _LONGEST_ROW:
                spans |= self._printed(first, last)
        return {self.joined[start:end] for start, end in spans if end - start in lengths}

    def within(self, lengths: frozenset[int], *, split: bool = False) -> set[str]:
        """Sequences of groups with one separator, which parts that were joined may interrupt.

        Args:
            lengths: of numbers that are looked for.
            split: only those that lie in more than one part, whatever else separates their groups.
        """
        index = {offset: group for group, offset in enumerate(self.offsets)}
        fits = self._crosses_joints() if split else self._are_even
        return {
            self.joined[start : start + length]
            for length in lengths
            for start, first in index.items()
            if (last := index.get(start + length)) is not None and fits(first, last - 1)
        }

    def _are_even(self, first: int, last: int) -> bool:
        """Whether some gaps hold groups together: one separator, not that of a list, or a joint."""
        kinds = {gap for gap in self.gaps[first:last] if gap and JOINT not in gap}
        return len(kinds) <= 1 and all(map(_LIST_SEPARATORS.isdisjoint, kinds))

    def _crosses_joints(self) -> Callable[[int, int], bool]:
        """Whether a joint is among some gaps; they are counted once for all questions."""
        before = (0, *accumulate(JOINT in gap for gap in self.gaps))
        return lambda first, last: before[last] > before[first]

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
