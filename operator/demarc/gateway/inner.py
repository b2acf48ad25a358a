"""Where may this request go? The inner gateway's answer to Envoy, and its reason on the disk.

1 authenticate  headers -> ClientIdentity | 401, before a byte of the body is read       pure
2 parse         bytes -> ParsedRequest | 4xx                                             pure
3 label         texts -> Findings; a failure is TOP                                      pure
4 permit        request, epoch, now -> Eligible | Deny                                   pure
5 choose        among the eligible, by health -> Endpoint | Unavailable                  pure
6 record        the whole of it, durable before the answer                               I/O
7 answer        200 with the target, or the refusal                                      I/O

If 6 fails, 4 and 5 are taken again with Public closed, and that is answered.

2 and 3 need no policy, and for a large body they run beside the event loop; then 1 is taken again,
so that a tightening in between counts.

INVARIANT: 1, 4 and 5 run on one epoch in one turn of the loop, so they agree.
INVARIANT: an answer that names a Public endpoint has a durable record.
INVARIANT: whatever goes wrong, the answer is a refusal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

import structlog

from demarc.api.v1alpha1.common import Scope
from demarc.audit import record
from demarc.gateway import availability, describing, replies, wire
from demarc.gateway.availability import FarSides, Seen
from demarc.gateway.counting import Metrics
from demarc.gateway.facts import Facts, Recent
from demarc.gateway.granting import Grants
from demarc.gateway.keeping import InForce
from demarc.gateway.recording import Recorder
from demarc.gateway.replies import Refuse
from demarc.gateway.sealing import BodyMac
from demarc.gateway.understanding import (
    Failed,
    Outcome,
    Overloaded,
    Understanding,
    Understood,
)
from demarc.gateway.wire import Exchange
from demarc.policy import choice, grant, identity, parsing, permission
from demarc.policy.decision import (
    Deny,
    Eligible,
    Findings,
    Health,
    Judgement,
    Request,
    Unavailable,
)
from demarc.policy.epoch import ClientIdentity, Endpoint, Epoch
from demarc.policy.grant import Grant
from demarc.policy.parsing import ListModels, ParsedRequest
from demarc.policy.refusal import Refusal

QUESTION = "/decide"
ROLE = "inner"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that was understood: what every later step reads."""

    caller: ClientIdentity
    parsed: ParsedRequest
    request: Request


@dataclass(frozen=True, slots=True)
class Taken:
    """The outcome of 4 and 5.

    Attributes:
        outcome: the endpoint, or the refusal.
        judgement: how the label came to be.
        health: of the permitted endpoints.
        permitted: names of the permitted endpoints.
    """

    outcome: Endpoint | Refuse
    judgement: Judgement
    health: Mapping[str, Health]
    permitted: tuple[str, ...] = ()


@dataclass(slots=True)
class Question:
    """One exchange on its way through the steps."""

    exchange: Exchange
    path: str
    decision_id: str
    now: datetime
    started: float


