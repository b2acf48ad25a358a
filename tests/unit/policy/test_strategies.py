"""Are the worlds of the laws worth trying? A law over empty worlds holds for nothing."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings

from demarc.api.v1alpha1 import Scope
from demarc.policy import permission
from demarc.policy.decision import Eligible, Layer
from support import strategies
from support.builders import NOW

REMOVING = (Layer.LABEL, Layer.RESIDENCY, Layer.PERMIT, Layer.ABILITY)


@pytest.mark.timeout(60)
def test_worlds_permit_often_and_every_layer_removes() -> None:
    """30 % are Eligible, 5 % reach Public, and each of E1 to E4 removes something in 5 %."""
    seen = Counter[str]()

    @settings(max_examples=300, derandomize=True, database=None)
    @given(strategies.worlds(), strategies.asks())
    def tally(world: strategies.World, asked: tuple) -> None:
        decided = permission.permit(strategies.request_of(*asked), world.epoch(), NOW)
        seen["all"] += 1
        seen["eligible"] += isinstance(decided, Eligible)
        if isinstance(decided, Eligible):
            seen["public"] += any(each.scope is Scope.PUBLIC for each in decided.endpoints)
        for layer in {removal.layer for removal in decided.judgement.removals}:
            seen[layer] += 1

    tally()

    assert seen["eligible"] >= 0.30 * seen["all"], seen
    assert seen["public"] >= 0.05 * seen["all"], seen
    assert all(seen[layer] >= 0.05 * seen["all"] for layer in REMOVING), seen
