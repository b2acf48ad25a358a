"""Does the engine read anything that the label was not computed from?

The gateway parses the bytes and the frontend parses them again; then a template writes them down
for the engine. Whatever detectors find in what the engine reads, they found in the request.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demarc.frontend import chat
from demarc.frontend.chat import ChatRequest
from demarc.frontend.template import compile_template
from demarc.policy import detection, parsing
from demarc.policy.detection import Detectors
from demarc.policy.parsing import CHAT_PATH, ParsedRequest
from demarc.policy.texts import Texts
from support import identifiers

PACKS = Path(__file__).parents[3] / "policies"
NOW = datetime(2026, 11, 1, tzinfo=UTC)
# three line breaks stand between: `tool|` before a number would itself pass for digits
TEMPLATE = compile_template(
    """{%- for tool in tools or [] %}{{ tool | tojson }}
{% endfor %}
{%- for m in messages %}[{{ m.role }}]


{% if m.name %}{{ m.name }}: {% endif %}{{ m.content }}


{% for c in m.tool_calls or [] %}{{ c.function.name }} {{ c.function.arguments | tojson }}
{% for k, v in c.function.arguments.items() %}<arg_key>{{ k }}</arg_key>
<arg_value>{{ v if v is string else v | tojson }}</arg_value>
{% endfor %}{% endfor %}{% endfor %}[assistant]""",
    {},
)


@pytest.fixture(scope="module")
def detectors() -> Detectors:
    return detection.load_packs(
        {path.parent.name: path.read_text("utf-8") for path in PACKS.glob("*/pack.yaml")}
    )


def _json_escaped(value: str) -> str:
    return "".join(f"\\u{ord(c):04x}" for c in value)


SECRETS: Mapping[str, Callable[[random.Random], str]] = {
    "card": identifiers.bank_card,
    "id": identifiers.resident_id,
    "password": lambda source: f"password: Xk9!{source.randrange(10**6):06}q",
}


def _scaled(number: str, at: int) -> str:
    return f"{number[:at]}.{number[at:]}e{len(number) - at}"


def _exact_card(source: random.Random) -> str:
    """A card number that binary64 holds."""
    while int(number := identifiers.bank_card(source)) >= 2**53:
        pass
    return number


NUMBERS: Mapping[str, Callable[[str, random.Random], str]] = {
    "plain": lambda n, _: n,
    "fraction": lambda n, _: f"{int(n) - 1}.{'9' * 9}",
    "exponent": lambda n, source: _scaled(n, source.randrange(1, len(n))),
    "shifted": lambda n, _: f"{n}00E-2",
    "small": lambda n, _: f"0.{n}e+{len(n)}",
}


def _message(**fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": "hello", **fields}


def _called(arguments: str, name: str = "f") -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}
    return _message(role="assistant", content=None, tool_calls=[call])


def _tool(parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


Body = dict[str, Any]
PLACES: Mapping[str, Callable[[str], Body]] = {
    "content": lambda s: {"messages": [_message(content=f"see {s} here")]},
    "name": lambda s: {"messages": [_message(name=s)]},
    "refusal": lambda s: {
        "messages": [_message(), _message(role="assistant", refusal=s, content=None)]
    },
    "arguments": lambda s: {"messages": [_called(json.dumps({"a": s}))]},
    "escaped arguments": lambda s: {"messages": [_called(f'{{"a": "{_json_escaped(s)}"}}')]},
    "argument key": lambda s: {"messages": [_called(json.dumps({s: [True]}))]},
    "call": lambda s: {"messages": [_called("{}", s)]},
    "schema value": lambda s: {"messages": [_message()], "tools": [_tool({"default": s})]},
    "schema key": lambda s: {"messages": [_message()], "tools": [_tool({s: {"type": "string"}})]},
    "schema pair": lambda s: {
        "messages": [_message()],
        "tools": [_tool({"x": [dict([(s.partition(": ")[::2])])]})],
    },
    "tool result": lambda s: {
        "messages": [_message(role="tool", tool_call_id="c", content=[{"type": "text", "text": s}])]
    },
}


def _findings(texts: Texts, detectors: Detectors) -> set[str]:
    found = detection.scan(texts, detectors)
    assert not found.failure
    return {each.detector for each in found.findings}


def _agree(raw: bytes, detectors: Detectors) -> set[str]:
    """What the engine's reading holds, after it was compared with the request's."""
    parsed = parsing.parse(
        raw, method="POST", path=CHAT_PATH, headers=[("content-type", "application/json")]
    )
    assert isinstance(parsed, ParsedRequest), parsed
    read = chat.parse(raw)
    assert isinstance(read, ChatRequest), read
    prompt = TEMPLATE.render(read.messages, read.tools, now=NOW).reveal()
    engine = _findings(Texts([prompt]), detectors)
    assert engine <= _findings(parsed.texts, detectors)
    return engine


def _raw(body: Body) -> bytes:
    return json.dumps({"model": "auto", **body}, ensure_ascii=False).encode()


@settings(max_examples=150)
@given(
    kind=st.sampled_from(sorted(SECRETS)),
    place=st.sampled_from(sorted(PLACES)),
    seed=st.integers(0, 2**32),
)
def test_a_secret_is_read_alike_wherever_it_stands(
    kind: str, place: str, seed: int, detectors: Detectors
) -> None:
    secret = SECRETS[kind](random.Random(seed))

    assert _agree(_raw(PLACES[place](secret)), detectors)


@settings(max_examples=150)
@given(form=st.sampled_from(sorted(NUMBERS)), in_tool=st.booleans(), seed=st.integers(0, 2**32))
def test_a_number_is_read_alike_however_it_is_written(
    form: str,
    in_tool: bool,  # noqa: FBT001  # drawn
    seed: int,
    detectors: Detectors,
) -> None:
    source = random.Random(seed)
    number = NUMBERS[form](_exact_card(source), source)
    body = (
        {"messages": [_message()], "tools": [_tool({"d": "@"})]}
        if in_tool
        else {"messages": [_called('{"d": @}')]}
    )
    mark = b'"@"' if in_tool else b"@"

    assert _agree(_raw(body).replace(mark, number.encode()), detectors)


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), cuts=st.sets(st.integers(1, 15), min_size=1, max_size=3))
def test_a_secret_is_read_alike_over_parts(seed: int, cuts: set[int], detectors: Detectors) -> None:
    number = identifiers.bank_card(random.Random(seed))
    at = [0, *sorted(cuts), len(number)]
    pieces = [number[first:last] for first, last in pairwise(at)]
    parts = [{"type": "text", "text": piece} for piece in pieces]

    assert _agree(_raw({"messages": [_message(content=parts)]}), detectors)
