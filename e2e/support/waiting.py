"""How does a story wait? For a condition, until a deadline, and never for time itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_Value = TypeVar("_Value")
_PAUSE = 0.05


def until(question: Callable[[], _Value | None], what: str, *, seconds: float = 60) -> _Value:
    """The first true answer.

    Raises:
        AssertionError: there was none until the deadline; the text names what was awaited, and the
            last assertion that failed.
    """
    deadline = time.monotonic() + seconds
    last = ""
    while True:
        try:
            answer = question()
        except AssertionError as error:
            answer, last = None, f": {error}"
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s still not: {what}{last}")
        time.sleep(_PAUSE)
