"""The laws of `permit`: what must hold whatever anybody writes and whoever asks."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.api.v1alpha1.common import Capability, Category, Scope
from demarc.policy import explanation, permission
from demarc.policy.decision import Deny, DenyReason, Eligible, Finding, Findings, Needs, Request
from demarc.policy.epoch import ClientIdentity, Epoch
from support import builders, oracle, strategies
from support.builders import NOW
from support.oracle import Ask
from support.strategies import World

pytestmark = pytest.mark.timeout(60)

Asked = tuple[ClientIdentity, Ask]
FIELDS = ("floors", "registrations", "clearances", "rules")


def reached(request: Request, epoch: Epoch, now: datetime = NOW) -> set[str]:
    """Names of the endpoints that may see a request."""
    decided = permission.permit(request, epoch, now)
    return {each.name for each in decided.endpoints} if isinstance(decided, Eligible) else set()


def reached_in(world: World, asked: Asked, now: datetime = NOW) -> set[str]:
    return reached(strategies.request_of(*asked), world.epoch(), now)


@given(
    world=strategies.worlds(),
    asked=strategies.asks(),
    now=strategies.times(),
    public=st.booleans(),
)
def test_agrees_with_the_oracle(world: World, asked: Asked, now: datetime, *, public: bool) -> None:
    """The masks, the written rows and a second reading of the design differ somewhere."""
    caller, ask = asked
    decided = permission.permit(strategies.request_of(caller, ask), world.epoch(public=public), now)
    removals = {each.endpoint: each.layer.value for each in decided.judgement.removals}
    kept = decided.endpoints if isinstance(decided, Eligible) else ()
    want = oracle.judged(list(world.manifests), ask, now, public=public)

    assert {name for name, layer in want.items() if layer is None} == {e.name for e in kept}
    assert {name: layer for name, layer in want.items() if layer} == removals
    assert len(removals) == len(decided.judgement.removals)
    epoch = world.epoch(public=public)
    table = epoch.tables.apps[caller.tenant, caller.app]
    grounds, label = table.grounds(caller.credential, now), decided.judgement.label
    for endpoint in kept:
        assert permission.removal(endpoint, epoch, table.app, grounds, label) is None
        assert permission.inability(endpoint, strategies.request_of(caller, ask).needs) is None


@given(
    strategies.worlds(),
    st.builds(
        Request,
        caller=st.builds(
            ClientIdentity,
            tenant=st.sampled_from([*strategies.TENANTS, "", "nobody"]),
            app=st.sampled_from([*strategies.APPS, "", "nothing"]),
            client=st.text(max_size=3),
            credential=st.sampled_from([*strategies.CREDENTIALS, ""]),
        ),
        model=st.sampled_from([*strategies.MODELS, ""]),
        needs=st.builds(
            Needs,
            st.frozensets(st.sampled_from(Capability)),
            st.integers(-1, 2**60),
            st.one_of(st.none(), st.integers(-1, 2**60)),
        ),
        findings=st.builds(
            Findings,
            st.lists(
                st.builds(
                    Finding,
                    st.text(max_size=3),
                    st.integers(-3, 99),
                    st.lists(st.sampled_from(Category), max_size=3).map(tuple),
                    st.integers(),
                ),
                max_size=2,
            ).map(tuple),
            st.sampled_from(["", "error"]),
        ),
        raise_to=st.integers(-3, 99),
    ),
    strategies.times(),
)
def test_is_total(world: World, request: Request, now: datetime) -> None:
    """Some request makes the decision raise."""
    decided = permission.permit(request, world.epoch(), now)

    assert isinstance(decided, Eligible | Deny)
    assert all(removal.detail for removal in decided.judgement.removals)


@given(strategies.worlds(), strategies.asks())
def test_permits_nothing_by_default(world: World, asked: Asked) -> None:
    """Something is reached that no permit row names, or by an app that no policy declares."""
    without_rows, without_policies = world, world
    for policy in world.of("RoutingPolicy"):
        without_rows = without_rows.having({**policy, "spec": {**policy["spec"], "permit": []}})
        without_policies = without_policies.without(policy)

    assert set() == reached_in(without_rows, asked)
    assert set() == reached_in(without_policies, asked)


@given(strategies.worlds(), strategies.asks(), st.randoms(use_true_random=False))
def test_order_decides_nothing(world: World, asked: Asked, shuffler: Any) -> None:
    """The order of objects or of rows changes what is reached."""
    shuffled = copy.deepcopy(list(world.manifests))
    shuffler.shuffle(shuffled)
    for each in shuffled:
        for field in (*FIELDS, "permit", "clients", "models", "placements"):
            shuffler.shuffle(each["spec"].get(field, []))

    assert reached_in(world, asked) == reached_in(World(tuple(shuffled)), asked)


@given(strategies.worlds(), strategies.asks())
def test_a_row_that_stands_twice_changes_nothing(world: World, asked: Asked) -> None:
    """Two equal rows are more, or less, than one; registrations are the exception by design."""
    doubled = copy.deepcopy(list(world.manifests))
    for each in doubled:
        for field in ("floors", "clearances", "rules", "permit"):
            rows = each["spec"].get(field, [])
            rows += [{**row, "name": f"{row['name']}-again"} for row in rows]

    assert reached_in(world, asked) == reached_in(World(tuple(doubled)), asked)


@given(
    strategies.worlds(),
    strategies.asks(),
    st.one_of(
        strategies.rules.map(lambda row: ("rules", row)),
        strategies.floors.map(lambda row: ("floors", row)),
    ),
)
def test_a_new_rule_or_floor_never_adds(
    world: World, asked: Asked, addition: tuple[str, dict[str, Any]]
) -> None:
    """Something that can only restrict lets something out."""
    field, row = addition
    more = strategies.manifest("DataResidency", "more", {field: [{**row, "name": "more"}]})

    assert reached_in(world.having(more), asked) <= reached_in(world, asked)


@given(strategies.worlds(), strategies.asks(), strategies.findings_of_any_kind)
def test_a_new_finding_never_adds(world: World, asked: Asked, finding: Finding) -> None:
    """A detector that says more lets something out."""
    request, epoch = strategies.request_of(*asked), world.epoch()

    assert reached(strategies.raised(request, finding), epoch) <= reached(request, epoch)


@given(strategies.worlds(), strategies.asks(), st.integers(1, 6))
def test_a_higher_level_or_a_failure_never_adds(world: World, asked: Asked, level: int) -> None:
    """A higher label reaches more than a lower one."""
    request, epoch = strategies.request_of(*asked), world.epoch()
    raised = replace(request, raise_to=max(level, request.raise_to))
    failed = replace(request, findings=replace(request.findings, failure="budget"))

    assert reached(raised, epoch) <= reached(request, epoch)
    assert reached(failed, epoch) <= reached(raised, epoch)


@given(strategies.worlds(), strategies.asks(), st.data())
def test_taking_a_permit_row_away_never_adds(
    world: World, asked: Asked, data: st.DataObject
) -> None:
    """Less permission permits more."""
    policy = data.draw(st.sampled_from(world.of("RoutingPolicy")))
    rows = policy["spec"]["permit"]
    gone = data.draw(st.integers(0, len(rows)))
    fewer = {**policy["spec"], "permit": rows[:gone] + rows[gone + 1 :]}

    assert reached_in(world.having({**policy, "spec": fewer}), asked) <= reached_in(world, asked)


@given(strategies.worlds(), strategies.asks(), st.sampled_from(strategies.APPS))
def test_taking_an_apps_registrations_away_never_adds(world: World, asked: Asked, app: str) -> None:
    """An app reaches more without its registration. One of two would void the other: take both."""
    fewer = world
    for owner in world.of("DataResidency"):
        rows = [row for row in owner["spec"].get("registrations", []) if row["app"] != app]
        fewer = fewer.having({**owner, "spec": {**owner["spec"], "registrations": rows}})

    assert reached_in(fewer, asked) <= reached_in(world, asked)


@given(strategies.worlds(), strategies.asks())
def test_taking_a_raised_clearance_away_never_adds(world: World, asked: Asked) -> None:
    """Without the row that raised it, a site may see more."""
    fewer = world
    for owner in world.of("DataResidency"):
        rows = [
            row
            for row in owner["spec"].get("clearances", [])
            if (row["maxLevel"], row["unclassified"]) != (5, "Accept")
        ]
        fewer = fewer.having({**owner, "spec": {**owner["spec"], "clearances": rows}})

    assert reached_in(fewer, asked) <= reached_in(world, asked)


@given(strategies.worlds(), strategies.asks(), st.data())
def test_an_unrelated_policy_changes_nothing(
    world: World, asked: Asked, data: st.DataObject
) -> None:
    """One tenant's policy changes what another tenant reaches."""
    other = data.draw(strategies.policies("treasury"))

    assert reached_in(world, asked) == reached_in(world.having(other), asked)


