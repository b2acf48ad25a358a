"""How does a document become an epoch? The same way in the operator and in every agent.

Rules:
    Scope is derived from the connection: InCluster is Private, all else Public.
    A placement on a site that is not in the document is no endpoint.
    Whatever is ambiguous proves and permits nothing: an API key or ServiceAccount of two clients,
    an app of two policies. Validation refuses such changes; this holds where one slipped through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from demarc.api.v1alpha1 import DataResidency, ModelDeployment, Resource, RoutingPolicy, Scope, Site
from demarc.api.v1alpha1 import data_residency as residency
from demarc.api.v1alpha1 import model_deployment as deployment
from demarc.api.v1alpha1 import routing_policy as routing
from demarc.api.v1alpha1.common import Object
from demarc.policy.document import Document, MalformedEpochError
from demarc.policy.epoch import (
    App,
    Clearance,
    ClientIdentity,
    Endpoint,
    Epoch,
    Floor,
    Permit,
    Price,
    Registration,
    ResidencyRule,
    SiteFacts,
    SourceRef,
)

DEFAULT_CLEARANCE: Mapping[Scope, int] = {Scope.PRIVATE: 4, Scope.PUBLIC: 2}
"""What an endpoint may see where compliance says nothing; TOP nowhere."""
HIGHEST = 5
ANY = "Any"
_EMPTY_KEY = sha256(b"").hexdigest()
"""An empty Secret is no key."""

_KINDS: Mapping[str, TypeAdapter[Any]] = {
    kind.__name__: TypeAdapter(kind)
    for kind in (Site, ModelDeployment, RoutingPolicy, DataResidency)
}
_Kind = TypeVar("_Kind", bound=Object)
_Value = TypeVar("_Value")


def compile_epoch(document: Document, *, hash: str) -> Epoch:  # noqa: A002  # the document's hash
    """All tables of a document.

    Args:
        document: as `document.verify` or `validation.judge` made it.
        hash: of its canonical bytes.

    Raises:
        MalformedEpochError: a source is not an object that this version can read; agents then
            keep what they have.
    """
    resources = tuple(_resource(source) for source in document.sources)
    sites = {site.metadata.name: site for site in _of(resources, Site)}
    policies = _of(resources, RoutingPolicy)
    rules = _of(resources, DataResidency)
    keys, accounts = _identities(policies, document.credentials)
    return Epoch(
        number=document.number,
        hash=hash,
        issued_at=document.issued_at,
        max_age=timedelta(seconds=document.max_age_seconds),
        home=document.home,
        endpoints=_endpoints(_of(resources, ModelDeployment), sites, rules),
        apps=_apps(policies),
        api_keys=keys,
        service_accounts=accounts,
        token_issuer=document.token_issuer,
        registrations=tuple(
            _registration(owner, row) for owner in rules for row in owner.spec.registrations or ()
        ),
        floors=tuple(_floor(owner, row) for owner in rules for row in owner.spec.floors or ()),
        rules=tuple(_rule(owner, row) for owner in rules for row in owner.spec.rules or ()),
        grant_keys=document.grant_keys,
        site_cidrs={name: tuple(sorted(site.spec.network.cidrs)) for name, site in sites.items()},
        public_open=document.public == "Open",
        public_reason=document.public_reason,
        packs=document.packs,
        sites={name: _facts(site) for name, site in sites.items()},
        credentials={
            identity.credential: document.credentials[identity.credential]
            for identity in (*keys.values(), *accounts.values())
        },
    )


def source_ref(owner: Resource, row: str = "") -> SourceRef:
    """How decisions name an object, and a row in it."""
    meta = owner.metadata
    return SourceRef(owner.kind, meta.namespace or "", meta.name, meta.uid, meta.generation, row)


def credential_of(namespace: str, client: routing.Client | residency.Credential) -> str:
    """`secret:NAMESPACE/NAME/KEY` or `serviceaccount:NAMESPACE/NAME`."""
    if client.api_key_secret_ref is not None:
        secret = client.api_key_secret_ref
        return f"secret:{namespace}/{secret.name}/{secret.key}"
    assert client.service_account_ref is not None, "the schema wants exactly one reference"
    return f"serviceaccount:{namespace}/{client.service_account_ref.name}"


def proves(credential: str, known: Mapping[str, str]) -> bool:
    """Whether something stands behind a credential: a key that is not empty, an account."""
    return credential in known and known[credential] != _EMPTY_KEY


def price_at(spec: deployment.ModelDeploymentSpec, placement: deployment.Placement) -> Price | None:
    """The price of a placement: its own, else the deployment's; None: unknown."""
    price = placement.price or spec.price
    if price is None:
        return None
    return Price(Decimal(price.input.amount), Decimal(price.output.amount), price.input.currency)


