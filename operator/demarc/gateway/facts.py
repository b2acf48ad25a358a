"""What must be known of a decision when its usage comes in? From memory, or from its record."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from demarc.audit.record import Decision, Record
from demarc.audit.record import Price as RecordedPrice
from demarc.ledger import records
from demarc.policy.epoch import Price

MOST = 65536


@dataclass(frozen=True, slots=True)
class Facts:
    """One allowed request.

    Attributes:
        price: of the endpoint at the time of the decision; None: unknown.
        prompt_tokens: the estimate of the decision.
    """

    tenant: str
    app: str
    client: str
    model: str
    endpoint: str
    site: str
    scope: str
    price: Price | None
    prompt_tokens: int
    stream: bool


class Recent:
    """The facts of the newest decisions; older ones are found in the records."""

    def __init__(self, folder: Path, *, most: int = MOST) -> None:
        self._folder = folder
        self._most = most
        self._known: OrderedDict[str, Facts] = OrderedDict()

    def add(self, decision_id: str, facts: Facts) -> None:
        """Remember an allowed request."""
        self._known[decision_id] = facts
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def known(self, decision_ids: Iterable[str]) -> dict[str, Facts]:
        """Those that are remembered."""
        return {key: self._known[key] for key in decision_ids if key in self._known}

    def stored(self, decision_ids: Iterable[str]) -> dict[str, Facts]:
        """Those that stand in the records; reads files, for a thread."""
        wanted = frozenset(decision_ids)
        if not wanted:
            return {}
        found = records.find_all(self._folder, wanted)
        return {key: facts for key, record in found.items() if (facts := of_record(record))}

    def forget(self, decision_ids: Iterable[str]) -> None:
        """Those that are booked."""
        for key in decision_ids:
            self._known.pop(key, None)


def of_record(record: Record) -> Facts | None:
    """The facts in a record; None when it allows nothing."""
    decision = record.decision
    if not isinstance(decision, Decision) or decision.chosen is None or decision.caller is None:
        return None
    return Facts(
        tenant=decision.caller.tenant,
        app=decision.caller.app,
        client=decision.caller.client,
        model=decision.model,
        endpoint=decision.chosen.endpoint,
        site=decision.chosen.site,
        scope=decision.chosen.scope,
        price=_price(decision.chosen.price),
        prompt_tokens=decision.needs.prompt_tokens if decision.needs else 0,
        stream=decision.needs.stream if decision.needs else False,
    )


def _price(price: RecordedPrice | None) -> Price | None:
    if price is None:
        return None
    return Price(Decimal(price.input), Decimal(price.output), price.currency)
