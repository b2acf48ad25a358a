"""What is a broken invariant, and how does the linter look into nested configuration?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """One broken invariant.

    Attributes:
        invariant: its id, as in `linting`.
        where: the resource.
        message: what is wrong.
    """

    invariant: str
    where: str
    message: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.invariant} {self.where}: {self.message}"


def keys(value: object) -> Iterator[tuple[str, object]]:
    """Every key, at any depth, with its value."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key), inner
            yield from keys(inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            yield from keys(inner)


def kind(config: Config) -> str:
    """The message name of a typed config, without its package: `ExtAuthz`."""
    typed = config.get("typed_config", config)
    return str(typed.get("@type", "")).rpartition(".")[2]


def matches(matcher: Config, name: str) -> bool:
    """Whether a string matcher matches a header name; an unknown matcher matches nothing."""
    if "exact" in matcher:
        return bool(matcher["exact"] == name)
    if "prefix" in matcher:
        return name.startswith(matcher["prefix"])
    if "safe_regex" in matcher:
        return re.fullmatch(matcher["safe_regex"].get("regex", "(?!)"), name) is not None
    return False
