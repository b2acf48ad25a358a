"""What must not leave? A DataResidency restricts; its registrations are the only lowering.

INVARIANT: tests in `appliesTo` are upward-closed in the label (`atLeast`, `hasAny`): a request
with a higher label never escapes a rule that catches a lower one.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AwareDatetime,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from demarc.api.schema import (
    AllowedJurisdiction,
    ApiModel,
    AtomicList,
    Country,
    DnsLabel,
    Length,
    Level,
    MapList,
    ObjectName,
    Rule,
    SetList,
)
from demarc.api.v1alpha1.common import Category, Conditions, Object, Scope, SecretKeyRef
from demarc.api.v1alpha1.routing_policy import ONE_CREDENTIAL, Purpose, ServiceAccountRef

TIME = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})$"
)
"""RFC 3339, with a zone."""
NOT_A_TIME = "demarc_time"
"""Type of the pydantic error for anything else."""


def _text(value: object) -> object:
    """A time is written as text; numbers and bare dates are refused, not guessed."""
    if isinstance(value, str) and re.fullmatch(TIME, value):
        return value
    if isinstance(value, datetime):  # from Python, not from a manifest
        return value
    raise PydanticCustomError(NOT_A_TIME, "must be a time with a zone")


class _TimePattern:
    """The pattern in the CRD; `_text` is its twin."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(core_schema) | {"pattern": TIME}


# an API server takes an empty text for any pattern and any format: the least length stands alone
Time = Annotated[AwareDatetime, BeforeValidator(_text), _TimePattern(), Length(20, 32)]
MAX_LEVEL = 5
AllowedSet = Annotated[
    tuple[AllowedJurisdiction, ...], Field(min_length=1, max_length=64), SetList()
]


class Floor(ApiModel):
    """A least level for requests of some tenants; it can only raise."""

    name: DnsLabel
    """Name of the row."""
    tenants: Annotated[tuple[DnsLabel, ...], Field(min_length=1, max_length=1024), SetList()]
    """Namespaces it is for."""
    apps: (
        Annotated[tuple[DnsLabel, ...], Field(min_length=1, max_length=1024), SetList()] | None
    ) = None
    """Apps it is for; absent: all apps of these tenants."""
    level: Level
    """Least level of the label, 1 to 5."""


class Credential(ApiModel):
    """A credential by reference, in the tenant's namespace."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (ONE_CREDENTIAL,)

    service_account_ref: ServiceAccountRef | None = None
    """ServiceAccount of the tenant's namespace."""
    api_key_secret_ref: SecretKeyRef | None = None
    """Secret of the tenant's namespace."""


class Registration(ApiModel):
    """A dated, named statement that one app may be below the default floor of 3."""

    name: DnsLabel
    """Name of the row."""
    tenant: DnsLabel
    """Namespace of the app's RoutingPolicy."""
    app: DnsLabel
    """The app."""
    clients: Annotated[tuple[Credential, ...], Field(min_length=1, max_length=64), AtomicList()]
    """Credentials with which the app must call for this registration to count."""
    floor: Level
    """Least level of the app's requests, 1 to 5."""
    origins: Annotated[tuple[Country, ...], Field(min_length=1, max_length=64), SetList()]
    """Jurisdictions whose law attaches to the app's requests."""
    purposes: Annotated[tuple[Purpose, ...], Field(min_length=1, max_length=64), SetList()]
    """What the app is for."""
    expires: Time
    """When the statement ends; from then on the app has the default floor."""


