"""Which endpoints may see this request? A set, without order, that nothing later can add to.

    E0  endpoints of the model's targets
    E1  label <= clearance; a sensitive label: Private only; Public closed: Private only
    E2  every residency rule that applies holds
    E3  the deployment allows the tenant, and a permit row of the app's policy names the endpoint
    E4  the endpoint can do what the request needs

INVARIANT: `permit` is total: it raises for no request, and an unknown value has the strictest
meaning.
INVARIANT: an endpoint that `removal` names a reason for is in no Eligible. `permit` decides on the
masks of `tables`, `removal` on the written rows; tests hold them equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import overload

from demarc.api.v1alpha1.common import Scope
from demarc.policy import label as labels
from demarc.policy import tables
from demarc.policy.decision import (
    Deny,
    DenyReason,
    Eligible,
    Finding,
    Judgement,
    Layer,
    Needs,
    Provenance,
    Removal,
    Request,
)
from demarc.policy.epoch import App, Endpoint, Epoch, Permit, ResidencyRule
from demarc.policy.label import TOP, Label
from demarc.policy.tables import Grounds


def permit(request: Request, epoch: Epoch, now: datetime) -> Eligible | Deny:
    """The endpoints that may see a request at `now`.

    Args:
        request: what is asked; no text.
        epoch: the policy in force, or its `closed` view while Public is closed.
        now: with a zone; decides whether a registration has expired.
    """
    table = epoch.tables.apps.get((request.caller.tenant, request.caller.app))
    if table is None:
        return Deny(
            DenyReason.POLICY_DENIED,
            f"app `{request.caller.app}` is in no RoutingPolicy of `{request.caller.tenant}`",
            Judgement(labels.close(TOP, (), labels.ALL_ORIGINS), (), ()),
        )
    grounds = table.grounds(request.caller.credential, now)
    label = _label(request, grounds)
    model = table.models.get(request.model)
    if model is None:
        return Deny(
            DenyReason.MODEL_NOT_FOUND,
            f"model `{request.model}` is not in {table.app.policy}",
            Judgement(label, _provenance(request, grounds), ()),
        )
    permitted = permitted_mask(epoch, grounds, label) & model.mask
    able = permitted & able_mask(epoch, request.needs)
    judgement = Judgement(
        label,
        _provenance(request, grounds),
        Removals(epoch, table.app, grounds, label, request.needs, model.mask & ~able),
        "" if epoch.public_open else epoch.public_reason or "the epoch closes it",
    )
    if able:
        return Eligible(model.members(able), judgement, model.targets)
    if not permitted:
        return Deny(DenyReason.POLICY_DENIED, _denied(request.model, label, judgement), judgement)
    return _unable(request, epoch, permitted, judgement)


def label_of(request: Request, epoch: Epoch, now: datetime) -> tuple[Label, tuple[Provenance, ...]]:
    """The label of a request at `now`, and who raised it to what.

    An app that no policy declares has the label TOP: nothing is known of it.
    """
    table = epoch.tables.apps.get((request.caller.tenant, request.caller.app))
    if table is None:
        return labels.close(TOP, (), labels.ALL_ORIGINS), ()
    grounds = table.grounds(request.caller.credential, now)
    return _label(request, grounds), _provenance(request, grounds)


def cleared_mask(epoch: Epoch, grounds: Grounds, label: Label) -> int:
    """The endpoints that E1 and E2 leave, as a mask over `epoch.tables.endpoints`.

    Args:
        epoch: holds the bit order, and whether Public is open.
        grounds: what the request starts from; `label` is at least that.
        label: of the request.
    """
    mask = grounds.cleared[label.level]
    if label.categories:
        if labels.is_sensitive(label):
            mask &= epoch.tables.private
        for cut in grounds.cuts:
            if label.level >= cut.at_least and not cut.categories.isdisjoint(label.categories):
                mask &= cut.mask
    return mask if epoch.public_open else mask & epoch.tables.private


def permitted_mask(epoch: Epoch, grounds: Grounds, label: Label) -> int:
    """The endpoints of all models that E1 to E3 leave; arguments as in `cleared_mask`."""
    permitted = grounds.permitted[label.level]
    for row in grounds.category_permits:
        if label.level <= row.at_most and row.not_in.isdisjoint(label.categories):
            permitted |= row.mask
    return permitted and permitted & cleared_mask(epoch, grounds, label)


def able_mask(epoch: Epoch, needs: Needs) -> int:
    """The endpoints that can do what a request needs (E4)."""
    mask = epoch.tables.with_context(needs.prompt_tokens + (needs.max_tokens or 0))
    for capability in needs.capabilities:
        mask &= epoch.tables.able.get(capability, 0)
    return mask


def removal(
    endpoint: Endpoint, epoch: Epoch, app: App, grounds: Grounds, label: Label
) -> Removal | None:
    """The first layer of E1 to E3, and the object, that removes an endpoint; None: it stays.

    Reads the written rows and no mask. Within a layer objects are asked in the order of the epoch.
    """
    if found := barrier(endpoint, epoch, app.tenant, label):
        return found
    if app.tenant not in endpoint.allowed_tenants:
        return Removal(
            endpoint.name,
            Layer.PERMIT,
            endpoint.source,
            f"the deployment does not allow tenant `{app.tenant}`",
        )
    if admitting(endpoint, app, grounds, label) is None:
        return Removal(
            endpoint.name,
            Layer.PERMIT,
            app.policy,
            f"no permit row names it for app `{app.name}` at {labels.describe(label)}",
        )
    return None


def barrier(endpoint: Endpoint, epoch: Epoch, tenant: str, label: Label) -> Removal | None:
    """What of E1 and E2 removes an endpoint for a tenant's requests; None: nothing."""
    if found := _removed_by_label(endpoint, epoch, label):
        return found
    for rule in epoch.rules:
        if _applies(rule, tenant, label) and not tables.satisfies(endpoint, rule):
            return Removal(endpoint.name, Layer.RESIDENCY, rule.source, _breach(endpoint, rule))
    return None


