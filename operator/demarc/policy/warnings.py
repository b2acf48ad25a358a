"""What is valid and has no effect? Names that lead nowhere and statements that do not count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from demarc.api.cluster import DATA_RESIDENCY, MODEL_DEPLOYMENT, ROUTING_POLICY, SITE, Ref
from demarc.api.reasons import AcceptedReason
from demarc.api.v1alpha1 import DataResidency, ModelDeployment, Resource, RoutingPolicy, Site
from demarc.api.v1alpha1.data_residency import Registration
from demarc.policy import compilation


@dataclass(frozen=True, slots=True)
class Warned:
    """One part of an accepted object that has no effect, in a sentence without a full stop."""

    reason: AcceptedReason
    message: str


def find(
    resources: Sequence[Resource], credentials: Mapping[str, str], now: datetime
) -> Mapping[Ref, tuple[Warned, ...]]:
    """Every warning about resources that stand together, by object.

    Args:
        resources: what is compiled.
        credentials: every credential that exists.
        now: with a zone.
    """
    sites = {each.metadata.name for each in resources if isinstance(each, Site)}
    deployments = {
        (each.metadata.namespace or "", each.metadata.name): each
        for each in resources
        if isinstance(each, ModelDeployment)
    }
    policies = [each for each in resources if isinstance(each, RoutingPolicy)]
    owners = [each for each in resources if isinstance(each, DataResidency)]
    clients = _clients(policies)
    registered = _registered(owners)
    found = dict[Ref, tuple[Warned, ...]]()
    for (namespace, name), deployment in deployments.items():
        found[Ref(MODEL_DEPLOYMENT, namespace, name)] = tuple(_of_deployment(deployment, sites))
    for policy in policies:
        ref = Ref(ROUTING_POLICY, policy.metadata.namespace or "", policy.metadata.name)
        found[ref] = tuple(_of_policy(policy, deployments, credentials))
    for site in _without_home(resources):
        found[Ref(SITE, "", site.metadata.name)] = (
            Warned(
                AcceptedReason.HOME_NOT_FOUND,
                "no accepted Site is InCluster: the gateways' network is not known, so that no "
                "request can leave",
            ),
        )
    for owner in owners:
        ref = Ref(DATA_RESIDENCY, "", owner.metadata.name)
        found[ref] = tuple(_of_residency(owner, sites, clients, registered, now))
    return {ref: warned for ref, warned in found.items() if warned}


def _without_home(resources: Sequence[Resource]) -> Sequence[Site]:
    """The remote sites, if none of the sites is this cluster."""
    sites = [each for each in resources if isinstance(each, Site)]
    if any(site.spec.connection.type == "InCluster" for site in sites):
        return ()
    return sites


def _clients(policies: Iterable[RoutingPolicy]) -> Mapping[tuple[str, str], frozenset[str]]:
    """Credentials by (tenant, app)."""
    found: dict[tuple[str, str], set[str]] = {}
    for policy in policies:
        tenant = policy.metadata.namespace or ""
        for client in policy.spec.clients:
            credential = compilation.credential_of(tenant, client)
            found.setdefault((tenant, client.app), set()).add(credential)
    return {key: frozenset(values) for key, values in found.items()}


def _registered(owners: Iterable[DataResidency]) -> Mapping[tuple[str, str], Sequence[str]]:
    """Where each (tenant, app) is registered, as `OWNER/ROW`."""
    found: dict[tuple[str, str], list[str]] = {}
    for owner in owners:
        for row in owner.spec.registrations or ():
            place = f"DataResidency/{owner.metadata.name} registrations/{row.name}"
            found.setdefault((row.tenant, row.app), []).append(place)
    return found


def _of_deployment(deployment: ModelDeployment, sites: set[str]) -> Iterator[Warned]:
    for row in deployment.spec.placements:
        if row.site not in sites:
            yield Warned(
                AcceptedReason.SITE_NOT_FOUND,
                f"spec.placements[{row.site}]: no accepted Site has that name",
            )


def _of_policy(
    policy: RoutingPolicy,
    deployments: Mapping[tuple[str, str], ModelDeployment],
    credentials: Mapping[str, str],
) -> Iterator[Warned]:
    tenant = policy.metadata.namespace or ""
    for client in policy.spec.clients:
        credential = compilation.credential_of(tenant, client)
        if not compilation.proves(credential, credentials):
            yield Warned(
                AcceptedReason.CLIENT_NOT_FOUND,
                f"spec.clients[{client.name}]: {_credential(credential)} is missing or empty: "
                "the client proves nothing",
            )
    targets = [target for model in policy.spec.models for target in model.targets]
    targets += [target for row in policy.spec.permit for target in row.targets]
    named = {(target.namespace, target.name) for target in targets}
    for namespace, name in sorted(named):
        owner = deployments.get((namespace, name))
        if owner is None:
            yield Warned(
                AcceptedReason.TARGET_NOT_FOUND,
                f"target `{namespace}/{name}` is no accepted ModelDeployment",
            )
        elif tenant not in {namespace, *(owner.spec.allowed_tenants or ())}:
            yield Warned(
                AcceptedReason.TARGET_NOT_ALLOWED,
                f"target `{namespace}/{name}` does not allow tenant `{tenant}`",
            )


def _of_residency(
    owner: DataResidency,
    sites: set[str],
    clients: Mapping[tuple[str, str], frozenset[str]],
    registered: Mapping[tuple[str, str], Sequence[str]],
    now: datetime,
) -> Iterator[Warned]:
    for clearance in owner.spec.clearances or ():
        for site in clearance.sites:
            if site not in sites:
                yield Warned(
                    AcceptedReason.SITE_NOT_FOUND,
                    f"spec.clearances[{clearance.name}]: no accepted Site is named `{site}`",
                )
    for row in owner.spec.registrations or ():
        yield from _of_registration(owner, row, clients, registered, now)


def _of_registration(
    owner: DataResidency,
    row: Registration,
    clients: Mapping[tuple[str, str], frozenset[str]],
    registered: Mapping[tuple[str, str], Sequence[str]],
    now: datetime,
) -> Iterator[Warned]:
    field = f"spec.registrations[{row.name}]"
    mine = f"DataResidency/{owner.metadata.name} registrations/{row.name}"
    others = [place for place in registered[row.tenant, row.app] if place != mine]
    if others:
        yield Warned(
            AcceptedReason.REGISTRATION_CONFLICT,
            f"{field}: {others[0]} also speaks for app `{row.tenant}/{row.app}`: neither counts",
        )
    if now >= row.expires:
        yield Warned(AcceptedReason.REGISTRATION_EXPIRED, f"{field}: it has ended")
    known = clients.get((row.tenant, row.app))
    if known is None:
        yield Warned(
            AcceptedReason.REGISTRATION_UNUSED,
            f"{field}: no accepted RoutingPolicy of `{row.tenant}` declares app `{row.app}`",
        )
        return
    for client in row.clients:
        credential = compilation.credential_of(row.tenant, client)
        if credential not in known:
            yield Warned(
                AcceptedReason.REGISTRATION_UNUSED,
                f"{field}: {_credential(credential)} is no client of app `{row.app}`",
            )


def _credential(credential: str) -> str:
    """`secret:a/b/c` as people write it; a name, never the key itself."""
    kind, _, name = credential.partition(":")
    return f"{'Secret' if kind == 'secret' else 'ServiceAccount'} `{name}`"
