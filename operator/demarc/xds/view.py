"""What of the policy does a gateway's Envoy need to know? Its endpoints and who stands where.

INVARIANT: no rule, label, tenant or client is in a view.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from demarc.api.v1alpha1.common import Scope
from demarc.policy.epoch import Epoch
from demarc.policy.extract import EdgeExtract


class Role(StrEnum):
    """The three tiers."""

    INNER = "inner"
    EGRESS = "egress"
    EDGE = "edge"


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint as Envoy knows it: a cluster.

    Attributes:
        namespace, deployment, site: the parts of its name.
        cidrs: networks in which its addresses must lie; None: not known here, so any.
    """

    namespace: str
    deployment: str
    site: str
    cidrs: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """`namespace/deployment@site`."""
        return f"{self.namespace}/{self.deployment}@{self.site}"


@dataclass(frozen=True, slots=True)
class View:
    """What one gateway's Envoy needs of the policy in force.

    Attributes:
        role: which tier.
        site: where this gateway stands; the home site for inner and egress.
        caller: SPIFFE name of the only peer that may call; empty at inner, where clients call.
        version: number of the epoch; stands on the routes and in every log line.
        targets: endpoints that this gateway reaches by itself, sorted by name, each once.
        leaves: whether the inner gateway has a way to the egress gateway.
    """

    role: Role
    site: str
    caller: str
    version: str
    targets: tuple[Target, ...]
    leaves: bool = False


def of_epoch(role: Role, epoch: Epoch) -> View:
    """The view of an inner or egress gateway.

    While public is closed the inner gateway has no way to egress and egress none to any edge.

    Raises:
        ValueError: the role is edge; an edge holds no epoch.
    """
    number = str(epoch.number)
    public = _targets(epoch, Scope.PUBLIC) if epoch.public_open else ()
    match role:
        case Role.INNER:
            private = _targets(epoch, Scope.PRIVATE)
            return View(role, epoch.home, "", number, private, leaves=bool(public))
        case Role.EGRESS:
            return View(role, epoch.home, gateway_name(epoch.home, "inner"), number, public)
        case Role.EDGE:
            raise ValueError("an edge holds no epoch: build its view with `of_extract`")
        case _:
            assert_never(role)


def of_extract(extract: EdgeExtract) -> View:
    """The view of an edge gateway.

    A remote site's networks hold its edge, as egress reaches it; where its engines stand is the
    remote cluster's matter, and their certificates prove them.
    """
    found = {item.name: item for item in extract.endpoints}
    targets = tuple(
        Target(found[name].namespace, found[name].deployment, extract.site)
        for name in sorted(found)
        if name.endswith(f"@{extract.site}")
    )
    return View(Role.EDGE, extract.site, extract.egress, str(extract.number), targets)


def gateway_name(site: str, role: str) -> str:
    """SPIFFE name of a gateway: role is inner, egress or edge."""
    return f"spiffe://demarc/{site}/{role}"


def frontend_name(target: Target) -> str:
    """SPIFFE name of the frontends of one endpoint."""
    return f"spiffe://demarc/{target.site}/{target.namespace}/{target.deployment}"


def _targets(epoch: Epoch, scope: Scope) -> tuple[Target, ...]:
    found = {
        endpoint.name: Target(
            endpoint.namespace,
            endpoint.deployment,
            endpoint.site,
            epoch.site_cidrs.get(endpoint.site, ()),
        )
        for endpoint in epoch.endpoints
        if endpoint.scope is scope
    }
    return tuple(found[name] for name in sorted(found))
