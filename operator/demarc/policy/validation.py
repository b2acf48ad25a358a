"""Which objects are accepted, and why are the others not? Rules that one object cannot answer.

    1 read       manifest -> resource, or its problems
    2 alone      what an object says of itself: not supported yet, unknown detectors, the home site
    3 together   until nothing changes: clients and apps in two policies, mixed currencies, checks
    4 warn       what is valid and has no effect

Rules:
    A refused change is not a removal: the generation that the previous document holds stays in.
    A DataResidency that is refused and was never accepted closes Public: nobody knows what it was
    meant to keep in.
    Rules that concern two policies refuse both; which came first decides nothing.

INVARIANT: the sources of a result compile; the same input gives the same result in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, assert_never

from demarc.api import load
from demarc.api.cluster import DEMARC_KINDS, Manifest, Ref
from demarc.api.problem import Problem
from demarc.api.reasons import AcceptedReason
from demarc.api.v1alpha1 import (
    DataResidency,
    ModelDeployment,
    Resource,
    RoutingPolicy,
    Site,
)
from demarc.policy import checks, compilation, label, warnings
from demarc.policy.document import Document, MalformedEpochError
from demarc.policy.epoch import Epoch, EpochNumber
from demarc.policy.warnings import Warned

_KINDS = {kind.name: kind for kind in DEMARC_KINDS}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one object's current generation.

    Attributes:
        reason: for the condition Accepted.
        message: for people; empty when there is nothing to say.
        problems: what is wrong with the manifest, if it could not be read.
        warnings: what is valid and has no effect.
        in_force: the generation that is compiled; None: none is.
    """

    ref: Ref
    uid: str
    generation: int
    accepted: bool
    reason: AcceptedReason
    message: str
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Warned, ...] = ()
    in_force: int | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """What a new document may hold, and what is to be told about every object.

    Attributes:
        sources: normalised, as `Document.sources`.
        credentials: what the clients of these sources name, of those that exist.
        verdicts: one for each manifest, by address.
    """

    sources: tuple[Mapping[str, Any], ...]
    credentials: Mapping[str, str]
    public: Literal["Open", "Closed"]
    public_reason: str
    verdicts: Mapping[Ref, Verdict]


@dataclass(frozen=True, slots=True)
class _Refusal:
    reason: AcceptedReason
    message: str
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Case:
    """One object while it is judged: its current form, and the one that is compiled so far."""

    ref: Ref
    uid: str
    generation: int
    current: Resource | None
    last: Resource | None
    refusal: _Refusal | None

    @property
    def chosen(self) -> Resource | None:
        return self.current if self.refusal is None else self.last

    def refused(self, refusal: _Refusal) -> _Case:
        return self if self.refusal else replace(self, refusal=refusal)


def judge(
    manifests: Iterable[Manifest],
    *,
    previous: Document | None,
    credentials: Mapping[str, str],
    packs: Mapping[str, str],
    home: str,
    now: datetime,
) -> Judged:
    """Which sources a new document may hold.

    Args:
        manifests: every object of our four kinds, as the API gives them.
        previous: the last signed document; None if there is none, or none that can be read.
        credentials: every credential that exists, as in `Document.credentials`.
        packs: every detector pack that is installed, with its content hash.
        home: name of the InCluster site that the operator was told.
        now: with a zone; registrations may have expired.
    """
    earlier = _earlier(previous)
    cases = sorted(
        (_case(manifest, earlier, packs, home) for manifest in manifests),
        key=lambda case: case.ref,
    )
    while True:
        chosen = [case.chosen for case in cases if case.chosen is not None]
        found = _refusals(chosen, credentials, now)
        judged = [case.refused(found[case.ref]) if case.ref in found else case for case in cases]
        if judged == cases:
            break
        cases = judged
    chosen = [case.chosen for case in cases if case.chosen is not None]
    closing = _closing(cases)
    warned = warnings.find(chosen, credentials, now)
    return Judged(
        sources=normalised(chosen),
        credentials=_named(chosen, credentials),
        public="Closed" if closing else "Open",
        public_reason=closing,
        verdicts={case.ref: _verdict(case, warned) for case in cases},
    )


