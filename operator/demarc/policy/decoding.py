"""What does an encoded text say? base64, hex and escapes, one layer at a time.

Each function takes a text and gives what one layer of decoding brings to light, or nothing. What
decodes to something unreadable was not text.
"""

from __future__ import annotations

import binascii
import html
import re
from collections.abc import Iterator

import re2

GAP = "\n\n\n"
"""Stands between pieces; no rule reads across it."""

BASE64 = r"[A-Za-z0-9+/_-]{16}"
HEX = r"(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[\s:,;-]{0,2}){11}"
ESCAPE = (
    r"%[0-9A-Fa-f]{2}|\\u\{?[0-9A-Fa-f]{2}|\\[xX][0-9A-Fa-f]{2}|\\U[0-9A-Fa-f]{4}|\\[0-7]{3}"
    r"|[0-9]\\[nrt/]|&#?[0-9A-Za-z]{2,8};?"
)
"""Whether there is something to decode, in RE2 syntax."""

_BASE64_TOKEN = re2.compile(
    rb"[A-Za-z0-9+/_-]{16,}(?:\r?\n[ \t]*[A-Za-z0-9+/_-]{16,})*(?:\r?\n[ \t]*[A-Za-z0-9+/_-]+)?"
)
_HEX_TOKEN = re2.compile(rb"(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[\s:,;-]{0,2}){11,}[0-9A-Fa-f]?")
_HEX_NOISE = re.compile(rb"0x|\\x|[\s:,;-]")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_BACKSLASH = re.compile(
    r"\\(?:u([dD][89abAB][0-9A-Fa-f]{2})\\u([dD][c-fC-F][0-9A-Fa-f]{2})|u\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|[xX]([0-9A-Fa-f]{2})"
    r"|([0-7]{3})|([nrt/]))"
)
_ALPHABET = bytes.maketrans(b"-_", b"+/")
_BASE64_ONLY = frozenset(b"\\:,;")
_HEX_DIGITS = b"0123456789abcdefABCDEF"
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\n\r"
_CONTROLS = bytes({*range(0x20), 0x7F} - {*b"\t\n\r"})
_MOST_NOISE = 0.15
"""Share of unprintable bytes up to which a decoded token is text with noise at its ends."""


def tokens(data: bytes) -> Iterator[bytes]:
    """What could be base64 or hex in UTF-8, as it is written."""
    for token in _BASE64_TOKEN.finditer(data):
        written = data[slice(*token.span())]
        if not written.islower() and not written.isdigit():
            # base64 of text has capitals: the first of four symbols stands for the top six bits
            yield written
    for token in _HEX_TOKEN.finditer(data):
        yield data[slice(*token.span())]


def decode_token(token: bytes) -> Iterator[str]:
    """What a token says, read as base64 and as hex, at every alignment; nothing if unreadable."""
    symbols = token.translate(_ALPHABET, b"\r\n \t")
    if _BASE64_ONLY.isdisjoint(symbols):
        for start in range(4):
            whole = symbols[start:]
            usable = len(whole) - (len(whole) % 4 == 1)
            padded = whole[:usable] + b"=" * (-usable % 4)
            yield from _readable(binascii.a2b_base64(padded))
    symbols = _HEX_NOISE.sub(b"", token)
    if not symbols.translate(None, _HEX_DIGITS):
        for start in range(2):
            whole = symbols[start:]
            yield from _readable(binascii.a2b_hex(whole[: len(whole) // 2 * 2]))


def _readable(data: bytes) -> Iterator[str]:
    data = data.replace(b"\0", b"")  # UTF-16 of ASCII
    most_noise = len(data) * _MOST_NOISE
    if len(data) - len(data.translate(None, _CONTROLS)) > most_noise:
        return
    if len(data.translate(None, _PRINTABLE)) <= most_noise:
        yield data.decode("utf-8", "ignore")
        return
    try:
        decoded = data.decode("utf-8")
    except UnicodeDecodeError:
        return
    yield decoded


def unescape(text: str) -> str:
    """The text without one layer of HTML entities, backslash escapes and percent-encoding."""
    text = html.unescape(text) if "&" in text else text
    text = _BACKSLASH.sub(_backslash, text) if "\\" in text else text
    return _PERCENT.sub(_percent, text) if "%" in text else text


def _percent(match: re.Match[str]) -> str:
    return bytes.fromhex(match.group().replace("%", "")).decode("utf-8", "replace")


def _backslash(match: re.Match[str]) -> str:
    high, low, braced, short, long, byte, octal, letter = match.groups()
    if high is not None:
        return bytes.fromhex(high + low).decode("utf-16-be")
    if letter is not None:
        return {"n": "\n", "r": "\r", "t": "\t"}.get(letter, letter)
    point = int(octal, 8) if octal is not None else int(braced or short or long or byte, 16)
    return chr(point) if point < 0xD800 or 0xE000 <= point <= 0x10FFFF else "\ufffd"  # noqa: PLR2004  # surrogates
