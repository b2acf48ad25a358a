"""Which words and numbers does a story plant? Each is new, so that a trace of it is a trace."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from support import identifiers

_LETTERS = "bcdfghjkmnpqrstvwxz"
_WORD = re.compile(f"mk[{_LETTERS}]{{14}}")


def find(text: str) -> list[str]:
    """The words of `Marks` in a text."""
    return _WORD.findall(text)


class Marks:
    """A source of words that stand nowhere else and of identifiers that pass their checks."""

    def __init__(self, seed: object) -> None:
        self._chance = Random(str(seed))

    def word(self) -> str:
        """Sixteen letters that no text and no encoding holds by chance."""
        return "mk" + "".join(self._chance.choice(_LETTERS) for _ in range(14))

    def card(self) -> str:
        """A bank card with sixteen digits, which JSON can hold as a number."""
        return self._drawn(lambda: identifiers.bank_card(self._chance), 16)

    def resident(self) -> str:
        """A resident identity number."""
        return identifiers.resident_id(self._chance)

    def harmless(self) -> str:
        """Sixteen digits that are no card: what a card number looks like to somebody careless."""
        card = self.card()
        return card[:-1] + str((int(card[-1]) + 1) % 10)

    def _drawn(self, draw: Callable[[], str], length: int) -> str:
        while True:
            found = draw()
            if len(found) == length and int(found) < 2**53:
                return found
