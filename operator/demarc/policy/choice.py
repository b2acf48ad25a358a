"""Which of the permitted endpoints is taken? An order inside the set; it can only shrink.

    Cheapest  estimate x input + answer x output in exact integers; an unknown price comes last;
              ties: Private first, then the order of the targets, then the site's name
    Listed    the order of the targets; within one target Private first, then the site's name

INVARIANT: the endpoint that is chosen is in the Eligible that was given.
INVARIANT: an endpoint whose health is unknown is not taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
    up = [
        endpoint
        for endpoint in eligible.endpoints
        if (known := health.get(endpoint.name)) is not None and known.up
    ]
    if len(up) == 1:
        return up[0]
    if up:
        return min(up, key=_key(eligible, order, needs))
    count = len(eligible.endpoints)
    few = "the one endpoint" if count == 1 else f"none of the {count} endpoints"
    is_up = "is not available" if count == 1 else "is available"
    return Unavailable(f"{few} that may see this request {is_up}; try again")


def ranked(eligible: Eligible, order: App, needs: Needs) -> tuple[Endpoint, ...]:
    """All permitted endpoints in the app's order; health is not looked at."""
    return tuple(sorted(eligible.endpoints, key=_key(eligible, order, needs)))


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


Key = Callable[[Endpoint], tuple[int | bool | str, ...]]


def _key(eligible: Eligible, order: App, needs: Needs) -> Key:
    """What an app's order compares, with ties broken to the end: no two endpoints are equal."""
    place = {target: index for index, target in enumerate(eligible.targets)}
    last = len(place)

    def listed(endpoint: Endpoint) -> tuple[int | bool | str, ...]:
        at = place.get(endpoint.target, last)
        return (at, endpoint.scope is not Scope.PRIVATE, endpoint.site, endpoint.name)

    def tie(endpoint: Endpoint) -> tuple[int | bool | str, ...]:
        at = place.get(endpoint.target, last)
        return (endpoint.scope is not Scope.PRIVATE, at, endpoint.site, endpoint.name)

    def cheapest(endpoint: Endpoint) -> tuple[int | bool | str, ...]:
        units = cost(endpoint, needs)
        return (units is None, units or 0, *tie(endpoint))

    if order.order != "Cheapest":
        return listed
    # Amounts of two currencies have no order. Validation refuses them as MixedCurrency; where they
    # are in force all the same, prices say nothing.
    currencies = {each.price.currency for each in eligible.endpoints if each.price is not None}
    return cheapest if len(currencies) <= 1 else tie