def normalised(resources: Iterable[Resource]) -> tuple[Mapping[str, Any], ...]:
    """Resources as a document holds them: address, identity and spec; sorted."""
    return tuple(
        _source(resource) for resource in sorted(resources, key=lambda each: (each.kind, each.key))
    )


def trial(resources: Iterable[Resource], credentials: Mapping[str, str], now: datetime) -> Epoch:
    """An epoch of resources that nobody signs: to try checks, or to explain offline."""
    document = Document(
        number=EpochNumber(0, 0),
        issued_at=now,
        max_age_seconds=24 * 3600,
        home="",
        sources=normalised(resources),
        credentials=credentials,
        token_issuer=None,
        grant_keys=(),
        packs={},
        public="Open",
        public_reason="",
    )
    return compilation.compile_epoch(document, hash="")


def _earlier(previous: Document | None) -> Mapping[tuple[Ref, str], Resource]:
    """The previous document by address and uid, as far as this version reads it."""
    found = dict[tuple[Ref, str], Resource]()
    for source in previous.sources if previous else ():
        match load.parse(source):
            case tuple():
                continue
            case resource:
                found[_ref(resource), resource.metadata.uid] = resource
    return found


def _case(
    manifest: Manifest,
    earlier: Mapping[tuple[Ref, str], Resource],
    packs: Mapping[str, str],
    home: str,
) -> _Case:
    match load.parse(manifest):
        case tuple() as problems:
            ref, uid, generation = _address(manifest)
            message = "; ".join(
                f"{problem.field}: {problem.message}"
                + (f": {problem.remedy}" if problem.remedy else "")
                for problem in problems
            )
            refusal = _Refusal(AcceptedReason.INVALID, message, problems)
            return _Case(ref, uid, generation, None, earlier.get((ref, uid)), refusal)
        case resource:
            ref, meta = _ref(resource), resource.metadata
            return _Case(
                ref,
                meta.uid,
                meta.generation,
                resource,
                earlier.get((ref, meta.uid)),
                _alone(resource, packs, home),
            )


def _alone(resource: Resource, packs: Mapping[str, str], home: str) -> _Refusal | None:
    match resource:
        case Site():
            return _site(resource, home)
        case ModelDeployment():
            return _deployment(resource)
        case DataResidency():
            return _residency(resource, packs)
        case RoutingPolicy():
            return None
        case _:
            assert_never(resource)


def _site(site: Site, home: str) -> _Refusal | None:
    if site.spec.connection.type == "Provider":
        return _Refusal(
            AcceptedReason.NOT_SUPPORTED_YET,
            "spec.connection.type: Provider is not implemented yet",
        )
    if site.spec.connection.type == "InCluster" and site.metadata.name != home:
        return _Refusal(
            AcceptedReason.HOME_CONFLICT,
            f"the InCluster site of this operator is `{home}`: name the Site so, or change its "
            "connection",
        )
    return None


def _deployment(owner: ModelDeployment) -> _Refusal | None:
    engine = owner.spec.engine
    if engine is not None and engine.mode == "Engine":
        return _Refusal(
            AcceptedReason.NOT_SUPPORTED_YET,
            "spec.engine.mode: Engine is not implemented yet: use LLMAPI",
        )
    if engine is None or any(row.provider_model is not None for row in owner.spec.placements):
        return _Refusal(
            AcceptedReason.NOT_SUPPORTED_YET,
            "spec.placements: Provider placements are not implemented yet: "
            "state engine and leave providerModel out",
        )
    return None


def _residency(owner: DataResidency, packs: Mapping[str, str]) -> _Refusal | None:
    if unknown := sorted(set(owner.spec.detectors or ()) - set(packs)):
        return _Refusal(
            AcceptedReason.UNKNOWN_DETECTORS,
            f"spec.detectors: {', '.join(f'`{name}`' for name in unknown)} not installed: "
            f"known are {', '.join(sorted(packs)) or 'none'}",
        )
    # Taking such a registration away, or its expiry, would lower the app's label.
    if raising := [
        row.name for row in owner.spec.registrations or () if row.floor > label.DEFAULT_FLOOR
    ]:
        return _Refusal(
            AcceptedReason.INVALID,
            f"spec.registrations[{raising[0]}].floor: a registration only lowers, to at most "
            f"{label.DEFAULT_FLOOR}: raise with a row of floors",
        )
    return None


