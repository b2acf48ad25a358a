"""How sensitive is a request? Labels form a bounded join-semilattice.

INVARIANT: a join only raises. Closure rules run after every join, so no label lacks what its
categories imply.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from demarc.api.v1alpha1.common import Category

TOP = 6
"""Above level 5: could not be classified."""
DEFAULT_FLOOR = 3
"""The floor of an app that no registration lowers."""
SENSITIVE_LEVEL = 3

ALL_ORIGINS = frozenset({"*"})
"""Unknown origins count as all of them."""

SENSITIVE = frozenset(
    {
        Category.CREDIT,
        Category.DEPOSIT,
        Category.AML,
        Category.AUTHN,
        Category.SAD,
        Category.IMPORTANT,
        Category.CORE,
        Category.MNPI,
        Category.SECRET,
        Category.GDPR9,
    }
)
"""Categories that make a label sensitive at any level."""

_IMPLIES: dict[Category, frozenset[Category]] = {
    Category.ACCT: frozenset({Category.SPI, Category.PI}),
    Category.BIOMETRIC: frozenset({Category.SPI, Category.PI}),
    Category.MINOR: frozenset({Category.SPI, Category.PI}),
    Category.HEALTH: frozenset({Category.SPI, Category.PI}),
    Category.SPI: frozenset({Category.PI}),
    Category.SAD: frozenset({Category.PAN}),
    Category.CORE: frozenset({Category.IMPORTANT}),
}
_LEAST_LEVEL: dict[Category, int] = {
    Category.SPI: 3,
    Category.PAN: 3,
    Category.SAD: 4,
    Category.AUTHN: 4,
    Category.IMPORTANT: 5,
}


@dataclass(frozen=True, slots=True)
class Label:
    """What a request is: level 1..5 or TOP (6), categories, origins.

    Build labels with `close`, `join` or `bottom`, never without closure.
    """

    level: int
    categories: frozenset[Category]
    origins: frozenset[str]


def close(level: int, categories: Iterable[Category], origins: Iterable[str]) -> Label:
    """The least label that holds all of these and what they imply.

    Raises:
        ValueError: the level is not 1..6.
    """
    if not 1 <= level <= TOP:
        message = f"level must be 1 to 5 or TOP, not `{level}`"
        raise ValueError(message)
    closed = set(categories)
    for category in tuple(closed):
        closed |= _IMPLIES.get(category, frozenset())
    least = max((_LEAST_LEVEL.get(category, 1) for category in closed), default=1)
    where = frozenset(origins)
    return Label(max(level, least), frozenset(closed), ALL_ORIGINS if "*" in where else where)


def implied(category: Category) -> frozenset[Category]:
    """A category and everything that it implies."""
    return _IMPLIES.get(category, frozenset()) | {category}


def bottom(origins: Iterable[str] = ()) -> Label:
    """The label of a request about which nothing is known that raises it."""
    return close(1, (), origins)


def join(first: Label, second: Label) -> Label:
    """The least label above both."""
    return close(
        max(first.level, second.level),
        first.categories | second.categories,
        first.origins | second.origins,
    )


def below(lower: Label, upper: Label) -> bool:
    """Whether `upper` is at least `lower` in every part."""
    return (
        lower.level <= upper.level
        and lower.categories <= upper.categories
        and (upper.origins == ALL_ORIGINS or lower.origins <= upper.origins)
    )


def is_sensitive(label: Label) -> bool:
    """Level 3 or more, TOP, or a category of SENSITIVE: reaches only private endpoints."""
    return label.level >= SENSITIVE_LEVEL or not SENSITIVE.isdisjoint(label.categories)


def describe(label: Label) -> str:
    """A label in words: `level 3`, `level 4 with PAN, SAD`."""
    kinds = ", ".join(sorted(label.categories))
    return f"level {level_name(label.level)}" + (f" with {kinds}" if kinds else "")


def level_name(level: int) -> str:
    """`1` to `5`, or `TOP`."""
    return "TOP" if level >= TOP else str(level)
