"""Which policy is in force at this agent? The last good epoch, open or closed by its age.

Rules:
    An epoch is loaded when a trusted key signed it and its number fits (`document.fits`): never
    lower, and the same number only with the same bytes. What does not fit is refused, counted and
    logged; the loaded one stays.
    What is loaded is on the disk first, so a restart without the cluster serves it again, and a
    number that was once seen is never undercut.
    Public closes while the epoch is stale, while the wall clock is behind the newest signed time
    that was ever stored, and while the packs here are not those that the policy was accepted with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from demarc.gateway.counting import Metrics
from demarc.ledger.disk import replace_file
from demarc.policy import compilation, document, extract, heartbeat, signature
from demarc.policy.document import EpochError
from demarc.policy.epoch import Epoch, EpochNumber
from demarc.policy.extract import EdgeExtract, ExtractError
from demarc.policy.heartbeat import Heartbeat, HeartbeatError
from demarc.policy.signature import SignatureError, Trust

UNRECORDED = "decisions cannot be recorded"
_FILE = "policy.json"
_TEXTS = ("hash", "epoch", "signature", "heartbeat")
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class InForce:
    """The policy that one decision obeys.

    Attributes:
        epoch: as it was signed.
        view: the same, with Public closed while something calls for it.
        unrecorded: the same, for decisions that cannot be recorded: always closed.
        closed: why `view` is closed; empty while it is the epoch's own word.
    """

    epoch: Epoch
    view: Epoch
    unrecorded: Epoch
    closed: str


class TrustFile:
    """The install-time trust bundle; read anew at each use, because it may be rotated."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "trust.json"

    def read(self) -> Trust:
        """The keys; none while the file cannot be read, so nothing is trusted."""
        try:
            return signature.parse_trust(self._path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, SignatureError) as error:
            log.error("trust_unreadable", error=str(error))
            return Trust({})


