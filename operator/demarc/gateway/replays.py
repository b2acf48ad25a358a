"""Was this grant used before? The ids of the last minute, bounded.

A replay of the same bytes to a permitted endpoint leaks nothing; this bounds what it costs. When
the bound is reached the oldest ids are forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime

from demarc.policy.grant import SKEW

MOST = 131072


class Replays:
    """Decision ids whose grants have been used, until they expire."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._used: OrderedDict[str, datetime] = OrderedDict()

    def is_new(self, decision_id: str, expires: datetime, now: datetime) -> bool:
        """Whether a grant is used for the first time; it counts as used from now on."""
        while self._used:
            oldest, until = next(iter(self._used.items()))
            if len(self._used) < self._most and now < until:
                break
            del self._used[oldest]
        if decision_id in self._used:
            return False
        self._used[decision_id] = expires + SKEW
        return True
