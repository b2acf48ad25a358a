"""Whom does a remote site's door let in? The home's egress gateway with a fresh grant for this site.

The edge holds no policy: Envoy has proved the peer's name, the grant proves the rest.

1 grant         signed for these bytes, this method, path and an endpoint of this site   pure
2 parse         the body is what every tier reads alike                                  pure
3 record        durable before the answer                                                I/O
4 answer        200 with the endpoint's cluster, or 403 / 503                            I/O
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime

import structlog

from demarc.audit import record
from demarc.gateway import replies, wire
from demarc.gateway.counting import Metrics
from demarc.gateway.recording import Recorder
from demarc.gateway.replays import Replays
from demarc.gateway.replies import Refuse
from demarc.gateway.sealing import BodyMac
from demarc.gateway.wire import Exchange
from demarc.policy import grant, parsing
from demarc.policy.extract import EdgeEndpoint, EdgeExtract
from demarc.policy.grant import Grant, GrantError
from demarc.policy.parsing import ParsedRequest
from demarc.xds import headers

QUESTION = "/admit"
ROLE = "edge"

log = structlog.get_logger()


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
        if self._rehearse is not None:
            self._rehearse(exchange.body)
        extract = self._extract()
        granted: Grant | None = None
        stream = False
        endpoint: EdgeEndpoint | None = None
        refuse: Refuse | None = None
        try:
            if extract is None:
                refuse = replies.unavailable("no_policy", "Nothing is loaded yet. Try again.")
            else:
                granted, endpoint, stream = self._admit(exchange, extract, now)
        except GrantError as error:
            refuse = replies.forbidden("edge_refused", str(error))
        except Exception as error:  # noqa: BLE001  # a fault of ours must not let anything through
            log.error("admission_failed", error=type(error).__name__)
            refuse = replies.unavailable("internal_error", "The edge gateway failed. Try again.")
        decision_id = granted.decision if granted else self._new_id()
        entry = self._describe(exchange, extract, now, granted, refuse, decision_id)

        def settled(durable: bool) -> None:  # noqa: FBT001  # as `Settled`
            answer = refuse
            if not durable:
                self._recorder.unrecorded(allowed=False)
                answer = refuse or replies.unavailable(
                    "not_recorded", "The decision cannot be recorded. Try again."
                )
            if answer is None and endpoint is not None and extract is not None:
                data = replies.to_frontend(
                    endpoint.name, endpoint.served_name, extract.site, decision_id, stream=stream
                )
            else:
                answer = answer or replies.forbidden("edge_refused", "it was not verified")
                data = replies.refusal(answer, decision_id)
            exchange.answer(data)
            seconds = self._monotonic() - started
            self._metrics.observe("demarc_decision_seconds", seconds)
            self._metrics.count(
                "demarc_decisions_total",
                outcome="Deny" if answer else "Allow",
                reason=answer.code if answer else "",
            )
            log.info(
                "admitted",
                decision=decision_id,
                outcome=answer.code if answer else "allow",
                reason=answer.message if answer else "",
                endpoint=endpoint.name if endpoint else "",
                microseconds=int(seconds * 1_000_000),
            )

        self._recorder.submit(entry, now, settled)

    def _admit(
        self, exchange: Exchange, extract: EdgeExtract, now: datetime
    ) -> tuple[Grant, EdgeEndpoint, bool]:
        """Steps 1 and 2.

        Raises:
            GrantError: one of them refuses.
        """
        path = exchange.path.removeprefix(QUESTION)
        lines = wire.joined(exchange.headers)
        text, target = lines.get(headers.GRANT), lines.get(headers.ENDPOINT)
        if text is None or target is None:
            raise grant.UnreadableGrantError("there is no grant")
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
        endpoint = next((item for item in extract.endpoints if item.name == target), None)
        if endpoint is None:
            raise grant.MismatchError("grant is for an endpoint of another site")
        if not self._replays.is_new(granted.decision, granted.expires, now):
            raise grant.MismatchError("grant was used before")
        parsed = parsing.parse(
            exchange.body, method=exchange.method, path=path, headers=exchange.headers
        )
        if not isinstance(parsed, ParsedRequest):
            raise grant.MismatchError("grant is for a request that cannot be read")
        return granted, endpoint, parsed.stream

    def _describe(
        self,
        exchange: Exchange,
        extract: EdgeExtract | None,
        now: datetime,
        granted: Grant | None,
        refuse: Refuse | None,
        decision_id: str,
    ) -> record.Decision:
        mac = self._mac.of(exchange.body, now)
        return record.Decision(
            attempt=1,
            body=record.Body(bytes=len(exchange.body), mac=mac, mac_key=self._mac.key_id),
            caller=record.Caller(
                app=granted.app,
                client=granted.client,
                credential=granted.credential,
                tenant=granted.tenant,
            )
            if granted
            else None,
            chosen=record.Chosen(
                endpoint=granted.endpoint, price=None, scope="Public", site=extract.site
            )
            if granted and extract and refuse is None
            else None,
            epoch=record.Epoch(hash=extract.epoch_hash, number=str(extract.number))
            if extract
            else None,
            granted=record.Granted(epoch_hash=granted.epoch_hash, gateway=granted.gateway)
            if granted
            else None,
            health={},
            id=decision_id,
            label=None,
            model="",
            needs=None,
            outcome="Deny" if refuse else "Allow",
            public="",
            reason=refuse.code if refuse else "",
            removed=(),
            role=ROLE,
            status=refuse.status if refuse else 200,
        )
