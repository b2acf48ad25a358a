"""Do conditions say what is true, and nothing more?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from demarc.api.cluster import DEPLOYMENT, Ref
from demarc.api.reasons import AcceptedReason, PlacementReason, ReadyReason
from demarc.api.v1alpha1 import ModelDeployment, RoutingPolicy, Site
from demarc.planning import names, report
from demarc.planning.evidence import Serving
from demarc.planning.objects import Applied, AppliedObjects
from demarc.planning.placement import Placed, Rejected
from demarc.planning.report import Acceptance, AgentReport, PlacementOutcome, PoolFacts, Reported
from demarc.policy.epoch import EpochNumber
from support import reconciling

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
GOOD = Acceptance(accepted=True, reason=AcceptedReason.ACCEPTED, message="The object is valid")
BAD = Acceptance(accepted=False, reason=AcceptedReason.INVALID, message="spec.x: is wrong")


def of_sample(kind: str, name: str) -> dict[str, Any]:
    """An object of the sample."""
    return next(
        item
        for item in reconciling.sample()
        if item["kind"] == kind and item["metadata"]["name"] == name
    )


MODEL = ModelDeployment.model_validate(of_sample("ModelDeployment", "glm-4-air"))
HOME = Site.model_validate(of_sample("Site", "shanghai-dc"))
CLOUD = Site.model_validate(of_sample("Site", "cloud-sg"))
POLICY = RoutingPolicy.model_validate(of_sample("RoutingPolicy", "chat"))
SERVES = Serving(2, 2, serving=True, trouble=None)
STARTS = Serving(2, 0, serving=False, trouble=None)


def at(site: Site, serving: Serving, *, replicas: int = 2, error: str = "") -> PlacementOutcome:
    """A placement that runs."""
    return PlacementOutcome(Placed(site, site.spec.pools[0], replicas), serving, error)


NOWHERE = PlacementOutcome(
    Rejected("nowhere", PlacementReason.SITE_NOT_FOUND, "No Site"), Serving(0, 0, False, None)
)


def conditions(*placements: PlacementOutcome, acceptance: Acceptance = GOOD, in_epoch: bool = True):
    """`STATUS/REASON` of each condition of a ModelDeployment."""
    _, reported = report.model_status(
        MODEL, acceptance, placements, in_epoch=in_epoch, url="https://gateway"
    )
    return {item.type: f"{item.status}/{item.reason.value}" for item in reported}


def test_a_deployment_that_serves_everywhere_is_ready() -> None:
    """The best news would not be told."""
    assert conditions(at(HOME, SERVES), at(CLOUD, SERVES)) == {
        "Accepted": "True/Accepted",
        "Programmed": "True/Programmed",
        "Ready": "True/Ready",
    }


@pytest.mark.parametrize(
    "placements, want_programmed, want_ready",
    [
        ((at(HOME, STARTS),), "True/Programmed", "False/Starting"),
        ((at(HOME, SERVES), at(CLOUD, STARTS)), "True/Programmed", "False/PartlyReady"),
        ((at(HOME, SERVES), NOWHERE), "False/PlacementRejected", "False/PartlyReady"),
        ((NOWHERE,), "False/PlacementRejected", "False/NotProgrammed"),
        ((at(HOME, STARTS, replicas=0),), "True/Programmed", "False/ScaledToZero"),
        ((at(HOME, STARTS, error="quota"),), "False/ApplyFailed", "False/Starting"),
        (
            (
                at(
                    HOME,
                    Serving(2, 0, serving=False, trouble=(ReadyReason.UNSCHEDULABLE, "no GPU")),
                ),
            ),
            "True/Programmed",
            "False/Unschedulable",
        ),
    ],
)
def test_what_is_missing_is_the_reason(
    placements: tuple[PlacementOutcome, ...], want_programmed: str, want_ready: str
) -> None:
    """A person would look in the wrong place."""
    found = conditions(*placements)

    assert (want_programmed, want_ready) == (found["Programmed"], found["Ready"])


def test_an_endpoint_outside_the_epoch_is_not_programmed() -> None:
    """A model would be told as in force before any gateway may name it."""
    assert conditions(at(HOME, SERVES), in_epoch=False)["Programmed"] == "False/Pending"


def test_a_refused_generation_is_not_programmed() -> None:
    """The old generation's success would be told as the new one's."""
    found = conditions(at(HOME, SERVES), acceptance=BAD)

    assert found["Accepted"] == "False/Invalid"
    assert found["Programmed"] == "False/NotAccepted"


def test_a_status_names_the_sites_that_serve() -> None:
    """Who reads `PartlyReady` would not know where."""
    status, reported = report.model_status(
        MODEL, GOOD, [at(HOME, SERVES), at(CLOUD, STARTS)], in_epoch=True, url=""
    )
    ready = next(item for item in reported if item.type == "Ready")

    assert "shanghai-dc" in ready.message
    assert "cloud-sg" in ready.message
    assert status["serving"] == "2/4"
    assert status["replicas"] == 2
    assert "demarc.dev/site=shanghai-dc" in status["selector"]


def test_a_time_changes_with_the_status_alone() -> None:
    """A condition would look new at each run."""
    before = [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "Accepted", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]
    reported = (
        Reported("Ready", "True", ReadyReason.READY, "Serves on: a"),
        Reported("Accepted", "True", AcceptedReason.ACCEPTED, "Valid"),
    )
    found = report.condition_list(reported, generation=7, previous=before, now=NOW)

    assert [item["lastTransitionTime"] for item in found] == [
        "2026-01-01T00:00:00Z",
        "2026-11-24T12:00:00Z",
    ]
    assert {item["observedGeneration"] for item in found} == {7}
    later = report.condition_list(
        reported, generation=7, previous=found, now=NOW + timedelta(hours=1)
    )
    assert later == found


SINCE = EpochNumber(1, 5)


@pytest.mark.parametrize(
    "acceptance, agents, since, want",
    [
        (BAD, (), SINCE, "False/NotAccepted"),
        (GOOD, (AgentReport("a", "inner", SINCE),), None, "False/Pending"),
        (GOOD, (), SINCE, "False/NoAgents"),
        (GOOD, (AgentReport("a", "inner", None),), SINCE, "False/AgentsBehind"),
        (GOOD, (AgentReport("a", "inner", EpochNumber(1, 4)),), SINCE, "False/AgentsBehind"),
        (GOOD, (AgentReport("a", "inner", EpochNumber(2, 0)),), SINCE, "True/Programmed"),
    ],
)
def test_a_policy_is_in_force_when_every_agent_has_it(
    acceptance: Acceptance,
    agents: tuple[AgentReport, ...],
    since: EpochNumber | None,
    want: str,
) -> None:
    """Compliance would believe a rule that no gateway obeys yet."""
    found = report.in_force(acceptance, agents, since)

    assert want == f"{found.status}/{found.reason.value}"


def test_a_policy_without_an_endpoint_is_not_ready() -> None:
    """A tenant would only learn it from 503."""
    programmed = report.in_force(GOOD, (AgentReport("a", "inner", SINCE),), SINCE)
    _, reported = report.policy_status(
        POLICY, GOOD, programmed, unavailable_models=["auto"], since=SINCE, url=""
    )
    ready = reported[-1]

    assert f"{ready.status}/{ready.reason.value}" == "False/NoEndpoint"
    assert "`auto`" in ready.message


@pytest.mark.parametrize(
    "pools, unreachable, want",
    [
        ((PoolFacts("h100", 32, 4),), "", ("True/Programmed", "True/Ready")),
        ((PoolFacts("h100", 8, 4),), "", ("True/Programmed", "False/CapacityMissing")),
        ((), "no route", ("False/SiteUnreachable", "False/NotProgrammed")),
    ],
)
def test_a_site_tells_its_capacity(
    pools: tuple[PoolFacts, ...], unreachable: str, want: tuple[str, str]
) -> None:
    """GPUs that are not there would be planned with."""
    _, reported = report.site_status(HOME, GOOD, pools, unreachable=unreachable)

    assert want == tuple(f"{item.status}/{item.reason.value}" for item in reported[1:])


def test_a_refused_site_is_not_programmed() -> None:
    """A site that was refused would be told as reachable."""
    _, reported = report.site_status(HOME, BAD, ())

    assert reported[1].reason.value == "NotAccepted"


def test_an_object_that_was_not_applied_is_told() -> None:
    """A placement would be told as applied although Kubernetes refused it."""
    placed = Placed(HOME, HOME.spec.pools[0], 1)
    ref = Ref(DEPLOYMENT, "models", names.engine("glm-4-air", "shanghai-dc"))

    assert report.deployment_error(AppliedObjects(()), placed, MODEL)
    refused = AppliedObjects((Applied("", ref, None, "exceeded quota"),))
    assert "exceeded quota" in report.deployment_error(refused, placed, MODEL)
    good = AppliedObjects((Applied("", ref, {"kind": "Deployment"}),))
    assert report.deployment_error(good, placed, MODEL) == ""
