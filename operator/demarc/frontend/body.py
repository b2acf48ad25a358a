"""How are JSON values of a request read, so that each fault names its field?

Rules: duplicate keys, NaN and infinities, and integers beyond 2^53 are refused, because two parsers
could read them differently. A boolean is not a number here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from demarc.frontend import refusals
from demarc.frontend.refusals import Refusal, RefusedError

_SAFE_INTEGER = 2**53


def refuse(refusal: Refusal) -> NoReturn:
    """Leave the readers with this refusal."""
    raise RefusedError(refusal)


def read_object(raw: bytes) -> dict[str, Any]:
    """Read the body of a request.

    Raises:
        RefusedError: these bytes are no JSON object, or one that two parsers read differently.
    """
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_pairs,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_number,
        )
    except (ValueError, RecursionError):
        # the cause would quote the body
        refuse(refusals.invalid("the body is not valid JSON", code="invalid_json"))
    if not isinstance(value, dict):
        refuse(refusals.invalid("the body is not a JSON object", code="invalid_json"))
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate key")
    return value


def _constant(_word: str) -> NoReturn:
    raise ValueError("not a JSON number")


def _integer(digits: str) -> int:
    if len(digits) > len(str(-_SAFE_INTEGER)) or abs(int(digits)) > _SAFE_INTEGER:
        raise ValueError("integer out of range")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("number out of range")
    return value


def mapping(value: object, where: str) -> Mapping[str, Any]:
    """Read an object."""
    if not isinstance(value, dict):
        refuse(refusals.invalid(f"`{where}` must be an object", where, "invalid_type"))
    return value


def sequence(value: object, where: str) -> list[Any]:
    """Read a list."""
    if not isinstance(value, list):
        refuse(refusals.invalid(f"`{where}` must be a list", where, "invalid_type"))
    return value


def text(value: object, where: str) -> str:
    """Read a string that UTF-8 can carry."""
    if not isinstance(value, str):
        refuse(refusals.invalid(f"`{where}` must be a string", where, "invalid_type"))
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        refuse(refusals.invalid(f"`{where}` holds half of a surrogate pair", where))
    return value


def encodable(value: object, where: str) -> None:
    """Refuse a JSON value that UTF-8 cannot carry: its text goes to a tokenizer."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        refuse(refusals.invalid(f"`{where}` holds half of a surrogate pair", where))


def boolean(value: object, where: str) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        refuse(refusals.invalid(f"`{where}` must be true or false", where, "invalid_type"))
    return value


def integer(value: object, where: str, *, low: int, high: int) -> int:
    """Read an integer from low to high."""
    if isinstance(value, bool) or not isinstance(value, int):
        refuse(refusals.invalid(f"`{where}` must be an integer", where, "invalid_type"))
    if not low <= value <= high:
        refuse(refusals.invalid(f"`{where}` must be from {low} to {high}", where))
    return value


def number(value: object, where: str, *, low: float, high: float) -> float:
    """Read a number from low to high."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(refusals.invalid(f"`{where}` must be a number", where, "invalid_type"))
    if not low <= value <= high:
        refuse(refusals.invalid(f"`{where}` must be from {low:g} to {high:g}", where))
    return float(value)


def only(value: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    """Refuse an object with a key that nobody reads."""
    for name in value:
        if name not in known:
            inner = f"{where}.{name}" if refusals.param(name) else where
            what = refusals.quoted(name, "a key")
            refuse(
                refusals.invalid(
                    f"`{where}` has {what}, which is not known", inner, "unknown_parameter"
                )
            )
