"""Which part of a growing answer may be sent now, and where does it end?

Engines give the whole text so far, again and again. Three things are held back: an incomplete
character at the end, which shows as U+FFFD; the beginning of a stop text; and nothing else.

LAW: the parts that were released, joined, are the final text up to the stop text that is complete
first, however the answer was cut into chunks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

_INCOMPLETE = "\ufffd"


class TextRewrittenError(Exception):
    """The engine changed text that it had already given."""


@dataclass(frozen=True, slots=True)
class Released:
    """What of an answer went out.

    Attributes:
        stops: texts that end the answer.
        text: everything that was released.
        stopped: a stop text was met; nothing more is released.
    """

    stops: tuple[str, ...] = field(default=(), repr=False)
    text: str = field(default="", repr=False)
    stopped: bool = False


def release(before: Released, so_far: str, *, final: bool) -> Released:
    """Release what is certain of the answer so far.

    Args:
        before: what was released earlier.
        so_far: the whole answer that the engine gave.
        final: nothing more will come.

    Raises:
        TextRewrittenError: `so_far` does not begin with what was released.
    """
    if before.stopped:
        return before
    if not so_far.startswith(before.text):
        raise TextRewrittenError("the engine changed text that it had already given")
    certain = so_far if final else so_far.rstrip(_INCOMPLETE)
    found = first_stop(certain, before.stops, start=len(before.text))
    if found is not None:
        return replace(before, text=certain[:found], stopped=True)
    held = 0 if final else held_back(certain, before.stops)
    # a shorter end can only come from an incomplete character that went out with a final chunk
    end = max(len(certain) - held, len(before.text))
    return replace(before, text=so_far[:end])


def first_stop(text: str, stops: tuple[str, ...], *, start: int) -> int | None:
    """Where the stop text begins that is complete first; of two that end together, the longer.

    An engine ends there too: it cannot wait for a longer one that began earlier.
    """
    found = [(at + len(stop), at) for stop in stops if (at := text.find(stop, start)) >= 0]
    return min(found)[1] if found else None


def held_back(text: str, words: tuple[str, ...]) -> int:
    """Length of the longest end of the text that is a beginning, not the whole, of a word."""
    longest = max((len(word) for word in words), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        end = text[len(text) - length :]
        if any(len(word) > length and word.startswith(end) for word in words):
            return length
    return 0
