"""Is `messages` a conversation of text? Roles, content and tool calls, each with a closed key set.

Anything that a server would fetch or resolve by itself (URLs, file ids, audio) and anything that
detectors cannot read (token ids) is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from demarc.policy.refusal import Refusal, refuse

MAX_MESSAGES = 4096
MAX_TOOL_CALLS = 128


@dataclass(frozen=True, slots=True, repr=False)
class Conversation:
    """What `messages` holds.

    Attributes:
        contents: text of all messages in order, tool-call arguments included.
        by_role: the same, for each role alone.
        uses_tools: whether a tool call or a tool result is among them.
    """

    contents: tuple[str, ...]
    by_role: Mapping[str, tuple[str, ...]]
    uses_tools: bool


class _RefusedError(Exception):
    """Carries a refusal out of nested values; never leaves this module."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__()
        self.refusal = refusal


_COMMON = frozenset({"role", "content", "name"})
_KEYS: Mapping[str, frozenset[str]] = {
    "system": _COMMON,
    "developer": _COMMON,
    "user": _COMMON,
    # the last three are what an SDK sends back of an answer: they must be empty, see _ANSWER_ONLY
    "assistant": _COMMON | {"refusal", "tool_calls", "audio", "function_call", "annotations"},
    "tool": _COMMON | {"tool_call_id"},
}
_ANSWER_ONLY = ("audio", "function_call", "annotations")
_FETCHED = frozenset({"image_url", "input_audio", "file", "image", "video_url", "input_image"})
_PART_TYPES = {"text": frozenset({"text"}), "assistant": frozenset({"text", "refusal"})}


def read(messages: object) -> Conversation | Refusal:
    """Check `messages`; never raises and never repeats what they say."""
    try:
        return _conversation(messages)
    except _RefusedError as error:
        return error.refusal


def _conversation(messages: object) -> Conversation:
    if not isinstance(messages, list) or not messages:
        raise _wrong("messages", "must be a list of one message or more")
    if len(messages) > MAX_MESSAGES:
        raise _wrong("messages", f"must have at most {MAX_MESSAGES} messages")
    contents: list[str] = []
    by_role: dict[str, list[str]] = {}
    uses_tools = False
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise _wrong(where, "must be an object")
        role = message.get("role")
        if not isinstance(role, str) or role not in _KEYS:
            raise _wrong(f"{where}.role", "must be system, developer, user, assistant or tool")
        if not message.keys() <= _KEYS[role]:
            raise _unknown(where, f"a message of role {role}", _KEYS[role])
        said = _content(message, role, where)
        if role == "assistant":
            said += _answer(message, where)
            uses_tools = uses_tools or bool(message.get("tool_calls"))
        elif role == "tool":
            _text(message.get("tool_call_id"), f"{where}.tool_call_id")
            uses_tools = True
        if message.get("name") is not None:
            _text(message["name"], f"{where}.name")
        contents += said
        by_role.setdefault(role, []).extend(said)
    return Conversation(
        tuple(contents), {role: tuple(said) for role, said in by_role.items()}, uses_tools
    )


def _content(message: Mapping[str, object], role: str, where: str) -> list[str]:
    content = message.get("content")
    where = f"{where}.content"
    if isinstance(content, str):
        return [content]
    if content is None and role == "assistant":
        return []
    if not isinstance(content, list) or not content:
        raise _wrong(where, "must be text or a list of text parts")
    if any(isinstance(part, int | float) for part in content):
        raise _RefusedError(
            refuse(
                "unsupported_content",
                "token ids are refused, they cannot be checked: send text",
                param=where,
            )
        )
    types = _PART_TYPES["assistant" if role == "assistant" else "text"]
    return [_part(part, types, f"{where}[{index}]") for index, part in enumerate(content)]


def _part(part: object, types: frozenset[str], where: str) -> str:
    if not isinstance(part, dict):
        raise _wrong(where, "must be an object of type text")
    kind = part.get("type")
    if isinstance(kind, str) and kind in _FETCHED:
        raise _RefusedError(
            refuse(
                "unsupported_content",
                f"parts of type {kind} are refused, they cannot be checked: send text",
                param=f"{where}.type",
            )
        )
    if not isinstance(kind, str) or kind not in types:
        raise _wrong(f"{where}.type", "must be text")
    if part.keys() != {"type", kind}:
        raise _unknown(where, f"a part of type {kind}", frozenset({"type", kind}))
    return _text(part[kind], f"{where}.{kind}")


def _answer(message: Mapping[str, object], where: str) -> list[str]:
    """What only assistant messages have."""
    said: list[str] = []
    for name in _ANSWER_ONLY:
        if message.get(name) not in (None, []):
            raise _RefusedError(
                refuse(
                    "unsupported_content",
                    f"`{name}` of a message is refused: leave it out",
                    param=f"{where}.{name}",
                )
            )
    if message.get("refusal") is not None:
        said.append(_text(message["refusal"], f"{where}.refusal"))
    calls = message.get("tool_calls")
    if calls is None:
        if not said and message.get("content") is None:
            raise _wrong(where, "must have content, refusal or tool_calls")
        return said
    if not isinstance(calls, list) or len(calls) > MAX_TOOL_CALLS:
        raise _wrong(f"{where}.tool_calls", f"must be a list of at most {MAX_TOOL_CALLS} calls")
    for index, call in enumerate(calls):
        said += _call(call, f"{where}.tool_calls[{index}]")
    return said


def _call(call: object, where: str) -> tuple[str, str]:
    if not isinstance(call, dict):
        raise _wrong(where, "must be an object")
    if call.get("type") != "function":
        raise _wrong(f"{where}.type", "must be function")
    if not call.keys() <= {"id", "type", "function", "index"}:
        raise _unknown(where, "a tool call", frozenset({"id", "type", "function"}))
    _text(call.get("id"), f"{where}.id")
    if not isinstance(call.get("index", 0), int):
        raise _wrong(f"{where}.index", "must be an integer")
    function = call.get("function")
    if not isinstance(function, dict):
        raise _wrong(f"{where}.function", "must be an object")
    if function.keys() != {"name", "arguments"}:
        raise _unknown(f"{where}.function", "a call", frozenset({"name", "arguments"}))
    return (
        _text(function["name"], f"{where}.function.name"),
        _text(function["arguments"], f"{where}.function.arguments"),
    )


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(where, "must be a string")
    return value


def _wrong(where: str, what: str) -> _RefusedError:
    return _RefusedError(refuse("invalid_value", f"`{where}` {what}", param=where))


def _unknown(where: str, what: str, known: frozenset[str]) -> _RefusedError:
    names = ", ".join(sorted(known))
    return _RefusedError(
        refuse(
            "unknown_parameter",
            f"`{where}` has a field that is not known or lacks one: {what} has {names}",
            param=where,
        )
    )
