"""How does a Python type say what its CRD field looks like? Markers that `crd` reads.

INVARIANT: every rule stands here twice, side by side: in CEL, so that an API server refuses the
object early, and in Python, so that Demarc refuses it always.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from types import UnionType
from typing import Annotated, Any, ClassVar, Self, Union, assert_never, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

RULE = "demarc_rule"
"""Type of the pydantic errors that a broken `Rule` makes; their context holds the remedy."""


@dataclass(frozen=True, slots=True)
class MapList:
    """A list of objects keyed by required scalar fields (`x-kubernetes-list-type: map`).

    Attributes:
        keys: the JSON names of the key fields.
    """

    keys: tuple[str, ...]

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(core_schema) | {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": list(self.keys),
        }


@dataclass(frozen=True, slots=True)
class SetList:
    """A list of scalars without order and without duplicates (`x-kubernetes-list-type: set`)."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(core_schema) | {"x-kubernetes-list-type": "set"}


@dataclass(frozen=True, slots=True)
class AtomicList:
    """A list that one writer owns whole (`x-kubernetes-list-type: atomic`)."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(core_schema) | {"x-kubernetes-list-type": "atomic"}


ListMarker = MapList | SetList | AtomicList


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule over several fields of one object, in CEL and in Python.

    Attributes:
        cel: for the API server; `self` is the object that the rule stands on.
        message: the sentence that a user reads when it is broken.
        holds: the same rule over the Python object.
        at: JSON names from the object to the field to look at; empty: the object itself.
        remedy: what to do about it; empty when the message says it.
        culprits: paths to what breaks the rule, where `at` alone does not tell.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool]
    at: tuple[str, ...] = ()
    remedy: str = ""
    culprits: Callable[[Any], Iterable[tuple[str | int, ...]]] | None = None


@dataclass(frozen=True, slots=True)
class Length:
    """Bounds for the CRD of a string whose pattern implies them, so that Python tests it alone."""

    minimum: int
    maximum: int

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(core_schema) | {"minLength": self.minimum, "maxLength": self.maximum}


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

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The JSON schema of the fields, and the rules in CEL."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        if cls.cel_rules:
            schema["x-kubernetes-validations"] = [
                {"rule": rule.cel, "message": rule.message}
                | ({"fieldPath": "".join(f".{name}" for name in rule.at)} if rule.at else {})
                for rule in cls.cel_rules
            ]
        return schema

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        """All broken rules at once, duplicates in lists included."""
        broken = [*_duplicates(self), *_broken_rules(self)]
        if broken:
            raise ValidationError.from_exception_data(type(self).__name__, broken)
        return self

    def dump(self) -> dict[str, Any]:
        """The object as JSON values, camelCase, absent fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


COUNTRIES = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS
    BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE
    EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM
    HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC
    LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA
    NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
    SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO
    TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
    """.split()  # noqa: SIM905  # one code a line would hide the rest of the file
)
"""ISO 3166-1 alpha-2, https://www.iso.org/iso-3166-country-codes.html, and XK.

