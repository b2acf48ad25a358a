"""Which endpoints take requests now? What Envoy sees, and how the far side has answered.

    Private     up while Envoy has a healthy replica of it and none outside the site's networks
    Public      up while the way to egress is up and the far side does not fail

Rules:
    What is not known is down: an endpoint is named only once Envoy has it.
    The far side fails with a 5xx of its own; a refusal of egress is not one. It is down for 1 s,
    doubling to 30 s; then one request tries it, and its answer decides.
    None of this touches what is permitted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from demarc.api.v1alpha1.common import Scope
from demarc.engines.envoy import Host
from demarc.policy.decision import Health
from demarc.policy.epoch import Endpoint, Epoch
from demarc.xds.clusters import EGRESS

FIRST_SECONDS = 1.0
LAST_SECONDS = 30.0

DOWN = Health(up=False)


@dataclass(slots=True)
class _Far:
    """A far side that has failed.

    Attributes:
        seconds: how long it is left alone this time.
        until: monotonic time at which a request may try it, or at which a trial without an answer
            counts as none.
        is_tried: whether a request has been sent there since it failed last.
    """

    seconds: float
    until: float
    is_tried: bool = False


class FarSides:
    """How the far sides of Public endpoints have answered; a success clears an endpoint."""

    def __init__(self) -> None:
        self._failed: dict[str, _Far] = {}

    def up(self, endpoint: str, now: float) -> bool:
        """Whether a request may be sent there."""
        far = self._failed.get(endpoint)
        return far is None or now >= far.until

    def taken(self, endpoint: str, now: float) -> None:
        """A request is sent there: after a failure it is the one that tries."""
        far = self._failed.get(endpoint)
        if far is not None:
            far.is_tried = True
            far.until = now + far.seconds

    def failed(self, endpoint: str, now: float) -> bool:
        """It answered with a 5xx; whether that is news."""
        far = self._failed.get(endpoint)
        if far is None:
            self._failed[endpoint] = _Far(FIRST_SECONDS, now + FIRST_SECONDS)
            return True
        # Without a trial, it is an answer to what was sent before the failure: nothing new.
        if far.is_tried:
            far.is_tried = False
            far.seconds = min(2 * far.seconds, LAST_SECONDS)
            far.until = now + far.seconds
        return False

    def answered(self, endpoint: str) -> bool:
        """It answered; whether that is news."""
        return self._failed.pop(endpoint, None) is not None


@dataclass(frozen=True, slots=True)
class Seen:
    """What Envoy said last, as health by endpoint and of the way to egress."""

    private: Mapping[str, Health]
    egress: Health


NOTHING_SEEN = Seen({}, DOWN)


def see(clusters: Mapping[str, tuple[Host, ...]], epoch: Epoch) -> Seen:
    """Health from Envoy's list of clusters.

    An endpoint with a replica outside its site's networks is down: Envoy has not yet taken what the
    epoch says now.
    """
    private = {
        endpoint.name: _health(clusters.get(endpoint.name, ()), _networks(epoch, endpoint.site))
        for endpoint in epoch.endpoints
        if endpoint.scope is Scope.PRIVATE
    }
    return Seen(private, _health(clusters.get(EGRESS, ()), _networks(epoch, epoch.home)))


def health(
    endpoints: Iterable[Endpoint], seen: Seen, far: FarSides, now: float, *, leaves: bool
) -> dict[str, Health]:
    """What `choose` is told of some endpoints.

    Args:
        endpoints: those of one decision.
        seen: of Envoy.
        far: of the far sides.
        now: monotonic.
        leaves: whether a grant can be signed.
    """
    found: dict[str, Health] = {}
    for endpoint in endpoints:
        if endpoint.scope is Scope.PRIVATE:
            found[endpoint.name] = seen.private.get(endpoint.name, DOWN)
        elif leaves and seen.egress.up and far.up(endpoint.name, now):
            found[endpoint.name] = seen.egress
        else:
            found[endpoint.name] = DOWN
    return found


def _networks(epoch: Epoch, site: str) -> tuple[ipaddress.IPv4Network, ...]:
    """The IPv4 networks of a site; what cannot be read holds no address."""
    found: list[ipaddress.IPv4Network] = []
    for cidr in epoch.site_cidrs.get(site, ()):
        with suppress(ValueError):
            found.append(ipaddress.IPv4Network(cidr))
    return tuple(found)


def _health(hosts: tuple[Host, ...], networks: tuple[ipaddress.IPv4Network, ...]) -> Health:
    if not all(_is_inside(host.address, networks) for host in hosts):
        return DOWN
    return Health(up=any(host.healthy for host in hosts), load=sum(host.active for host in hosts))


def _is_inside(address: str, networks: tuple[ipaddress.IPv4Network, ...]) -> bool:
    host, _, _ = address.rpartition(":")
    try:
        literal = ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return any(literal in network for network in networks)
