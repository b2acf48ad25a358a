"""How do records lie in a file? One after the other: length, CRC-32C, bytes.

    frame = length (4 bytes, big endian) | CRC-32C over length and bytes (4 bytes) | bytes

The CRC finds torn and rotten frames; that nobody changed a record is for the chain to say.
Source of the polynomial: https://www.rfc-editor.org/rfc/rfc3720#appendix-B.4
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import google_crc32c

HEAD = 8
MAX_RECORD = 1024 * 1024
"""No record comes near it; a longer length is damage."""
_NAME = "segment-"
_SUFFIX = ".records"


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame at `start`; the next one begins at `end`."""

    start: int
    end: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Where reading stopped, and why.

    Attributes:
        torn: the file ends inside a frame, as after a crash; else the frame is wrong.
    """

    start: int
    torn: bool
    what: str


def frame(payload: bytes) -> bytes:
    """One record as it lies in a file.

    Raises:
        ValueError: it is empty or longer than `MAX_RECORD`.
    """
    if not 0 < len(payload) <= MAX_RECORD:
        raise ValueError(f"a record has 1 to {MAX_RECORD} bytes, not {len(payload)}")
    length = len(payload).to_bytes(4, "big")
    return length + _crc(length + payload).to_bytes(4, "big") + payload


def read(data: bytes) -> Iterator[Frame | Damage]:
    """The frames of a file; the last item may be the damage at which reading stopped."""
    start, size = 0, len(data)
    while start < size:
        if size - start < HEAD:
            yield Damage(start, torn=True, what="the file ends inside the head of a record")
            return
        length = int.from_bytes(data[start : start + 4], "big")
        end = start + HEAD + length
        if not 0 < length <= MAX_RECORD:
            torn = not any(data[start:])
            what = "the file ends in zeros" if torn else "the length of a record is impossible"
            yield Damage(start, torn=torn, what=what)
            return
        if end > size:
            yield Damage(start, torn=True, what="the file ends inside a record")
            return
        payload = data[start + HEAD : end]
        crc = _crc(data[start : start + 4] + payload)
        if crc != int.from_bytes(data[start + 4 : start + HEAD], "big"):
            yield Damage(start, torn=end == size, what="the CRC of a record does not fit")
            return
        yield Frame(start, end, payload)
        start = end


def name(number: int) -> str:
    """File name of a segment; names sort by number."""
    return f"{_NAME}{number:010d}{_SUFFIX}"


def number(file: str) -> int | None:
    """Number of a segment by its file name; None for other files."""
    digits = file.removeprefix(_NAME).removesuffix(_SUFFIX)
    if not digits.isascii() or not digits.isdigit() or file != name(int(digits)):
        return None
    return int(digits)


def _crc(data: bytes) -> int:
    return int(google_crc32c.value(data))
