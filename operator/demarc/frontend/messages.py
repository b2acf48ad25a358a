"""How do OpenAI messages become what a chat template reads?

Rules:
  * Text parts of one message are joined by line breaks; `developer` becomes `system`.
  * Arguments of an earlier tool call are given to the template as an object, as templates expect.
  * What is no text (images, audio, files) is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from demarc.frontend import body, refusals
from demarc.frontend.body import refuse
from demarc.frontend.refusals import RefusedError

Message = Mapping[str, Any]
Tool = Mapping[str, Any]

_KEYS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "system": frozenset({"role", "content", "name"}),
        "developer": frozenset({"role", "content", "name"}),
        "user": frozenset({"role", "content", "name"}),
        "assistant": frozenset(
            {
                "role",
                "content",
                "name",
                "tool_calls",
                "refusal",
                "audio",
                "function_call",
                "annotations",
            }
        ),
        "tool": frozenset({"role", "content", "tool_call_id", "name"}),
    }
)
_CALL_KEYS = frozenset({"id", "type", "function", "index"})
_CALL_FUNCTION_KEYS = frozenset({"name", "arguments"})
_TOOL_KEYS = frozenset({"type", "function"})
_FUNCTION_KEYS = frozenset({"name", "description", "parameters", "strict"})


def read_messages(value: object) -> tuple[Message, ...]:
    """Read `messages`.

    Raises:
        RefusedError: a message is not understood or holds more than text.
    """
    rows = body.sequence(value, "messages")
    if not rows:
        refuse(refusals.invalid("`messages` must not be empty", "messages"))
    return tuple(_message(row, f"messages[{i}]") for i, row in enumerate(rows))


def _message(value: object, where: str) -> Message:
    row = body.mapping(value, where)
    if "role" not in row:
        refuse(refusals.missing(f"{where}.role"))
    role = body.text(row["role"], f"{where}.role")
    keys = _KEYS.get(role)
    if keys is None:
        known = ", ".join(_KEYS)
        refuse(refusals.invalid(f"the role must be one of {known}", f"{where}.role"))
    body.only(row, keys, where)
    read: dict[str, Any] = {"role": "system" if role == "developer" else role}
    if row.get("name") is not None:
        read["name"] = body.text(row["name"], f"{where}.name")
    match role:
        case "assistant":
            read |= _assistant(row, where)
        case "tool":
            if row.get("tool_call_id") is None:
                refuse(refusals.missing(f"{where}.tool_call_id"))
            read["tool_call_id"] = body.text(row["tool_call_id"], f"{where}.tool_call_id")
            read["content"] = _content(row, where)
        case _:
            read["content"] = _content(row, where)
    return read


def _assistant(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    for name in ("audio", "function_call"):
        if row.get(name) is not None:
            refuse(refusals.unsupported(f"{where}.{name}", f"`{name}` is not supported"))
    read: dict[str, Any] = {"content": ""}
    calls = row.get("tool_calls")
    if calls is not None:
        listed = body.sequence(calls, f"{where}.tool_calls")
        read["tool_calls"] = [
            _call(call, f"{where}.tool_calls[{i}]") for i, call in enumerate(listed)
        ]
    said = row.get("content")
    if said is None and row.get("refusal") is not None:
        read["content"] = body.text(row["refusal"], f"{where}.refusal")
    elif said is not None or not read.get("tool_calls"):
        read["content"] = _content(row, where)
    return read


def _call(value: object, where: str) -> dict[str, Any]:
    row = body.mapping(value, where)
    body.only(row, _CALL_KEYS, where)
    _function_only(row, where)
    function = body.mapping(row.get("function"), f"{where}.function")
    body.only(function, _CALL_FUNCTION_KEYS, f"{where}.function")
    at = f"{where}.function.arguments"
    raw = body.text(function.get("arguments"), at)
    try:
        arguments = body.read_object(raw.encode()) if raw.strip() else {}
    except RefusedError:
        refuse(refusals.invalid(f"`{at}` must be the text of a JSON object", at))
    body.encodable(arguments, at)
    return {
        "id": body.text(row.get("id"), f"{where}.id"),
        "type": "function",
        "function": {
            "name": body.text(function.get("name"), f"{where}.function.name"),
            "arguments": arguments,
        },
    }


def _content(row: Mapping[str, Any], where: str) -> str:
    at = f"{where}.content"
    value = row.get("content")
    if value is None:
        refuse(refusals.missing(at))
    if isinstance(value, str):
        return body.text(value, at)
    parts = body.sequence(value, at)
    if not parts:
        refuse(refusals.invalid(f"`{at}` must not be empty", at))
    return "\n".join(_part(part, f"{at}[{i}]") for i, part in enumerate(parts))


def _part(value: object, where: str) -> str:
    part = body.mapping(value, where)
    kind = body.text(part.get("type"), f"{where}.type")
    if kind not in {"text", "refusal"}:
        what = refusals.quoted(kind, "of this type")
        refuse(
            refusals.unsupported(f"{where}.type", f"content {what} is not supported: text alone is")
        )
    body.only(part, frozenset({"type", kind}), where)
    return body.text(part.get(kind), f"{where}.{kind}")


def read_tools(value: object) -> tuple[Tool, ...]:
    """Read `tools`, as they are given to the chat template.

    Raises:
        RefusedError: a tool is no function, or not understood.
    """
    rows = body.sequence(value, "tools")
    if not rows:
        refuse(refusals.invalid("`tools` must not be empty", "tools"))
    return tuple(_tool(row, f"tools[{i}]") for i, row in enumerate(rows))


def _tool(value: object, where: str) -> Tool:
    row = body.mapping(value, where)
    body.only(row, _TOOL_KEYS, where)
    _function_only(row, where)
    function = body.mapping(row.get("function"), f"{where}.function")
    body.only(function, _FUNCTION_KEYS, f"{where}.function")
    name = body.text(function.get("name"), f"{where}.function.name")
    if refusals.param(name) is None:
        refuse(refusals.invalid("a function has a short plain name", f"{where}.function.name"))
    read: dict[str, Any] = {"name": name}
    if function.get("description") is not None:
        read["description"] = body.text(function["description"], f"{where}.function.description")
    if function.get("parameters") is not None:
        at = f"{where}.function.parameters"
        read["parameters"] = body.mapping(function["parameters"], at)
        body.encodable(read["parameters"], at)
    if function.get("strict") is not None:  # the schema reaches the model; nothing enforces it
        body.boolean(function["strict"], f"{where}.function.strict")
    return {"type": "function", "function": read}


def _function_only(row: Mapping[str, Any], where: str) -> None:
    if row.get("type") != "function":
        refuse(refusals.unsupported(f"{where}.type", "tools are of the type `function` alone"))
