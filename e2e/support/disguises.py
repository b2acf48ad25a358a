"""How does somebody hide a number in a request? Each disguise makes the fields of a chat request.

A disguise takes the number and a marker. The marker, a word that stands nowhere else, travels in
plain beside the number, so that a request is found outside however well its number is hidden.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import quote

Fields: TypeAlias = Mapping[str, Any]
Disguise: TypeAlias = Callable[[str, str], Fields]

_FULL_WIDTH = {ord(digit): chr(0xFF10 + int(digit)) for digit in "0123456789"}
_ARABIC = {ord(digit): chr(0x0660 + int(digit)) for digit in "0123456789"}
_MATHEMATICAL = {ord(digit): chr(0x1D7CE + int(digit)) for digit in "0123456789"}
_CHINESE = str.maketrans("0123456789", "〇一二三四五六七八九")
_ZERO_WIDTH = "\u200b"


def say(text: str) -> Fields:
    """One message of a user."""
    return {"messages": [{"role": "user", "content": text}]}


def _groups(number: str, size: int = 4) -> list[str]:
    return [number[start : start + size] for start in range(0, len(number), size)]


def _written(write: Callable[[str], str]) -> Disguise:
    def disguise(number: str, marker: str) -> Fields:
        return say(f"please note {write(number)} for {marker}")

    return disguise


def _parts(number: str, marker: str) -> Fields:
    parts = [f"note for {marker} ", *_groups(number)]
    content = [{"type": "text", "text": part} for part in parts]
    return {"messages": [{"role": "user", "content": content}]}


def _messages(number: str, marker: str) -> Fields:
    half = len(number) // 2
    return {
        "messages": [
            {"role": "user", "content": f"for {marker} the first half is {number[:half]}"},
            {"role": "assistant", "content": "and the other one?"},
            {"role": "user", "content": f"{number[half:]} is the rest"},
        ]
    }


def _system(number: str, marker: str) -> Fields:
    return {
        "messages": [
            {"role": "system", "content": f"the caller has {number}"},
            {"role": "user", "content": f"answer {marker}"},
        ]
    }


def _history(number: str, marker: str) -> Fields:
    return {
        "messages": [
            {"role": "user", "content": f"hello {marker}"},
            {"role": "assistant", "content": f"you gave me {number}"},
            {"role": "user", "content": "go on"},
        ]
    }


def _call(arguments: str, result: str, marker: str) -> Fields:
    call = {"name": "look_up", "arguments": arguments}
    return {
        "messages": [
            {"role": "user", "content": f"look it up for {marker}"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": result},
        ],
        "tools": [_tool("looks something up", {"type": "object"})],
    }


def _arguments(number: str, marker: str) -> Fields:
    return _call(json.dumps({"card": number}), "found", marker)


def _result(number: str, marker: str) -> Fields:
    return _call("{}", f"the card is {number}", marker)


def _tool(description: str, parameters: Mapping[str, Any]) -> Fields:
    function = {"name": "look_up", "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


def _described(number: str, marker: str) -> Fields:
    return {**say(f"hello {marker}"), "tools": [_tool(f"works for {number}", {"type": "object"})]}


def _key(number: str, marker: str) -> Fields:
    parameters = {"type": "object", "properties": {number: {"type": "string"}}}
    return {**say(f"hello {marker}"), "tools": [_tool("looks something up", parameters)]}


def _json_number(number: str, marker: str) -> Fields:
    parameters = {"type": "object", "properties": {"of": {"const": int(number)}}}
    return {**say(f"hello {marker}"), "tools": [_tool("looks something up", parameters)]}


def _stop(number: str, marker: str) -> Fields:
    return {**say(f"hello {marker}"), "stop": [number]}


def _user(number: str, marker: str) -> Fields:
    return {**say(f"hello {marker}"), "user": number}


def _metadata(number: str, marker: str) -> Fields:
    return {**say(f"hello {marker}"), "metadata": {"reference": number}}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _escaped(number: str) -> str:
    return "".join(f"\\u{ord(digit):04x}" for digit in number)


DISGUISES: Mapping[str, Disguise] = {
    "plain": _written(str),
    "blanks": _written(lambda number: " ".join(_groups(number))),
    "dashes": _written(lambda number: "-".join(_groups(number))),
    "every digit apart": _written(" ".join),
    "dots": _written(".".join),
    "line breaks": _written(lambda number: "\n".join(_groups(number))),
    "full width": _written(lambda number: number.translate(_FULL_WIDTH)),
    "Arabic digits": _written(lambda number: number.translate(_ARABIC)),
    "mathematical digits": _written(lambda number: number.translate(_MATHEMATICAL)),
    "Chinese numerals": _written(lambda number: number.translate(_CHINESE)),
    "zero width": _written(_ZERO_WIDTH.join),
    "full width and zero width": _written(
        lambda number: _ZERO_WIDTH.join(number.translate(_FULL_WIDTH))
    ),
    "escapes in the text": _written(_escaped),
    "percent signs": _written(lambda number: "".join(f"%{ord(digit):02x}" for digit in number)),
    "quoted": _written(lambda number: quote(" ".join(_groups(number)))),
    "HTML": _written(lambda number: "".join(f"&#{ord(digit)};" for digit in number)),
    "hex": _written(lambda number: number.encode().hex()),
    "base64": _written(lambda number: _base64(f"the card is {number}")),
    "base64 twice": _written(lambda number: _base64(_base64(f"the card is {number}"))),
    "base64 of UTF-16": _written(
        lambda number: base64.b64encode(number.encode("utf-16-le")).decode()
    ),
    "parts": _parts,
    "messages": _messages,
    "system": _system,
    "history": _history,
    "tool arguments": _arguments,
    "tool result": _result,
    "tool description": _described,
    "JSON key": _key,
    "JSON number": _json_number,
    "stop": _stop,
    "user": _user,
    "metadata": _metadata,
}
"""By name; `say` is the request without a disguise."""


def undone(text: str) -> str:
    """HTML, percent and backslash escapes of a text taken back."""
    taken = html.unescape(text)
    try:
        taken = json.loads(f'"{taken}"') if "\\u" in taken and '"' not in taken else taken
    except ValueError:
        return taken
    return str(taken)
