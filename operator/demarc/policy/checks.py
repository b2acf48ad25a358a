"""What breaks a rule between objects? Conflicts of policies, mixed currencies, broken checks.

Each function gives (policy, sentence) for every policy that breaks its rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from demarc.api.v1alpha1 import RoutingPolicy
from demarc.api.v1alpha1 import routing_policy as routing
from demarc.policy import compilation, label, permission
from demarc.policy.epoch import Endpoint, Epoch
from demarc.policy.label import Label
from demarc.policy.tables import AppTable, Grounds


def conflicts(
    policies: Sequence[RoutingPolicy], credentials: Mapping[str, str]
) -> Iterator[tuple[RoutingPolicy, str]]:
    """Policies that share an app or a credential; two Secrets with one key are one credential."""
    holders: dict[tuple[str, str], list[tuple[RoutingPolicy, str]]] = {}
    for policy in policies:
        tenant = policy.metadata.namespace or ""
        for app in sorted({client.app for client in policy.spec.clients}):
            holders.setdefault(("app", f"{tenant}/{app}"), []).append((policy, f"app `{app}`"))
        for client in policy.spec.clients:
            credential = compilation.credential_of(tenant, client)
            is_key = client.api_key_secret_ref is not None
            behind = credentials.get(credential, credential) if is_key else credential
            what = f"the credential of client `{client.name}`"
            holders.setdefault(("credential", behind), []).append((policy, what))
    for _, group in sorted(holders.items()):
        for index, (policy, what) in enumerate(group):
            others = [other for place, (other, _) in enumerate(group) if place != index]
            if others:
                yield policy, f"{what} is also {_where(policy, others[0])}"


def mixed_currencies(
    policies: Sequence[RoutingPolicy], epoch: Epoch
) -> Iterator[tuple[RoutingPolicy, str]]:
    """Policies with a model whose targets have prices in different currencies."""
    for policy in policies:
        for model in policy.spec.models:
            targets = {(target.namespace, target.name) for target in model.targets}
            found = {
                endpoint.price.currency: endpoint.name
                for endpoint in epoch.endpoints
                if endpoint.target in targets and endpoint.price is not None
            }
            if len(found) > 1:
                prices = ", ".join(f"`{name}` in {code}" for code, name in sorted(found.items()))
                yield policy, f"spec.models[{model.name}]: its targets have prices {prices}"


def broken(
    policies: Sequence[RoutingPolicy], epoch: Epoch, now: datetime
) -> Iterator[tuple[RoutingPolicy, str]]:
    """Policies with a check whose request reaches what it must never reach.

    Ability, health and a closed Public are not looked at: they may be other tomorrow.
    """
    for policy in policies:
        tenant = policy.metadata.namespace or ""
        for check in policy.spec.checks or ():
            table = epoch.tables.apps.get((tenant, check.request.app))
            if table is None:
                continue  # the app is in conflict: the policy is refused for that
            for reached in _reached(policy, check, table, epoch, now):
                yield policy, _sentence(check, table, reached)


@dataclass(frozen=True, slots=True)
class _Reached:
    """An endpoint that a check's request reaches, and how the request started."""

    endpoint: Endpoint
    grounds: Grounds
    label: Label


def _reached(
    policy: RoutingPolicy, check: routing.Check, table: AppTable, epoch: Epoch, now: datetime
) -> Iterator[_Reached]:
    models = table.app.models if check.request.model is None else (check.request.model,)
    targets = {target for model in models for target in table.app.models.get(model, ())}
    for grounds in _grounds(policy, check.request.app, table, now):
        wanted = label_of(check.request, grounds)
        for endpoint in epoch.endpoints:
            if (
                endpoint.scope in check.never_reaches
                and endpoint.target in targets
                and permission.removal(endpoint, epoch, table.app, grounds, wanted) is None
            ):
                yield _Reached(endpoint, grounds, wanted)


def label_of(request: routing.CheckRequest, grounds: Grounds) -> Label:
    """The label of a check's request: like any request's, never below the app's own floor."""
    return label.close(
        max(grounds.floor, request.level or grounds.floor),
        request.categories or (),
        grounds.origins if request.origins is None else request.origins,
    )


def _grounds(policy: RoutingPolicy, app: str, table: AppTable, now: datetime) -> Sequence[Grounds]:
    """What the app's requests can start from: once for each different start."""
    tenant = policy.metadata.namespace or ""
    found: list[Grounds] = []
    for client in policy.spec.clients:
        if client.app == app:
            grounds = table.grounds(compilation.credential_of(tenant, client), now)
            if grounds not in found:
                found.append(grounds)
    return found


def _where(policy: RoutingPolicy, other: RoutingPolicy) -> str:
    if other.key == policy.key:
        return "that of another client of this policy"
    if other.metadata.namespace == policy.metadata.namespace:
        return f"in RoutingPolicy/{other.key}"
    # a tenant is not told whose key it holds
    return "in a RoutingPolicy of another tenant"


def _sentence(check: routing.Check, table: AppTable, reached: _Reached) -> str:
    endpoint, origins = reached.endpoint, ", ".join(sorted(reached.label.origins))
    row = permission.admitting(endpoint, table.app, reached.grounds, reached.label)
    assert row is not None, "an endpoint that nothing removes is named by a row"
    return (
        f"spec.checks[{check.name}]: app `{check.request.app}` with "
        f"{label.describe(reached.label)} and origins {{{origins}}} reaches `{endpoint.name}` "
        f"({endpoint.scope}) by {row.source.row}"
    )
