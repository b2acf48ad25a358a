"""Why does this request go where it goes? Every endpoint of the epoch, with the reason.

An explanation asks the functions that decide, `permission` and `choice`; it decides nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_never

from demarc.policy import choice, permission
from demarc.policy import label as labels
from demarc.policy.decision import (
    Deny,
    Eligible,
    Health,
    Judgement,
    Layer,
    Removal,
    Request,
    Unavailable,
)
from demarc.policy.epoch import Endpoint, Epoch, SourceRef


@dataclass(frozen=True, slots=True)
class Row:
    """One endpoint of the epoch, for one request.

    Attributes:
        removal: the first layer and object that removed it; None: it is eligible.
        permit: the row that admits it; None where it is removed.
        place: 1 for the endpoint that is tried first; None where it is removed.
        cost: expected cost, exact, `0.00021 USD`; empty where the price is unknown.
        up: None: its health is unknown, so that it is not taken.
    """

    endpoint: Endpoint
    removal: Removal | None
    permit: SourceRef | None
    place: int | None
    cost: str
    up: bool | None
    chosen: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """One decision in full.

    Attributes:
        outcome: `eligible`, or the reason of the denial, or `no_capacity`.
        detail: one sentence; empty when an endpoint was chosen.
        rows: eligible endpoints in their order, then the removed ones by layer and name.
    """

    request: Request
    epoch: Epoch
    judgement: Judgement
    outcome: str
    detail: str
    rows: tuple[Row, ...]

    @property
    def chosen(self) -> Endpoint | None:
        """The endpoint that the request goes to; None: to none."""
        return next((row.endpoint for row in self.rows if row.chosen), None)


def explain(
    request: Request, epoch: Epoch, now: datetime, health: Mapping[str, Health]
) -> Explanation:
    """What `permit` and `choose` answer for a request, and why.

    Args:
        request: as for `permission.permit`.
        epoch: the policy in force, or its `closed` view.
        now: with a zone.
        health: by endpoint name, as for `choice.choose`.
    """
    decided = permission.permit(request, epoch, now)
    match decided:
        case Eligible():
            return _permitted(request, epoch, now, health, decided)
        case Deny():
            return Explanation(
                request,
                epoch,
                decided.judgement,
                decided.reason.value,
                decided.detail,
                _removed(decided, request, epoch, frozenset()),
            )
        case _:
            assert_never(decided)


def to_json(explanation: Explanation) -> dict[str, Any]:
    """An explanation as JSON values: what `demarc explain -o json` and the admin API give."""
    judgement, request = explanation.judgement, explanation.request
    return {
        "request": {
            "tenant": request.caller.tenant,
            "app": request.caller.app,
            "client": request.caller.client,
            "model": request.model,
            "capabilities": [each.value for each in sorted(request.needs.capabilities)],
            "promptTokens": request.needs.prompt_tokens,
            "maxTokens": request.needs.max_tokens,
        },
        "epoch": {"number": str(explanation.epoch.number), "hash": explanation.epoch.hash},
        "publicClosed": judgement.public_closed,
        "label": {
            "level": labels.level_name(judgement.label.level),
            "categories": [each.value for each in sorted(judgement.label.categories)],
            "origins": sorted(judgement.label.origins),
            "sensitive": labels.is_sensitive(judgement.label),
        },
        "provenance": [
            {
                "source": operand.source,
                "level": labels.level_name(operand.level),
                "categories": [each.value for each in sorted(operand.categories)],
                "count": operand.count,
            }
            for operand in judgement.provenance
        ],
        "outcome": explanation.outcome,
        "detail": explanation.detail,
        "chosen": explanation.chosen.name if explanation.chosen else None,
        "endpoints": [_row_json(row) for row in explanation.rows],
    }


_NO_APP = "no RoutingPolicy declares the app"
TABLE_HEAD = ("", "ENDPOINT", "SCOPE", "UP", "COST", "WHY")


def table(explanation: Explanation) -> tuple[tuple[str, ...], ...]:
    """An explanation as lines of text cells, in the columns of `TABLE_HEAD`."""
    return tuple(_cells(row) for row in explanation.rows)


def _permitted(
    request: Request,
    epoch: Epoch,
    now: datetime,
    health: Mapping[str, Health],
    eligible: Eligible,
) -> Explanation:
    app_table = epoch.tables.apps[request.caller.tenant, request.caller.app]
    grounds = app_table.grounds(request.caller.credential, now)
    chosen = choice.choose(eligible, health, app_table.app, request.needs)
    rows: list[Row] = []
    order = choice.ranked(eligible, app_table.app, request.needs)
    for place, endpoint in enumerate(order, start=1):
        admitted = permission.admitting(endpoint, app_table.app, grounds, eligible.judgement.label)
        known = health.get(endpoint.name)
        units = choice.cost(endpoint, request.needs)
        rows.append(
            Row(
                endpoint=endpoint,
                removal=None,
                permit=admitted.source if admitted else None,
                place=place,
                cost=""
                if units is None or endpoint.price is None
                else f"{choice.amount(units)} {endpoint.price.currency}",
                up=known.up if known else None,
                chosen=endpoint == chosen,
            )
        )
    kept = frozenset(endpoint.name for endpoint in eligible.endpoints)
    down = isinstance(chosen, Unavailable)
    return Explanation(
        request,
        epoch,
        eligible.judgement,
        "no_capacity" if down else "eligible",
        chosen.detail if isinstance(chosen, Unavailable) else "",
        (*rows, *_removed(eligible, request, epoch, kept)),
    )


def _removed(
    decided: Eligible | Deny, request: Request, epoch: Epoch, kept: frozenset[str]
) -> tuple[Row, ...]:
    removed = {removal.endpoint: removal for removal in decided.judgement.removals}
    declared = (request.caller.tenant, request.caller.app) in epoch.apps
    other = f"it is no target of model `{request.model}`" if declared else _NO_APP
    rows = [
        Row(
            endpoint=endpoint,
            removal=removed.get(endpoint.name)
            or Removal(
                endpoint.name,
                Layer.MODEL,
                None,
                other,
            ),
            permit=None,
            place=None,
            cost="",
            up=None,
            chosen=False,
        )
        for endpoint in epoch.endpoints
        if endpoint.name not in kept
    ]
    # the latest layer first: what was nearly permitted stands beside what was
    return tuple(
        sorted(rows, key=lambda row: row.removal.layer if row.removal else "", reverse=True)
    )


def _row_json(row: Row) -> dict[str, Any]:
    common = {"endpoint": row.endpoint.name, "scope": row.endpoint.scope.value}
    if row.removal is not None:
        return {
            **common,
            "eligible": False,
            "layer": row.removal.layer.value,
            "source": str(row.removal.source) if row.removal.source else None,
            "detail": row.removal.detail,
        }
    return {
        **common,
        "eligible": True,
        "permit": str(row.permit),
        "place": row.place,
        "cost": row.cost or None,
        "up": row.up,
        "chosen": row.chosen,
    }


def _cells(row: Row) -> tuple[str, ...]:
    name, scope = row.endpoint.name, row.endpoint.scope.value
    if row.removal is not None:
        by = f" ({row.removal.source})" if row.removal.source else ""
        return ("", name, scope, "", "", f"{row.removal.layer}: {row.removal.detail}{by}")
    health = {True: "yes", False: "no", None: "unknown"}[row.up]
    mark = "->" if row.chosen else str(row.place)
    return (mark, name, scope, health, row.cost or "unknown", f"permitted by {row.permit}")