class EpochKeeper:
    """The epoch of an inner or egress agent. `latest` is what decisions read."""

    def __init__(
        self,
        folder: Path,
        trust: TrustFile,
        *,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        packs: Mapping[str, str],
        metrics: Metrics,
    ) -> None:
        """Load what an earlier run stored.

        Args:
            folder: DEMARC_RECORD.
            trust: who may sign.
            clock: wall clock.
            monotonic: seconds.
            packs: hashes of the detector packs of this process by name.
            metrics: counts refusals.
        """
        self._path = folder / _FILE
        self._trust = trust
        self._clock = clock
        self._monotonic = monotonic
        self._packs = packs
        self._metrics = metrics
        self._content = ""
        self._signature = ""
        self._heartbeat_text = ""
        self._heartbeat: Heartbeat | None = None
        self._heard = monotonic()
        self._last_signed = _LONG_AGO
        self._floor: tuple[EpochNumber, str] | None = None
        self._refused = ""
        self.latest: InForce | None = None
        self._restore()

    def offer_epoch(self, data: Mapping[str, Any]) -> bool:
        """Look at what the ConfigMap holds; whether another policy is in force now."""
        content, signed = _text(data, "epoch.json"), _text(data, "signature.json")
        if (content, signed) == (self._content, self._signature):
            return False
        try:
            found = self._verify(content, signed)
        except EpochError as error:
            self._refuse("epoch", error, f"{content[:200]}{signed}")
            return False
        self._refused = ""
        self._use(found, content, signed)
        self._store()
        self.tick()
        log.info(
            "epoch_loaded", number=str(found.number), hash=found.hash, public=found.public_open
        )
        return True

    def offer_heartbeat(self, data: Mapping[str, Any]) -> bool:
        """Look at what the ConfigMap holds; whether Public opened or closed by it."""
        text = _text(data, "heartbeat")
        if text == self._heartbeat_text:
            return False
        try:
            found = heartbeat.verify(text, self._trust.read())
        except HeartbeatError as error:
            self._metrics.count("demarc_epoch_refused_total", what="heartbeat", reason="unsigned")
            log.warning("heartbeat_refused", error=str(error))
            return False
        self._heartbeat_text = text
        newer = self._heartbeat is None or found.at > self._heartbeat.at
        if newer:
            self._heartbeat = found
            if self.latest is not None and found.epoch_hash == self.latest.epoch.hash:
                self._heard = self._monotonic()
            self._last_signed = max(self._last_signed, found.at)
            self._store()
        return self.tick()

    def tick(self) -> bool:
        """Judge the age again; whether Public opened or closed."""
        if self.latest is None:
            return False
        epoch, now = self.latest.epoch, self._clock()
        reason = self._closed(epoch, now)
        signed = self._heartbeat.at if self._heartbeat is not None else epoch.issued_at
        self._metrics.set("demarc_heartbeat_age_seconds", (now - signed).total_seconds())
        self._metrics.set("demarc_public_open", int(epoch.public_open and not reason))
        if reason == self.latest.closed:
            return False
        self.latest = _in_force(epoch, reason)
        log.warning("public_closed" if reason else "public_open", reason=reason)
        return True

    def _closed(self, epoch: Epoch, now: datetime) -> str:
        for name, wanted in sorted(epoch.packs.items()):
            if self._packs.get(name) != wanted:
                return f"detector pack `{name}` is not the one that the policy was accepted with"
        return heartbeat.staleness(
            epoch,
            self._heartbeat,
            now=now,
            since_heard=timedelta(seconds=self._monotonic() - self._heard),
            last_signed=self._last_signed,
        )

    def _verify(self, content: str, signed: str) -> Epoch:
        """The epoch, if it may be loaded.

        Raises:
            EpochError: it may not.
        """
        data = content.encode("utf-8", "surrogatepass")
        try:
            read = signature.parse_signature(signed)
        except SignatureError as error:
            raise document.UnsignedError(f"epoch is refused: {error}") from error
        found = document.verify(data, read, self._trust.read())
        content_hash = document.hash(data)
        number, known = self._floor or (None, "")
        if not document.fits(found.number, content_hash, last=number, last_hash=known):
            raise NotNewerError(
                f"epoch {found.number} is refused: {number} was loaded already"
                + (" with other content" if found.number == number else "")
            )
        try:
            return compilation.compile_epoch(found, hash=content_hash)
        except EpochError:
            raise
        except Exception as error:  # whatever it is, the epoch is not understood
            raise document.MalformedEpochError(
                f"epoch cannot be compiled: {type(error).__name__}"
            ) from error

    def _use(self, epoch: Epoch, content: str, signed: str) -> None:
        self._content, self._signature = content, signed
        if self.latest is None or self.latest.epoch.hash != epoch.hash:
            self._heard = self._monotonic()
        self._floor = (epoch.number, epoch.hash)
        self._last_signed = max(self._last_signed, epoch.issued_at)
        self.latest = _in_force(epoch, self._closed(epoch, self._clock()))
        self._metrics.set("demarc_epoch_number", epoch.number.term, part="term")
        self._metrics.set("demarc_epoch_number", epoch.number.counter, part="counter")

    def _refuse(self, what: str, error: EpochError, seen: str) -> None:
        if seen == self._refused:
            return
        self._refused = seen
        reason = "not_newer" if isinstance(error, NotNewerError) else "invalid"
        self._metrics.count("demarc_epoch_refused_total", what=what, reason=reason)
        log.error("epoch_refused", reason=reason, error=str(error))

    def _store(self) -> None:
        """Make it survive a restart; a disk that fails costs that, and not the policy in force."""
        if self._floor is None:
            return  # a heartbeat came before any epoch: there is nothing to serve again
        number, content_hash = self._floor
        value = {
            "number": {"term": number.term, "counter": number.counter},
            "hash": content_hash,
            "lastSigned": document.format_time(self._last_signed),
            "epoch": self._content,
            "signature": self._signature,
            "heartbeat": self._heartbeat_text,
        }
        try:
            replace_file(self._path, json.dumps(value).encode())
        except OSError as error:
            log.error("epoch_not_stored", error=error.strerror)

    def _restore(self) -> None:
        stored = _read(self._path)
        if stored is None:
            return
        number = stored["number"]
        self._floor = (EpochNumber(number["term"], number["counter"]), stored["hash"])
        self._last_signed = document.parse_time(stored["lastSigned"])
        self._heartbeat_text = stored["heartbeat"]
        try:
            self._heartbeat = heartbeat.verify(self._heartbeat_text, self._trust.read())
        except HeartbeatError:
            self._heartbeat_text = ""
        try:
            epoch = self._verify(stored["epoch"], stored["signature"])
        except EpochError as error:
            self._refuse("stored epoch", error, "")
            return
        self._use(epoch, stored["epoch"], stored["signature"])
        self.tick()
        log.info("epoch_restored", number=str(epoch.number), hash=epoch.hash)


