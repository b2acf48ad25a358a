"""May this request leave? The egress gateway looks at everything again, with its own epoch.

1 grant         signed by an inner gateway for these bytes, this method, path and endpoint   pure
2 epoch         this agent's is not behind the grant's                                       pure
3 parse, label  the very bytes again                                                         pure
4 authenticate  the caller's own credential again                                            pure
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
from demarc.gateway.understanding import Outcome, Overloaded, Understanding, Understood
from demarc.gateway.wire import Exchange
from demarc.policy import grant, identity, permission
from demarc.policy.decision import Deny, Eligible, Judgement, Request
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


@dataclass(frozen=True, slots=True)
class Question:
    """One exchange on its way through the steps."""

    exchange: Exchange
    now: datetime
    started: float
    seen: Seen


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
        understanding: Understanding,
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
        self._understanding = understanding
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
        question = Question(exchange, self._clock(), self._monotonic(), Seen())
        try:
            path = exchange.path.removeprefix(QUESTION)
            self._check_grant(question, self._in_force().view, path)
        except Exception as error:  # noqa: BLE001  # a fault of ours must not let anything through
            self._settle(question, _refusal_of(error))
            return

        def then(outcome: Outcome) -> None:
            refuse: Refuse | None = None
            try:
                self._check_policy(question, self._in_force().view, outcome)
            except Exception as error:  # noqa: BLE001  # as above
                refuse = _refusal_of(error)
            self._settle(question, refuse)

        # 3 parse, label
        self._understanding.look(exchange, path, then)

    def _in_force(self) -> InForce:
        policy = self._policy()
        if policy is None:
            raise _unavailable("no_policy", "no policy is loaded yet")
        return policy

    def _check_grant(self, question: Question, epoch: Epoch, path: str) -> None:
        """Steps 1 and 2.

        Raises:
            _RefusedError: one of them refuses.
        """
        exchange, lines = question.exchange, wire.joined(question.exchange.headers)
        # 1 grant
        text, target = lines.get(headers.GRANT), lines.get(headers.ENDPOINT)
        if text is None or target is None:
            raise _refused("there is no grant")
        try:
            granted = grant.verify(
                text,
                epoch.grant_keys,
                now=question.now,
                method=exchange.method,
                path=path,
                body_sha256=hashlib.sha256(exchange.body).hexdigest(),
                endpoint=target,
                gateway=self._inner_name,
            )
        except GrantError as error:
            raise _refused(replies.grant_fault(error)) from error
        question.seen.grant = granted
        # 2 epoch
        if granted.epoch > epoch.number:
            raise _unavailable("epoch_behind", "this gateway's policy is behind the request's")
        if not self._replays.is_new(granted.decision, granted.expires, question.now):
            raise _refused("grant was used before")

    def _check_policy(self, question: Question, epoch: Epoch, outcome: Outcome) -> None:
        """Steps 4 to 6, with the newest policy.

        Raises:
            _RefusedError: one of them refuses.
        """
        seen, granted = question.seen, question.seen.grant
        assert granted is not None
        if isinstance(outcome, Overloaded):
            raise _unavailable("no_capacity", "too many large requests")
        if not isinstance(outcome, Understood):
            raise _refused("request is not one that may leave")
        seen.parsed = outcome.parsed
        # 4 authenticate
        lines = wire.joined(question.exchange.headers)
        caller = identity.authenticate(lines, epoch, question.now)
        if isinstance(caller, identity.Unauthenticated):
            raise _refused(f"caller: {caller.reason.value}")
        seen.caller = caller
        stated = ClientIdentity(granted.tenant, granted.app, granted.client, granted.credential)
        if caller != stated:
            raise _refused("grant is for another caller")
        # 5 permit
        parsed = outcome.parsed
        request = Request(caller, parsed.model, parsed.needs, outcome.findings, parsed.raise_to)
        found = permission.permit(request, epoch, question.now)
        seen.judgement = found.judgement
        if isinstance(found, Deny):
            raise _refused(f"policy: {found.reason.value}")
        endpoint = _public(found, granted.endpoint)
        if endpoint is None:
            raise _refused("policy does not permit the endpoint")
        # 6 compare
        if granted.epoch == epoch.number:
            _compare(granted, found, epoch)
        seen.endpoint = endpoint

    def _settle(self, question: Question, refuse: Refuse | None) -> None:
        """Steps 7 and 8."""
        granted = question.seen.grant
        decision_id = granted.decision if granted else self._new_id()
        entry = self._describe(question, refuse, decision_id)

        def settled(durable: bool) -> None:  # noqa: FBT001  # as `Settled`
            answer = refuse
            if not durable:
                self._recorder.unrecorded(allowed=False)
                answer = refuse or replies.unavailable(
                    "not_recorded", "The decision cannot be recorded, so nothing leaves. Try again."
                )
            self._answer(question, answer, decision_id)

        self._recorder.submit(entry, question.now, settled)

    def _answer(self, question: Question, refuse: Refuse | None, decision_id: str) -> None:
        exchange, seen = question.exchange, question.seen
        if refuse is not None or seen.endpoint is None or seen.parsed is None:
            refuse = refuse or replies.forbidden("egress_refused", "it was not verified")
            data = replies.refusal(refuse, decision_id)
        else:
            text = wire.joined(exchange.headers)[headers.GRANT]
            stream = seen.parsed.stream
            data = replies.to_edge(seen.endpoint, decision_id, text, stream=stream)
        exchange.answer(data)
        seconds = self._monotonic() - question.started
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
        self, question: Question, refuse: Refuse | None, decision_id: str
    ) -> record.Decision:
        seen, body, policy = question.seen, question.exchange.body, self._policy()
        epoch = policy.epoch if policy else None
        app = (
            epoch.apps.get((seen.caller.tenant, seen.caller.app)) if epoch and seen.caller else None
        )
        model = seen.parsed.model if seen.parsed else ""
        mac = self._mac.of(body, question.now)
        return describing.decision(
            decision_id,
            ROLE,
            record.Body(bytes=len(body), mac=mac, mac_key=self._mac.key_id),
            caller=seen.caller,
            chosen=describing.chosen(seen.endpoint) if seen.endpoint and not refuse else None,
            epoch=describing.epoch(epoch) if epoch else None,
            granted=seen.grant,
            judgement=seen.judgement,
            model=model if app and model in app.models else "",
            needs=seen.parsed.needs if seen.parsed else None,
            reason=refuse.code if refuse else "",
            status=refuse.status if refuse else 200,
        )


def _compare(granted: Grant, found: Eligible, epoch: Epoch) -> None:
    """With one epoch both gateways must have come to the same.

    Raises:
        _RefusedError: they have not.
    """
    if granted.epoch_hash != epoch.hash:
        raise _refused("grant is from another epoch of the same number")
    if granted.label != found.judgement.label:
        raise _refused("label is not that of the grant")
    if granted.permitted != grant.permitted_digest(item.name for item in found.endpoints):
        raise _refused("permitted set is not that of the grant")


def _refusal_of(error: Exception) -> Refuse:
    if isinstance(error, _RefusedError):
        return error.refuse
    log.error("verification_failed", error=type(error).__name__)
    return replies.unavailable("internal_error", "The egress gateway failed. Try again.")


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
