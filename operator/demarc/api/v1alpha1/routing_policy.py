"""What may a tenant's apps reach, and in which order? A RoutingPolicy grants and orders.

INVARIANT: tests in `when` are downward-closed in the label (`atMost`, `notIn`): a request with a
higher label never passes a permit that a lower one fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field, StringConstraints

from demarc.api.schema import (
    ApiModel,
    AtomicList,
    Country,
    DnsLabel,
    DnsSubdomain,
    Level,
    MapList,
    ObjectName,
    Rule,
    SetList,
)
from demarc.api.v1alpha1.common import Category, Conditions, Object, Scope, SecretKeyRef
from demarc.api.v1alpha1.model_deployment import ModelName

PURPOSE = r"^[A-Z][A-Za-z0-9]*$"
Purpose = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=PURPOSE)]


Path: TypeAlias = tuple[str | int, ...]


def _repeated(field: str, items: Iterable[object]) -> Iterator[Path]:
    """Where an item stands that already stood before; None is no item."""
    seen = set[object]()
    for index, item in enumerate(items):
        if item is not None and item in seen:
            yield field, index
        seen.add(item)


class ServiceAccountRef(ApiModel):
    """A ServiceAccount in the object's own namespace."""

    name: DnsSubdomain
    """Name of the ServiceAccount."""


ONE_CREDENTIAL = Rule(
    "has(self.serviceAccountRef) != has(self.apiKeySecretRef)",
    "exactly one of serviceAccountRef and apiKeySecretRef must be set",
    lambda self: (self.service_account_ref is None) != (self.api_key_secret_ref is None),
)


class Client(ApiModel):
    """A credential that proves an app."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (ONE_CREDENTIAL,)

    name: DnsLabel
    """Name of the client, unique in the policy."""
    app: DnsLabel
    """The app that calls with this credential."""
    service_account_ref: ServiceAccountRef | None = None
    """ServiceAccount whose token (audience demarc) is the credential."""
    api_key_secret_ref: SecretKeyRef | None = None
    """Secret whose key holds the API key."""


class Target(ApiModel):
    """A ModelDeployment; a target that does not exist is no endpoint."""

    namespace: DnsLabel
    """Namespace of the ModelDeployment."""
    name: ObjectName
    """Name of the ModelDeployment."""


class Model(ApiModel):
    """A model name that clients may ask for."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.targets.all(t, self.targets.exists_one(u,"
            " u.__namespace__ == t.__namespace__ && u.name == t.name))",
            "each target must be listed once",
            lambda self: len(set(self.targets)) == len(self.targets),
            at=("targets",),
            remedy="remove one of them",
            culprits=lambda self: _repeated("targets", self.targets),
        ),
    )

    name: ModelName
    """The request's `model`."""
    targets: Annotated[tuple[Target, ...], Field(min_length=1, max_length=32), AtomicList()]
    """ModelDeployments that can answer, in the order of preference for `order: Listed`."""


class AtMost(ApiModel):
    """Holds for this level and everything below."""

    at_most: Level
    """Highest level, 1 to 5."""


class CategoriesNotIn(ApiModel):
    """Holds when the label has none of these categories."""

    not_in: Annotated[tuple[Category, ...], Field(min_length=1, max_length=32), SetList()]
    """Categories that must be absent."""


class When(ApiModel):
    """Which requests a permit row is for; every test that is stated must hold."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.apps) || has(self.level) || has(self.categories) || has(self.purposes)",
            "when must state at least one of apps, level, categories and purposes",
            lambda self: any((self.apps, self.level, self.categories, self.purposes)),
            remedy="leave `when` out if the row is for all requests",
        ),
    )

    apps: Annotated[tuple[DnsLabel, ...], Field(min_length=1, max_length=32), SetList()] | None = (
        None
    )
    """Apps of this policy; absent: all of them."""
    level: AtMost | None = None
    """Highest level of the label; absent: any level."""
    categories: CategoriesNotIn | None = None
    """Categories that must be absent from the label."""
    purposes: (
        Annotated[tuple[Purpose, ...], Field(min_length=1, max_length=64), SetList()] | None
    ) = None
    """The app's registration must name at least one of these purposes."""


class Permit(ApiModel):
    """One row that lets requests reach targets; what no row names is not reached."""

    name: DnsLabel
    """Name of the row."""
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=2), SetList()]
    """Which endpoints of the targets: Private, Public or both."""
    when: When | None = None
    """Which requests; absent: all of this policy's apps."""
    targets: Annotated[
        tuple[Target, ...], Field(min_length=1, max_length=64), MapList(("namespace", "name"))
    ]
    """ModelDeployments that the row lets requests reach."""


class CheckRequest(ApiModel):
    """The request of a check; what is not stated takes the app's own floor."""

    app: DnsLabel
    """App that asks."""
    model: ModelName | None = None
    """Model name; absent: each model of the policy."""
    level: Level | None = None
    """Level of the label."""
    categories: Annotated[tuple[Category, ...], Field(max_length=32), SetList()] | None = None
    """Categories of the label."""
    origins: Annotated[tuple[Country, ...], Field(max_length=64), SetList()] | None = None
    """Origins of the label."""


