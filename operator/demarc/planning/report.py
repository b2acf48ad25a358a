"""What may be said of an object, now that its plan was applied? Conditions and status, pure.

Rules: `Accepted` says whether the spec is valid, `Programmed` whether it is in force, `Ready`
whether it serves. A message is one sentence; the same truth gives the same text. Nothing here
reads what an earlier run said, but for the time at which a condition last changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from demarc.api.cluster import DEPLOYMENT, Ref
from demarc.api.reasons import (
    AcceptedReason,
    PlacementReason,
    ProgrammedReason,
    ReadyReason,
    Reason,
)
from demarc.api.v1alpha1 import DataResidency, ModelDeployment, RoutingPolicy, Scope, Site
from demarc.planning import engine, names
from demarc.planning.evidence import Serving
from demarc.planning.objects import AppliedObjects
from demarc.planning.placement import Placed, Rejected
from demarc.policy.epoch import EpochNumber


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Whether the current generation is valid, and why not.

    Attributes:
        replaced: for one that is not, whether an earlier generation stays in force for it.
    """

    accepted: bool
    reason: AcceptedReason
    message: str
    replaced: bool = True


@dataclass(frozen=True, slots=True)
class AgentReport:
    """Which epoch one live gateway agent runs; None when it runs none."""

    pod: str
    role: str
    number: EpochNumber | None


@dataclass(frozen=True, slots=True)
class Reported:
    """A condition without its time."""

    type: str
    status: str
    reason: Reason
    message: str


