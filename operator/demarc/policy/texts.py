"""Where can text hide in a request? In every string, key and number, alone or joined to others.

INVARIANT: a `Texts` prints as `[redacted]`; whoever needs the text calls `reveal_parts`,
`reveal_runs` or `reveal_pairs`, which can be searched for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PROTOCOL_WORDS = frozenset(
    """
    model messages role content name refusal tool_calls tool_call_id id type function arguments
    text user system developer assistant tool tools tool_choice description parameters strict
    stream stream_options include_usage include_obfuscation temperature top_p max_tokens
    max_completion_tokens stop seed n frequency_penalty presence_penalty response_format
    json_schema json_object schema metadata logprobs top_logprobs parallel_tool_calls
    reasoning_effort verbosity service_tier store auto none required low medium high
    properties object string number integer boolean array items enum additionalProperties
    """.split()  # noqa: SIM905  # a table of words
)
"""Words of the protocol: they carry nothing and would stand between halves of a split value."""

_PAIR_VALUE = 512
"""Characters of a value that stand with its key; the whole value is a part of its own."""


class Texts:
    """All text of one request; it prints as `[redacted]`."""

    __slots__ = ("_pairs", "_parts", "_runs")

    def __init__(
        self,
        parts: Iterable[str],
        runs: Iterable[tuple[str, ...]] = (),
        pairs: Iterable[str] = (),
    ) -> None:
        """Keep the text.

        Args:
            parts: every string, object key and number as it was written, in document order.
            runs: sequences of parts that a reader could join to one text: message contents, the
                turns of one role, items of an array, keys, and so on.
            pairs: members of objects as `key: value`, which is how a model reads a schema.
        """
        self._parts = tuple(parts)
        self._runs = tuple(runs)
        self._pairs = tuple(pairs)

    def reveal_parts(self) -> tuple[str, ...]:
        """Every string, key and number, in document order."""
        return self._parts

    def reveal_runs(self) -> tuple[tuple[str, ...], ...]:
        """Sequences of parts that a reader could join."""
        return self._runs

    def reveal_pairs(self) -> tuple[str, ...]:
        """Members of objects as `key: value`."""
        return self._pairs

    def __repr__(self) -> str:
        return "[redacted]"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Texts) and self._all() == other._all()

    def __hash__(self) -> int:
        return hash(self._all())

    def _all(self) -> tuple[tuple[object, ...], ...]:
        return (self._parts, self._runs, self._pairs)


@dataclass(frozen=True, slots=True, repr=False)
class Tree:
    """The text of one JSON value, in document order.

    Attributes:
        parts: strings, keys and numbers.
        values: the same without keys.
        keys: keys alone.
        arrays: each array of two or more scalars.
        pairs: `key: value` of each member that is no word of the protocol and holds a string or a
            number; of a long string the beginning.
        members: number of object members.
        depth: deepest nesting of arrays and objects; a scalar has 0.
    """

    parts: tuple[str, ...]
    values: tuple[str, ...]
    keys: tuple[str, ...]
    arrays: tuple[tuple[str, ...], ...]
    pairs: tuple[str, ...]
    members: int
    depth: int


class TooDeepError(Exception):
    """A value is nested deeper than allowed."""


def collect(value: object, numbers: Iterable[str], *, max_depth: int) -> Tree:
    """Visit a decoded JSON value whole.

    Args:
        value: of dict, list, str, int, float, bool and None.
        numbers: the numbers of the document as they were written, in order.
        max_depth: nesting beyond which the visit stops.

    Raises:
        TooDeepError: the value is nested deeper than `max_depth`.
        StopIteration: there are more numbers in the value than in `numbers`.
    """
    visit = _Visit(iter(numbers), max_depth)
    visit.value(value, 0)
    return Tree(
        tuple(visit.parts),
        tuple(visit.values),
        tuple(visit.keys),
        tuple(visit.arrays),
        tuple(visit.pairs),
        visit.members,
        visit.depth,
    )


class _Visit:
    __slots__ = (
        "arrays",
        "depth",
        "keys",
        "max_depth",
        "members",
        "numbers",
        "pairs",
        "parts",
        "values",
    )

    def __init__(self, numbers: Iterator[str], max_depth: int) -> None:
        self.numbers = numbers
        self.max_depth = max_depth
        self.parts: list[str] = []
        self.values: list[str] = []
        self.keys: list[str] = []
        self.arrays: list[tuple[str, ...]] = []
        self.pairs: list[str] = []
        self.members = 0
        self.depth = 0

    def value(self, value: object, depth: int) -> None:
        if isinstance(value, str):
            self.parts.append(value)
            self.values.append(value)
        elif isinstance(value, dict):
            self._enter(depth)
            self.members += len(value)
            for key, member in value.items():
                self.parts.append(key)
                self.keys.append(key)
                self.value(member, depth + 1)
                if key not in PROTOCOL_WORDS and not isinstance(member, dict | list | bool | None):
                    self.pairs.append(f"{key}: {self.parts[-1][:_PAIR_VALUE]}")
        elif isinstance(value, list):
            self._enter(depth)
            start = len(self.parts)
            for item in value:
                self.value(item, depth + 1)
            if len(value) > 1 and not any(isinstance(item, dict | list) for item in value):
                self.arrays.append(tuple(self.parts[start:]))
        elif value is not None and not isinstance(value, bool):
            number = next(self.numbers)
            self.parts.append(number)
            self.values.append(number)

    def _enter(self, depth: int) -> None:
        if depth >= self.max_depth:
            raise TooDeepError
        self.depth = max(self.depth, depth + 1)


def runs(sequences: Iterable[Iterable[str]]) -> tuple[tuple[str, ...], ...]:
    """The sequences without protocol words, those with two or more parts, each once."""
    kept = (
        tuple(part for part in sequence if part and part not in PROTOCOL_WORDS)
        for sequence in sequences
    )
    return tuple(dict.fromkeys(run for run in kept if len(run) > 1))
