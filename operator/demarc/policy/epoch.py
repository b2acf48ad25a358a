"""Which policy is in force? The epoch: one immutable value that everything obeys.

An epoch travels as a signed document (`document`) that holds the normalised sources and the key
material for verification. `compile` turns a document into the tables below, the same way in the
operator and in every agent.

INVARIANT: nothing here speaks of readiness or addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from demarc.api.v1alpha1.common import Capability, Category, Scope


@dataclass(frozen=True, slots=True, order=True)
class EpochNumber:
    """Orders epochs: the term first (recovery starts a new one), then the counter."""

    term: int
    counter: int

    def __str__(self) -> str:
        """`TERM.COUNTER`."""
        return f"{self.term}.{self.counter}"


@dataclass(frozen=True, slots=True)
class SourceRef:
    """The object, and the row in it, that a decision came from: `DataResidency/cn-bank`, `rules/in-country`."""

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    row: str = ""

    def __str__(self) -> str:
        """`RoutingPolicy/retail/chat permit/inside`, as people write it."""
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind}/{where}{self.name}" + (f" {self.row}" if self.row else "")


@dataclass(frozen=True, slots=True)
class Price:
    """Exact price per million tokens in one currency."""

    input: Decimal
    output: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Clearance:
    """What label an endpoint may see, and the rows that said so (none: the default)."""

    max_level: int
    accepts_unclassified: bool
    sources: tuple[SourceRef, ...]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One deployment on one site, as a target for requests.

    `processing`, `storage` and `control` may hold `Unknown`, which satisfies only `Any`.
    """

    namespace: str
    deployment: str
    site: str
    scope: Scope
    processing: frozenset[str]
    storage: frozenset[str]
    control: frozenset[str]
    served_name: str
    capabilities: frozenset[Capability]
    context_tokens: int
    price: Price | None
    allowed_tenants: frozenset[str]
    clearance: Clearance
    source: SourceRef

    @property
    def name(self) -> str:
        """`namespace/deployment@site`: also the name of its Envoy cluster."""
        return f"{self.namespace}/{self.deployment}@{self.site}"


@dataclass(frozen=True, slots=True)
class Permit:
    """One row of a RoutingPolicy; `apps`, `at_most`, `purposes` None mean any."""

    source: SourceRef
    scopes: frozenset[Scope]
    apps: frozenset[str] | None
    at_most: int | None
    not_in: frozenset[Category]
    purposes: frozenset[str] | None
    targets: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class App:
    """An app as its one RoutingPolicy declares it.

    `models` maps a request's model to targets (namespace, name) in the written order.
    """

    tenant: str
    name: str
    policy: SourceRef
    models: Mapping[str, tuple[tuple[str, str], ...]]
    permits: tuple[Permit, ...]
    order: str


@dataclass(frozen=True, slots=True)
class Registration:
    """Compliance's statement for one (tenant, app); `credentials` as in `ClientIdentity.credential`."""

    source: SourceRef
    tenant: str
    app: str
    credentials: frozenset[str]
    floor: int
    origins: frozenset[str]
    purposes: frozenset[str]
    expires: datetime


@dataclass(frozen=True, slots=True)
class Floor:
    """A least level; `apps` None means all apps of the tenants."""

    source: SourceRef
    tenants: frozenset[str]
    apps: frozenset[str] | None
    level: int


@dataclass(frozen=True, slots=True)
class ResidencyRule:
    """A restriction; None tests are not stated, None requirement sets mean `Any`."""

    source: SourceRef
    at_least: int | None
    origins: frozenset[str] | None
    categories: frozenset[Category] | None
    tenants: frozenset[str] | None
    scopes: frozenset[Scope]
    processing: frozenset[str] | None
    storage: frozenset[str] | None
    control: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """What a credential proves.

    Attributes:
        credential: `secret:NAMESPACE/NAME/KEY` or `serviceaccount:NAMESPACE/NAME`.
    """

    tenant: str
    app: str
    client: str
    credential: str


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Who signs ServiceAccount tokens: issuer, audience and JWKs (public)."""

    issuer: str
    audience: str
    keys: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class GrantKey:
    """The public half of an inner gateway's grant key (32 raw bytes, Ed25519)."""

    key_id: str
    gateway: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Epoch:
    """All policy, compiled. Tables are keyed for one look-up per step.

    Attributes:
        apps: by (tenant, app).
        api_keys: by lower-case hex SHA-256 of the key's bytes.
        service_accounts: by JWT subject, `system:serviceaccount:NAMESPACE:NAME`.
        site_cidrs: IPv4 networks of each site; addresses outside are dropped.
        public_open: false closes every Public endpoint; `public_reason` says why.
        packs: name and content hash of each detector pack the policy was accepted with.
    """

    number: EpochNumber
    hash: str
    issued_at: datetime
    max_age: timedelta
    home: str
    endpoints: tuple[Endpoint, ...]
    apps: Mapping[tuple[str, str], App]
    api_keys: Mapping[str, ClientIdentity]
    service_accounts: Mapping[str, ClientIdentity]
    token_issuer: TokenIssuer | None
    registrations: tuple[Registration, ...]
    floors: tuple[Floor, ...]
    rules: tuple[ResidencyRule, ...]
    grant_keys: tuple[GrantKey, ...]
    site_cidrs: Mapping[str, tuple[str, ...]]
    public_open: bool
    public_reason: str
    packs: Mapping[str, str]