class Clearance(ApiModel):
    """What label the endpoints of some sites may see."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.unclassified == 'Refuse' || self.maxLevel == 5",
            "unclassified Accept needs maxLevel 5: TOP is above every level",
            lambda self: self.unclassified == "Refuse" or self.max_level == MAX_LEVEL,
            at=("unclassified",),
            remedy="set maxLevel to 5, or unclassified to Refuse",
        ),
    )

    name: DnsLabel
    """Name of the row."""
    sites: Annotated[tuple[ObjectName, ...], Field(min_length=1, max_length=256), SetList()]
    """Sites it is for; a site in two rows gets the lower."""
    max_level: Level
    """Highest level, 1 to 5."""
    unclassified: Literal["Accept", "Refuse"]
    """Whether requests that could not be classified (TOP) may go there."""


class AtLeast(ApiModel):
    """Holds for this level and everything above."""

    at_least: Level
    """Lowest level, 1 to 5."""


class HasAnyOrigin(ApiModel):
    """Holds when the label has at least one of these origins."""

    has_any: Annotated[tuple[Country, ...], Field(min_length=1, max_length=64), SetList()]
    """ISO 3166-1 alpha-2 codes."""


class HasAnyCategory(ApiModel):
    """Holds when the label has at least one of these categories."""

    has_any: Annotated[tuple[Category, ...], Field(min_length=1, max_length=32), SetList()]
    """Categories."""


class AppliesTo(ApiModel):
    """Which requests a rule is for; every test that is stated must hold, none means all."""

    level: AtLeast | None = None
    """Lowest level of the label."""
    origins: HasAnyOrigin | None = None
    """Origins of the label."""
    categories: HasAnyCategory | None = None
    """Categories of the label."""
    tenants: (
        Annotated[tuple[DnsLabel, ...], Field(min_length=1, max_length=1024), SetList()] | None
    ) = None
    """Namespaces; absent: all."""


def _any_alone(field: Literal["processing", "storage", "control"]) -> Rule:
    def holds(require: Any) -> bool:
        values: tuple[str, ...] = getattr(require, field)
        return "Any" not in values or len(values) == 1

    return Rule(
        f"!('Any' in self.{field}) || size(self.{field}) == 1",
        f"`Any` must stand alone in {field}: it makes every other value meaningless",
        holds,
        at=(field,),
        remedy="remove `Any`, or everything else",
    )


class Require(ApiModel):
    """What an endpoint must be. The site's set must lie within the list; all four are stated."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        _any_alone("processing"),
        _any_alone("storage"),
        _any_alone("control"),
    )

    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=2), SetList()]
    """Private, Public or both."""
    processing: AllowedSet
    """Where prompts may be computed on; Any is a value."""
    storage: AllowedSet
    """Where prompts and answers may rest; Any is a value."""
    control: AllowedSet
    """Who may be able to compel the operator of the site; Any is a value."""


class ResidencyRule(ApiModel):
    """One restriction; it can only remove endpoints."""

    name: DnsLabel
    """Name of the row."""
    applies_to: AppliesTo
    """Which requests it is for."""
    require: Require
    """What an endpoint must be."""
    legal_basis: (
        Annotated[
            tuple[Annotated[str, StringConstraints(min_length=1, max_length=256)], ...],
            Field(max_length=32),
            SetList(),
        ]
        | None
    ) = None
    """Laws and articles behind the rule."""


class DataResidencySpec(ApiModel):
    """What compliance says."""

    floors: Annotated[tuple[Floor, ...], Field(max_length=256), MapList(("name",))] | None = None
    """Least levels; they can only raise."""
    registrations: (
        Annotated[tuple[Registration, ...], Field(max_length=256), MapList(("name",))] | None
    ) = None
    """Apps that may be below the default floor: the only lowering there is."""
    clearances: (
        Annotated[tuple[Clearance, ...], Field(max_length=256), MapList(("name",))] | None
    ) = None
    """What sites may see; default: Private up to 4, Public up to 2, TOP nowhere."""
    detectors: Annotated[tuple[DnsLabel, ...], Field(max_length=64), SetList()] | None = None
    """Detector packs that must be present; all shipped packs always run."""
    rules: (
        Annotated[tuple[ResidencyRule, ...], Field(max_length=256), MapList(("name",))] | None
    ) = None
    """Restrictions."""


class DataResidencyStatus(ApiModel):
    """What the operator did for a DataResidency."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation that this status speaks of."""
    rules: Annotated[int, Field(ge=0)] | None = None
    """Restrictions that are stated."""
    registrations: Annotated[int, Field(ge=0)] | None = None
    """Apps that are registered."""
    epoch: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Number of the first epoch that holds this generation, as TERM.COUNTER."""
    conditions: Conditions = ()
    """Accepted, Programmed, Ready."""


class DataResidency(Object):
    """What must not leave, and who said so."""

    keeps_unknown_fields: ClassVar[bool] = True

    kind: Literal["DataResidency"]
    """Always DataResidency."""
    spec: DataResidencySpec
    """What compliance says."""
    status: DataResidencyStatus | None = None
    """What the operator did."""
