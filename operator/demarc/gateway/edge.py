"""Whom does a remote site's door let in? The home's egress gateway, with a fresh grant.

The edge holds no policy: Envoy has proved the peer's name, the grant proves the rest.

1 grant         signed for these bytes, this method, path and an endpoint of this site   pure
2 parse         the body is what every tier reads alike                                  pure
3 record        durable before the answer                                                I/O
4 answer        200 with the endpoint's cluster, or 403 / 503                            I/O
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from demarc.audit import record
from demarc.gateway import describing, replies, wire
from demarc.gateway.counting import Metrics
from demarc.gateway.recording import Recorder
from demarc.gateway.replays import Replays
from demarc.gateway.replies import Refuse
from demarc.gateway.sealing import BodyMac
from demarc.gateway.wire import Exchange
from demarc.policy import grant, parsing
from demarc.policy.epoch import ClientIdentity
from demarc.policy.extract import EdgeEndpoint, EdgeExtract
from demarc.policy.grant import Grant, GrantError
from demarc.policy.parsing import ParsedRequest
from demarc.xds import headers

QUESTION = "/admit"
ROLE = "edge"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may come in."""

    grant: Grant
    endpoint: EdgeEndpoint
    stream: bool


class Edge:
    """The decision service of an edge gateway."""

    def __init__(
        self,
        *,
        extract: Callable[[], EdgeExtract | None],
        recorder: Recorder,
        replays: Replays,
        mac: BodyMac,
        inner_name: str,
        rehearse: Callable[[bytes], None] | None,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        new_id: Callable[[], str],
        metrics: Metrics,
    ) -> None:
        """Args as for `Egress`; `rehearse` gets every body that came in, on one machine only."""
        self._extract = extract
        self._recorder = recorder
        self._replays = replays
        self._mac = mac
        self._inner_name = inner_name
        self._rehearse = rehearse
        self._clock = clock
        self._monotonic = monotonic
        self._new_id = new_id
        self._metrics = metrics

    def serve(self, exchange: Exchange) -> None:
        """Answer one question of Envoy; never raises."""
        now, started = self._clock(), self._monotonic()
        found: Admitted | Refuse
        try:
            if self._rehearse is not None:
                self._rehearse(exchange.body)
            found = self._admit(exchange, now)
        except GrantError as error:
            found = replies.forbidden("edge_refused", replies.grant_fault(error))
        except Exception as error:  # noqa: BLE001  # a fault of ours must not let anything through
            log.error("admission_failed", error=type(error).__name__)
            found = replies.unavailable("internal_error", "The edge gateway failed. Try again.")
        decision_id = found.grant.decision if isinstance(found, Admitted) else self._new_id()
        entry = self._describe(exchange, now, found, decision_id)

        def settled(durable: bool) -> None:  # noqa: FBT001  # as `Settled`
            answer = found
            if not durable:
                self._recorder.unrecorded(allowed=False)
                if isinstance(answer, Admitted):
                    answer = replies.unavailable(
                        "not_recorded", "The decision cannot be recorded. Try again."
                    )
            self._answer(exchange, answer, decision_id, started)

        self._recorder.submit(entry, now, settled)

    def _admit(self, exchange: Exchange, now: datetime) -> Admitted | Refuse:
        """Steps 1 and 2.

        Raises:
            GrantError: one of them refuses.
        """
        extract = self._extract()
        if extract is None:
            return replies.unavailable("no_policy", "Nothing is loaded yet. Try again.")
        path = exchange.path.removeprefix(QUESTION)
        lines = wire.joined(exchange.headers)
        text, target = lines.get(headers.GRANT), lines.get(headers.ENDPOINT)
        if text is None or target is None:
            raise grant.MismatchError("there is no grant")
        granted = grant.verify(
            text,
            extract.grant_keys,
            now=now,
            method=exchange.method,
            path=path,
            body_sha256=hashlib.sha256(exchange.body).hexdigest(),
            endpoint=target,
            gateway=self._inner_name,
        )
        here = f"@{extract.site}"
        endpoint = next((item for item in extract.endpoints if item.name == target), None)
        if endpoint is None and granted.epoch > extract.number and target.endswith(here):
            return replies.unavailable(
                "extract_behind", "This gateway does not know the endpoint yet. Try again."
            )
        if endpoint is None:
            raise grant.MismatchError("grant is for an endpoint of another site")
        if not self._replays.is_new(granted.decision, granted.expires, now):
            raise grant.MismatchError("grant was used before")
        parsed = parsing.parse(
            exchange.body, method=exchange.method, path=path, headers=exchange.headers
        )
        if not isinstance(parsed, ParsedRequest):
            raise grant.MismatchError("grant is for a request that cannot be read")
        return Admitted(granted, endpoint, parsed.stream)

    def _answer(
        self, exchange: Exchange, found: Admitted | Refuse, decision_id: str, started: float
    ) -> None:
        refuse = found if isinstance(found, Refuse) else None
        if isinstance(found, Refuse):
            data = replies.refusal(found, decision_id)
        else:
            data = replies.to_frontend(
                found.endpoint.name,
                found.endpoint.served_name,
                found.endpoint.name.rpartition("@")[2],
                decision_id,
                stream=found.stream,
            )
        exchange.answer(data)
        seconds = self._monotonic() - started
        self._metrics.observe("demarc_decision_seconds", seconds)
        self._metrics.count(
            "demarc_decisions_total",
            outcome="Deny" if refuse else "Allow",
            reason=refuse.code if refuse else "",
        )
        log.info(
            "admitted",
            decision=decision_id,
            outcome=refuse.code if refuse else "allow",
            reason=refuse.message if refuse else "",
            endpoint="" if isinstance(found, Refuse) else found.endpoint.name,
            microseconds=int(seconds * 1_000_000),
        )

    def _describe(
        self, exchange: Exchange, now: datetime, found: Admitted | Refuse, decision_id: str
    ) -> record.Decision:
        extract, admitted = self._extract(), found if isinstance(found, Admitted) else None
        granted, mac = admitted.grant if admitted else None, self._mac.of(exchange.body, now)
        return describing.decision(
            decision_id,
            ROLE,
            record.Body(bytes=len(exchange.body), mac=mac, mac_key=self._mac.key_id),
            caller=ClientIdentity(granted.tenant, granted.app, granted.client, granted.credential)
            if granted
            else None,
            chosen=record.Chosen(
                endpoint=admitted.endpoint.name,
                price=None,
                scope="Public",
                site=admitted.endpoint.name.rpartition("@")[2],
            )
            if admitted
            else None,
            epoch=record.Epoch(hash=extract.epoch_hash, number=str(extract.number))
            if extract
            else None,
            granted=granted,
            reason=found.code if isinstance(found, Refuse) else "",
            status=found.status if isinstance(found, Refuse) else 200,
        )