def condition_list(
    reported: Iterable[Reported],
    *,
    generation: int,
    previous: Sequence[Mapping[str, Any]],
    now: datetime,
) -> list[dict[str, Any]]:
    """Conditions as the API takes them; a time changes only when the status changes."""
    before = {condition.get("type"): condition for condition in previous}
    found = list[dict[str, Any]]()
    for item in reported:
        old = before.get(item.type, {})
        kept = old.get("lastTransitionTime") if old.get("status") == item.status else None
        found.append(
            {
                "type": item.type,
                "status": item.status,
                "reason": item.reason.value,
                "message": item.message,
                "observedGeneration": generation,
                "lastTransitionTime": kept or now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )
    return found


def accepted(acceptance: Acceptance) -> Reported:
    """The condition `Accepted`."""
    return Reported(
        "Accepted",
        "True" if acceptance.accepted else "False",
        acceptance.reason,
        acceptance.message,
    )


def _not_accepted(acceptance: Acceptance) -> Reported:
    instead = "the last accepted one stays" if acceptance.replaced else "no earlier one is"
    return Reported(
        "Programmed",
        "False",
        ProgrammedReason.NOT_ACCEPTED,
        f"The current generation is not accepted; {instead} in force",
    )


def refused(acceptance: Acceptance) -> tuple[Reported, ...]:
    """The conditions of an object of which no generation was ever accepted."""
    return (
        accepted(acceptance),
        _not_accepted(acceptance),
        Reported("Ready", "False", ReadyReason.NOT_PROGRAMMED, "The object has no effect"),
    )


@dataclass(frozen=True, slots=True)
class PlacementOutcome:
    """One placement, its workload's facts, and whether its site could be reached."""

    outcome: Placed | Rejected
    serving: Serving
    error: str = ""


def model_status(
    model: ModelDeployment,
    acceptance: Acceptance,
    placements: Sequence[PlacementOutcome],
    *,
    in_epoch: bool,
    url: str,
) -> tuple[dict[str, Any], tuple[Reported, ...]]:
    """Status of a ModelDeployment without its conditions, and the conditions."""
    rows = [_placement_row(placement) for placement in placements]
    home = next(
        (
            placement
            for placement in placements
            if isinstance(placement.outcome, Placed) and placement.outcome.is_home
        ),
        None,
    )
    wanted = sum(row["replicas"] for row in rows)
    ready = sum(row["readyReplicas"] for row in rows)
    status: dict[str, Any] = {
        "observedGeneration": model.metadata.generation,
        "url": url,
        "replicas": home.serving.wanted if home else 0,
        "selector": (
            names.selector_text(engine.selector(model, home.outcome.site.metadata.name))
            if home and isinstance(home.outcome, Placed)
            else ""
        ),
        "sites": ",".join(placement.site for placement in model.spec.placements)[:1024],
        "serving": f"{ready}/{wanted}",
        "placements": rows,
    }
    programmed = _model_programmed(acceptance, placements, in_epoch=in_epoch)
    return status, (
        accepted(acceptance),
        programmed,
        _model_ready(placements, programmed),
    )


def _placement_row(placement: PlacementOutcome) -> dict[str, Any]:
    match placement.outcome:
        case Rejected(site, reason, message):
            return {
                "site": site,
                "reason": reason.value,
                "message": message[:1024],
                "replicas": 0,
                "readyReplicas": 0,
            }
        case Placed(site=site, pool=pool, replicas=replicas, passed_over=passed_over):
            reason = PlacementReason.APPLY_FAILED if placement.error else PlacementReason.PLACED
            passed = f"; passed over: {'; '.join(passed_over)}" if passed_over else ""
            message = placement.error or f"Runs on pool `{pool.name}`{passed}"
            return {
                "site": site.metadata.name,
                "pool": pool.name,
                "reason": reason.value,
                "message": message[:1024],
                "replicas": replicas,
                "readyReplicas": min(placement.serving.ready, replicas),
            }


def _model_programmed(
    acceptance: Acceptance, placements: Sequence[PlacementOutcome], *, in_epoch: bool
) -> Reported:
    if not acceptance.accepted:
        return _not_accepted(acceptance)
    rejected = sorted(
        f"{placement.outcome.site}: {placement.outcome.reason.value}"
        for placement in placements
        if isinstance(placement.outcome, Rejected)
    )
    if rejected:
        return Reported(
            "Programmed",
            "False",
            ProgrammedReason.PLACEMENT_REJECTED,
            f"Rejected placements: {', '.join(rejected)}",
        )
    errors = sorted(placement.error for placement in placements if placement.error)
    if errors:
        return Reported(
            "Programmed", "False", ProgrammedReason.APPLY_FAILED, "; ".join(errors)[:1024]
        )
    if not in_epoch:
        return Reported(
            "Programmed",
            "False",
            ProgrammedReason.PENDING,
            "The endpoints are not in the epoch yet",
        )
    return Reported(
        "Programmed",
        "True",
        ProgrammedReason.PROGRAMMED,
        "Every placement is applied and its endpoint is in the epoch",
    )


def _model_ready(placements: Sequence[PlacementOutcome], programmed: Reported) -> Reported:
    wanted = [
        placement
        for placement in placements
        if isinstance(placement.outcome, Placed) and placement.outcome.replicas > 0
    ]
    ready = sorted(_site(placement) for placement in wanted if placement.serving.ready > 0)
    down = [placement for placement in wanted if placement.serving.ready == 0]
    rejected = any(isinstance(placement.outcome, Rejected) for placement in placements)
    if not wanted:
        reason = ReadyReason.NOT_PROGRAMMED if rejected else ReadyReason.SCALED_TO_ZERO
        if programmed.reason is ProgrammedReason.NOT_ACCEPTED:
            reason = ReadyReason.NOT_PROGRAMMED
        return Reported("Ready", "False", reason, "No placement runs a replica")
    if not down and not rejected:
        return Reported("Ready", "True", ReadyReason.READY, f"Serves on: {', '.join(ready)}")
    troubles = sorted(
        f"{_site(placement)}: {placement.serving.trouble[1]}"
        for placement in down
        if placement.serving.trouble is not None
    )
    why = f"; {'; '.join(troubles)}" if troubles else ""
    if ready:
        return Reported(
            "Ready",
            "False",
            ReadyReason.PARTLY_READY,
            f"Serves on: {', '.join(ready)}; not on: "
            f"{', '.join(sorted(_sites_not_serving(placements)))}{why}"[:2048],
        )
    first = next((p.serving.trouble for p in down if p.serving.trouble is not None), None)
    return Reported(
        "Ready",
        "False",
        first[0] if first else ReadyReason.STARTING,
        f"Serves nowhere yet; not on: {', '.join(sorted(_sites_not_serving(placements)))}{why}"[
            :2048
        ],
    )


def _site(placement: PlacementOutcome) -> str:
    match placement.outcome:
        case Placed(site=site):
            return site.metadata.name
        case Rejected(site=name):
            return name


def _sites_not_serving(placements: Sequence[PlacementOutcome]) -> list[str]:
    return [
        _site(placement)
        for placement in placements
        if isinstance(placement.outcome, Rejected)
        or (placement.outcome.replicas > 0 and placement.serving.ready == 0)
    ]


def in_force(
    acceptance: Acceptance, agents: Sequence[AgentReport], since: EpochNumber | None
) -> Reported:
    """`Programmed` of a policy: every live agent runs an epoch that holds the generation.

    Args:
        acceptance: whether the current generation is valid.
        agents: what the live agents that carry policy (inner, egress) report.
        since: the first epoch that holds the current generation; None when there is none yet.
    """
    if not acceptance.accepted:
        return _not_accepted(acceptance)
    if since is None:
        return Reported(
            "Programmed", "False", ProgrammedReason.PENDING, "No epoch holds this generation yet"
        )
    if not agents:
        return Reported(
            "Programmed", "False", ProgrammedReason.NO_AGENTS, "No gateway agent answers"
        )
    behind = sorted(agent.pod for agent in agents if agent.number is None or agent.number < since)
    if behind:
        return Reported(
            "Programmed",
            "False",
            ProgrammedReason.AGENTS_BEHIND,
            f"Agents that do not run epoch {since} yet: {', '.join(behind)}",
        )
    return Reported(
        "Programmed",
        "True",
        ProgrammedReason.PROGRAMMED,
        f"Every live agent runs epoch {since} or a later one",
    )


def policy_status(
    policy: RoutingPolicy,
    acceptance: Acceptance,
    programmed: Reported,
    *,
    unavailable_models: Sequence[str],
    since: EpochNumber | None,
    url: str,
) -> tuple[dict[str, Any], tuple[Reported, ...]]:
    """Status of a RoutingPolicy without its conditions, and the conditions."""
    status: dict[str, Any] = {
        "observedGeneration": policy.metadata.generation,
        "url": url,
        "clients": len(policy.spec.clients),
        "models": len(policy.spec.models),
    }
    if since is not None:
        status["epoch"] = str(since)
    if programmed.status != "True":
        ready = Reported("Ready", "False", ReadyReason.NOT_PROGRAMMED, "The policy is not in force")
    elif unavailable_models:
        listed = ", ".join(f"`{name}`" for name in sorted(unavailable_models))
        ready = Reported(
            "Ready",
            "False",
            ReadyReason.NO_ENDPOINT,
            f"Models without an available endpoint: {listed}"[:2048],
        )
    else:
        ready = Reported(
            "Ready", "True", ReadyReason.READY, "Each model name has an available endpoint"
        )
    return status, (accepted(acceptance), programmed, ready)


def residency_status(
    residency: DataResidency,
    acceptance: Acceptance,
    programmed: Reported,
    *,
    since: EpochNumber | None,
) -> tuple[dict[str, Any], tuple[Reported, ...]]:
    """Status of a DataResidency without its conditions; its `Ready` equals `Programmed`."""
    status: dict[str, Any] = {
        "observedGeneration": residency.metadata.generation,
        "rules": len(residency.spec.rules or ()),
        "registrations": len(residency.spec.registrations or ()),
    }
    if since is not None:
        status["epoch"] = str(since)
    is_ready = programmed.status == "True"
    ready = Reported(
        "Ready",
        programmed.status,
        ReadyReason.READY if is_ready else ReadyReason.NOT_PROGRAMMED,
        programmed.message,
    )
    return status, (accepted(acceptance), programmed, ready)


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """GPUs that the nodes of a pool offer, and how many pods hold."""

    name: str
    gpus: int
    in_use: int


def site_status(
    site: Site,
    acceptance: Acceptance,
    pools: Sequence[PoolFacts],
    *,
    unreachable: str = "",
) -> tuple[dict[str, Any], tuple[Reported, ...]]:
    """Status of a Site without its conditions, and the conditions.

    Args:
        site: the Site.
        acceptance: whether the current generation is valid.
        pools: what was observed now.
        unreachable: why the site's API does not answer; empty when it does.
    """
    offered = sum(pool.gpus for pool in pools)
    used = sum(pool.in_use for pool in pools)
    scope: Scope = site.spec.scope
    status: dict[str, Any] = {
        "observedGeneration": site.metadata.generation,
        "scope": scope.value,
        "gpus": f"{used}/{offered}",
        "pools": [
            {"name": pool.name, "gpus": pool.gpus, "gpusInUse": pool.in_use} for pool in pools
        ],
    }
    if not acceptance.accepted:
        programmed = _not_accepted(acceptance)
    elif unreachable:
        programmed = Reported("Programmed", "False", ProgrammedReason.SITE_UNREACHABLE, unreachable)
    else:
        programmed = Reported(
            "Programmed", "True", ProgrammedReason.PROGRAMMED, "The site's API answers"
        )
    return status, (accepted(acceptance), programmed, _site_ready(site, pools, programmed))


def _site_ready(site: Site, pools: Sequence[PoolFacts], programmed: Reported) -> Reported:
    if programmed.status != "True":
        return Reported("Ready", "False", ReadyReason.NOT_PROGRAMMED, "The site is not programmed")
    seen = {pool.name: pool.gpus for pool in pools}
    missing = sorted(
        f"{pool.name}: {seen.get(pool.name, 0)} of {pool.gpus_per_node * pool.nodes} GPUs"
        for pool in site.spec.pools
        if seen.get(pool.name, 0) < pool.gpus_per_node * pool.nodes
    )
    if missing:
        return Reported(
            "Ready", "False", ReadyReason.CAPACITY_MISSING, f"Seen: {', '.join(missing)}"
        )
    return Reported("Ready", "True", ReadyReason.READY, "The stated capacity is there")


def deployment_error(applied: AppliedObjects, placed: Placed, model: ModelDeployment) -> str:
    """Why the objects of a placement were not applied; empty when they were."""
    errors = [
        f"{item.ref}: {item.error}"
        for item in applied.objects
        if item.error and item.cluster == placed.cluster
    ]
    ref = Ref(
        DEPLOYMENT,
        model.metadata.namespace or "default",
        names.engine(model.metadata.name, placed.site.metadata.name),
    )
    if not errors and applied.find(placed.cluster, ref) is None:
        return f"{ref} was not applied"
    return "; ".join(sorted(errors))