class Check(ApiModel):
    """A promise that is tried when the policy changes; a broken one refuses the change."""

    name: DnsLabel
    """Name of the check."""
    request: CheckRequest
    """The request that is tried."""
    never_reaches: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=2), SetList()]
    """Scopes that the request must not reach."""


def _references(spec: Any, field: str) -> tuple[object, ...]:
    return tuple(getattr(client, field) for client in spec.clients)


def _apps(spec: Any) -> frozenset[str]:
    return frozenset(client.app for client in spec.clients)


def _permits_of_unknown_apps(spec: Any) -> Iterator[Path]:
    apps = _apps(spec)
    for index, row in enumerate(spec.permit):
        for place, app in enumerate((row.when and row.when.apps) or ()):
            if app not in apps:
                yield "permit", index, "when", "apps", place


def _checks_of_unknown_apps(spec: Any) -> Iterator[Path]:
    apps = _apps(spec)
    for index, check in enumerate(spec.checks or ()):
        if check.request.app not in apps:
            yield "checks", index, "request", "app"


def _checks_of_unknown_models(spec: Any) -> Iterator[Path]:
    models = {model.name for model in spec.models}
    for index, check in enumerate(spec.checks or ()):
        if check.request.model is not None and check.request.model not in models:
            yield "checks", index, "request", "model"


class RoutingPolicySpec(ApiModel):
    """What the tenant team says."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.clients.all(c, !has(c.serviceAccountRef) || self.clients.exists_one(d,"
            " has(d.serviceAccountRef) && d.serviceAccountRef.name == c.serviceAccountRef.name))",
            "each ServiceAccount may prove one app only: two clients name the same one",
            lambda self: not any(_repeated("clients", _references(self, "service_account_ref"))),
            at=("clients",),
            remedy="give each app its own ServiceAccount",
            culprits=lambda self: _repeated("clients", _references(self, "service_account_ref")),
        ),
        Rule(
            "self.clients.all(c, !has(c.apiKeySecretRef) || self.clients.exists_one(d,"
            " has(d.apiKeySecretRef) && d.apiKeySecretRef.name == c.apiKeySecretRef.name"
            " && d.apiKeySecretRef.key == c.apiKeySecretRef.key))",
            "each API key may prove one app only: two clients name the same key of one Secret",
            lambda self: not any(_repeated("clients", _references(self, "api_key_secret_ref"))),
            at=("clients",),
            remedy="give each app its own key",
            culprits=lambda self: _repeated("clients", _references(self, "api_key_secret_ref")),
        ),
        Rule(
            "self.permit.all(p, !has(p.when) || !has(p.when.apps) || p.when.apps.all(a,"
            " self.clients.exists(c, c.app == a)))",
            "each app in permit[].when.apps must be the app of a client of this policy",
            lambda self: not any(_permits_of_unknown_apps(self)),
            at=("permit",),
            remedy="add a client for the app, or correct its name",
            culprits=_permits_of_unknown_apps,
        ),
        Rule(
            "!has(self.checks) || self.checks.all(k, self.clients.exists(c,"
            " c.app == k.request.app))",
            "checks[].request.app must be the app of a client of this policy",
            lambda self: not any(_checks_of_unknown_apps(self)),
            at=("checks",),
            remedy="add a client for the app, or correct its name",
            culprits=_checks_of_unknown_apps,
        ),
        Rule(
            "!has(self.checks) || self.checks.all(k, !has(k.request.model) ||"
            " self.models.exists(m, m.name == k.request.model))",
            "checks[].request.model must be one of the policy's models",
            lambda self: not any(_checks_of_unknown_models(self)),
            at=("checks",),
            remedy="correct the name, or leave it out to try every model",
            culprits=_checks_of_unknown_models,
        ),
    )

    clients: Annotated[tuple[Client, ...], Field(max_length=128), MapList(("name",))]
    """Credentials and the apps that they prove."""
    models: Annotated[tuple[Model, ...], Field(max_length=128), MapList(("name",))]
    """Model names that clients may ask for; others are not found."""
    permit: Annotated[tuple[Permit, ...], Field(max_length=64), MapList(("name",))]
    """Rows that let requests reach targets; an empty list permits nothing."""
    order: Literal["Cheapest", "Listed"]
    """Which permitted endpoint is taken first."""
    checks: Annotated[tuple[Check, ...], Field(max_length=128), MapList(("name",))] | None = None
    """Promises that are tried at every change."""


class RoutingPolicyStatus(ApiModel):
    """What the operator did for a RoutingPolicy."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation that this status speaks of."""
    url: Annotated[str, StringConstraints(max_length=512)] | None = None
    """The gateway's OpenAI-compatible base URL."""
    clients: Annotated[int, Field(ge=0)] | None = None
    """Clients that the policy declares."""
    models: Annotated[int, Field(ge=0)] | None = None
    """Model names that the policy offers."""
    epoch: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Number of the first epoch that holds this generation, as TERM.COUNTER."""
    conditions: Conditions = ()
    """Accepted, Programmed, Ready."""


class RoutingPolicy(Object):
    """What the apps of one tenant may reach, and in which order."""

    keeps_unknown_fields: ClassVar[bool] = True

    kind: Literal["RoutingPolicy"]
    """Always RoutingPolicy."""
    spec: RoutingPolicySpec
    """What the tenant team says."""
    status: RoutingPolicyStatus | None = None
    """What the operator did."""
