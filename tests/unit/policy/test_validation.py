"""Is a change judged the same way in any order, and does a refused one keep what was accepted?"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.api.reasons import AcceptedReason
from demarc.policy import compilation, document, eligibility, permission, validation
from demarc.policy.decision import Eligible
from demarc.policy.document import Document, MalformedEpochError
from demarc.policy.epoch import EpochNumber
from demarc.policy.validation import Judged
from support import builders, strategies
from support.builders import NOW
from support.strategies import World

pytestmark = pytest.mark.timeout(60)


def judge(
    manifests: Any, previous: Document | None = None, home: str = "shanghai-dc", **options: Any
) -> Judged:
    return validation.judge(
        manifests,
        previous=previous,
        home=home,
        now=NOW,
        **{"credentials": builders.CREDENTIALS, "packs": builders.PACKS, **options},
    )


def document_of(judged: Judged, number: EpochNumber = builders.FIRST) -> Document:
    return builders.document_of(
        judged.sources,
        number=number,
        credentials=judged.credentials,
        public=judged.public,
        public_reason=judged.public_reason,
    )


def verdict(judged: Judged, address: str) -> validation.Verdict:
    return next(each for ref, each in judged.verdicts.items() if str(ref) == address)


@given(strategies.worlds(), st.randoms(use_true_random=False))
def test_what_is_accepted_compiles_and_order_decides_nothing(world: World, shuffler: Any) -> None:
    """Accepted sources do not compile, or the order of a list refuses something."""
    shuffled = list(world.manifests)
    shuffler.shuffle(shuffled)
    options = {"credentials": strategies.CREDENTIALS, "home": "home"}
    first, second = judge(world.manifests, **options), judge(shuffled, **options)
    travelled = document.parse(document.canonical(document_of(first)))

    assert first == second
    assert builders.compiled(document_of(first)) == builders.compiled(travelled)
    assert len(first.verdicts) == len(world.manifests)


@given(strategies.worlds())
def test_what_was_accepted_is_accepted_again(world: World) -> None:
    """Judging the same objects twice gives another document: an epoch would follow an epoch."""
    options = {"credentials": strategies.CREDENTIALS, "home": "home"}
    first = judge(world.manifests, **options)
    again = judge(world.manifests, previous=document_of(first), **options)

    assert (first.sources, first.public) == (again.sources, again.public)


@given(strategies.worlds(), strategies.asks(), st.data())
def test_a_refused_residency_never_adds(world: World, asked: tuple, data: st.DataObject) -> None:
    """Breaking an object of compliance lets something out."""
    broken = copy.deepcopy(
        data.draw(
            st.sampled_from([*world.of("DataResidency")])
            if world.of("DataResidency")
            else strategies.residencies("new")
        )
    )
    broken["spec"]["unknownRestriction"] = True
    options = {"credentials": strategies.CREDENTIALS, "home": "home"}
    request = strategies.request_of(*asked)
    before = judge(world.manifests, **options)
    after = judge(
        world.having(broken).manifests,
        previous=document_of(before) if data.draw(st.booleans()) else None,
        **options,
    )

    def reached(judged: Judged) -> set[str]:
        decided = permission.permit(request, builders.compiled(document_of(judged)), NOW)
        found = decided.endpoints if isinstance(decided, Eligible) else ()
        return {each.name for each in found if each.scope == "Public"}

    assert reached(after) <= reached(before)


def test_a_readable_earlier_epoch_keeps_public_open() -> None:
    """One typing error of compliance stops the whole bank, although the last form is known."""
    first = judge(builders.sample())
    broken = builders.sample()
    broken[4]["metadata"]["generation"] = 2
    broken[4]["spec"]["rules"][0]["require"].pop("control")
    kept, lost = judge(broken, previous=document_of(first)), judge(broken)

    assert ("Open", "") == (kept.public, kept.public_reason)
    assert (1, first.sources) == (verdict(kept, "DataResidency/cn-bank").in_force, kept.sources)
    assert "Closed" == lost.public
    assert None is verdict(lost, "DataResidency/cn-bank").in_force


def test_a_problem_is_told_with_its_field() -> None:
    """A refusal does not say which field is wrong."""
    broken = builders.sample()
    broken[5]["spec"]["permit"][0]["scope"] = ["Private"]
    found = verdict(judge(broken), "RoutingPolicy/retail/chat")

    assert (False, AcceptedReason.INVALID) == (found.accepted, found.reason)
    assert (
        "spec.permit[inside].scope: there is no such field: did you mean `scopes`?" == found.message
    )
    assert 1 == len(found.problems)


def test_an_earlier_source_that_cannot_be_read_is_not_kept() -> None:
    """A document of another version stops the operator from judging anything."""
    earlier = document_of(judge(builders.sample()))
    strange = tuple({**each, "spec": {"strange": 1}} for each in earlier.sources)
    broken = builders.sample()
    broken[4]["spec"]["strange"] = 1
    judged = judge(broken, previous=builders.document_of(strange))

    assert "Closed" == judged.public


def test_two_kept_policies_with_one_key_prove_nothing() -> None:
    """A Secret that now holds another tenant's key calls in that tenant's name."""
    second = copy.deepcopy(builders.sample()[5])
    second["metadata"].update(name="risk", namespace="risk", uid="uid-risk")
    second["spec"]["clients"] = [
        {"name": "own", "app": "risk", "apiKeySecretRef": {"name": "own", "key": "token"}}
    ]
    second["spec"].pop("checks")
    second["spec"]["permit"].pop()
    manifests = (*builders.sample(), second)
    apart = {**builders.CREDENTIALS, "secret:risk/own/token": "ab" * 32}
    same = {**apart, "secret:risk/own/token": apart["secret:retail/faq-key/token"]}
    first = judge(manifests, credentials=apart)
    then = judge(manifests, previous=document_of(first), credentials=same)
    epoch = builders.compiled(document_of(then))

    assert 2 == len(builders.compiled(document_of(first)).api_keys)
    for address in ("RoutingPolicy/retail/chat", "RoutingPolicy/risk/risk"):
        found = verdict(then, address)
        assert (AcceptedReason.CLIENT_CONFLICT, 1) == (found.reason, found.in_force)
        assert "cn-bank" not in found.message
    assert "another tenant" in verdict(then, "RoutingPolicy/risk/risk").message
    assert {} == dict(epoch.api_keys)
    assert ("retail", "copilot") in epoch.apps


def test_an_app_of_two_policies_is_no_app() -> None:
    """A document with a conflict, which judging prevents, lets one of two policies win."""
    second = copy.deepcopy(builders.sample()[5])
    second["metadata"].update(name="second", uid="uid-second")
    epoch = builders.epoch_of((*builders.sample(), second))

    assert ({}, {}, {}) == (dict(epoch.apps), dict(epoch.api_keys), dict(epoch.service_accounts))


def test_one_key_in_two_secrets_of_one_policy_is_a_conflict() -> None:
    """Which of two apps calls is left to chance."""
    manifests = builders.sample()
    manifests[5]["spec"]["clients"].append(
        {"name": "copy", "app": "copilot", "apiKeySecretRef": {"name": "copy", "key": "token"}}
    )
    key = builders.CREDENTIALS["secret:retail/faq-key/token"]
    found = verdict(
        judge(manifests, credentials={**builders.CREDENTIALS, "secret:retail/copy/token": key}),
        "RoutingPolicy/retail/chat",
    )

    assert AcceptedReason.CLIENT_CONFLICT == found.reason
    assert "another client of this policy" in found.message


def test_only_our_kinds_are_judged() -> None:
    """A caller that lists something else gets an answer about it."""
    for stranger in ({"kind": "Pod", "metadata": {"name": "a"}}, {"kind": "Site"}):
        with pytest.raises(MalformedEpochError):
            judge([stranger])


def test_a_remote_site_without_a_home_is_told_that_nothing_leaves() -> None:
    """Every request to it would be a 503, and every object would say that it is well."""
    manifests = [each for each in builders.sample() if each["metadata"]["name"] != "shanghai-dc"]

    found = verdict(judge(manifests), "Site/cloud-sg")

    assert found.accepted
    assert AcceptedReason.HOME_NOT_FOUND == found.reason
    assert AcceptedReason.ACCEPTED == verdict(judge(builders.sample()), "Site/cloud-sg").reason


def test_provider_placements_are_not_supported_yet() -> None:
    """A deployment without an engine, or with a provider's model, is accepted."""
    for gone in ((), ("engine",)):
        manifests = builders.sample()
        spec = manifests[3]["spec"]
        spec["placements"] = [{"site": "cloud-sg", "providerModel": "x"}]
        manifests[3]["spec"] = {name: part for name, part in spec.items() if name not in gone}
        found = verdict(judge(manifests), "ModelDeployment/models/glm-4-flash")

        assert AcceptedReason.NOT_SUPPORTED_YET == found.reason


@given(strategies.worlds(), strategies.asks(), strategies.times())
def test_what_never_can_be_reached_never_is(world: World, asked: tuple, now: Any) -> None:
    """A placement is turned away although a request reaches it."""
    epoch = world.epoch()
    decided = permission.permit(strategies.request_of(*asked), epoch, now)
    found = decided.endpoints if isinstance(decided, Eligible) else ()

    assert eligibility.never_eligible(epoch, now).isdisjoint(each.name for each in found)


def test_a_public_site_without_a_registration_serves_nobody() -> None:
    """Engines are started where no label can go; a closed public is no reason."""
    epoch = builders.sample_epoch()
    alone = builders.epoch_of(
        [each for each in builders.sample() if each["kind"] != "DataResidency"]
    )

    assert frozenset() == eligibility.never_eligible(epoch.closed("stale"), NOW)
    assert {"models/glm-4-flash@cloud-sg"} == eligibility.never_eligible(alone, NOW)


def test_any_beside_a_country_does_not_open() -> None:
    """A list that names a country and `Any`, which the API refuses, restricts nothing."""
    assert None is compilation._within(["Any"])
    assert frozenset({"CN"}) == compilation._within(["CN", "Any"])
