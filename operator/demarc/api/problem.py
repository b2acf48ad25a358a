"""What is wrong with an object, in words that help? Problems, made from pydantic's errors.

A problem names the field as people write it, lists keyed: `spec.permit[inside].when.level.atMost`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from demarc.api import schema
from demarc.api.v1alpha1 import data_residency, model_deployment, routing_policy, site

Path: TypeAlias = tuple[str | int, ...]

_SHOWN = 60
"""Characters of a value that a problem shows."""
_HOW_MANY = 12
"""Names that a remedy lists."""
_KEY_FIELDS = ("namespace", "name")

_CODE = "the two-letter code of a country (ISO 3166-1)"
_NAME = "lower-case letters, digits and `-`, with a letter or digit at both ends"
_NAMES = f"{_NAME}, in parts joined by `.`"
_LABEL = "letters, digits, `-`, `_` and `.`, with a letter or digit at both ends"

PATTERN_WORDS: Mapping[str, str] = {
    schema.DNS_LABEL: _NAME,
    schema.DNS_SUBDOMAIN: _NAMES,
    schema.SECRET_KEY: "letters, digits, `-`, `_` and `.`",
    schema.JURISDICTION: f"{_CODE}, or Unknown",
    schema.ALLOWED_JURISDICTION: f"{_CODE}, or Any",
    schema.COUNTRY: _CODE,
    schema.DECIMAL: 'a decimal number in quotes, for example "0.70"',
    schema.CURRENCY: "the three-letter code of a currency (ISO 4217), for example USD",
    schema.MEMORY: "a whole number with Mi, Gi or Ti, for example 80Gi",
    schema.LABEL_KEY: f"a label key: {_LABEL}; before it, if need be, a domain and `/`",
    schema.LABEL_VALUE: f"a label value: {_LABEL}, or nothing",
    site.CIDR: "an IPv4 network with 8 to 32 bits of prefix, for example 10.244.0.0/16",
    site.PRODUCT: _LABEL,
    site.RESOURCE: "an extended resource, for example nvidia.com/gpu",
    model_deployment.SOURCE: "pvc://CLAIM/PATH, for example pvc://models/glm-4.5-air",
    model_deployment.DIGEST: "sha256: and 64 lower-case hexadecimal digits",
    model_deployment.MODEL_NAME: (
        "letters, digits, `-`, `.`, `_`, `/` and `:`, with a letter or digit at both ends"
    ),
    model_deployment.IMAGE: "a container image, for example registry/path:tag or @sha256:DIGEST",
    routing_policy.PURPOSE: "a word in letters and digits that begins with a capital letter",
    data_residency.TIME: "a time with a zone, for example 2027-06-30T00:00:00Z",
}
"""What a value must be, for each pattern; completes `must be`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with one object.

    Attributes:
        file: as it was given; empty for an object from an API.
        kind: kind of the object, as far as it is known.
        name: `namespace/name`, or the name alone; empty when it is not known.
        field: path in JSON names, lists keyed; empty for the whole object.
        value: what is there, shortened; empty when absent, when it is no scalar, or secret.
        message: what is wrong, as a clause.
        remedy: what repairs it; empty when the message says it.
        line: from 1; 0 when it is not known.
        column: from 1; 0 when it is not known.
    """

    file: str
    kind: str
    name: str
    field: str
    value: str
    message: str
    remedy: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """One line: where, what, and what to do."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        thing = " ".join(part for part in (self.kind, self.name) if part)
        parts = [part for part in (place, thing, self.field, self.message) if part]
        return ": ".join(parts) + (f": {self.remedy}" if self.remedy else "")


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem before its object and its place are known."""

    path: Path
    value: str
    message: str
    remedy: str = ""


def findings(error: ValidationError, model: type[BaseModel]) -> tuple[Finding, ...]:
    """What pydantic found wrong with JSON data, in our words.

    A list of which no item is valid counts as empty to pydantic; only the items are reported.
    """
    details = error.errors(include_url=False)
    above = {tuple(each["loc"][:length]) for each in details for length in range(len(each["loc"]))}
    return tuple(
        _finding(each, model)
        for each in details
        if each["type"] != "too_short" or each["loc"] not in above
    )


def field_name(path: Path, data: Any) -> str:
    """The path as people write it; list items are named by their key where they have one."""
    parts = list[str]()
    for step in path:
        if isinstance(step, int):
            data = data[step] if isinstance(data, Sequence) and step < len(data) else None
            parts.append(f"[{_key(data) or step}]")
        else:
            data = data.get(step) if isinstance(data, Mapping) else None
            if not step.isalnum():
                parts.append(f"[{shown(step)}]")
            else:
                parts.append(f".{step}" if parts else step)
    return "".join(parts)


def shown(value: object) -> str:
    """A scalar as YAML would write it, shortened; nothing for anything else."""
    match value:
        case True | False:
            text = str(value).lower()
        case str() | int() | float():
            text = str(value)
        case _:
            return ""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def suggestion(word: str, known: Sequence[str]) -> str:
    """`did you mean ...?`, or the known words, or nothing if they are many."""
    folded = {_fold(each): each for each in known}
    close = difflib.get_close_matches(_fold(word), folded, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{folded[close[0]]}`?"
    return f"known are {', '.join(known)}" if 0 < len(known) <= _HOW_MANY else ""


def _fold(word: str) -> str:
    return word.replace("_", "").replace("-", "").lower()


def _key(item: object) -> str:
    if not isinstance(item, Mapping):
        return ""
    if isinstance(item.get("site"), str) and "name" not in item:
        return shown(item["site"])
    return "/".join(shown(item[key]) for key in _KEY_FIELDS if isinstance(item.get(key), str))


@dataclass(frozen=True, slots=True)
class _Case:
    """One error of pydantic, and what the words about it need."""

    model: type[BaseModel]
    path: Path
    value: object
    context: Mapping[str, Any]

    @property
    def text(self) -> str:
        return shown(self.value)

    @property
    def but(self) -> str:
        if self.value == "":
            return ", not an empty text"
        return f", not `{self.text}`" if self.text else ""


Words: TypeAlias = tuple[str, str]
"""Message and remedy."""


def _finding(details: ErrorDetails, model: type[BaseModel]) -> Finding:
    path = tuple(step for step in details["loc"] if step != "[key]")
    kind = details["type"]
    case = _Case(model, path, details["input"], details.get("ctx", {}))
    if kind.startswith(("datetime", "timezone")):
        return Finding(path, case.text, f"must be a time that exists{case.but}")
    if kind in _WORDS:
        return Finding(path, "" if kind in _NO_VALUE else case.text, *_WORDS[kind](case))
    return Finding(path, case.text, details["msg"][0].lower() + details["msg"][1:])


def _rule(case: _Case) -> Words:
    return str(case.context["message"]), str(case.context["remedy"])


def _unknown_field(case: _Case) -> Words:
    *parent, name = case.path
    return "there is no such field", _field_hint(case.model, tuple(parent), str(name))


def _choice(case: _Case) -> Words:
    known = _choices(str(case.context["expected"]))
    hint = suggestion(case.text, known)
    return f"must be one of {', '.join(known)}{case.but}", hint if hint.startswith("did") else ""


def _pattern(case: _Case) -> Words:
    words = PATTERN_WORDS[case.context["pattern"]]
    return f"must be {words}{case.but}", _code_hint(case.text, str(case.context["pattern"]))


def _text(case: _Case) -> Words:
    return f"must be text, not {_form(case.value)}", "write it in quotes" if case.text else ""


def _number(case: _Case) -> Words:
    remedy = "write it without quotes" if case.text.lstrip("-").isdecimal() else ""
    return f"must be a whole number, not {_form(case.value)}", remedy


def _list(case: _Case) -> Words:
    return f"must be a list, not {_form(case.value)}", _list_hint(case.value)


def _too_short(unit: str) -> Callable[[_Case], Words]:
    def words(case: _Case) -> Words:
        least = case.context["min_length"]
        return ("must not be empty" if least == 1 else f"must have at least {least} {unit}"), ""

    return words


_NO_VALUE = frozenset({schema.RULE, "missing", "extra_forbidden"})
_WORDS: Mapping[str, Callable[[_Case], Words]] = {
    schema.RULE: _rule,
    "missing": lambda _: ("is missing and must be stated", ""),
    "extra_forbidden": _unknown_field,
    "literal_error": _choice,
    "enum": _choice,
    "string_pattern_mismatch": _pattern,
    data_residency.NOT_A_TIME: lambda case: (
        f"must be {PATTERN_WORDS[data_residency.TIME]}{case.but}",
        "",
    ),
    "string_type": _text,
    "int_type": _number,
    "string_too_short": _too_short("characters"),
    "too_short": _too_short("entries"),
    "string_too_long": lambda case: (
        f"must have at most {case.context['max_length']} characters{case.but}",
        "",
    ),
    "too_long": lambda case: (f"must hold at most {case.context['max_length']} entries", ""),
    "greater_than_equal": lambda case: (f"must be at least {case.context['ge']}{case.but}", ""),
    "less_than_equal": lambda case: (f"must be at most {case.context['le']}{case.but}", ""),
    "tuple_type": _list,
    "model_type": lambda case: (f"must hold fields, not {_form(case.value)}", ""),
    "dict_type": lambda case: (f"must hold fields, not {_form(case.value)}", ""),
}


def _form(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case Mapping():
            return "fields"
        case list() | tuple():
            return "a list"
        case True | False:
            return f"`{shown(value)}`, which is true or false"
        case str():
            return f"the text `{shown(value)}`" if value else "an empty text"
        case _:
            return f"the number `{shown(value)}`"


def _list_hint(value: object) -> str:
    match value:
        case str() | int():
            return f"write [{shown(value)}]"
        case Mapping():
            return "put `- ` before each entry"
        case _:
            return ""


_CODES = {"UK": "GB", "UNKNOWN": "Unknown", "ANY": "Any", "CHN": "CN", "SGP": "SG", "USA": "US"}
"""What people write for a country, or in its place."""


def _code_hint(text: str, pattern: str) -> str:
    """What was meant by a word that is no country's code, if that is clear."""
    if pattern not in (schema.COUNTRY, schema.JURISDICTION, schema.ALLOWED_JURISDICTION):
        return ""
    if text.upper() == "EU":
        return "the EU is no country: list its members"
    meant = _CODES.get(text.upper(), text.upper())
    return f"did you mean `{meant}`?" if re.search(pattern, meant) else ""


