"""How is a decision told to the record? Policy's values in, audit's values out; pure."""

from __future__ import annotations

from collections.abc import Mapping

from demarc.audit import record
from demarc.policy.decision import Health, Judgement, Needs
from demarc.policy.epoch import ClientIdentity, Endpoint, Epoch, Price
from demarc.policy.grant import Grant


def caller(identity: ClientIdentity) -> record.Caller:
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


def label(judgement: Judgement) -> record.Label:
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


def needs(value: Needs) -> record.Needs:
    """What was needed of a model."""
    return record.Needs(
        capabilities=tuple(sorted(value.capabilities)),
        max_tokens=value.max_tokens,
        prompt_tokens=value.prompt_tokens,
        stream=value.stream,
    )


def removed(judgement: Judgement) -> tuple[record.Removed, ...]:
    """What removed each endpoint."""
    return tuple(
        record.Removed(
            by=str(item.source) if item.source else "",
            endpoint=item.endpoint,
            layer=item.layer.value,
        )
        for item in judgement.removals
    )


def granted(value: Grant) -> record.Granted:
    """What a later tier was shown."""
    return record.Granted(epoch_hash=value.epoch_hash, gateway=value.gateway)


def health(value: Mapping[str, Health]) -> dict[str, bool]:
    """Health bits in the order of the names."""
    return {name: value[name].up for name in sorted(value)}


def _price(price: Price | None) -> record.Price | None:
    if price is None:
        return None
    return record.Price(
        currency=price.currency, input=format(price.input, "f"), output=format(price.output, "f")
    )
