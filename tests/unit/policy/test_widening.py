"""Is everything shown that a change newly lets out, and nothing else?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demarc.api.v1alpha1.common import Category, Scope
from demarc.policy import permission, widening
from demarc.policy.decision import Eligible, Finding, Findings, Needs, Request
from demarc.policy.epoch import ClientIdentity, Endpoint, Epoch
from demarc.policy.widening import WideningKind
from support import builders, strategies
from support.builders import NOW
from support.strategies import World

pytestmark = pytest.mark.timeout(120)

KINDS = tuple(Category(kind) for kind in strategies.KINDS)


def contents(*worlds: World) -> list[tuple[int, tuple[Category, ...]]]:
    """Every level with every set of the categories that the worlds speak of, and of SECRET.

    What no row speaks of changes at most the level.
    """
    written = str(worlds)
    spoken = [kind for kind in KINDS if f"'{kind}'" in written or kind is Category.SECRET]
    sets = chain.from_iterable(combinations(spoken, n) for n in range(len(spoken) + 1))
    return [(level, kinds) for kinds in sets for level in range(1, 7)]


@st.composite
def changes(draw: st.DrawFn) -> tuple[World, World]:
    """A world, and the same with one object drawn anew or taken away."""
    after = draw(strategies.worlds())
    gone = draw(st.sampled_from(after.manifests))
    name = gone["metadata"]["name"]
    match gone["kind"]:
        case "Site":
            anew = strategies.sites(name)
        case "ModelDeployment":
            anew = strategies.deployments(gone["metadata"]["namespace"], name)
        case "DataResidency":
            anew = strategies.residencies(name)
        case _:
            anew = strategies.policies(gone["metadata"]["namespace"])
    before = draw(st.one_of(anew.map(after.having), st.just(after.without(gone))))
    return before, after


def clients(epoch: Epoch) -> list[ClientIdentity]:
    return [*epoch.api_keys.values(), *epoch.service_accounts.values()]


def reached(
    epoch: Epoch, caller: ClientIdentity, level: int, kinds: tuple[Category, ...]
) -> tuple[dict[str, Endpoint], int]:
    """What a client reaches with some content by any model, and the level of its label."""
    findings = Findings(tuple(Finding("pack/x", 1, (kind,), 1) for kind in kinds))
    found, at = dict[str, Endpoint](), 0
    for model in strategies.MODELS:
        request = Request(caller, model, Needs(frozenset(), 0, None), findings, level)
        decided = permission.permit(request, epoch, NOW)
        at = decided.judgement.label.level
        if isinstance(decided, Eligible):
            found.update({each.name: each for each in decided.endpoints})
    return found, at


def gained(
    before: Epoch, after: Epoch, visited: list[tuple[int, tuple[Category, ...]]]
) -> Iterator[tuple[str, str, str, int]]:
    """Tenant, app, endpoint and level of everything that is gained, by visiting all contents."""
    home = [site for site in before.sites.values() if site.scope is Scope.PRIVATE]
    for caller in clients(after):
        of_app = [c for c in clients(before) if (c.tenant, c.app) == (caller.tenant, caller.app)]
        earlier = [c for c in of_app if c.credential == caller.credential] or of_app
        for level, kinds in visited:
            now, at = reached(after, caller, level, kinds)
            was = dict[str, Endpoint]()
            for each in earlier if now else []:
                was.update(reached(before, each, level, kinds)[0])
            for name, endpoint in now.items():
                if is_wider(endpoint, was, home):
                    yield caller.tenant, caller.app, name, at


def is_wider(endpoint: Endpoint, was: dict[str, Endpoint], home: list) -> bool:
    same = was.get(endpoint.name)
    if endpoint.scope is Scope.PUBLIC and (same is None or same.scope is Scope.PRIVATE):
        return True
    return any(
        place
        not in {p for each in (*was.values(), *home) for p in getattr(each, sense)} - {"Unknown"}
        and not (same and place in getattr(same, sense))
        for sense in ("processing", "storage", "control")
        for place in getattr(endpoint, sense)
    )


@settings(max_examples=25)
@given(changes())
def test_agrees_with_a_visit_of_all_contents(change: tuple[World, World]) -> None:
    """A gain is missed, or shown where there is none."""
    before, after = (world.epoch() for world in change)
    shown = {
        (each.tenant, each.app, each.endpoint, level)
        for each in widening.widening(before, after, NOW)
        if each.kind is WideningKind.ENDPOINT
        for level in each.levels
    }

    assert set(gained(before, after, contents(*change))) == shown


@given(changes())
def test_every_example_is_one(change: tuple[World, World]) -> None:
    """The request that a person is shown does not reach the endpoint, or did so before."""
    before, after = (world.epoch() for world in change)
    for each in widening.widening(before, after, NOW):
        if each.kind is WideningKind.ENDPOINT:
            caller = next(
                c for c in clients(after) if (c.tenant, c.client) == (each.tenant, each.client)
            )
            kinds = tuple(sorted(each.label.categories))

            assert each.endpoint in reached(after, caller, each.label.level, kinds)[0]
            assert each.label.level == min(each.levels)


@given(strategies.worlds())
def test_no_change_is_no_widening(world: World) -> None:
    """An epoch that says the same again asks for approval."""
    assert () == widening.widening(world.epoch(), world.epoch(), NOW)


@given(strategies.worlds())
def test_closing_public_is_no_widening(world: World) -> None:
    """A tightening asks for approval; opening again is shown."""
    assert () == widening.widening(world.epoch(), world.epoch(public=False), NOW)
    for each in widening.widening(world.epoch(public=False), world.epoch(), NOW):
        assert WideningKind.ENDPOINT is each.kind


def test_the_first_epoch_shows_all_that_leaves() -> None:
    """What is open from the first day on is never shown to anybody."""
    shown = widening.widening(None, builders.sample_epoch(), NOW)

    assert [
        (WideningKind.CREDENTIAL, "faq-key", ""),
        (WideningKind.ENDPOINT, "faq-key", "models/glm-4-flash@cloud-sg"),
    ] == [(each.kind, each.client, each.endpoint) for each in shown]


@pytest.mark.parametrize(
    "credentials, want_clients",
    [
        ({**builders.CREDENTIALS, "secret:retail/faq-key/token": "ab" * 32}, ["faq-key"]),
        ({**builders.CREDENTIALS, "serviceaccount:retail/copilot": "another-uid"}, []),
        (builders.CREDENTIALS, []),
        ({}, []),
    ],
)
def test_a_changed_key_below_3_is_a_new_credential(
    credentials: dict[str, str], want_clients: list[str]
) -> None:
    """Who holds the key of a public app changes, and nobody is told."""
    shown = widening.widening(
        builders.sample_epoch(), builders.sample_epoch(credentials=credentials), NOW
    )

    assert want_clients == [each.client for each in shown]
    assert all(each.kind is WideningKind.CREDENTIAL for each in shown)


def test_a_renamed_secret_with_the_same_key_is_no_new_credential() -> None:
    """Moving a key to another Secret asks for approval although nobody else holds it."""
    manifests = builders.sample()
    for each in manifests:
        spec = each["spec"]
        for row in (*spec.get("clients", []), *spec.get("registrations", [])):
            for client in (row, *row.get("clients", [])):
                if "apiKeySecretRef" in client:
                    client["apiKeySecretRef"]["name"] = "moved"
    key = builders.CREDENTIALS["secret:retail/faq-key/token"]
    moved = builders.epoch_of(manifests, credentials={"secret:retail/moved/token": key})

    assert () == widening.widening(builders.sample_epoch(), moved, NOW)