def _choices(expected: str) -> list[str]:
    """The words in pydantic's `'A', 'B' or 'C'`."""
    return [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]


def _field_hint(model: type[BaseModel], path: Path, name: str) -> str:
    """What an unknown field was meant to be: one of its siblings, or one that is a level below."""
    fields = _fields_at(model, path)
    for each in fields:
        if name in _fields_at(model, (*path, each)):
            return f"did you mean `{each}.{name}`?"
    return suggestion(name, tuple(fields))


def _fields_at(model: type[BaseModel], path: Path) -> Mapping[str, Any]:
    """The annotations of the fields of the object at a path, by JSON name; none for a scalar."""
    annotation: Any = model
    for step in path:
        if isinstance(step, str):  # a number stays: `models_in` looks through lists
            annotation = _annotations(annotation).get(step)
    return _annotations(annotation)


def _annotations(annotation: Any) -> Mapping[str, Any]:
    return {
        field.alias or name: field.annotation
        for model in models_in(annotation)
        for name, field in model.model_fields.items()
    }


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a field's annotation, looking through lists and `X | None`."""
    origin = get_origin(annotation)
    if isinstance(annotation, type) and origin is None and issubclass(annotation, BaseModel):
        yield annotation
    elif origin is Annotated:
        yield from models_in(get_args(annotation)[0])
    elif origin in (Union, UnionType, tuple):
        for member in get_args(annotation):
            yield from models_in(member)
