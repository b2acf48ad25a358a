"""Can any request ever reach this placement? If none can, engines there would serve nobody.

RoutingPolicy is not asked: tenants may permit tomorrow what they do not permit today. A label can
only rise, so the lowest one that a tenant can have decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from demarc.policy import label as labels
from demarc.policy import permission, tables
from demarc.policy.epoch import Epoch
from demarc.policy.label import ALL_ORIGINS, DEFAULT_FLOOR, Label


def never_eligible(epoch: Epoch, now: datetime) -> frozenset[str]:
    """Names of the endpoints that E1 and E2 keep from every allowed tenant, whatever it asks.

    A closed Public is not looked at: it opens again.
    """
    opened = replace(epoch, public_open=True)
    return frozenset(
        endpoint.name
        for endpoint in opened.endpoints
        if not any(
            permission.barrier(endpoint, opened, tenant, label) is None
            for tenant in sorted(endpoint.allowed_tenants)
            for label in _lowest(opened, tenant, now)
        )
    )


def _lowest(epoch: Epoch, tenant: str, now: datetime) -> Iterator[Label]:
    """The lowest labels of a tenant: without a registration, and with each that counts."""
    general = [row.level for row in epoch.floors if row.apps is None and tenant in row.tenants]
    yield labels.close(max([DEFAULT_FLOOR, *general]), (), ALL_ORIGINS)
    mine = [row for row in epoch.registrations if row.tenant == tenant]
    for row in mine:
        if now < row.expires and [each.app for each in mine].count(row.app) == 1:
            rows = tables.floors_of(tenant, row.app, epoch.floors)
            floor = max([row.floor, *(each.level for each in rows)])
            yield labels.close(floor, (), row.origins)
