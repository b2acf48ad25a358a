"""Which part of an answer is talk, and which calls a tool?

Two forms are read between `<tool_call>` and `</tool_call>`: a JSON object with `name` and
`arguments` (Hermes, Qwen), and a name with `<arg_key>`, `<arg_value>` pairs (GLM). What is no
whole, valid call is talk and goes to the client as it is. White space before a call, and at the end
of an answer with calls, is dropped.

LAW: talk joined and calls are the same, however the answer was cut into chunks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeAlias

from demarc.frontend.deltas import held_back
from demarc.frontend.messages import Tool

_OPEN = "<tool_call>"
_CLOSE = "</tool_call>"
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")
_PAIR = re.compile(r"\s*<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Content:
    """More talk."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One whole call.

    Attributes:
        index: 0 for the first call of the answer.
        name: of the function.
        arguments: JSON text of an object.
    """

    index: int
    name: str = field(repr=False)
    arguments: str = field(repr=False)


Event: TypeAlias = Content | ToolCall


@dataclass(frozen=True, slots=True)
class Split:
    """How far an answer was split.

    Attributes:
        tools: what the client offers; without any, everything is talk.
        parallel: False: the answer ends with its first call.
        position: characters that were given out or dropped.
        calls: how many calls were found.
        ended: nothing more is given out.
    """

    tools: tuple[Tool, ...] = field(default=(), repr=False)
    parallel: bool = True
    position: int = 0
    calls: int = 0
    ended: bool = False


def split(before: Split, text: str, *, final: bool) -> tuple[Split, tuple[Event, ...]]:
    """Give out what is certain.

    Args:
        before: how far it was split.
        text: the whole answer that was released so far.
        final: nothing more will come.
    """
    if not before.tools:
        return replace(before, position=len(text)), _content(text[before.position :])
    state, events = before, list[Event]()
    while not state.ended:
        opened = text.find(_OPEN, state.position)
        if opened < 0:
            end = len(text) if final else _settled(text, state.position)
            events += _talk(text[state.position : end], state, ends_in_call=False, final=final)
            return replace(state, position=end), tuple(events)
        closed = text.find(_CLOSE, opened)
        if closed < 0 and not final:
            before_call = len(text[:opened].rstrip())
            end = max(before_call, state.position)
            events += _talk(text[state.position : end], state, ends_in_call=False, final=False)
            return replace(state, position=end), tuple(events)
        end = len(text) if closed < 0 else closed + len(_CLOSE)
        call = None if closed < 0 else _parse(text[opened + len(_OPEN) : closed], state)
        if call is None:
            events += _content(text[state.position : end])
            state = replace(state, position=end)
        else:
            events += _talk(text[state.position : opened], state, ends_in_call=True, final=True)
            events.append(call)
            state = replace(state, position=end, calls=state.calls + 1, ended=not state.parallel)
    return state, tuple(events)


def _settled(text: str, start: int) -> int:
    """Hold back what may begin a call, and white space that a call would swallow."""
    end = len(text) - held_back(text, (_OPEN,))
    return max(len(text[:end].rstrip()), start)


def _talk(text: str, state: Split, *, ends_in_call: bool, final: bool) -> tuple[Event, ...]:
    if ends_in_call or (state.calls and final):
        text = text.rstrip()
    return _content(text)


def _content(text: str) -> tuple[Event, ...]:
    return (Content(text),) if text else ()


def _parse(block: str, state: Split) -> ToolCall | None:
    block = block.strip()
    found = _json_form(block) if block.startswith("{") else _pair_form(block, state.tools)
    if found is None:
        return None
    name, arguments = found
    written = json.dumps(arguments, ensure_ascii=False)
    try:
        written.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, written as an escape
        return None
    return ToolCall(state.calls, name, written)


def _json_form(block: str) -> tuple[str, Mapping[str, Any]] | None:
    try:
        value = json.loads(block, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    name, arguments = value.get("name"), value.get("arguments", {})
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(arguments, dict):
        return None
    return name, arguments


def _pair_form(block: str, tools: Sequence[Tool]) -> tuple[str, Mapping[str, Any]] | None:
    name, _, rest = block.partition("<arg_key>")
    name = name.strip()
    if not _NAME.fullmatch(name):
        return None
    rest = f"<arg_key>{rest}" if rest else ""
    properties = _properties(name, tools)
    arguments: dict[str, Any] = {}
    position = 0
    while position < len(rest):
        match = _PAIR.match(rest, position)
        if match is None:
            return None
        key = match.group(1).strip()
        arguments[key] = _value(match.group(2), properties.get(key))
        position = match.end()
    return name, arguments


def _properties(name: str, tools: Sequence[Tool]) -> Mapping[str, Any]:
    for tool in tools:
        function = tool["function"]
        if function["name"] == name:
            properties = function.get("parameters", {}).get("properties", {})
            return properties if isinstance(properties, dict) else {}
    return {}


def _value(raw: str, schema: object) -> Any:
    """Read a value: a string where the schema says so or where it is no JSON."""
    if isinstance(schema, dict) and schema.get("type") == "string":
        return raw
    try:
        return json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return raw


def _no_constant(_word: str) -> NoReturn:
    raise ValueError("NaN and infinities are not JSON")
