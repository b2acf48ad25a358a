"""Is there something in these texts that must not leave? Detectors can only raise a label.

Every rule of every pack is laid over every *view* of the texts:

1. each part by itself (all parts at once, with a gap between them that no rule reads across);
2. each run of parts joined, so that a value split over parts, turns, keys or items is whole;
3. of each of these the folded text, what invisible characters spell, numbers in other alphabets;
4. of each of these what one layer of decoding brings to light, to a depth of three.

A view is made only where the text has something to fold or to decode, which one pass of an
automaton tells. Work is counted in characters, so that the same request has the same outcome on
every machine.

INVARIANT: `scan` never raises, and anything but a finished scan is a failure, which makes the label
TOP. Nothing of the texts is in a finding or a failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import re2

from demarc.policy import decoding, digits, folding, packs
from demarc.policy.decision import Finding, Findings
from demarc.policy.digits import Chain, Lengths
from demarc.policy.packs import Match, Pack, Rule
from demarc.policy.texts import Texts
from demarc.policy.validators import VALIDATORS

DEFAULT_BUDGET = 8_000_000
"""Characters of work for one request; see `scan`."""
MAX_DEPTH = 3
"""Layers of encoding that are undone."""
EDGE = 512
"""Characters at each end of a long part that are looked at when parts are joined."""
_MATCH_COST = 256
_NUMBER_COST = 128
_CHAIN_COST = 64
_CHAIN_CHARACTER_COST = 4
_FOLD_COST = 4
_TOKEN_COST = 32
_TOKEN_CHARACTER_COST = 4
_MAX_MATCHES = 4096
"""Matches of one rule in one view, after which a rule that has found something counts no more. One
that has not goes on to the end of the budget: what does not hold up must hide nothing behind it."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A rule, ready to run.

    Attributes:
        detector: `PACK/RULE`.
        pattern: over UTF-8.
        context: over the bytes around a match, or None.
    """

    detector: str
    rule: Rule
    pattern: Any
    context: Any


@dataclass(frozen=True, slots=True, eq=False)
class Detectors:
    """All packs, compiled.

    Attributes:
        hashes: content hash of each pack by name, as the epoch holds them.
    """

    hashes: Mapping[str, str]
    text_rules: tuple[_Compiled, ...] = field(repr=False)
    number_rules: tuple[_Compiled, ...] = field(repr=False)
    lengths: Lengths = field(repr=False)
    text_set: Any = field(repr=False)
    number_set: Any = field(repr=False)
    signs: Any = field(repr=False)


_SIGNS = (*digits.CHAINS, "scaled", "disguised", "token", "escape")
"""What a text can have that calls for another view; see `_sign_patterns`."""


class _ExhaustedError(Exception):
    """The budget is used up."""


def load_packs(texts: Mapping[str, str]) -> Detectors:
    """Compile packs.

    Args:
        texts: YAML text of each pack by its name.

    Raises:
        PackError: a pack is not valid, or there is none.
    """
    if not texts:
        raise packs.PackError("no pack is given: without packs nothing would be found")
    read = [packs.read(name, texts[name]) for name in sorted(texts)]
    rules = [_compile(pack, rule) for pack in read for rule in pack.rules]
    text_rules = tuple(rule for rule in rules if rule.rule.match is Match.TEXT)
    number_rules = tuple(rule for rule in rules if rule.rule.match is not Match.TEXT)
    return Detectors(
        hashes={pack.name: pack.hash() for pack in read},
        text_rules=text_rules,
        number_rules=number_rules,
        lengths=Lengths(
            alone=_lengths(number_rules, Match.NUMBER),
            within=_lengths(number_rules, Match.NUMBER_WITHIN),
        ),
        text_set=_set(re2.Set.SearchSet, (rule.rule.pattern for rule in text_rules)),
        number_set=_set(re2.Set.FullMatchSet, (rule.rule.pattern for rule in number_rules)),
        signs=_set(re2.Set.SearchSet, _sign_patterns()),
    )


def _compile(pack: Pack, rule: Rule) -> _Compiled:
    context = rule.context
    return _Compiled(
        f"{pack.name}/{rule.name}",
        rule,
        packs.compile_pattern(rule.pattern),
        None if context is None else packs.compile_pattern(packs.words_pattern(context.words)),
    )


def _sign_patterns() -> tuple[str, ...]:
    """The patterns that tell, in the order of `_SIGNS`."""
    return (
        *digits.CHAINS.values(),
        digits.SCALED,
        folding.disguised_class(),
        f"{decoding.BASE64}|{decoding.HEX}",
        decoding.ESCAPE,
    )


def _lengths(rules: Iterable[_Compiled], match: Match) -> frozenset[int]:
    return frozenset(
        length for rule in rules if rule.rule.match is match for length in rule.rule.lengths or ()
    )


def _set(make: Any, patterns: Iterable[str]) -> Any:
    made = make(packs.options())
    empty = True
    for pattern in patterns:
        made.Add(pattern)
        empty = False
    if empty:
        return None
    made.Compile()
    return made


def scan(texts: Texts, detectors: Detectors, *, budget: int = DEFAULT_BUDGET) -> Findings:
    """Look at everything; never raises.

    Args:
        texts: of one request.
        detectors: from `load_packs`.
        budget: characters of work: each view costs its length, each match and number a constant.

    Returns:
        Findings sorted by detector, counting distinct values; with a failure if not all was seen.
    """
    scanner = _Scanner(detectors, budget)
    try:
        scanner.scan(texts)
    except _ExhaustedError:
        return Findings(scanner.findings(), "budget exhausted")
    except MemoryError:
        return Findings((), "out of memory")
    except Exception as error:  # noqa: BLE001  # whatever it is, the text counts as not understood
        return Findings((), f"detector error: {type(error).__name__}")
    return Findings(scanner.findings())


class _Scanner:
    """The state of one scan."""

    __slots__ = (
        "_budget",
        "_detectors",
        "_found",
        "_is_disguised",
        "_numbers",
        "_plain_edges",
        "_seen",
        "_tokens",
    )

    def __init__(self, detectors: Detectors, budget: int) -> None:
        self._detectors = detectors
        self._budget = budget
        self._found: dict[str, tuple[Rule, set[bytes]]] = {}
        self._seen: dict[str, int] = {}
        self._tokens: dict[bytes, int] = {}
        self._numbers: dict[str, tuple[int, ...]] = {}
        self._is_disguised = False
        self._plain_edges: dict[str, str] = {}

    def findings(self) -> tuple[Finding, ...]:
        return tuple(
            Finding(detector, rule.level, tuple(sorted(rule.categories)), len(values))
            for detector, (rule, values) in sorted(self._found.items())
        )

    def scan(self, texts: Texts) -> None:
        parts = [part for part in texts.reveal_parts() if part]
        self._view(decoding.GAP.join(parts), 0)
        self._view(decoding.GAP.join(texts.reveal_pairs()), 0)
        for run in texts.reveal_runs():
            for edges in self._joinable(run):
                self._view("".join(edges), 0)
                self._view(digits.JOINT.join(edges), 0)

    def _joinable(self, run: tuple[str, ...]) -> Iterator[list[str]]:
        """The parts of a run as they join; the ends of long parts also as a reader sees them.

        What cannot be seen must not push the halves of a value out of the ends. The view of all
        parts, which comes first, has told whether there is any such thing.
        """
        edges = [_edges(part) for part in run]
        yield edges
        if self._is_disguised:
            seen = [self._seen_edges(part) if len(part) > 2 * EDGE else part for part in run]
            if seen != edges:
                yield seen

    def _seen_edges(self, part: str) -> str:
        found = self._plain_edges.get(part)
        if found is None:  # the same part is in several runs
            self._spend(_FOLD_COST * len(part))
            found = self._plain_edges[part] = _edges(folding.fold(part))
        return found

    def _spend(self, cost: int) -> None:
        self._budget -= cost
        if self._budget < 0:
            raise _ExhaustedError

    def _view(self, text: str, depth: int, *, folded: bool = False) -> None:
        """Look at one text and at everything that it gives rise to."""
        if not text or self._seen.get(text, MAX_DEPTH + 1) <= depth:
            return
        self._seen[text] = depth
        self._spend(len(text))
        data = text.encode("utf-8")
        detectors = self._detectors
        if detectors.text_set is not None:
            for index in detectors.text_set.Match(data) or ():
                self._text_rule(detectors.text_rules[index], data)
        signs = {_SIGNS[index] for index in detectors.signs.Match(data) or ()}
        for alphabet in signs & digits.CHAINS.keys():
            for chain in digits.chains(data, alphabet):
                self._chain(chain, data)
        if digits.JOINT in text:
            self._scattered(data)
        if "scaled" in signs:
            self._view(digits.written_out(text), depth, folded=folded)
        if "disguised" in signs and not folded:
            self._is_disguised = True
            self._spend(_FOLD_COST * len(text))
            self._view(folding.fold(text), depth, folded=True)
            self._view(folding.hidden(text), depth)
        if depth == MAX_DEPTH:
            return
        if "token" in signs:
            self._view(decoding.GAP.join(self._decoded(data, depth)), depth + 1)
        if "escape" in signs:
            self._view(decoding.unescape(text), depth + 1)

    def _decoded(self, data: bytes, depth: int) -> Iterator[str]:
        """What the tokens of a text say that no earlier view had, or had too deep to go on."""
        for token in decoding.tokens(data):
            if self._tokens.get(token, MAX_DEPTH) > depth:
                self._tokens[token] = depth
                self._spend(_TOKEN_COST + _TOKEN_CHARACTER_COST * len(token))
                yield from decoding.decode_token(token)

    def _text_rule(self, compiled: _Compiled, data: bytes) -> None:
        for count, match in enumerate(compiled.pattern.finditer(data)):
            if count >= _MAX_MATCHES and compiled.detector in self._found:
                return
            self._spend(_MATCH_COST)
            value = match.group(1) if compiled.pattern.groups else match.group()
            start, end = match.span()
            self._judge(compiled, value or b"", data, start, end)

    def _chain(self, chain: Chain, data: bytes) -> None:
        self._spend(_CHAIN_COST + _CHAIN_CHARACTER_COST * (chain.end - chain.start))
        lengths = self._detectors.lengths
        alone = chain.alone(lengths.alone | lengths.within)
        for number in alone:
            self._number(number, chain, data, alone=True)
        for number in chain.within(lengths.within) - alone:
            self._number(number, chain, data, alone=False)

    def _scattered(self, data: bytes) -> None:
        """Numbers that are split over parts, with words between."""
        chain = digits.scattered(data)
        if chain is not None:
            self._spend(_CHAIN_CHARACTER_COST * len(chain.joined))
            for number in chain.within(self._detectors.lengths.within, split=True):
                self._number(number, chain, data, alone=False)

    def _number(self, number: str, chain: Chain, data: bytes, *, alone: bool) -> None:
        self._spend(_NUMBER_COST)
        matching = self._numbers.get(number)
        if matching is None:  # the same number is in several views
            found = self._detectors.number_set.Match(number.encode("ascii"))
            matching = self._numbers[number] = tuple(found or ())
        for index in matching:
            compiled = self._detectors.number_rules[index]
            if alone or compiled.rule.match is Match.NUMBER_WITHIN:
                self._judge(compiled, number.encode("ascii"), data, chain.start, chain.end)

    def _judge(self, compiled: _Compiled, value: bytes, data: bytes, start: int, end: int) -> None:
        rule = compiled.rule
        if not VALIDATORS[rule.validator](value.decode("utf-8", "replace")):
            return
        if rule.context is not None:
            within = rule.context.within
            around = data[max(0, start - within) : end + within]
            if compiled.context.search(around) is None:
                return
        self._found.setdefault(compiled.detector, (rule, set()))[1].add(value.upper())


def _edges(part: str) -> str:
    """A part, or both ends of a long one: what can join to its neighbours."""
    if len(part) <= 2 * EDGE:
        return part
    return f"{part[:EDGE]}{decoding.GAP}{part[-EDGE:]}"
