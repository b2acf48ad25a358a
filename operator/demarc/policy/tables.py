"""How is an epoch laid out so that one decision is a few ANDs? Endpoints are bits of integers.

Bit `i` of a mask is the endpoint `names[i]`. A table answers for all endpoints at once what
`permission.removal` answers for one endpoint from the written rows.

INVARIANT: for every request both give the same endpoints; tests compare them with each other and
with the oracle.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from demarc.api.v1alpha1.common import Capability, Category, Scope
from demarc.policy import label as labels
from demarc.policy.label import ALL_ORIGINS, DEFAULT_FLOOR, SENSITIVE_LEVEL, TOP, Label

if TYPE_CHECKING:
    from demarc.policy.epoch import (
        App,
        Endpoint,
        Epoch,
        Floor,
        Permit,
        Registration,
        ResidencyRule,
    )

LEVELS = range(1, TOP + 1)
ByLevel = tuple[int, ...]
"""A mask for each level; index 0 is never asked and holds 0."""


@dataclass(frozen=True, slots=True)
class ModelTable:
    """The endpoints of one model's targets.

    Attributes:
        bits: each endpoint with its bit, sorted by name.
    """

    targets: tuple[tuple[str, str], ...]
    mask: int
    bits: tuple[tuple[int, Endpoint], ...]

    def members(self, mask: int) -> tuple[Endpoint, ...]:
        """Those of this model's endpoints that are in a mask, sorted by name."""
        return tuple([endpoint for bit, endpoint in self.bits if mask & bit])


@dataclass(frozen=True, slots=True)
class CategoryCut:
    """From `at_least` on, a label with one of `categories` keeps only `mask`."""

    at_least: int
    categories: frozenset[Category]
    mask: int


@dataclass(frozen=True, slots=True)
class CategoryPermit:
    """Up to `at_most`, a label with none of `not_in` is permitted `mask` too."""

    at_most: int
    not_in: frozenset[Category]
    mask: int


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a credential's requests start from, and what follows from that alone.

    Attributes:
        floor: least level.
        starts: who says so and to what level: the registration or the default, then the rows of
            `floors` that match the app.
        labels: the label of a request without categories, by level.
        expires: from then on the unregistered grounds hold; None: never.
        cleared: endpoints that E1 and the rules without category tests leave, by level.
        permitted: endpoints that permit rows without category tests name, by level.
    """

    floor: int
    starts: tuple[tuple[str, int], ...]
    labels: tuple[Label, ...]
    origins: frozenset[str]
    purposes: frozenset[str]
    expires: datetime | None
    cleared: ByLevel
    cuts: tuple[CategoryCut, ...]
    permitted: ByLevel
    category_permits: tuple[CategoryPermit, ...]


@dataclass(frozen=True, slots=True)
class AppTable:
    """One app: its models and the grounds of its credentials."""

    app: App
    models: Mapping[str, ModelTable]
    registered: Mapping[str, Grounds]
    unregistered: Grounds

    def grounds(self, credential: str, now: datetime) -> Grounds:
        """What a request with this credential starts from at `now`."""
        found = self.registered.get(credential)
        if found is None or found.expires is None or now >= found.expires:
            return self.unregistered
        return found


@dataclass(frozen=True, slots=True)
class Tables:
    """Everything that a decision looks up.

    Attributes:
        endpoints: bit order; sorted by name.
        able: endpoints by capability.
        contexts: the different context sizes in ascending order.
        holding: for each entry of `contexts`, the endpoints with at least that size; one more
            entry, 0, for a need beyond all of them.
    """

    endpoints: tuple[Endpoint, ...]
    private: int
    apps: Mapping[tuple[str, str], AppTable]
    able: Mapping[Capability, int]
    contexts: tuple[int, ...]
    holding: tuple[int, ...]

    def members(self, mask: int) -> tuple[Endpoint, ...]:
        """The endpoints of a mask, sorted by name."""
        found: list[Endpoint] = []
        while mask:
            lowest = mask & -mask
            found.append(self.endpoints[lowest.bit_length() - 1])
            mask ^= lowest
        return tuple(found)

    def with_context(self, tokens: int) -> int:
        """The endpoints whose context holds that many tokens."""
        return self.holding[bisect_left(self.contexts, tokens)]


def tabulate(epoch: Epoch) -> Tables:
    """Lay out an epoch's rows; pure, and called once per epoch."""
    endpoints = tuple(sorted(epoch.endpoints, key=lambda endpoint: endpoint.name))
    contexts = tuple(sorted({endpoint.context_tokens for endpoint in endpoints}))
    private = _mask(endpoint.scope is Scope.PRIVATE for endpoint in endpoints)
    cleared = _cleared(endpoints, private)
    return Tables(
        endpoints=endpoints,
        private=private,
        apps={key: _app_table(app, epoch, endpoints, cleared) for key, app in epoch.apps.items()},
        able={
            capability: _mask(capability in endpoint.capabilities for endpoint in endpoints)
            for capability in Capability
        },
        contexts=contexts,
        holding=(
            *(_mask(e.context_tokens >= size for e in endpoints) for size in contexts),
            0,
        ),
    )