def _resource(source: Mapping[str, Any]) -> Resource:
    kind = _KINDS.get(str(source.get("kind")))
    if kind is None:
        raise MalformedEpochError(f"epoch holds an object of unknown kind `{source.get('kind')}`")
    try:
        resource: Resource = kind.validate_python(source)
    except ValidationError as error:
        name = source.get("metadata", {})
        raise MalformedEpochError(
            f"epoch holds a {source.get('kind')} that this version cannot read: `{name}`"
        ) from error
    return resource


def _of(resources: Sequence[Resource], kind: type[_Kind]) -> tuple[_Kind, ...]:
    found = [resource for resource in resources if isinstance(resource, kind)]
    return tuple(sorted(found, key=lambda resource: resource.key))


def _facts(site: Site) -> SiteFacts:
    where = site.spec.jurisdictions
    return SiteFacts(
        site.spec.scope,
        frozenset(where.processing),
        frozenset(where.storage),
        frozenset(where.control),
    )


def _endpoints(
    deployments: Iterable[ModelDeployment],
    sites: Mapping[str, Site],
    rules: Sequence[DataResidency],
) -> tuple[Endpoint, ...]:
    found: list[Endpoint] = []
    for owner in deployments:
        spec, namespace = owner.spec, owner.metadata.namespace or ""
        for placement in spec.placements:
            site = sites.get(placement.site)
            if site is None:
                continue
            facts = _facts(site)
            found.append(
                Endpoint(
                    namespace=namespace,
                    deployment=owner.metadata.name,
                    site=placement.site,
                    scope=facts.scope,
                    processing=facts.processing,
                    storage=facts.storage,
                    control=facts.control,
                    served_name=placement.provider_model or spec.model.served_name,
                    capabilities=frozenset(spec.offers.capabilities),
                    context_tokens=spec.offers.context_tokens,
                    price=price_at(spec, placement),
                    # its own namespace is always among them: who owns a deployment uses it
                    allowed_tenants=frozenset(spec.allowed_tenants or ()) | {namespace},
                    clearance=_clearance(placement.site, facts.scope, rules),
                    source=source_ref(owner),
                )
            )
    return tuple(sorted(found, key=lambda endpoint: endpoint.name))


def _clearance(site: str, scope: Scope, rules: Sequence[DataResidency]) -> Clearance:
    """The lower of all rows for a site, in each respect; without a row the default.

    TOP is above level 5, so a clearance that ends below 5 does not take TOP either: a higher label
    never reaches more.
    """
    rows = [
        (row, source_ref(owner, f"clearances/{row.name}"))
        for owner in rules
        for row in owner.spec.clearances or ()
        if site in row.sites
    ]
    if not rows:
        return Clearance(DEFAULT_CLEARANCE[scope], accepts_unclassified=False, sources=())
    lowest, by = min(rows, key=lambda entry: entry[0].max_level)
    refusing = [source for row, source in rows if row.unclassified == "Refuse"]
    last = refusing[0] if refusing else by
    return Clearance(
        lowest.max_level,
        accepts_unclassified=not refusing and lowest.max_level == HIGHEST,
        sources=(by,) if last == by else (by, last),
    )