class Inner:
    """The decision service of the inner gateway."""

    def __init__(
        self,
        *,
        policy: Callable[[], InForce | None],
        seen: Callable[[], Seen],
        far: FarSides,
        understanding: Understanding,
        recorder: Recorder,
        recent: Recent,
        mac: BodyMac,
        grants: Grants,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        new_id: Callable[[], str],
        metrics: Metrics,
    ) -> None:
        self._policy = policy
        self._seen = seen
        self._far = far
        self._understanding = understanding
        self._recorder = recorder
        self._recent = recent
        self._mac = mac
        self._grants = grants
        self._clock = clock
        self._monotonic = monotonic
        self._new_id = new_id
        self._metrics = metrics

    def serve(self, exchange: Exchange) -> None:
        """Answer one question of Envoy; never raises."""
        question = Question(
            exchange,
            exchange.path.removeprefix(QUESTION),
            self._new_id(),
            self._clock(),
            self._monotonic(),
        )
        try:
            if exchange.path.startswith(f"{QUESTION}/"):
                self._decide(question)
            else:
                self._list_models(question)
        except Exception as error:  # noqa: BLE001  # a fault of ours must not let anything through
            self._fail(question, error)

    def _decide(self, question: Question) -> None:
        policy = self._policy()
        if policy is None:
            missing = replies.unavailable("no_policy", "No policy is loaded yet. Try again.")
            self._refuse(question, missing, None, None)
            return
        exchange = question.exchange
        # 1 authenticate
        caller = identity.authenticate(wire.joined(exchange.headers), policy.view, question.now)
        if isinstance(caller, identity.Unauthenticated):
            self._refuse(question, replies.unproved(caller.reason), policy.epoch, None)
            return

        def then(outcome: Outcome) -> None:
            try:
                self._go_on(question, outcome, (policy, caller))
            except Exception as error:  # noqa: BLE001  # as in `serve`; this may be a later turn
                self._fail(question, error)

        # 2 parse, 3 label
        self._understanding.look(exchange, question.path, then)

    def _go_on(
        self, question: Question, outcome: Outcome, first: tuple[InForce, ClientIdentity]
    ) -> None:
        """4 to 7, with the newest policy: a large body was looked at beside other decisions."""
        policy, caller = self._policy(), first[1]
        assert policy is not None
        if policy is not first[0]:
            lines = wire.joined(question.exchange.headers)
            again = identity.authenticate(lines, policy.view, question.now)
            if isinstance(again, identity.Unauthenticated):
                self._refuse(question, replies.unproved(again.reason), policy.epoch, None)
                return
            caller = again
        match outcome:
            case Refusal():
                self._refuse(question, replies.unreadable(outcome), policy.epoch, caller)
            case ListModels():
                self._allow_list(question, policy.epoch, caller)
            case Overloaded():
                busy = replies.unavailable("no_capacity", "Too many large requests. Try again.")
                self._refuse(question, busy, policy.epoch, caller)
            case Failed():
                log.error("parsing_failed", error=outcome.kind, decision=question.decision_id)
                broken = replies.unavailable("internal_error", "The gateway failed. Try again.")
                self._refuse(question, broken, policy.epoch, caller)
            case Understood():
                self._settle(question, policy, caller, outcome)
            case _:
                assert_never(outcome)

    def _settle(
        self, question: Question, policy: InForce, caller: ClientIdentity, found: Understood
    ) -> None:
        asked = Asked(caller, found.parsed, _request(caller, found.parsed, found.findings))
        # 4 permit, 5 choose
        view = policy.view if self._recorder.is_recording else policy.unrecorded
        taken = self._take(asked, view, question.now)
        # 6 record
        entry = self._describe(question, asked, policy.epoch, taken)

        def settled(durable: bool) -> None:  # noqa: FBT001  # as `Settled`
            # 7 answer
            if durable:
                self._answer(question, asked, policy.epoch, taken)
            else:
                self._answer_unrecorded(question, asked, policy)

        self._submit(question, entry, settled)

    def _take(self, asked: Asked, view: Epoch, now: datetime) -> Taken:
        found = permission.permit(asked.request, view, now)
        app = view.apps.get((asked.caller.tenant, asked.caller.app))
        match found:
            case Deny():
                models = tuple(sorted(app.models)) if app is not None else ()
                return Taken(replies.denied(found, models), found.judgement, {})
            case Eligible():
                assert app is not None
                monotonic = self._monotonic()
                # the key is on the disk: only a request that could leave looks there
                leaves = any(
                    endpoint.scope is not Scope.PRIVATE for endpoint in found.endpoints
                ) and self._grants.usable(view)
                health = availability.health(
                    found.endpoints, self._seen(), self._far, monotonic, leaves=leaves
                )
                chosen = choice.choose(found, health, app, asked.parsed.needs)
                permitted = tuple(endpoint.name for endpoint in found.endpoints)
                if isinstance(chosen, Unavailable):
                    refuse = replies.no_capacity(chosen)
                    return Taken(refuse, found.judgement, health, permitted)
                if chosen.scope is not Scope.PRIVATE:
                    self._far.taken(chosen.name, monotonic)
                return Taken(chosen, found.judgement, health, permitted)

    def _answer(self, question: Question, asked: Asked, epoch: Epoch, taken: Taken) -> None:
        outcome = taken.outcome
        if isinstance(outcome, Refuse):
            self._finish(question, replies.refusal(outcome, question.decision_id), outcome, taken)
            return
        stream = asked.parsed.stream
        if outcome.scope is Scope.PRIVATE:
            data = replies.to_private(outcome, question.decision_id, stream=stream)
        else:
            text = self._grants.sign(self._grant(question, asked, epoch, taken, outcome), epoch)
            data = replies.to_egress(outcome, question.decision_id, text, stream=stream)
        self._recent.add(question.decision_id, _facts(asked, outcome))
        self._finish(question, data, outcome, taken)

    def _answer_unrecorded(self, question: Question, asked: Asked, policy: InForce) -> None:
        """4 and 5 again, with Public closed; the answer has no record."""
        taken = self._take(asked, policy.unrecorded, question.now)
        outcome = taken.outcome
        assert isinstance(outcome, Refuse) or outcome.scope is Scope.PRIVATE
        self._recorder.unrecorded(allowed=not isinstance(outcome, Refuse))
        self._answer(question, asked, policy.epoch, taken)

    def _refuse(
        self, question: Question, refuse: Refuse, epoch: Epoch | None, caller: ClientIdentity | None
    ) -> None:
        """6 and 7 for what was refused before it had a label."""
        entry = describing.decision(
            question.decision_id,
            ROLE,
            self._body(question, look=caller is not None),
            caller=caller,
            epoch=describing.epoch(epoch) if epoch else None,
            reason=refuse.code,
            status=refuse.status,
        )

        def settled(durable: bool) -> None:  # noqa: FBT001  # as `Settled`
            if not durable:
                self._recorder.unrecorded(allowed=False)
            data = replies.refusal(refuse, question.decision_id)
            self._finish(question, data, refuse, None)

        self._submit(question, entry, settled, unknown=caller is None)

    def _allow_list(self, question: Question, epoch: Epoch, caller: ClientIdentity) -> None:
        """6 and 7 for the list of models, which Envoy fetches from this agent."""
        entry = describing.decision(
            question.decision_id,
            ROLE,
            self._body(question, look=True),
            caller=caller,
            epoch=describing.epoch(epoch),
            reason="list_models",
        )

        def settled(durable: bool) -> None:  # noqa: FBT001  # as `Settled`
            if not durable:
                self._recorder.unrecorded(allowed=True)
            self._finish(question, replies.to_agent(question.decision_id), None, None)

        self._submit(question, entry, settled)

    def _list_models(self, question: Question) -> None:
        """The second question about a list: Envoy as a client of this agent.

        The credential is looked at again, so a list needs nothing from the first question.
        """
        policy, exchange = self._policy(), question.exchange
        if policy is None or (exchange.method, exchange.path) != ("GET", parsing.MODELS_PATH):
            exchange.answer(wire.render(404))
            return
        caller = identity.authenticate(wire.joined(exchange.headers), policy.view, question.now)
        if isinstance(caller, identity.Unauthenticated):
            refuse = replies.unproved(caller.reason)
            exchange.answer(replies.refusal(refuse, question.decision_id))
            return
        app = policy.epoch.apps.get((caller.tenant, caller.app))
        models = tuple(sorted(app.models)) if app is not None else ()
        exchange.answer(replies.model_list(models, int(policy.epoch.issued_at.timestamp())))

    def _submit(
        self,
        question: Question,
        entry: record.Decision,
        settled: Callable[[bool], None],
        *,
        unknown: bool = False,
    ) -> None:
        """Record, then answer in a later turn; a fault of ours there lets nothing through."""

        def guarded(durable: bool) -> None:  # noqa: FBT001  # as `Settled`
            try:
                settled(durable)
            except Exception as error:  # noqa: BLE001  # as in `serve`
                self._fail(question, error)

        submit = self._recorder.submit_refusal if unknown else self._recorder.submit
        submit(entry, question.now, guarded)

    def _fail(self, question: Question, error: Exception) -> None:
        log.error("decision_failed", error=type(error).__name__, decision=question.decision_id)
        self._metrics.count("demarc_decisions_total", outcome="Deny", reason="internal_error")
        broken = replies.unavailable("internal_error", "The gateway failed. Try again.")
        question.exchange.answer(replies.refusal(broken, question.decision_id))

    def _describe(
        self, question: Question, asked: Asked, epoch: Epoch, taken: Taken
    ) -> record.Decision:
        outcome, app = taken.outcome, epoch.apps.get((asked.caller.tenant, asked.caller.app))
        model = asked.parsed.model
        return describing.decision(
            question.decision_id,
            ROLE,
            self._body(question, look=True),
            caller=asked.caller,
            chosen=None if isinstance(outcome, Refuse) else describing.chosen(outcome),
            epoch=describing.epoch(epoch),
            health=taken.health,
            judgement=taken.judgement,
            model=model if app and model in app.models else "",
            needs=asked.parsed.needs,
            reason=outcome.code if isinstance(outcome, Refuse) else "",
            status=outcome.status if isinstance(outcome, Refuse) else 200,
        )

    def _body(self, question: Question, *, look: bool) -> record.Body:
        """The body without its content; that of an unknown caller is not even looked at."""
        body = question.exchange.body
        mac = self._mac.of(body, question.now) if look else ""
        return record.Body(bytes=len(body), mac=mac, mac_key=self._mac.key_id if look else "")

    def _grant(
        self, question: Question, asked: Asked, epoch: Epoch, taken: Taken, endpoint: Endpoint
    ) -> Grant:
        return Grant(
            decision=question.decision_id,
            tenant=asked.caller.tenant,
            app=asked.caller.app,
            client=asked.caller.client,
            credential=asked.caller.credential,
            endpoint=endpoint.name,
            gateway=self._grants.gateway,
            method=question.exchange.method,
            path=question.path,
            body_sha256=hashlib.sha256(question.exchange.body).hexdigest(),
            label=taken.judgement.label,
            epoch=epoch.number,
            epoch_hash=epoch.hash,
            permitted=self._grants.permitted_digest(taken.permitted),
            expires=self._clock() + grant.LIFETIME,
        )

    def _finish(
        self,
        question: Question,
        data: bytes,
        outcome: Endpoint | Refuse | None,
        taken: Taken | None,
    ) -> None:
        question.exchange.answer(data)
        seconds = self._monotonic() - question.started
        refused = outcome if isinstance(outcome, Refuse) else None
        self._metrics.observe("demarc_decision_seconds", seconds)
        self._metrics.count(
            "demarc_decisions_total",
            outcome="Deny" if refused else "Allow",
            reason=refused.code if refused else "",
        )
        log.info(
            "decided",
            decision=question.decision_id,
            outcome=refused.code if refused else "allow",
            endpoint=outcome.name if isinstance(outcome, Endpoint) else "",
            level=taken.judgement.label.level if taken else 0,
            microseconds=int(seconds * 1_000_000),
        )


def _request(caller: ClientIdentity, parsed: ParsedRequest, findings: Findings) -> Request:
    return Request(caller, parsed.model, parsed.needs, findings, parsed.raise_to)


def _facts(asked: Asked, endpoint: Endpoint) -> Facts:
    return Facts(
        tenant=asked.caller.tenant,
        app=asked.caller.app,
        client=asked.caller.client,
        model=asked.parsed.model,
        endpoint=endpoint.name,
        site=endpoint.site,
        scope=endpoint.scope.value,
        price=endpoint.price,
        prompt_tokens=asked.parsed.needs.prompt_tokens,
        stream=asked.parsed.stream,
    )
