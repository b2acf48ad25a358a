"""How can a body be recognised later without being kept? By an HMAC under a key that rotates.

The keys lie in files of their own beside the records; whoever deletes a key makes its MACs
meaningless, and whoever has only the records can test no guess.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from demarc.ledger.disk import replace_file

LIFETIME = timedelta(days=1)
KEY_BYTES = 32
_SUFFIX = ".key"

log = structlog.get_logger()


class BodyMac:
    """The key in use; a new one is made when it is a day old."""

    def __init__(self, folder: Path, new_key: Callable[[int], bytes]) -> None:
        """Look at nothing yet.

        Args:
            folder: of the keys; mode 0700.
            new_key: that many random bytes.
        """
        self._folder = folder
        self._new_key = new_key
        self._key = b""
        self._until: datetime | None = None
        self.key_id = ""

    def of(self, body: bytes, now: datetime) -> str:
        """HMAC-SHA-256 of a body, lower-case hex; the key is the one named by `key_id`."""
        if self._until is None or now >= self._until:
            self._rotate(now)
        return hmac.digest(self._key, body, "sha256").hex()

    def _rotate(self, now: datetime) -> None:
        """Take the newest stored key while it is young, else make one.

        A key that cannot be stored is used all the same: its MACs can be compared within this
        process, and no record claims more.
        """
        self._until = now + LIFETIME
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            stored = sorted(self._folder.glob(f"*{_SUFFIX}"))
            if stored and self._reuse(stored[-1], now):
                return
        except OSError as error:
            log.error("mac_key_unreadable", error=error.strerror)
        self._key = self._new_key(KEY_BYTES)
        self.key_id = f"{now:%Y%m%dT%H%M%SZ}-{self._new_key(4).hex()}"
        try:
            replace_file(self._folder / f"{self.key_id}{_SUFFIX}", self._key, mode=0o600)
        except OSError as error:
            log.error("mac_key_not_stored", error=error.strerror)

    def _reuse(self, path: Path, now: datetime) -> bool:
        made = path.name.partition("-")[0]
        try:
            until = datetime.strptime(f"{made}+0000", "%Y%m%dT%H%M%SZ%z") + LIFETIME
        except ValueError:
            return False
        key = path.read_bytes()
        if len(key) != KEY_BYTES or not now < until <= now + LIFETIME:
            return False
        self._key, self._until, self.key_id = key, until, path.name.removesuffix(_SUFFIX)
        return True