def _identities(
    policies: Iterable[RoutingPolicy], known: Mapping[str, str]
) -> tuple[Mapping[str, ClientIdentity], Mapping[str, ClientIdentity]]:
    keys: list[tuple[str, ClientIdentity]] = []
    accounts: list[tuple[str, ClientIdentity]] = []
    for policy in policies:
        tenant = policy.metadata.namespace or ""
        for client in policy.spec.clients:
            credential = credential_of(tenant, client)
            if not proves(credential, known):
                continue
            identity = ClientIdentity(tenant, client.app, client.name, credential)
            if client.service_account_ref is None:
                keys.append((known[credential], identity))
            else:
                subject = f"system:serviceaccount:{tenant}:{client.service_account_ref.name}"
                accounts.append((subject, identity))
    return _unambiguous(keys), _unambiguous(accounts)


def _unambiguous(entries: Iterable[tuple[str, _Value]]) -> Mapping[str, _Value]:
    found = dict[str, _Value]()
    twice = set[str]()
    for key, value in entries:
        if key in found:
            twice.add(key)
        found[key] = value
    return {key: value for key, value in found.items() if key not in twice}


def _apps(policies: Iterable[RoutingPolicy]) -> Mapping[tuple[str, str], App]:
    owners: dict[tuple[str, str], list[RoutingPolicy]] = {}
    for policy in policies:
        for name in sorted({client.app for client in policy.spec.clients}):
            owners.setdefault((policy.metadata.namespace or "", name), []).append(policy)
    return {key: _app(*key, policies[0]) for key, policies in owners.items() if len(policies) == 1}


def _app(tenant: str, name: str, policy: RoutingPolicy) -> App:
    return App(
        tenant=tenant,
        name=name,
        policy=source_ref(policy),
        models={
            model.name: tuple(dict.fromkeys((t.namespace, t.name) for t in model.targets))
            for model in policy.spec.models
        },
        permits=tuple(
            row
            for row in (_permit(policy, row) for row in policy.spec.permit)
            if row.apps is None or name in row.apps
        ),
        order=policy.spec.order,
    )


def _permit(policy: RoutingPolicy, row: routing.Permit) -> Permit:
    when = row.when
    apps, purposes = (when.apps, when.purposes) if when else (None, None)
    return Permit(
        source=source_ref(policy, f"permit/{row.name}"),
        scopes=frozenset(row.scopes),
        apps=_named(apps),
        at_most=when.level.at_most if when and when.level else None,
        not_in=frozenset(when.categories.not_in if when and when.categories else ()),
        purposes=_named(purposes),
        targets=frozenset((target.namespace, target.name) for target in row.targets),
    )


def _named(values: Sequence[str] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(values)


def _registration(owner: DataResidency, row: residency.Registration) -> Registration:
    return Registration(
        source=source_ref(owner, f"registrations/{row.name}"),
        tenant=row.tenant,
        app=row.app,
        credentials=frozenset(credential_of(row.tenant, client) for client in row.clients),
        floor=row.floor,
        origins=frozenset(row.origins),
        purposes=frozenset(row.purposes),
        expires=row.expires,
    )


def _floor(owner: DataResidency, row: residency.Floor) -> Floor:
    return Floor(
        source=source_ref(owner, f"floors/{row.name}"),
        tenants=frozenset(row.tenants),
        apps=_named(row.apps),
        level=row.level,
    )


def _rule(owner: DataResidency, row: residency.ResidencyRule) -> ResidencyRule:
    when, require = row.applies_to, row.require
    return ResidencyRule(
        source=source_ref(owner, f"rules/{row.name}"),
        at_least=when.level.at_least if when.level else None,
        origins=None if when.origins is None else frozenset(when.origins.has_any),
        categories=None if when.categories is None else frozenset(when.categories.has_any),
        tenants=_named(when.tenants),
        scopes=frozenset(require.scopes),
        processing=_within(require.processing),
        storage=_within(require.storage),
        control=_within(require.control),
    )


def _within(values: Sequence[str]) -> frozenset[str] | None:
    """None where `Any` is the only value; beside others it says nothing, and they hold."""
    named = frozenset(values) - {ANY}
    return named or None
