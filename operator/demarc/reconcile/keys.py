"""What is reconciled, and what does a run leave to do? Keys and outcomes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What is reconciled: an object of our kinds, the gateways at home, or the epoch."""

    kind: str
    namespace: str = ""
    name: str = ""


EPOCH = Key("Epoch")
GATEWAYS = Key("Gateways")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run leaves to do.

    Attributes:
        woken: keys that its result wakes.
        look_again: whether something is on its way that no event tells of.
        incomplete: whether something could not be applied; it is tried again, later each time.
    """

    woken: frozenset[Key] = frozenset()
    look_again: bool = False
    incomplete: bool = False
