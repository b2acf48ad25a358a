"""Can this gateway let something leave? Only with its own grant key, which the epoch must hold."""

from __future__ import annotations

from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demarc.policy import grant, signature
from demarc.policy.epoch import Epoch
from demarc.policy.grant import Grant
from demarc.policy.signature import SignatureError

_FILE = "grant.key"
_DIGESTS = 1024

log = structlog.get_logger()


class Grants:
    """The mounted key; it is read again when its file is another."""

    def __init__(self, folder: Path, gateway: str) -> None:
        """Read nothing yet.

        Args:
            folder: DEMARC_GRANT_KEY.
            gateway: SPIFFE name of this inner gateway.
        """
        self._path = folder / _FILE
        self.gateway = gateway
        self._version: tuple[int, int] | None = None
        self._key: Ed25519PrivateKey | None = None
        self._public = b""
        self._known: tuple[str, bytes, str] | None = None
        self._digests: dict[tuple[str, ...], str] = {}

    def usable(self, epoch: Epoch) -> bool:
        """Whether a grant that is signed now would be believed under this epoch."""
        return self._key_id(epoch) != ""

    def sign(self, value: Grant, epoch: Epoch) -> str:
        """The text of a grant.

        Raises:
            SignatureError: the key is missing, or the epoch does not hold it.
        """
        key_id = self._key_id(epoch)
        if not key_id or self._key is None:
            raise SignatureError("the policy does not hold the grant key of this gateway")
        return grant.sign(value, self._key, key_id)

    def permitted_digest(self, permitted: tuple[str, ...]) -> str:
        """`grant.permitted_digest`, kept: a policy has few different permitted sets."""
        found = self._digests.get(permitted)
        if found is None:
            if len(self._digests) >= _DIGESTS:
                self._digests.clear()
            found = self._digests[permitted] = grant.permitted_digest(permitted)
        return found

    def _key_id(self, epoch: Epoch) -> str:
        self._read()
        known = self._known
        if known is not None and known[:2] == (epoch.hash, self._public):
            return known[2]
        found = ""
        for item in epoch.grant_keys:
            if item.gateway == self.gateway and item.public_key == self._public and self._key:
                found = item.key_id
        self._known = (epoch.hash, self._public, found)
        return found

    def _read(self) -> None:
        try:
            stat = self._path.stat()
            version = (stat.st_ino, stat.st_mtime_ns)
            if version == self._version:
                return
            key = signature.private_key(self._path.read_bytes())
        except (OSError, SignatureError) as error:
            if self._version is not None or self._key is None:
                log.error("grant_key_unreadable", error=type(error).__name__)
            self._key, self._public, self._version = None, b"", None
            return
        self._key, self._public, self._version = key, signature.public_bytes(key), version
