"""How does a Python type say what its CRD field looks like? Markers that `crd` reads.

Every rule that is stated here in CEL has a twin in Python: an API server refuses the object early,
Demarc refuses it always.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, ClassVar, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel


@dataclass(frozen=True, slots=True)
class MapList:
    """A list of objects keyed by required scalar fields (`x-kubernetes-list-type: map`).

    Attributes:
        keys: the JSON names of the key fields.
    """

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetList:
    """A list of scalars without order and without duplicates (`x-kubernetes-list-type: set`)."""


@dataclass(frozen=True, slots=True)
class AtomicList:
    """A list that one writer owns whole (`x-kubernetes-list-type: atomic`)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule in CEL and the sentence that a user reads when it is broken."""

    cel: str
    message: str


class ApiModel(BaseModel):
    """The base of every API type: frozen, camelCase outside, unknown fields refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=False,
    )

    cel_rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _lists_hold_no_duplicates(self) -> Self:
        for name, marker in _unique_lists(type(self)).items():
            value = getattr(self, name)
            if value is None:
                continue
            seen = set[object]()
            for item in value:
                identity = item if isinstance(marker, SetList) else _identity(item, marker)
                if identity in seen:
                    shown = identity if isinstance(marker, SetList) else dict(
                        zip(marker.keys, identity, strict=True)
                    )
                    message = f"duplicate entry in `{to_camel(name)}`: `{shown}`"
                    raise ValueError(message)
                seen.add(identity)
        return self

    def dump(self) -> dict[str, Any]:
        """The object as JSON values, camelCase, absent fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
"""RFC 1123 label: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/"""
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
"""RFC 1123 subdomain, same page."""

DnsLabel = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=DNS_LABEL)]
DnsSubdomain = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)
]
SecretKey = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")
]
Jurisdiction = Annotated[
    str, StringConstraints(min_length=2, max_length=7, pattern=r"^([A-Z]{2}|Unknown)$")
]
"""ISO 3166-1 alpha-2, or `Unknown`: the worst value there is."""
AllowedJurisdiction = Annotated[
    str, StringConstraints(min_length=2, max_length=3, pattern=r"^([A-Z]{2}|Any)$")
]
"""ISO 3166-1 alpha-2, or `Any`: no restriction, said aloud."""
Country = Annotated[str, StringConstraints(min_length=2, max_length=2, pattern=r"^[A-Z]{2}$")]
"""ISO 3166-1 alpha-2."""
DecimalString = Annotated[
    str,
    StringConstraints(min_length=1, max_length=19, pattern=r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?$"),
]
CurrencyCode = Annotated[
    str, StringConstraints(min_length=3, max_length=3, pattern=r"^[A-Z]{3}$")
]
"""ISO 4217."""
MemoryQuantity = Annotated[
    str, StringConstraints(min_length=2, max_length=12, pattern=r"^[1-9][0-9]{0,8}(Mi|Gi|Ti)$")
]
LabelKey = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=317, pattern=r"^([-a-z0-9.]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
    ),
]
LabelValue = Annotated[
    str, StringConstraints(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")
]
Level = Annotated[int, Field(strict=True, ge=1, le=5)]


def integer(minimum: int, maximum: int) -> Any:
    """A bounded integer field that takes no string and no float."""
    return Field(strict=True, ge=minimum, le=maximum)


def list_marker(annotation: Any) -> MapList | SetList | AtomicList | None:
    """The list marker in a field's annotation, looking through `X | None`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        for extra in get_args(annotation)[1:]:
            if isinstance(extra, MapList | SetList | AtomicList):
                return extra
        return list_marker(get_args(annotation)[0])
    if origin in (Union, UnionType):
        for member in get_args(annotation):
            if (found := list_marker(member)) is not None:
                return found
    return None


@cache
def _unique_lists(model: type[ApiModel]) -> dict[str, MapList | SetList]:
    found = dict[str, MapList | SetList]()
    for name, field in model.model_fields.items():
        marker = next(
            (extra for extra in field.metadata if isinstance(extra, MapList | SetList)), None
        ) or list_marker(field.annotation)
        if isinstance(marker, MapList | SetList):
            found[name] = marker
    return found


def _identity(item: Any, marker: MapList) -> tuple[object, ...]:
    dumped = item.model_dump(mode="json", by_alias=True)
    return tuple(dumped.get(key) for key in marker.keys)
