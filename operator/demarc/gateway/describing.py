"""How is a decision told to the record? Policy's values in, audit's values out; pure."""

from __future__ import annotations

from collections.abc import Mapping

from demarc.audit import record
from demarc.policy.decision import Health, Judgement, Needs
from demarc.policy.epoch import ClientIdentity, Endpoint, Epoch, Price
from demarc.policy.grant import Grant

_ALLOWED = 200


def decision(
    decision_id: str,
    role: str,
    body: record.Body,
    *,
    caller: ClientIdentity | None = None,
    chosen: record.Chosen | None = None,
    epoch: record.Epoch | None = None,
    granted: Grant | None = None,
    health: Mapping[str, Health] | None = None,
    judgement: Judgement | None = None,
    model: str = "",
    needs: Needs | None = None,
    reason: str = "",
    status: int = _ALLOWED,
) -> record.Decision:
    """The record of one decision; what was not reached is absent.

    Args:
        decision_id: shared by the tiers of one request.
        role: inner, egress or edge.
        body: the body without its content.
        caller: who was proved.
        chosen: what was taken.
        epoch: what decided.
        granted: what a later tier was shown and could trust.
        health: of the permitted endpoints.
        judgement: how the label came to be.
        model: only a name that the app has.
        needs: what was needed of a model.
        reason: code of a refusal.
        status: as the caller reads it.
    """
    return record.Decision(
        attempt=1,
        body=body,
        caller=_caller(caller) if caller else None,
        chosen=chosen,
        epoch=epoch,
        granted=record.Granted(epoch_hash=granted.epoch_hash, gateway=granted.gateway)
        if granted
        else None,
        health={name: health[name].up for name in sorted(health)} if health else {},
        id=decision_id,
        label=_label(judgement) if judgement else None,
        model=model,
        needs=_needs(needs) if needs else None,
        outcome="Allow" if status == _ALLOWED else "Deny",
        public=judgement.public_closed if judgement else "",
        reason=reason,
        removed=_removed(judgement) if judgement else (),
        role=role,
        status=status,
    )


def _caller(identity: ClientIdentity) -> record.Caller:
    """Who asked."""
    return record.Caller(
        app=identity.app,
        client=identity.client,
        credential=identity.credential,
        tenant=identity.tenant,
    )


def epoch(value: Epoch) -> record.Epoch:
    """Which policy decided."""
    return record.Epoch(hash=value.hash, number=str(value.number))


def chosen(endpoint: Endpoint) -> record.Chosen:
    """What was taken."""
    return record.Chosen(
        endpoint=endpoint.name,
        price=_price(endpoint.price),
        scope=endpoint.scope.value,
        site=endpoint.site,
    )


def _label(judgement: Judgement) -> record.Label:
    """The label and its operands."""
    found = judgement.label
    return record.Label(
        categories=tuple(sorted(found.categories)),
        level=found.level,
        origins=tuple(sorted(found.origins)),
        provenance=tuple(
            record.Operand(
                categories=tuple(sorted(item.categories)),
                count=item.count,
                level=item.level,
                source=item.source,
            )
            for item in judgement.provenance
        ),
    )


def _needs(value: Needs) -> record.Needs:
    """What was needed of a model."""
    return record.Needs(
        capabilities=tuple(sorted(value.capabilities)),
        max_tokens=value.max_tokens,
        prompt_tokens=value.prompt_tokens,
        stream=value.stream,
    )


def _removed(judgement: Judgement) -> tuple[record.Removed, ...]:
    """What removed each endpoint."""
    return tuple(
        record.Removed(
            by=str(item.source) if item.source else "",
            endpoint=item.endpoint,
            layer=item.layer.value,
        )
        for item in judgement.removals
    )


def _price(price: Price | None) -> record.Price | None:
    if price is None:
        return None
    return record.Price(
        currency=price.currency, input=format(price.input, "f"), output=format(price.output, "f")
    )