@given(strategies.worlds(), strategies.asks())
def test_closing_public_leaves_exactly_what_is_private(world: World, asked: Asked) -> None:
    """A stale epoch lets something out, or takes something private away."""
    request = strategies.request_of(*asked)
    decided = permission.permit(request, world.epoch(), NOW)
    kept = decided.endpoints if isinstance(decided, Eligible) else ()
    private = {each.name for each in kept if each.scope is Scope.PRIVATE}

    assert private == reached(request, world.epoch(public=False))


@given(strategies.worlds(), strategies.asks(), strategies.times(), strategies.times())
def test_time_alone_never_adds(world: World, asked: Asked, one: datetime, other: datetime) -> None:
    """Something is reached later that was not reached earlier, though nobody changed anything."""
    early, late = sorted((one, other))

    assert reached_in(world, asked, late) <= reached_in(world, asked, early)


@given(strategies.worlds(), strategies.asks())
def test_explain_agrees_with_permit(world: World, asked: Asked) -> None:
    """An explanation keeps what a decision removes, or names no reason for an endpoint."""
    request, epoch = strategies.request_of(*asked), world.epoch()
    found = explanation.explain(request, epoch, NOW, {})
    kept = {row.endpoint.name for row in found.rows if row.removal is None}

    assert reached(request, epoch) == kept
    assert [each.name for each in epoch.endpoints] == sorted(r.endpoint.name for r in found.rows)
    assert all((row.permit is None) == (row.removal is not None) for row in found.rows)
    assert explanation.to_json(found)["chosen"] is None, "nothing is known to be up"