def floors_of(tenant: str, app: str, floors: Iterable[Floor]) -> tuple[Floor, ...]:
    """The rows of `floors` that match a tenant's app."""
    return tuple(
        row for row in floors if tenant in row.tenants and (row.apps is None or app in row.apps)
    )


def satisfies(endpoint: Endpoint, rule: ResidencyRule) -> bool:
    """Whether an endpoint is what a rule requires; `Unknown` lies within no list."""
    return (
        endpoint.scope in rule.scopes
        and (rule.processing is None or endpoint.processing <= rule.processing)
        and (rule.storage is None or endpoint.storage <= rule.storage)
        and (rule.control is None or endpoint.control <= rule.control)
    )


def concerns(rule: ResidencyRule, tenant: str, origins: frozenset[str]) -> bool:
    """Whether a rule can apply to a tenant's requests of these origins, whatever their label."""
    return (rule.tenants is None or tenant in rule.tenants) and (
        rule.origins is None or origins == ALL_ORIGINS or not rule.origins.isdisjoint(origins)
    )


def names(permit: Permit, endpoint: Endpoint, tenant: str) -> bool:
    """Whether a permit row of a tenant names an endpoint that the deployment lets it use."""
    return (
        endpoint.scope in permit.scopes
        and endpoint.target in permit.targets
        and tenant in endpoint.allowed_tenants
    )


def is_for(permit: Permit, app: str, purposes: frozenset[str]) -> bool:
    """Whether a permit row is for an app whose registration states these purposes."""
    return (permit.apps is None or app in permit.apps) and (
        permit.purposes is None or not permit.purposes.isdisjoint(purposes)
    )


def _mask(holds: Iterable[bool]) -> int:
    mask = 0
    for index, value in enumerate(holds):
        mask |= value << index
    return mask


def _cleared(endpoints: tuple[Endpoint, ...], private: int) -> ByLevel:
    def at(level: int) -> int:
        cleared = _mask(
            endpoint.clearance.accepts_unclassified
            if level == TOP
            else level <= endpoint.clearance.max_level
            for endpoint in endpoints
        )
        return cleared & private if level >= SENSITIVE_LEVEL else cleared

    return (0, *(at(level) for level in LEVELS))


def _app_table(
    app: App, epoch: Epoch, endpoints: tuple[Endpoint, ...], cleared: ByLevel
) -> AppTable:
    rows = floors_of(app.tenant, app.name, epoch.floors)
    # Two registrations for one app void each other, an expired one too: time that passes must not
    # lower anything.
    registrations = [
        row for row in epoch.registrations if (row.tenant, row.app) == (app.tenant, app.name)
    ]
    counted = registrations if len(registrations) == 1 else []

    def grounds(registration: Registration | None) -> Grounds:
        origins = registration.origins if registration else ALL_ORIGINS
        purposes = registration.purposes if registration else frozenset[str]()
        lowest = registration.floor if registration else DEFAULT_FLOOR
        rules = [rule for rule in epoch.rules if concerns(rule, app.tenant, origins)]
        permits = [
            (permit, _mask(names(permit, endpoint, app.tenant) for endpoint in endpoints))
            for permit in app.permits
            if is_for(permit, app.name, purposes)
        ]
        return Grounds(
            floor=max(lowest, *(row.level for row in rows)) if rows else lowest,
            starts=(
                (str(registration.source) if registration else "default floor", lowest),
                *((str(row.source), row.level) for row in rows),
            ),
            labels=tuple(labels.close(max(level, 1), (), origins) for level in (0, *LEVELS)),
            origins=origins,
            purposes=purposes,
            expires=registration.expires if registration else None,
            cleared=_restrict(cleared, rules, endpoints),
            cuts=tuple(
                CategoryCut(
                    rule.at_least or 1,
                    rule.categories,
                    _mask(satisfies(endpoint, rule) for endpoint in endpoints),
                )
                for rule in rules
                if rule.categories is not None
            ),
            permitted=_permitted(permits),
            category_permits=tuple(
                CategoryPermit(permit.at_most or TOP, permit.not_in, mask)
                for permit, mask in permits
                if permit.not_in
            ),
        )

    return AppTable(
        app=app,
        models={
            model: ModelTable(
                targets,
                _mask(endpoint.target in targets for endpoint in endpoints),
                tuple(
                    (1 << index, endpoint)
                    for index, endpoint in enumerate(endpoints)
                    if endpoint.target in targets
                ),
            )
            for model, targets in app.models.items()
        },
        registered={credential: grounds(row) for row in counted for credential in row.credentials},
        unregistered=grounds(None),
    )


def _restrict(
    cleared: ByLevel, rules: list[ResidencyRule], endpoints: tuple[Endpoint, ...]
) -> ByLevel:
    masks = list(cleared)
    for rule in rules:
        if rule.categories is not None:
            continue
        keeps = _mask(satisfies(endpoint, rule) for endpoint in endpoints)
        for level in LEVELS:
            if level >= (rule.at_least or 1):
                masks[level] &= keeps
    return tuple(masks)


def _permitted(permits: list[tuple[Permit, int]]) -> ByLevel:
    masks = [0] * (TOP + 1)
    for permit, mask in permits:
        if permit.not_in:
            continue
        for level in LEVELS:
            if level <= (permit.at_most or TOP):
                masks[level] |= mask
    return tuple(masks)
