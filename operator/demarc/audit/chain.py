"""Which record comes before which? Each one holds the SHA-256 of the one before it.

The first record's `prev` is `GENESIS`. Whoever keeps a copy of the head elsewhere can prove later
that nothing before it was changed, dropped or put in another order; without a copy the removal of
the newest records cannot be seen.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Head:
    """The newest record: its number and the SHA-256 of its bytes."""

    seq: int = 0
    hash: str = GENESIS

    def after(self, payload: bytes) -> Head:
        """The head once these bytes are the next record."""
        return Head(self.seq + 1, hashlib.sha256(payload).hexdigest())
