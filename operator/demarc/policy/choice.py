"""Which of the permitted endpoints is taken? An order inside the set; it can only shrink.

    Cheapest  estimate x input + answer x output in exact integers; an unknown price comes last;
              ties: Private first, then the order of the targets, then the site's name
    Listed    the order of the targets; within one target Private first, then the site's name

INVARIANT: the endpoint that is chosen is in the Eligible that was given.
INVARIANT: an endpoint whose health is unknown is not taken.
"""

from __future__ import annotations

from collections.abc import Mapping

from demarc.api.v1alpha1.common import Scope
from demarc.policy.decision import Eligible, Health, Needs, Unavailable
from demarc.policy.epoch import App, Endpoint

ANSWER_TOKENS = 512
"""What an answer counts for cost when the request does not bound it."""
UNITS_PER_CURRENCY = 10**15
"""Costs are integers of 10^-15 of the currency: nine digits of an amount, per million tokens."""


def choose(
    eligible: Eligible, health: Mapping[str, Health], order: App, needs: Needs
) -> Endpoint | Unavailable:
    """The first endpoint in the app's order that is up.

    Args:
        eligible: what `permission.permit` answered.
        health: by endpoint name; an endpoint that is missing is down.
        order: the app that asks; its policy says Cheapest or Listed.
        needs: for the cost.
    """
    for endpoint in ranked(eligible, order, needs):
        known = health.get(endpoint.name)
        if known is not None and known.up:
            return endpoint
    count = len(eligible.endpoints)
    few = "the one endpoint" if count == 1 else f"none of the {count} endpoints"
    is_up = "is not available" if count == 1 else "is available"
    return Unavailable(f"{few} that may see this request {is_up}; try again")


def ranked(eligible: Eligible, order: App, needs: Needs) -> tuple[Endpoint, ...]:
    """All permitted endpoints in the app's order; health is not looked at."""
    if len(eligible.endpoints) == 1:
        return eligible.endpoints
    place = {target: index for index, target in enumerate(eligible.targets)}
    last = len(place)

    if order.order != "Cheapest" or _currencies(eligible.endpoints) > 1:
        # Amounts of two currencies have no order. Validation refuses them as MixedCurrency; where
        # they are in force all the same, prices say nothing.
        if order.order == "Cheapest":
            return tuple(sorted(eligible.endpoints, key=lambda e: _tie(e, place, last)))
        return tuple(
            sorted(
                eligible.endpoints,
                key=lambda e: (place.get(e.target, last), e.scope is not Scope.PRIVATE, e.site),
            )
        )

    def key(endpoint: Endpoint) -> tuple[bool, int, tuple[bool, int, str, str]]:
        units = cost(endpoint, needs)
        return (units is None, units or 0, _tie(endpoint, place, last))

    return tuple(sorted(eligible.endpoints, key=key))


def cost(endpoint: Endpoint, needs: Needs) -> int | None:
    """Expected cost in 10^-15 of the price's currency; None: the price is unknown."""
    if endpoint.price is None:
        return None
    answer = ANSWER_TOKENS if needs.max_tokens is None else needs.max_tokens
    return needs.prompt_tokens * endpoint.price.input_units + answer * endpoint.price.output_units


def amount(units: int) -> str:
    """A cost as an exact decimal number of its currency, without trailing zeros."""
    whole, rest = divmod(units, UNITS_PER_CURRENCY)
    return f"{whole}.{rest:015d}".rstrip("0").rstrip(".")


def _currencies(endpoints: tuple[Endpoint, ...]) -> int:
    return len({endpoint.price.currency for endpoint in endpoints if endpoint.price is not None})


def _tie(
    endpoint: Endpoint, place: Mapping[tuple[str, str], int], last: int
) -> tuple[bool, int, str, str]:
    return (
        endpoint.scope is not Scope.PRIVATE,
        place.get(endpoint.target, last),
        endpoint.site,
        endpoint.name,
    )