def inability(endpoint: Endpoint, needs: Needs) -> Removal | None:
    """Why an endpoint cannot do what a request needs (E4); None: it can."""
    if lacking := sorted(needs.capabilities - endpoint.capabilities):
        return Removal(
            endpoint.name, Layer.ABILITY, endpoint.source, f"does not offer {', '.join(lacking)}"
        )
    wanted = needs.prompt_tokens + (needs.max_tokens or 0)
    if wanted > endpoint.context_tokens:
        return Removal(
            endpoint.name,
            Layer.ABILITY,
            endpoint.source,
            f"needs {wanted} tokens, its context holds {endpoint.context_tokens}",
        )
    return None


def admitting(endpoint: Endpoint, app: App, grounds: Grounds, label: Label) -> Permit | None:
    """The first permit row that names an endpoint for a request; None: none does."""
    for row in app.permits:
        if (
            tables.names(row, endpoint, app.tenant)
            and tables.is_for(row, app.name, grounds.purposes)
            and (row.at_most is None or label.level <= row.at_most)
            and row.not_in.isdisjoint(label.categories)
        ):
            return row
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Removals(Sequence[Removal]):
    """What removed each endpoint of a decision; found from the written rows when it is read.

    The decision itself needs none of it, so a request pays for it only where it is recorded or
    explained.
    """

    epoch: Epoch
    app: App
    grounds: Grounds
    label: Label
    needs: Needs
    removed: int

    def __iter__(self) -> Iterator[Removal]:
        found = (
            removal(each, self.epoch, self.app, self.grounds, self.label)
            or inability(each, self.needs)
            for each in self.epoch.tables.members(self.removed)
        )
        return filter(None, found)

    def __len__(self) -> int:
        return self.removed.bit_count()

    @overload
    def __getitem__(self, index: int) -> Removal: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Removal, ...]: ...
    def __getitem__(self, index: int | slice) -> Removal | tuple[Removal, ...]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


def _label(request: Request, grounds: Grounds) -> Label:
    findings = request.findings
    level = max(grounds.floor, _known(request.raise_to))
    for found in findings.findings:
        level = max(level, _known(found.level))
    if findings.failure:
        level = TOP
    categories = [category for found in findings.findings for category in found.categories]
    return labels.close(level, categories, grounds.origins) if categories else grounds.labels[level]


