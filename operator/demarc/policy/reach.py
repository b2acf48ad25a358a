"""Could any request ever go there? What is true of every label that an app can have.

Higher labels never reach more than lower ones, so it is enough to try the lowest label of each
app: the default floor with all origins, and what each registration lowers it to.
"""

from __future__ import annotations

from datetime import datetime

from demarc.api.v1alpha1.common import Scope
from demarc.policy import label as labels
from demarc.policy import tables
from demarc.policy.epoch import Endpoint, Epoch, Floor, Registration
from demarc.policy.label import Label


def never_eligible(endpoint: Endpoint, epoch: Epoch, now: datetime) -> bool:
    """Whether E1 or E2 removes the endpoint for every label of every allowed tenant.

    RoutingPolicies are not asked: a placement does not come and go with a tenant's preferences.
    """
    return not any(
        _passes(endpoint, epoch, tenant, label)
        for tenant in sorted(endpoint.allowed_tenants)
        for label in lowest_labels(tenant, epoch, now)
    )


def lowest_labels(tenant: str, epoch: Epoch, now: datetime) -> tuple[Label, ...]:
    """The lowest label of an unregistered app of a tenant, then of each app registered at `now`."""
    found = [
        labels.close(
            max(labels.DEFAULT_FLOOR, *_floors(tenant, None, epoch)), (), labels.ALL_ORIGINS
        )
    ]
    for registration in epoch.registrations:
        if registration.tenant == tenant and _counts(registration, epoch, now):
            level = max(registration.floor, *_floors(tenant, registration.app, epoch))
            found.append(labels.close(level, (), registration.origins))
    return tuple(found)


def _counts(registration: Registration, epoch: Epoch, now: datetime) -> bool:
    same = [
        other
        for other in epoch.registrations
        if (other.tenant, other.app) == (registration.tenant, registration.app)
    ]
    return len(same) == 1 and now < registration.expires


def _floors(tenant: str, app: str | None, epoch: Epoch) -> tuple[int, ...]:
    """Levels of the floors that hold for an app; for None, of those that hold for every app."""
    return (1, *(row.level for row in epoch.floors if _holds(row, tenant, app)))


def _holds(row: Floor, tenant: str, app: str | None) -> bool:
    return tenant in row.tenants and (row.apps is None or (app is not None and app in row.apps))


def _passes(endpoint: Endpoint, epoch: Epoch, tenant: str, label: Label) -> bool:
    if label.level > endpoint.clearance.max_level:
        return False
    if endpoint.scope is not Scope.PRIVATE and labels.is_sensitive(label):
        return False
    return all(
        tables.satisfies(endpoint, rule)
        for rule in epoch.rules
        if tables.concerns(rule, tenant, label.origins)
        and (rule.at_least is None or label.level >= rule.at_least)
        and rule.categories is None
    )