class NotNewerError(EpochError):
    """Its number is lower than one that was loaded, or the same with other content."""


class ExtractKeeper:
    """The extract of an edge agent, kept as an epoch is; an edge has no age."""

    def __init__(self, folder: Path, trust: TrustFile, *, site: str, metrics: Metrics) -> None:
        """Load what an earlier run stored; arguments as for `EpochKeeper`."""
        self._path = folder / _FILE
        self._trust = trust
        self._site = site
        self._metrics = metrics
        self._text = ""
        self._refused = ""
        self._floor: tuple[EpochNumber, str] | None = None
        self.latest: EdgeExtract | None = None
        stored = _read(self._path)
        if stored is not None:
            number = stored["number"]
            self._floor = (EpochNumber(number["term"], number["counter"]), stored["hash"])
            self._take(stored["epoch"])

    def offer(self, data: Mapping[str, Any]) -> bool:
        """Look at what the ConfigMap holds; whether another extract is in force now."""
        text = _text(data, "extract")
        if text == self._text or not self._take(text):
            return False
        found = self.latest
        assert found is not None
        value = {
            "number": {"term": found.number.term, "counter": found.number.counter},
            "hash": found.epoch_hash,
            "lastSigned": document.format_time(found.issued_at),
            "epoch": text,
            "signature": "",
            "heartbeat": "",
        }
        try:
            replace_file(self._path, json.dumps(value).encode())
        except OSError as error:
            log.error("extract_not_stored", error=error.strerror)
        log.info("extract_loaded", number=str(found.number), hash=found.epoch_hash)
        return True

    def _take(self, text: str) -> bool:
        try:
            found = self._verified(text)
        except ExtractError as error:
            if text != self._refused:
                self._refused = text
                self._metrics.count("demarc_epoch_refused_total", what="extract", reason="invalid")
                log.error("extract_refused", error=str(error))
            return False
        self._text, self._refused = text, ""
        self._floor = (found.number, found.epoch_hash)
        self.latest = found
        self._metrics.set("demarc_epoch_number", found.number.term, part="term")
        self._metrics.set("demarc_epoch_number", found.number.counter, part="counter")
        return True

    def _verified(self, text: str) -> EdgeExtract:
        """The extract, if it may be loaded.

        Raises:
            ExtractError: it may not.
        """
        found = extract.verify(text, self._trust.read(), site=self._site)
        number, known = self._floor or (None, "")
        if not document.fits(found.number, found.epoch_hash, last=number, last_hash=known):
            raise ExtractError(f"extract {found.number} is refused: {number} was loaded already")
        return found


def _text(data: Mapping[str, Any], name: str) -> str:
    """A value of a ConfigMap; what is no text is none."""
    found = data.get(name)
    return found if isinstance(found, str) else ""


def _in_force(epoch: Epoch, closed: str) -> InForce:
    view = epoch.closed(closed) if closed else epoch
    return InForce(epoch, view, epoch.closed(UNRECORDED), closed)


def _read(path: Path) -> Any:
    """What was stored; None when there is nothing, or nothing that this version wrote."""
    try:
        found = json.loads(path.read_bytes())
        document.parse_time(found["lastSigned"])
        numbers = all(type(found["number"][key]) is int for key in ("term", "counter"))
        if numbers and all(isinstance(found[key], str) for key in _TEXTS):
            return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        log.error("stored_policy_unreadable", error=type(error).__name__)
        return None
    log.error("stored_policy_unreadable", error="fields")
    return None