@given(strategies.worlds(), strategies.asks())
def test_a_sensitive_label_reaches_only_private(world: World, asked: Asked) -> None:
    """The one promise: content that is sensitive reaches a public endpoint."""
    request = strategies.request_of(*asked)
    decided = permission.permit(request, world.epoch(), NOW)
    if isinstance(decided, Eligible) and {e.scope for e in decided.endpoints} != {Scope.PRIVATE}:
        label, _ = permission.label_of(request, world.epoch(), NOW)

        assert label.level <= 2
        assert not {"SECRET", "MNPI"} & set(label.categories)


def test_the_label_is_what_permit_decides_on() -> None:
    """`label_of` and `permit` speak of two different labels."""
    epoch = builders.sample_epoch()
    request = builders.request(findings=Findings((Finding("pack/card", 3, (Category.PAN,), 2),)))
    judgement = permission.permit(request, epoch, NOW).judgement

    assert (judgement.label, judgement.provenance) == permission.label_of(request, epoch, NOW)


def test_an_undeclared_app_has_the_strictest_label() -> None:
    """An app that nobody declared gets a label below TOP."""
    stranger = builders.request(ClientIdentity("retail", "ghost", "x", "secret:retail/x/y"))
    label, provenance = permission.label_of(stranger, builders.sample_epoch(), NOW)

    assert (6, ()) == (label.level, provenance)


def test_removals_are_read_like_a_tuple() -> None:
    """A record or a test cannot index, slice or compare what removed the endpoints."""
    removals = permission.permit(
        builders.request(builders.COPILOT), builders.sample_epoch(), NOW
    ).judgement.removals

    assert "models/glm-4-flash@cloud-sg" == removals[0].endpoint
    assert removals == tuple(removals) == removals[0:1]
    assert removals != ()
    assert removals != "text"
    assert hash(removals) == hash(tuple(removals))


@pytest.mark.parametrize(
    "asks, want_reason",
    [
        (builders.needs(Capability.TOOLS), DenyReason.UNSUPPORTED_CAPABILITY),
        (builders.needs(prompt_tokens=10**9), DenyReason.CONTEXT_LENGTH_EXCEEDED),
    ],
)
def test_a_denial_names_the_need(asks: Needs, want_reason: DenyReason) -> None:
    """A caller is told that policy denies, where a smaller request would pass."""
    manifests = builders.sample()
    for each in manifests:
        if each["kind"] == "ModelDeployment":
            each["spec"]["offers"]["capabilities"] = ["Chat"]
    decided = permission.permit(builders.request(asks=asks), builders.epoch_of(manifests), NOW)

    assert isinstance(decided, Deny)
    assert want_reason == decided.reason
