"""Which policy is in force? The epoch: one immutable value that everything obeys.

An epoch travels as a signed document (`document`) that holds the normalised sources and the key
material for verification. `compile` turns a document into the tables below, the same way in the
operator and in every agent.

INVARIANT: nothing here speaks of readiness or addresses.
INVARIANT: `tables` and `verifiers` follow from the other fields whenever an Epoch is made, so
`dataclasses.replace` cannot leave a table behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from demarc.api.v1alpha1.common import Capability, Category, Scope
from demarc.policy import tables, tokens

_PRICE_DIGITS = 9
"""Digits after the point of an amount (`DecimalString`)."""


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
    """The object, and the row in it, that a decision came from.

    For example `DataResidency/cn-bank`, `rules/in-country`.
    """

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
    """Exact price per million tokens in one currency.

    Attributes:
        input_units: `input` as an integer of 10^-15 of the currency per token: sums stay exact.
        output_units: likewise.
    """

    input: Decimal
    output: Decimal
    currency: str
    input_units: int = field(init=False, repr=False, compare=False)
    output_units: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_units", int(self.input.scaleb(_PRICE_DIGITS)))
        object.__setattr__(self, "output_units", int(self.output.scaleb(_PRICE_DIGITS)))


@dataclass(frozen=True, slots=True)
class Clearance:
    """What label an endpoint may see, and the rows that said so (none: the default).

    Attributes:
        sources: first the row that set `max_level`, last the row that set `accepts_unclassified`;
            one entry when it is the same row.
    """

    max_level: int
    accepts_unclassified: bool
    sources: tuple[SourceRef, ...]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One deployment on one site, as a target for requests.

    `processing`, `storage` and `control` may hold `Unknown`, which satisfies only `Any`.

    Attributes:
        allowed_tenants: its own namespace is always among them.
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
    name: str = field(init=False, compare=False)
    """`namespace/deployment@site`: also the name of its Envoy cluster."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.namespace}/{self.deployment}@{self.site}")

    @property
    def target(self) -> tuple[str, str]:
        """(namespace, deployment): how models and permit rows name it."""
        return (self.namespace, self.deployment)


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
    """Compliance's statement for one (tenant, app).

    Attributes:
        credentials: as in `ClientIdentity.credential`.
    """

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
class SiteFacts:
    """Where a site stands: its derived scope and its jurisdictions."""

    scope: Scope
    processing: frozenset[str]
    storage: frozenset[str]
    control: frozenset[str]


@dataclass(frozen=True, slots=True)
class Epoch:
    """All policy, compiled. Tables are keyed for one look-up per step.

    Attributes:
        endpoints: sorted by name, each name once.
        apps: by (tenant, app).
        api_keys: by lower-case hex SHA-256 of the key's bytes.
        service_accounts: by JWT subject, `system:serviceaccount:NAMESPACE:NAME`.
        site_cidrs: IPv4 networks of each site; addresses outside are dropped.
        public_open: false closes every Public endpoint; `public_reason` says why.
        packs: name and content hash of each detector pack the policy was accepted with.
        sites: what every accepted Site says of itself.
        credentials: what stands behind each credential that proves a client, by
            `ClientIdentity.credential`: SHA-256 of an API key, uid of a ServiceAccount.
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
    sites: Mapping[str, SiteFacts] = field(default_factory=dict[str, SiteFacts])
    credentials: Mapping[str, str] = field(default_factory=dict[str, str])
    tables: tables.Tables = field(init=False, repr=False, compare=False)
    verifiers: Mapping[str, tokens.Verifier] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", tables.tabulate(self))
        object.__setattr__(self, "verifiers", tokens.verifiers(self.token_issuer))

    def closed(self, reason: str) -> Epoch:
        """The same epoch with every Public endpoint closed, for a reason outside of it.

        Stale, or nothing can be recorded: callers keep this view beside the epoch and pass it to
        `permission.permit` while the reason lasts.
        """
        return replace(self, public_open=False, public_reason=reason)
