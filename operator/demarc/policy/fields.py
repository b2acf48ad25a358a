"""Which fields may a chat completion have? One closed table of names.

A name is passed on with a checked type, refused with its reason, or not known and refused. `null`
means absent for every optional field, as it does for OpenAI.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from demarc.policy.refusal import Refusal, refuse

MAX_TOOLS = 128
MAX_STOPS = 16
MAX_METADATA = 16
MAX_STRING = 512
"""Longest user, identifier or key; longer text belongs into messages."""

_Check = Callable[[object], str]
"""Says what a value must be, or nothing when it is."""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(low: float, high: float) -> _Check:
    def check(value: object) -> str:
        fits = isinstance(value, int | float) and _is_number(value) and low <= value <= high
        return "" if fits else f"must be a number from {low} to {high}"

    return check


def _integer(low: int, high: int) -> _Check:
    def check(value: object) -> str:
        fits = isinstance(value, int) and _is_number(value) and low <= value <= high
        return "" if fits else f"must be an integer from {low} to {high}"

    return check


def _one_of(*words: str) -> _Check:
    def check(value: object) -> str:
        fits = isinstance(value, str) and value in words
        return "" if fits else f"must be one of {', '.join(words)}"

    return check


def _switch(value: object) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _only_false(value: object) -> str:
    return "" if value is False else "must be false: nothing is kept for later requests"


def _short_text(value: object) -> str:
    fits = isinstance(value, str) and len(value) <= MAX_STRING
    return "" if fits else f"must be a string of at most {MAX_STRING} characters"


def _stop(value: object) -> str:
    stops = [value] if isinstance(value, str) else value
    fits = (
        isinstance(stops, list)
        and len(stops) <= MAX_STOPS
        and all(isinstance(stop, str) and stop for stop in stops)
    )
    return "" if fits else f"must be a string or a list of at most {MAX_STOPS} strings"


def _metadata(value: object) -> str:
    fits = (
        isinstance(value, dict)
        and len(value) <= MAX_METADATA
        and all(isinstance(item, str) and len(item) <= MAX_STRING for item in value.values())
    )
    return "" if fits else f"must be an object of at most {MAX_METADATA} short strings"


def _text_only(value: object) -> str:
    return "" if value == ["text"] else "must be [text]: other modalities are refused"


def _no_bias(value: object) -> str:
    return "" if value == {} else "is refused, token ids cannot be checked: leave it out"


def _stream_options(value: object) -> str:
    fits = (
        isinstance(value, dict)
        and value.keys() <= {"include_usage", "include_obfuscation"}
        and all(isinstance(switch, bool) for switch in value.values())
    )
    return "" if fits else "must be an object with include_usage and include_obfuscation"


def _response_format(value: object) -> str:
    if not isinstance(value, dict):
        return "must be an object"
    match value.get("type"):
        case "text" | "json_object":
            return "" if len(value) == 1 else "must have only a type"
        case "json_schema":
            return _json_schema(value)
        case _:
            return "must have type text, json_object or json_schema"


def _json_schema(value: Mapping[str, object]) -> str:
    schema = value.get("json_schema")
    fits = (
        value.keys() <= {"type", "json_schema"}
        and isinstance(schema, dict)
        and schema.keys() <= {"name", "description", "schema", "strict"}
        and isinstance(schema.get("name"), str)
        and isinstance(schema.get("description", ""), str | None)
        and isinstance(schema.get("strict", False), bool | None)
        and isinstance(schema.get("schema"), dict | None)
    )
    if not fits:
        return "must have json_schema with name, description, schema and strict"
    return _schema(schema)


def _tools(value: object) -> str:
    if not isinstance(value, list) or len(value) > MAX_TOOLS:
        return f"must be a list of at most {MAX_TOOLS} tools"
    return next((problem for problem in map(_tool, value) if problem), "")


def _tool(tool: object) -> str:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        return "must have tools of type function only: hosted tools would act outside"
    function = tool.get("function")
    fits = (
        tool.keys() == {"type", "function"}
        and isinstance(function, dict)
        and function.keys() <= {"name", "description", "parameters", "strict"}
        and isinstance(function.get("name"), str)
        and isinstance(function.get("description", ""), str | None)
        and isinstance(function.get("strict", False), bool | None)
        and isinstance(function.get("parameters", {}), dict | None)
    )
    if not fits:
        return "must have functions with name, description, parameters and strict"
    return _schema(function)


def _schema(schema: object) -> str:
    """A JSON schema may refer to itself; a reference elsewhere would be fetched."""
    if any(not target.startswith("#") for target in _references(schema)):
        return "must have schemas that refer only to themselves: `$ref` starts with #"
    return ""


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in {"$ref", "$dynamicRef", "$recursiveRef"} and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from _references(item)


def _tool_choice(value: object) -> str:
    if isinstance(value, str):
        return _one_of("none", "auto", "required")(value)
    fits = (
        isinstance(value, dict)
        and len(value) == len(("type", "function"))
        and value.get("type") == "function"
        and isinstance(function := value.get("function"), dict)
        and len(function) == len(("name",))
        and isinstance(function.get("name"), str)
    )
    return "" if fits else "must be none, auto, required or one function by name"


def _known_elsewhere(_: object) -> str:
    """Read and checked in parsing and messages."""
    return ""


PASSED: Mapping[str, _Check] = {
    "model": _known_elsewhere,
    "messages": _known_elsewhere,
    "frequency_penalty": _number(-2, 2),
    "logit_bias": _no_bias,
    "logprobs": _switch,
    "max_completion_tokens": _integer(1, 2**31 - 1),
    "max_tokens": _integer(1, 2**31 - 1),
    "metadata": _metadata,
    "modalities": _text_only,
    "n": _integer(1, 128),
    "parallel_tool_calls": _switch,
    "presence_penalty": _number(-2, 2),
    "prompt_cache_key": _short_text,
    "prompt_cache_retention": _one_of("in_memory", "in-memory", "24h"),
    "reasoning_effort": _one_of("none", "minimal", "low", "medium", "high", "xhigh"),
    "response_format": _response_format,
    "safety_identifier": _short_text,
    "seed": _integer(-(2**53), 2**53),
    "service_tier": _one_of("auto", "default", "flex", "scale", "priority", "fast"),
    "stop": _stop,
    "store": _only_false,
    "stream": _switch,
    "stream_options": _stream_options,
    "temperature": _number(0, 2),
    "tool_choice": _tool_choice,
    "tools": _tools,
    "top_logprobs": _integer(0, 20),
    "top_p": _number(0, 1),
    "user": _short_text,
    "verbosity": _one_of("low", "medium", "high"),
}
"""Fields that go on to the endpoint; a frontend may still say that its engine cannot do one."""

REFUSED: Mapping[str, str] = {
    "audio": "audio answers are refused: ask for text",
    "background": "background requests are refused: nothing is kept for later requests",
    "conversation": "server-held conversations are refused: send the messages",
    "function_call": "is the old form of tool_choice: use that",
    "functions": "is the old form of tools: use that",
    "input": "belongs to another API: use messages",
    "moderation": "hosted moderation is refused: it would send text elsewhere",
    "prediction": "predicted outputs are refused: leave it out",
    "previous_response_id": "server-held answers are refused: send the messages",
    "prompt": "belongs to another API: use messages",
    "prompt_cache_options": "hosted prompt caches are refused: leave it out",
    "web_search_options": "hosted tools are refused: they would act outside",
}
"""Fields that OpenAI knows and that are refused, each with its reason."""


def check(fields: Mapping[str, object]) -> Refusal | None:
    """The first field that is not as the table says; never repeats names outside the table."""
    for position, (name, value) in enumerate(fields.items(), start=1):
        if name in REFUSED:
            if value is not None:
                return refuse(
                    "unsupported_parameter", f"`{name}` {_because(REFUSED[name])}", param=name
                )
        elif name not in PASSED:
            return refuse(
                "unknown_parameter",
                f"field {position} of the body is not known: known are {_names(PASSED)}",
            )
        elif value is not None and (problem := PASSED[name](value)):
            return refuse("invalid_value", f"`{name}` {problem}", param=name)
    return None


def _because(reason: str) -> str:
    return reason if reason.startswith(("is ", "belongs ")) else f"is refused: {reason}"


def _names(names: Collection[str]) -> str:
    return ", ".join(sorted(names))
