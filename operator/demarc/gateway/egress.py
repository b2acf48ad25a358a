"""May this request leave? The egress gateway looks at everything again, with its own epoch.

1 grant         signed by an inner gateway for these bytes, this method, path and endpoint   pure
2 epoch         this agent's is not behind the grant's                                       pure
3 authenticate  the caller's own credential again                                            pure
4 parse, label  the very bytes again                                                         pure
5 permit        the endpoint is among what this epoch permits                                pure
6 compare       with the same epoch, label and permitted set are those of the grant          pure
7 record        durable before the answer                                                    I/O
8 answer        200 with the endpoint's cluster, or 403 / 503                                I/O

INVARIANT: nothing leaves that this agent would not have permitted by itself.
INVARIANT: nothing leaves without a durable record of this agent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from demarc.api.v1alpha1.common import Scope
from demarc.audit import record
from demarc.gateway import describing, replies, wire
from demarc.gateway.counting import Metrics
from demarc.gateway.keeping import InForce
from demarc.gateway.recording import Recorder
from demarc.gateway.replays import Replays
from demarc.gateway.replies import Refuse
from demarc.gateway.sealing import BodyMac
from demarc.gateway.wire import Exchange
from demarc.policy import detection, grant, identity, parsing, permission
from demarc.policy.decision import Deny, Eligible, Judgement, Request
from demarc.policy.detection import Detectors
from demarc.policy.epoch import ClientIdentity, Endpoint, Epoch
from demarc.policy.grant import Grant, GrantError
from demarc.policy.parsing import ParsedRequest
from demarc.xds import headers

QUESTION = "/verify"
ROLE = "egress"

log = structlog.get_logger()


@dataclass(slots=True)
class Seen:
    """What was found out about one request, step by step; the record tells it."""

    grant: Grant | None = None
    caller: ClientIdentity | None = None
    parsed: ParsedRequest | None = None
    judgement: Judgement | None = None
    endpoint: Endpoint | None = None


class _RefusedError(Exception):
    """A step refuses; the text is its kind."""

    def __init__(self, refuse: Refuse) -> None:
        super().__init__(refuse.code)
        self.refuse = refuse


class Egress:
    """The decision service of the egress gateway."""

    def __init__(
        self,
        *,
        policy: Callable[[], InForce | None],
        detectors: Detectors,
        recorder: Recorder,
        replays: Replays,
        mac: BodyMac,
        inner_name: str,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        new_id: Callable[[], str],
        metrics: Metrics,
    ) -> None:
        self._policy = policy
        self._detectors = detectors
        self._recorder = recorder
        self._replays = replays
        self._mac = mac
        self._inner_name = inner_name
        self._clock = clock
        self._monotonic = monotonic
        self._new_id = new_id
        self._metrics = metrics

    def serve(self, exchange: Exchange) -> None:
        """Answer one question of Envoy; never raises."""
        now, started, seen = self._clock(), self._monotonic(), Seen()
        policy = self._policy()
        refuse: Refuse | None = None
        try:
            if policy is None:
                raise _unavailable("no_policy", "no policy is loaded yet")  # noqa: TRY301
            self._verify(exchange, policy.view, now, seen)
        except _RefusedError as error:
            refuse = error.refuse
        except Exception as error:  # noqa: BLE001  # a fault of ours must not let anything through
            log.error("verification_failed", error=type(error).__name__)
            refuse = replies.unavailable("internal_error", "The egress gateway failed. Try again.")
        decision_id = seen.grant.decision if seen.grant else self._new_id()
        entry = self._describe(exchange, policy, now, seen, refuse, decision_id)

        def settled(durable: bool) -> None:  # noqa: FBT001  # as `Settled`
            answer = refuse
            if not durable:
                self._recorder.unrecorded(allowed=False)
                answer = refuse or replies.unavailable(
                    "not_recorded", "The decision cannot be recorded, so nothing leaves. Try again."
                )
            self._answer(exchange, seen, answer, decision_id, started)

        self._recorder.submit(entry, now, settled)

    def _verify(self, exchange: Exchange, epoch: Epoch, now: datetime, seen: Seen) -> None:
        """Steps 1 to 6.

        Raises:
            _RefusedError: one of them refuses.
        """
        path = exchange.path.removeprefix(QUESTION)
        lines = wire.joined(exchange.headers)
        # 1 grant
        text, target = lines.get(headers.GRANT), lines.get(headers.ENDPOINT)
        if text is None or target is None:
            raise _refused("there is no grant")
        try:
            seen.grant = granted = grant.verify(
                text,
                epoch.grant_keys,
                now=now,
                method=exchange.method,
                path=path,
                body_sha256=hashlib.sha256(exchange.body).hexdigest(),
                endpoint=target,
                gateway=self._inner_name,
            )
        except GrantError as error:
            raise _refused(str(error)) from error
        # 2 epoch
        if granted.epoch > epoch.number:
            raise _unavailable("epoch_behind", "this gateway's policy is behind the request's")
        is_same = granted.epoch_hash == epoch.hash
        if granted.epoch == epoch.number and not is_same:
            raise _refused("grant is from another epoch of the same number")
        if not self._replays.is_new(granted.decision, granted.expires, now):
            raise _refused("grant was used before")
        # 3 authenticate
        caller = identity.authenticate(lines, epoch, now)
        if isinstance(caller, identity.Unauthenticated):
            raise _refused(f"caller: {caller.reason.value}")
        seen.caller = caller
        stated = ClientIdentity(granted.tenant, granted.app, granted.client, granted.credential)
        if caller != stated:
            raise _refused("grant is for another caller")
        # 4 parse, label
        parsed = parsing.parse(
            exchange.body, method=exchange.method, path=path, headers=exchange.headers
        )
        if not isinstance(parsed, ParsedRequest):
            raise _refused("request is not one that may leave")
        seen.parsed = parsed
        findings = detection.scan(parsed.texts, self._detectors)
        # 5 permit
        request = Request(caller, parsed.model, parsed.needs, findings, parsed.raise_to)
        found = permission.permit(request, epoch, now)
        seen.judgement = found.judgement
        if isinstance(found, Deny):
            raise _refused(f"policy: {found.reason.value}")
        endpoint = _public(found, target)
        if endpoint is None:
            raise _refused("policy does not permit the endpoint")
        # 6 compare
        if is_same and found.judgement.label != granted.label:
            raise _refused("label is not that of the grant")
        permitted = grant.permitted_digest(item.name for item in found.endpoints)
        if is_same and permitted != granted.permitted:
            raise _refused("permitted set is not that of the grant")
        seen.endpoint = endpoint

    def _answer(
        self,
        exchange: Exchange,
        seen: Seen,
        refuse: Refuse | None,
        decision_id: str,
        started: float,
    ) -> None:
        if refuse is not None or seen.endpoint is None or seen.parsed is None:
            refuse = refuse or replies.forbidden("egress_refused", "it was not verified")
            data = replies.refusal(refuse, decision_id)
        else:
            text = wire.joined(exchange.headers)[headers.GRANT]
            stream = seen.parsed.stream
            data = replies.to_edge(seen.endpoint, decision_id, text, stream=stream)
        exchange.answer(data)
        seconds = self._monotonic() - started
        self._metrics.observe("demarc_decision_seconds", seconds)
        self._metrics.count(
            "demarc_decisions_total",
            outcome="Deny" if refuse else "Allow",
            reason=refuse.code if refuse else "",
        )
        log.info(
            "verified",
            decision=decision_id,
            outcome=refuse.code if refuse else "allow",
            reason=refuse.message if refuse else "",
            endpoint=seen.endpoint.name if seen.endpoint else "",
            microseconds=int(seconds * 1_000_000),
        )

    def _describe(
        self,
        exchange: Exchange,
        policy: InForce | None,
        now: datetime,
        seen: Seen,
        refuse: Refuse | None,
        decision_id: str,
    ) -> record.Decision:
        allowed = refuse is None and seen.endpoint is not None
        known = (
            policy and seen.caller and policy.epoch.apps.get((seen.caller.tenant, seen.caller.app))
        )
        model = seen.parsed.model if seen.parsed else ""
        mac = self._mac.of(exchange.body, now)
        return record.Decision(
            attempt=1,
            body=record.Body(bytes=len(exchange.body), mac=mac, mac_key=self._mac.key_id),
            caller=describing.caller(seen.caller) if seen.caller else None,
            chosen=describing.chosen(seen.endpoint) if allowed and seen.endpoint else None,
            epoch=describing.epoch(policy.epoch) if policy else None,
            granted=record.Granted(epoch_hash=seen.grant.epoch_hash, gateway=seen.grant.gateway)
            if seen.grant
            else None,
            health={},
            id=decision_id,
            label=describing.label(seen.judgement) if seen.judgement else None,
            model=model if known and model in known.models else "",
            needs=describing.needs(seen.parsed.needs) if seen.parsed else None,
            outcome="Allow" if allowed else "Deny",
            public=seen.judgement.public_closed if seen.judgement else "",
            reason=refuse.code if refuse else "",
            removed=describing.removed(seen.judgement) if seen.judgement else (),
            role=ROLE,
            status=refuse.status if refuse else 200,
        )


def _public(eligible: Eligible, name: str) -> Endpoint | None:
    """The endpoint of that name; only a Public one is reached from here."""
    return next(
        (
            endpoint
            for endpoint in eligible.endpoints
            if endpoint.name == name and endpoint.scope is not Scope.PRIVATE
        ),
        None,
    )


def _refused(why: str) -> _RefusedError:
    return _RefusedError(replies.forbidden("egress_refused", why))


def _unavailable(code: str, why: str) -> _RefusedError:
    return _RefusedError(replies.unavailable(code, f"The egress gateway cannot decide: {why}."))
