"""Could two parsers read these bytes differently? Then they are refused.

The untouched body travels on, so what was judged here must be what everyone behind reads:
UTF-8 without a byte order mark, one JSON value (RFC 8259) and nothing behind it, no key twice in an
object however it is written, numbers that binary64 holds (RFC 7493, I-JSON: integers within 2^53),
no lone surrogates, no U+0000, nesting of at most 32.

The C parser decodes; what it does not check is read off the *skeleton*, the document without its
strings: one colon is one member, so fewer members in the decoded value than colons means a key came
twice; and the numbers stand there as they were written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from demarc.policy import texts
from demarc.policy.refusal import Refusal, refuse
from demarc.policy.texts import TooDeepError, Tree

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
MAX_NUMBER_CHARACTERS = 64
"""No sampling parameter and no float repr is longer; int() of a very long text is slow."""
MAX_INTEGER = 2**53

_NUMBER = re.compile(rb"[-0-9][-+.0-9eE]*")
_PLAIN_NUMBER_CHARACTERS = 15
"""Decimal digits that binary64 always holds exactly."""


@dataclass(frozen=True, slots=True, repr=False)
class Json:
    """A body that every strict parser reads alike."""

    value: object
    tree: Tree


def read(body: bytes) -> Json | Refusal:
    """Decode a body; never raises."""
    if len(body) > MAX_BYTES:
        return refuse("request_too_large", f"the body is larger than {MAX_BYTES} bytes", status=413)
    if not body:
        return refuse("invalid_json", "the body is empty: send one JSON object")
    if body.startswith(b"\xef\xbb\xbf"):
        return refuse("invalid_json", "the body starts with a byte order mark: leave it out")
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return refuse("invalid_json", "the body is not UTF-8")
    try:
        value: object = msgspec.json.decode(body)
    except msgspec.ValidationError:
        return _number_refused()
    except msgspec.DecodeError:
        return refuse("invalid_json", "the body is not exactly one valid JSON value")
    except RecursionError:
        return _depth_refused()
    skeleton = _skeleton(body)
    numbers = [number.decode("ascii") for number in _NUMBER.findall(skeleton)]
    if not all(map(_is_exact, set(numbers))):
        return _number_refused()
    try:
        tree = texts.collect(value, numbers, max_depth=MAX_DEPTH)
    except TooDeepError:
        return _depth_refused()
    if tree.members != skeleton.count(b":"):
        return refuse("duplicate_key", "an object of the body has the same key twice")
    if b"\\u0000" in body and any("\0" in part for part in tree.parts):
        return refuse("invalid_json", "a string of the body holds U+0000")
    return Json(value, tree)


def _skeleton(body: bytes) -> bytes:
    """A valid JSON document without its strings.

    Escaped backslashes go first, from the left, so that a backslash left before a quote escapes it.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(body.split(b'"')[::2])


def _is_exact(number: str) -> bool:
    """Whether integers and binary64 agree on a JSON number: finite and within 2^53."""
    if len(number) <= _PLAIN_NUMBER_CHARACTERS and "e" not in number and "E" not in number:
        return True
    if len(number) > MAX_NUMBER_CHARACTERS:
        return False
    magnitude = abs(float(number))
    if magnitude != MAX_INTEGER:
        return magnitude < MAX_INTEGER
    return abs(Decimal(number)) == MAX_INTEGER


def _number_refused() -> Refusal:
    return refuse(
        "number_out_of_range",
        f"a number of the body is beyond 2^53, not finite or longer than {MAX_NUMBER_CHARACTERS} "
        "characters: send it as a string",
    )


def _depth_refused() -> Refusal:
    return refuse("nesting_too_deep", f"the body is nested deeper than {MAX_DEPTH}")
