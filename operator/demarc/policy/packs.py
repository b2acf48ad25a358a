"""What does a detector pack say? Rules as data, with a schema and a content hash.

INVARIANT: a pack that is not understood whole is refused; a rule that silently never matches would
read as `nothing found`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

import re2
import rfc8785
import yaml
from pydantic import Field, StringConstraints, ValidationError

from demarc.api.schema import ApiModel, DnsLabel
from demarc.api.v1alpha1.common import Category
from demarc.policy.digits import MAX_DIGITS, MIN_DIGITS
from demarc.policy.validators import Validator

_MAX_MEMORY = 64 * 1024 * 1024
"""Bytes for each automaton; RE2 takes what it needs of it."""


class PackError(Exception):
    """A pack is not valid; the text names the pack, the place and the repair."""


class Match(StrEnum):
    """What the pattern of a rule is laid over."""

    TEXT = "Text"
    """Every view of the text, anywhere in it."""
    NUMBER = "Number"
    """A number that stands alone, whole; separators are gone. See `digits`."""
    NUMBER_WITHIN = "NumberWithin"
    """The same, and also inside longer sequences of groups: for rules with a strong check."""


class Context(ApiModel):
    """A match counts only near one of these words."""

    words: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)]
    """Plain words, matched whatever their case."""
    within: Annotated[int, Field(strict=True, ge=1, le=256)]
    """Bytes of UTF-8 before and after the match."""


class Rule(ApiModel):
    """One kind of content and the label that it raises to."""

    name: DnsLabel
    """Name of the rule, unique in its pack."""
    match: Match
    """What the pattern is laid over."""
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    """RE2 syntax; the first group, if there is one, is what the validator sees."""
    lengths: (
        Annotated[
            tuple[Annotated[int, Field(strict=True, ge=MIN_DIGITS, le=MAX_DIGITS)], ...],
            Field(min_length=1, max_length=MAX_DIGITS),
        ]
        | None
    ) = None
    """How many digits a number has; for Number and NumberWithin, and required there."""
    validator: Validator
    """What a match must pass besides; Shape for nothing."""
    level: Annotated[int, Field(strict=True, ge=1, le=5)]
    """Least level of a request with a match."""
    categories: Annotated[tuple[Category, ...], Field(max_length=19)]
    """Categories of a request with a match; may be empty when the level says enough."""
    context: Context | None = None
    """Words that must stand near; absent: none."""


class Pack(ApiModel):
    """A set of rules under one name."""

    schema_version: Annotated[Literal["demarc.dev/pack/v1"], Field(alias="schema")]
    """Version of this form."""
    name: DnsLabel
    """Name of the pack."""
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=256)]
    """The rules; their order means nothing."""

    def hash(self) -> str:
        """Lower-case hex SHA-256 of the canonical form (RFC 8785)."""
        return hashlib.sha256(rfc8785.dumps(self.dump())).hexdigest()


class _Loader(yaml.SafeLoader):
    """Refuses a key that comes twice."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    if len(keys) != len(set(map(str, keys))):
        raise PackError(f"line {node.start_mark.line + 1}: a key comes twice")
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read(name: str, text: str) -> Pack:
    """Read one pack.

    Args:
        name: under which it is known; the document must say the same.
        text: YAML.

    Raises:
        PackError: the text is not a valid pack.
    """
    try:
        document: object = yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader
        pack = Pack.model_validate(document)
    except PackError as error:
        raise PackError(f"pack `{name}`: {error}") from error
    except yaml.YAMLError as error:
        raise PackError(f"pack `{name}`: not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        raise PackError(f"pack `{name}`: {problems}") from error
    if pack.name != name:
        raise PackError(f"pack `{name}`: name: the document says `{pack.name}`")
    names = [rule.name for rule in pack.rules]
    twice = sorted({rule for rule in names if names.count(rule) > 1})
    if twice:
        raise PackError(f"pack `{name}`: rules: `{twice[0]}` comes twice")
    for rule in pack.rules:
        if (rule.lengths is None) == (rule.match is not Match.TEXT):
            raise PackError(
                f"pack `{name}`: {rule.name}.lengths: stands with match Number and NumberWithin, "
                "and with no other"
            )
        if rule.level == 1 and not rule.categories:
            raise PackError(
                f"pack `{name}`: {rule.name}: raises nothing: give a level or a category"
            )
        _check_pattern(name, rule)
    return pack


def _check_pattern(pack: str, rule: Rule) -> None:
    try:
        compiled = compile_pattern(rule.pattern)
    except re2.error as error:
        raise PackError(f"pack `{pack}`: {rule.name}.pattern: not RE2 syntax: {error}") from error
    if compiled.search(b"") is not None:
        raise PackError(f"pack `{pack}`: {rule.name}.pattern: matches the empty text")


def options() -> re2.Options:
    """How patterns are compiled: UTF-8, quiet, with memory to spare."""
    chosen = re2.Options()
    chosen.max_mem = _MAX_MEMORY
    chosen.log_errors = False
    return chosen


def compile_pattern(pattern: str) -> Any:
    """A compiled RE2 pattern over UTF-8 bytes.

    Raises:
        re2.error: the pattern is not RE2 syntax.
    """
    return re2.compile(pattern.encode(), options())


def words_pattern(words: Mapping[str, object] | tuple[str, ...]) -> str:
    """A pattern that finds one of some plain words, whatever their case."""
    return "(?i:" + "|".join(re2.escape(word) for word in words) + ")"
