"""What is asked of policy, and what can it answer? Requests, eligible sets, denials, choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from demarc.api.v1alpha1.common import Capability, Category
from demarc.policy.epoch import ClientIdentity, Endpoint, SourceRef
from demarc.policy.label import Label


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What a detector found: counts and kinds, never text.

    Attributes:
        detector: `PACK/RULE`, for example `cn-financial/bank-card`.
        level: the least level that it raises to.
        count: matches seen.
    """

    detector: str
    level: int
    categories: tuple[Category, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Findings:
    """The outcome of all detectors over one request.

    Attributes:
        failure: empty, or why classification failed (error, time-out, budget): the label is TOP.
    """

    findings: tuple[Finding, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a request needs of a model.

    Attributes:
        prompt_tokens: estimate, ceil(UTF-8 bytes of the body / 3).
        max_tokens: as asked; None when absent (0 for ability, 512 for cost).
    """

    capabilities: frozenset[Capability]
    prompt_tokens: int
    max_tokens: int | None
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One request as policy sees it: no text."""

    caller: ClientIdentity
    model: str
    needs: Needs
    findings: Findings
    raise_to: int = 1
    """Level of the `demarc-level` header, 1 when absent; it can only raise."""


class Layer(StrEnum):
    """Where an endpoint was removed, in the order of the decision."""

    MODEL = "E0"
    LABEL = "E1"
    RESIDENCY = "E2"
    PERMIT = "E3"
    ABILITY = "E4"


@dataclass(frozen=True, slots=True)
class Removal:
    """The first layer and object that removed an endpoint."""

    endpoint: str
    layer: Layer
    source: SourceRef | None
    detail: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """One operand of the label: who raised it and to what; counts and kinds, never text."""

    source: str
    level: int
    categories: tuple[Category, ...]
    count: int = 1


@dataclass(frozen=True, slots=True)
class Judgement:
    """How the label came to be and what removed each endpoint; part of every answer.

    Attributes:
        removals: for the endpoints of the requested model's targets, in the order of their names;
            `explanation` also speaks of the endpoints that the model does not target. A sequence
            that may find its items when it is first read.
        public_closed: empty, or why Public endpoints were closed when this was decided.
    """

    label: Label
    provenance: tuple[Provenance, ...]
    removals: Sequence[Removal]
    public_closed: str = ""


@dataclass(frozen=True, slots=True)
class Eligible:
    """The endpoints that may see the request, sorted by name; never empty.

    Attributes:
        targets: (namespace, name) of the model's targets in the written order.
    """

    endpoints: tuple[Endpoint, ...]
    judgement: Judgement
    targets: tuple[tuple[str, str], ...] = ()


class DenyReason(StrEnum):
    """Why nothing may see the request."""

    MODEL_NOT_FOUND = "model_not_found"
    POLICY_DENIED = "policy_denied"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    UNSUPPORTED_CAPABILITY = "unsupported_capability"


@dataclass(frozen=True, slots=True)
class Deny:
    """No endpoint may see the request; `detail` is one sentence for the caller."""

    reason: DenyReason
    detail: str
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Endpoints may see the request, but none of them is up; `detail` is one sentence."""

    detail: str


@dataclass(frozen=True, slots=True)
class Health:
    """What the agent knows of one endpoint.

    Attributes:
        up: whether it takes requests.
        load: requests in flight, for ties and metrics.
    """

    up: bool
    load: int = 0