A code that nobody has (`UK`, `EU`) would be a rule that catches nobody, so it is refused.
"""


def _country_pattern(codes: Iterable[str]) -> str:
    """All codes as one short pattern, grouped by the first letter: `A[DEF]|B[AB]`."""
    groups = groupby(sorted(codes), key=lambda code: code[0])
    return "|".join(f"{first}[{''.join(code[1] for code in group)}]" for first, group in groups)


_COUNTRY = _country_pattern(COUNTRIES)

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
"""RFC 1123 label: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/"""
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
"""RFC 1123 subdomain, same page."""

DnsLabel = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=DNS_LABEL)]
DnsSubdomain = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)
]
NAME_LIMIT = 63
"""Of a label value, same page: the name of an object stands in the labels of what it makes."""
ObjectName = Annotated[
    str, StringConstraints(min_length=1, max_length=NAME_LIMIT, pattern=DNS_SUBDOMAIN)
]
"""Name of an object of one of the four kinds."""
SECRET_KEY = r"^[-._a-zA-Z0-9]+$"  # noqa: S105  # a pattern, and no secret
SecretKey = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=SECRET_KEY)]
JURISDICTION = f"^({_COUNTRY}|Unknown)$"
Jurisdiction = Annotated[str, StringConstraints(pattern=JURISDICTION), Length(2, 7)]
"""ISO 3166-1 alpha-2, or `Unknown`: the worst value there is."""
ALLOWED_JURISDICTION = f"^({_COUNTRY}|Any)$"
AllowedJurisdiction = Annotated[str, StringConstraints(pattern=ALLOWED_JURISDICTION), Length(2, 3)]
"""ISO 3166-1 alpha-2, or `Any`: no restriction, said aloud."""
COUNTRY = f"^({_COUNTRY})$"
Country = Annotated[str, StringConstraints(pattern=COUNTRY), Length(2, 2)]
"""ISO 3166-1 alpha-2."""
DECIMAL = r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?$"
DecimalString = Annotated[str, StringConstraints(pattern=DECIMAL), Length(1, 19)]
CURRENCY = r"^[A-Z]{3}$"
CurrencyCode = Annotated[str, StringConstraints(pattern=CURRENCY), Length(3, 3)]
"""ISO 4217."""
MEMORY = r"^[1-9][0-9]{0,8}(Mi|Gi|Ti)$"
MemoryQuantity = Annotated[str, StringConstraints(pattern=MEMORY), Length(3, 12)]
LABEL_KEY = r"^([-a-z0-9.]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317, pattern=LABEL_KEY)]
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
LabelValue = Annotated[str, StringConstraints(max_length=63, pattern=LABEL_VALUE)]
Level = Annotated[int, Field(strict=True, ge=1, le=5)]


def integer(minimum: int, maximum: int) -> Any:
    """A bounded integer field that takes no string and no float."""
    return Field(strict=True, ge=minimum, le=maximum)


def list_marker(annotation: Any) -> ListMarker | None:
    """The list marker in a field's annotation, looking through `X | None`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        for extra in get_args(annotation)[1:]:
            if isinstance(extra, ListMarker):
                return extra
        return list_marker(get_args(annotation)[0])
    if origin in (Union, UnionType):
        for member in get_args(annotation):
            if (found := list_marker(member)) is not None:
                return found
    return None


@cache
def unique_lists(model: type[ApiModel]) -> dict[str, MapList | SetList]:
    """The fields of a model that are lists without duplicates, by Python name."""
    found = dict[str, MapList | SetList]()
    for name, field in model.model_fields.items():
        marker = next(
            (extra for extra in field.metadata if isinstance(extra, ListMarker)), None
        ) or list_marker(field.annotation)
        if isinstance(marker, MapList | SetList):
            found[name] = marker
    return found


def _broken(message: str, at: tuple[str | int, ...], remedy: str) -> InitErrorDetails:
    return InitErrorDetails(
        # the text is a value of the template, so that braces in it stay braces
        type=PydanticCustomError(RULE, "{message}", {"message": message, "remedy": remedy}),
        loc=at,
        input=None,
    )


def _broken_rules(model: ApiModel) -> Iterator[InitErrorDetails]:
    for rule in model.cel_rules:
        if not rule.holds(model):
            for path in rule.culprits(model) if rule.culprits else (rule.at,):
                yield _broken(rule.message, path, rule.remedy)


def _duplicates(model: ApiModel) -> Iterator[InitErrorDetails]:
    for name, marker in unique_lists(type(model)).items():
        alias = type(model).model_fields[name].alias or name
        seen = set[object]()
        for index, item in enumerate(getattr(model, name) or ()):
            identity = _identity(item, marker)
            if identity in seen:
                message = f"`{identity}` is listed twice in {alias}"
                yield _broken(message, (alias, index), "remove one of them")
            seen.add(identity)


def _identity(item: Any, marker: MapList | SetList) -> str:
    match marker:
        case SetList():
            return str(item)
        case MapList(keys):
            names = {field.alias: name for name, field in type(item).model_fields.items()}
            return "/".join(str(getattr(item, names[key])) for key in keys)
        case _:
            assert_never(marker)