def _refusals(
    chosen: Sequence[Resource], credentials: Mapping[str, str], now: datetime
) -> Mapping[Ref, _Refusal]:
    """What is wrong with these resources together; an earlier rule speaks first."""
    epoch = trial(chosen, credentials, now)
    policies = [each for each in chosen if isinstance(each, RoutingPolicy)]
    found = dict[Ref, _Refusal]()
    rules: tuple[tuple[AcceptedReason, Iterator[tuple[RoutingPolicy, str]]], ...] = (
        (AcceptedReason.CLIENT_CONFLICT, checks.conflicts(policies, credentials)),
        (AcceptedReason.MIXED_CURRENCY, checks.mixed_currencies(policies, epoch)),
        (AcceptedReason.CHECK_FAILED, checks.broken(policies, epoch, now)),
    )
    for reason, breaches in rules:
        for policy, message in breaches:
            found.setdefault(_ref(policy), _Refusal(reason, message))
    return found


def _closing(cases: Iterable[_Case]) -> str:
    """Why Public closes; empty if it does not."""
    lost = sorted(
        str(case.ref)
        for case in cases
        if case.ref.kind.name == DataResidency.__name__ and case.chosen is None
    )
    if not lost:
        return ""
    verb = "is refused and was" if len(lost) == 1 else "are refused and were"
    return f"{', '.join(lost)} {verb} never accepted"


def _named(chosen: Iterable[Resource], credentials: Mapping[str, str]) -> Mapping[str, str]:
    wanted = {
        compilation.credential_of(policy.metadata.namespace or "", client)
        for policy in chosen
        if isinstance(policy, RoutingPolicy)
        for client in policy.spec.clients
    }
    return {name: credentials[name] for name in sorted(wanted) if name in credentials}


def _verdict(case: _Case, warned: Mapping[Ref, tuple[Warned, ...]]) -> Verdict:
    in_force = None if case.chosen is None else case.chosen.metadata.generation
    if case.refusal is not None:
        return Verdict(
            case.ref,
            case.uid,
            case.generation,
            accepted=False,
            reason=case.refusal.reason,
            message=case.refusal.message,
            problems=case.refusal.problems,
            in_force=in_force,
        )
    found = warned.get(case.ref, ())
    reasons = {each.reason for each in found}
    reason = AcceptedReason.ACCEPTED
    if found:
        reason = found[0].reason if len(reasons) == 1 else AcceptedReason.ACCEPTED_WITH_WARNINGS
    return Verdict(
        case.ref,
        case.uid,
        case.generation,
        accepted=True,
        reason=reason,
        message="; ".join(each.message for each in found),
        warnings=found,
        in_force=in_force,
    )


def _source(resource: Resource) -> Mapping[str, Any]:
    meta = resource.metadata
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": meta.name,
            **({} if meta.namespace is None else {"namespace": meta.namespace}),
            "uid": meta.uid,
            "generation": meta.generation,
        },
        "spec": resource.spec.dump(),
    }


def _ref(resource: Resource) -> Ref:
    meta = resource.metadata
    return Ref(_KINDS[resource.kind], meta.namespace or "", meta.name)


def _address(manifest: Manifest) -> tuple[Ref, str, int]:
    """The address, uid and generation of a manifest that could not be read.

    Raises:
        MalformedEpochError: it is of none of our kinds; the caller lists only those.
    """
    meta = manifest.get("metadata")
    kind = _KINDS.get(str(manifest.get("kind")))
    if kind is None or not isinstance(meta, Mapping):
        raise MalformedEpochError("only objects of demarc.dev are judged")
    generation = meta.get("generation", 0)
    return (
        Ref(kind, str(meta.get("namespace") or ""), str(meta.get("name") or "")),
        str(meta.get("uid") or ""),
        generation if isinstance(generation, int) else 0,
    )
