"""What do users look up? The pages of `docs/reference` that are made from the API package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from demarc.api import crd, reasons
from demarc.api.crd import Definition
from demarc.api.problem import PATTERN_WORDS

_MADE = "<!-- Written by tools/generate.py. Change its source instead. -->\n\n"
_CONDITIONS = {
    "AcceptedReason": "Accepted: is the object valid?",
    "ProgrammedReason": "Programmed: is it in force?",
    "ReadyReason": "Ready: does it serve?",
    "PlacementReason": "Placements: what became of each?",
}


def api_page(definitions: Sequence[Definition]) -> str:
    """`api.md`: every field of every kind."""
    intro = (
        "# API reference\n\nGroup `demarc.dev`, version `v1alpha1`. Every string and every list is"
        " bounded. The schemas hold no defaults: an absent field means what its row says.\n"
    )
    return _MADE + "\n".join((intro, *(_kind(definition) for definition in definitions)))


def reasons_page() -> str:
    """`reasons.md`: every reason of every condition, and what to do about it."""
    intro = (
        "# Reasons\n\nEvery condition and every placement carries one of these reasons. The message"
        " beside it names the objects and values.\n"
    )
    sections = [intro]
    for enum in reasons.REASONS:
        rows = [(f"`{reason}`", *reasons.describe(reason)) for reason in enum]
        table = _table(("Reason", "Means", "Do"), rows)
        sections.append(f"## {_CONDITIONS[enum.__name__]}\n\n{table}")
    return _MADE + "\n".join(sections)


def _kind(definition: Definition) -> str:
    schema = crd.schema(definition.model)
    kind = definition.kind
    scope = "namespaced" if kind.namespaced else "cluster"
    text = (
        f"## {kind.name}\n\n{schema['description']} Short name `{definition.short_name}`,"
        f" scope {scope}.\n"
    )
    if definition.model.keeps_unknown_fields:
        text += (
            "\nThe API server keeps fields that it does not know, on every node, and Demarc refuses"
            " the object: a misspelt restriction is never dropped.\n"
        )
    for part in ("spec", "status"):
        rows = list(_fields(schema["properties"][part], f"{part}"))
        text += f"\n### {kind.name} {part}\n\n"
        text += _table(("Field", "Type", "Needed", "Means"), rows)
    rules = list(_rules(schema, ""))
    if rules:
        text += f"\n### {kind.name} rules\n\n" + _table(("At", "Rule"), rules)
    return text


def _fields(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str, str]]:
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        here = f"{path}.{name}"
        needed = "yes" if name in required else ""
        yield f"`{here}`", _type(field), needed, str(field.get("description", ""))
        inner, suffix = field, ""
        if field["type"] == "array":
            inner, suffix = field["items"], "[]"
        if "properties" in inner:
            yield from _fields(inner, here + suffix)


def _rules(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield f"`{path or '.'}`", str(rule["message"])
    for name, field in schema.get("properties", {}).items():
        yield from _rules(field, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")


def _type(field: Mapping[str, Any]) -> str:
    match field["type"]:
        case "array":
            keys = ", ".join(field.get("x-kubernetes-list-map-keys", ()))
            unkeyed = {"set": "set", "atomic": "ordered list"}
            kind = f"list by {keys}" if keys else unkeyed[field["x-kubernetes-list-type"]]
            inner = _type(field["items"])
            return f"{kind}, {_range(field, 'minItems', 'maxItems')}, of {inner}"
        case "object" if "additionalProperties" in field:
            return (
                f"map, at most {field['maxProperties']}, to {_type(field['additionalProperties'])}"
            )
        case "object":
            return "object"
        case "integer":
            return f"integer {_range(field, 'minimum', 'maximum')}".strip()
        case _ if "enum" in field:
            return " or ".join(f"`{value}`" for value in field["enum"])
        case _:
            return _string(field)


def _string(field: Mapping[str, Any]) -> str:
    text = "time" if field.get("format") == "date-time" else "string"
    if "maxLength" in field and text == "string":
        text += f", at most {field['maxLength']}"
    words = PATTERN_WORDS.get(str(field.get("pattern", "")), "")
    return f"{text}: {words}" if words else text


def _range(field: Mapping[str, Any], least: str, most: str) -> str:
    low, high = field.get(least), field.get(most)
    match low, high:
        case None, None:
            return ""
        case None, _:
            return f"at most {high}"
        case _, None:
            return f"at least {low}"
        case _:
            return f"{low} to {high}"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def cli_page(root: click.Group) -> str:
    """`cli.md`: the help of every command, as it is printed in 100 columns."""
    lines = [
        "# Commands",
        "",
        "Generated from `--help`. `demarc completion SHELL` completes them.",
        "",
    ]
    for name, command in _commands(root, ()):
        context = click.Context(
            command,
            info_name=" ".join(("demarc", *name)),
            max_content_width=100,
            help_option_names=["-h", "--help"],
        )
        context.terminal_width = 100
        lines += [f"## demarc {' '.join(name)}", "", "```", command.get_help(context), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _commands(
    group: click.Group, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command
