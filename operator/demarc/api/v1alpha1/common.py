"""Which types do several kinds share? Metadata, money, references, conditions."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from demarc.api.schema import (
    NAME_LIMIT,
    ApiModel,
    CurrencyCode,
    DecimalString,
    DnsLabel,
    DnsSubdomain,
    MapList,
    Rule,
    SecretKey,
)


class Scope(StrEnum):
    """Where an endpoint is seen from the bank; derived from its site, never declared."""

    PRIVATE = "Private"
    PUBLIC = "Public"


class Category(StrEnum):
    """What kind of content a label speaks of; the closed set of the policy model."""

    PI = "PI"
    SPI = "SPI"
    ACCT = "ACCT"
    TXN = "TXN"
    CREDIT = "CREDIT"
    DEPOSIT = "DEPOSIT"
    AML = "AML"
    AUTHN = "AUTHN"
    SAD = "SAD"
    PAN = "PAN"
    BIOMETRIC = "BIOMETRIC"
    MINOR = "MINOR"
    HEALTH = "HEALTH"
    MNPI = "MNPI"
    SECRET = "SECRET"  # noqa: S105  # a category, and no secret
    SRC = "SRC"
    IMPORTANT = "IMPORTANT"
    CORE = "CORE"
    GDPR9 = "GDPR9"


class Capability(StrEnum):
    """What a request may need of a model."""

    CHAT = "Chat"
    TOOLS = "Tools"


class ObjectMeta(ApiModel):
    """The part of Kubernetes metadata that Demarc reads; the rest is kept and not looked at."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
    )

    name: DnsSubdomain
    """Name of the object."""
    namespace: DnsLabel | None = None
    """Namespace; absent for cluster-scoped kinds."""
    uid: str = ""
    """Identity of this very object, given by the API server."""
    generation: Annotated[int, Field(ge=0)] = 0
    """Counts the changes of the spec, given by the API server."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the object."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of the object."""
    deletion_timestamp: str | None = None
    """Set while the object is being deleted."""


class Money(ApiModel):
    """An exact amount of one currency."""

    amount: DecimalString
    """Decimal number as a string, at most nine digits before and after the point."""
    currency: CurrencyCode
    """ISO 4217 code, for example USD."""


class SecretKeyRef(ApiModel):
    """One key of a Secret in the object's own namespace."""

    name: DnsSubdomain
    """Name of the Secret."""
    key: SecretKey
    """Key in the Secret's data."""


class Toleration(ApiModel):
    """A Kubernetes toleration, given to the pods as it is."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            "a toleration without key must have operator Exists",
            lambda self: self.key is not None or self.operator == "Exists",
        ),
        Rule(
            "!has(self.operator) || self.operator != 'Exists' || !has(self.value)",
            "a toleration with operator Exists has no value",
            lambda self: self.operator != "Exists" or self.value is None,
            at=("value",),
            remedy="remove value, or set operator to Equal",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds is only for effect NoExecute",
            lambda self: self.toleration_seconds is None or self.effect == "NoExecute",
            at=("tolerationSeconds",),
        ),
    )

    key: Annotated[str, StringConstraints(max_length=317)] | None = None
    """Taint key; absent matches all keys, with operator Exists."""
    operator: Literal["Exists", "Equal"] | None = None
    """How the value is compared."""
    value: Annotated[str, StringConstraints(max_length=63)] | None = None
    """Taint value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Taint effect; absent matches all effects."""
    toleration_seconds: Annotated[int, Field(strict=True, ge=0, le=604800)] | None = None
    """How long a NoExecute taint is tolerated."""


class Condition(ApiModel):
    """A Kubernetes condition."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=63)]
    """Accepted, Programmed or Ready."""
    status: Literal["True", "False", "Unknown"]
    """Whether the condition holds."""
    reason: Annotated[str, StringConstraints(min_length=1, max_length=63)]
    """A documented code; see the reference of reasons."""
    message: Annotated[str, StringConstraints(max_length=8192)]
    """One sentence for people."""
    observed_generation: Annotated[int, Field(ge=0)]
    """The generation that this condition speaks of."""
    last_transition_time: datetime
    """When `status` last changed."""


Conditions = Annotated[tuple[Condition, ...], Field(max_length=8), MapList(("type",))]


class Object(ApiModel):
    """What every kind has around its spec and status."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "size(self.metadata.name) <= 63",
            "metadata.name must have at most 63 characters",
            lambda self: len(self.metadata.name) <= NAME_LIMIT,
            remedy="choose a shorter name: it becomes a label value of what is made from it",
        ),
    )
    keeps_unknown_fields: ClassVar[bool] = False
    """Whether the API server keeps unknown fields, so that a misspelt restriction is refused."""

    api_version: Literal["demarc.dev/v1alpha1"]
    """API version of the object."""
    metadata: ObjectMeta
    """Standard metadata."""

    @property
    def key(self) -> str:
        """`namespace/name`, or the name alone for cluster-scoped kinds."""
        if self.metadata.namespace is None:
            return self.metadata.name
        return f"{self.metadata.namespace}/{self.metadata.name}"

    def manifest(self) -> dict[str, Any]:
        """The object as a user would write it: no status, nothing that the API server gave."""
        whole = self.dump()
        kept = ("name", "namespace", "labels", "annotations")
        metadata = {key: whole["metadata"][key] for key in kept if whole["metadata"].get(key)}
        return {
            "apiVersion": whole["apiVersion"],
            "kind": whole["kind"],
            "metadata": metadata,
            "spec": whole["spec"],
        }
