"""How does the demo speak? Lines and tables; colours on a terminal alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PLAIN_WIDTH = 140
_POLL_SECONDS = 0.2


class StoryError(Exception):
    """The act cannot go on; one line that says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an act ended.

    Attributes:
        why: empty when it held; else the first thing that did not.
    """

    title: str
    held: bool
    why: str
    seconds: float


class Stage:
    """Where everything is said and every expectation is noted."""

    def __init__(self) -> None:
        console = Console(highlight=False)
        self._console = (
            console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)
        )
        self._broken: list[str] = []
        self.outcomes: list[Outcome] = []
        self.faults: list[str] = []

    def act(self, title: str, purpose: str, play: Callable[[], None]) -> bool:
        """Play one act and note how it ended; True when it held.

        A `StoryError` or a failed expectation ends or marks this act alone.
        """
        began = time.monotonic()
        self._broken = []
        self._console.rule(
            Text(f"{len(self.outcomes) + 1} {title}", "bold"), align="left", characters="-"
        )
        self.say(purpose, style="italic")
        try:
            play()
        except StoryError as error:
            self._note(str(error), held=False)
        seconds = time.monotonic() - began
        why = self._broken[0] if self._broken else ""
        self.outcomes.append(Outcome(title, not why, why, seconds))
        style = "red" if why else "green"
        self.say(f"{'did NOT hold' if why else 'held'} after {seconds:.1f} s\n", style=style)
        return not why

    def expect(self, truth: bool, sentence: str) -> bool:  # noqa: FBT001  # reads as an assertion
        """Note whether a sentence is true; the act goes on."""
        self._note(sentence, held=truth)
        return truth

    def fault(self, text: str) -> None:
        """Something went wrong outside the acts."""
        self.faults.append(text)
        self.say(text, style="bold red")

    def say(self, text: str, *, style: str = "") -> None:
        """One line or several."""
        self._console.print(Text(text, style), soft_wrap=True)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Aligned columns; long cells are folded at the width of the terminal."""
        shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for name in head:
            shown.add_column(name, overflow="fold")
        for row in rows:
            shown.add_row(*(Text(cell) for cell in row))
        self._console.print(shown)
        self._console.print()

    def _note(self, sentence: str, *, held: bool) -> None:
        if not held:
            self._broken.append(sentence)
        mark = Text("  ok   ", "green") if held else Text("  FAIL ", "bold red")
        self._console.print(mark + Text(sentence), soft_wrap=True)


def until(truth: Callable[[], bool], *, seconds: float, what: str) -> float:
    """Wait until something is true; the seconds that it took.

    Raises:
        StoryError: it is not true in that time; `what` completes "no ... after 90 s".
    """
    began = time.monotonic()
    while not truth():
        if time.monotonic() - began > seconds:
            raise StoryError(f"no {what} after {seconds:g} s")
        time.sleep(_POLL_SECONDS)
    return time.monotonic() - began