def _known(level: int) -> int:
    """A level outside the lattice is a fault of whoever gave it: the strictest one."""
    return level if 1 <= level <= TOP else TOP


def _provenance(request: Request, grounds: Grounds) -> tuple[Provenance, ...]:
    operands = [Provenance(source, level, ()) for source, level in grounds.starts]
    operands += [_operand(found) for found in request.findings.findings]
    if request.findings.failure:
        operands.append(Provenance(f"detection failed: {request.findings.failure}", TOP, ()))
    if request.raise_to != 1:
        operands.append(Provenance("header demarc-level", _known(request.raise_to), ()))
    return tuple(operands)


def _operand(found: Finding) -> Provenance:
    return Provenance(
        f"detector {found.detector}", _known(found.level), found.categories, found.count
    )


def _removed_by_label(endpoint: Endpoint, epoch: Epoch, label: Label) -> Removal | None:
    clearance = endpoint.clearance
    if label.level == TOP and not clearance.accepts_unclassified:
        source = clearance.sources[-1] if clearance.sources else None
        return Removal(
            endpoint.name, Layer.LABEL, source, "it may not see what could not be classified"
        )
    if TOP > label.level > clearance.max_level:
        source = clearance.sources[0] if clearance.sources else None
        return Removal(
            endpoint.name,
            Layer.LABEL,
            source,
            f"level {label.level} is above its clearance {clearance.max_level}",
        )
    if endpoint.scope is not Scope.PRIVATE and labels.is_sensitive(label):
        return Removal(
            endpoint.name, Layer.LABEL, None, "a sensitive label reaches only Private endpoints"
        )
    if endpoint.scope is not Scope.PRIVATE and not epoch.public_open:
        return Removal(endpoint.name, Layer.LABEL, None, f"Public is closed: {epoch.public_reason}")
    return None


def _applies(rule: ResidencyRule, tenant: str, label: Label) -> bool:
    return (
        tables.concerns(rule, tenant, label.origins)
        and (rule.at_least is None or label.level >= rule.at_least)
        and (rule.categories is None or not rule.categories.isdisjoint(label.categories))
    )


def _breach(endpoint: Endpoint, rule: ResidencyRule) -> str:
    if endpoint.scope not in rule.scopes:
        return f"it is {endpoint.scope}, the rule requires {' or '.join(sorted(rule.scopes))}"
    for sense, has, within in (
        ("processing", endpoint.processing, rule.processing),
        ("storage", endpoint.storage, rule.storage),
    ):
        if within is not None and not has <= within:
            return f"{sense} {_set(has)} is not within {_set(within)}"
    return f"control {_set(endpoint.control)} is not within {_set(rule.control or frozenset())}"


def _set(values: frozenset[str]) -> str:
    return "{" + ", ".join(sorted(values)) + "}"


def _denied(model: str, label: Label, judgement: Judgement) -> str:
    removals = tuple(judgement.removals)
    if not removals:
        return f"no endpoint serves model `{model}`"
    first = removals[0]
    because = f"{first.detail} ({first.source})" if first.source else first.detail
    others = f", and {len(removals) - 1} more" if len(removals) > 1 else ""
    return (
        f"no endpoint of model `{model}` may see a request with {labels.describe(label)}: "
        f"{first.endpoint}: {because}{others}"
    )


def _unable(request: Request, epoch: Epoch, permitted: int, judgement: Judgement) -> Deny:
    capable = permitted
    for capability in request.needs.capabilities:
        capable &= epoch.tables.able.get(capability, 0)
    if not capable:
        wanted = ", ".join(sorted(request.needs.capabilities))
        return Deny(
            DenyReason.UNSUPPORTED_CAPABILITY,
            f"no endpoint of model `{request.model}` that may see this request offers {wanted}",
            judgement,
        )
    largest = max(endpoint.context_tokens for endpoint in epoch.tables.members(capable))
    needs = request.needs
    return Deny(
        DenyReason.CONTEXT_LENGTH_EXCEEDED,
        f"the request needs about {needs.prompt_tokens} tokens and {needs.max_tokens or 0} for "
        f"the answer; the largest context of model `{request.model}` for it is {largest}",
        judgement,
    )
