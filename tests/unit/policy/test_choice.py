"""Is what is chosen always permitted, up, and the first in the stated order?"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, getcontext
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from demarc.policy import choice, permission
from demarc.policy.decision import Eligible, Health, Needs, Unavailable
from demarc.policy.epoch import Endpoint, Price
from support import builders, strategies
from support.builders import NOW
from support.strategies import World

pytestmark = pytest.mark.timeout(60)

EPOCH = builders.sample_epoch()
APP = EPOCH.apps["retail", "branch-faq"]
AIR, FLASH = EPOCH.endpoints
HEALTHS = st.sampled_from([Health(up=True), Health(up=False), Health(up=True, load=9)])


def eligible(*endpoints: Endpoint) -> Eligible:
    decided = permission.permit(builders.request(), EPOCH, NOW)
    assert isinstance(decided, Eligible)
    return replace(decided, endpoints=endpoints or decided.endpoints)


@given(strategies.worlds(), strategies.asks(), st.data())
def test_the_choice_is_permitted_and_up(world: World, asked: tuple, data: st.DataObject) -> None:
    """An endpoint is chosen that is not permitted, or not up; or none, although one is."""
    request, epoch = strategies.request_of(*asked), world.epoch()
    decided = permission.permit(request, epoch, NOW)
    assume(isinstance(decided, Eligible))
    assert isinstance(decided, Eligible)
    names = [each.name for each in epoch.endpoints]
    health = data.draw(st.dictionaries(st.sampled_from([*names, "stranger"]), HEALTHS))
    app = epoch.apps[request.caller.tenant, request.caller.app]
    up = {each.name for each in decided.endpoints if each.name in health and health[each.name].up}
    chosen = choice.choose(decided, health, app, request.needs)

    if isinstance(chosen, Endpoint):
        assert chosen.name in up
    else:
        assert not up
    assert sorted(decided.endpoints, key=lambda each: each.name) == sorted(
        choice.ranked(decided, app, request.needs), key=lambda each: each.name
    )


def test_unknown_health_is_down() -> None:
    """An endpoint of which nothing is known is taken."""
    assert Unavailable(
        "none of the 2 endpoints that may see this request is available; try again"
    ) == choice.choose(eligible(), {}, APP, builders.needs())
    assert Unavailable(
        "the one endpoint that may see this request is not available; try again"
    ) == choice.choose(eligible(AIR), {AIR.name: Health(up=False)}, APP, builders.needs())


amounts = st.integers(0, 999_999_999_999_999_999).map(lambda units: Decimal(units).scaleb(-9))


@given(amounts, amounts, st.integers(0, 2**53), st.one_of(st.none(), st.integers(0, 2**53)))
def test_costs_are_exact(
    of_input: Decimal, of_output: Decimal, tokens: int, answer: int | None
) -> None:
    """A cost is rounded, so that two endpoints change places."""
    assume(getcontext().prec >= 28)
    priced = replace(FLASH, price=Price(of_input, of_output, "USD"))
    units = choice.cost(priced, Needs(frozenset(), tokens, answer))
    want = (
        Fraction(of_input) * tokens
        + Fraction(of_output) * (choice.ANSWER_TOKENS if answer is None else answer)
    ) / 10**6

    assert units is not None
    assert want == Fraction(units, 10**15) == Fraction(choice.amount(units))


@pytest.mark.parametrize(
    "units, want",
    [(0, "0"), (1, "0.000000000000001"), (10**15, "1"), (10**16, "10"), (15 * 10**14, "1.5")],
)
def test_an_amount_is_written_without_trailing_zeros(units: int, want: str) -> None:
    """A person reads another amount."""
    assert want == choice.amount(units)


def test_prices_in_two_currencies_say_nothing() -> None:
    """One amount of CNY is taken for less than two of USD."""
    cheap = replace(FLASH, price=Price(Decimal("0.01"), Decimal("0.01"), "CNY"))

    assert (AIR, cheap) == choice.ranked(eligible(cheap, AIR), APP, builders.needs())
    assert (FLASH, AIR) == choice.ranked(eligible(FLASH, AIR), APP, builders.needs())


def test_an_unknown_price_comes_last_and_ties_stay_inside() -> None:
    """An endpoint without a price counts as free, or an equal one outside is preferred."""
    unpriced = replace(AIR, price=None)
    same = replace(FLASH, price=AIR.price)

    assert (FLASH, unpriced) == choice.ranked(eligible(unpriced, FLASH), APP, builders.needs())
    assert (AIR, same) == choice.ranked(eligible(same, AIR), APP, builders.needs())
