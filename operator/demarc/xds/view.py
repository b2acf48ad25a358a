"""What of the policy does a gateway's Envoy need to know? Its endpoints and who stands where.

INVARIANT: no rule, label, tenant or client is in a view.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from demarc.api.v1alpha1.common import Scope
from demarc.policy.epoch import Epoch


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
        home: the site whose inner and egress gateways are meant.
        site: where this gateway stands; the home site for inner and egress.
        version: number of the epoch or extract; stands on the routes and in every log line.
        targets: endpoints that this gateway reaches by itself, sorted, each once.
        leaves: whether the inner gateway has a way to the egress gateway.
    """

    role: Role
    home: str
    site: str
    version: str
    targets: tuple[Target, ...]
    leaves: bool = False


def of_epoch(role: Role, epoch: Epoch) -> View:
    """The view of an inner or egress gateway.

    While public is closed the inner gateway has no way to egress and egress none to any edge.

    Raises:
        ValueError: the role is edge; an edge holds no epoch.
    """
    match role:
        case Role.INNER:
            targets = _targets(epoch, Scope.PRIVATE)
            leaves = epoch.public_open and bool(_targets(epoch, Scope.PUBLIC))
        case Role.EGRESS:
            targets = _targets(epoch, Scope.PUBLIC) if epoch.public_open else ()
            leaves = False
        case Role.EDGE:
            raise ValueError("an edge holds no epoch: build its view with `of_edge`")
        case _:
            assert_never(role)
    return View(role, epoch.home, epoch.home, str(epoch.number), targets, leaves)


def of_edge(*, home: str, site: str, version: str, endpoints: Iterable[str]) -> View:
    """The view of an edge gateway, from the fields of its signed extract.

    Endpoints of other sites are left out: the edge is the door of one site.

    Args:
        home: the site whose egress gateway may call.
        site: the edge's own site.
        version: number of the extract.
        endpoints: endpoint names, `namespace/deployment@site`.

    Raises:
        ValueError: an endpoint's name has another form.
    """
    own = (item for item in map(target, sorted(set(endpoints))) if item.site == site)
    return View(Role.EDGE, home, site, version, tuple(own))


def target(name: str) -> Target:
    """The parts of `namespace/deployment@site`.

    Raises:
        ValueError: the name has another form.
    """
    namespace, slash, rest = name.partition("/")
    deployment, at, site = rest.partition("@")
    if not (slash and at and namespace and deployment and site) or "/" in rest or "@" in site:
        raise ValueError(f"endpoint `{name}` is not `namespace/deployment@site`")
    return Target(namespace, deployment, site)


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
