"""Strict requests: what two parsers could read differently never gets a label."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.api.v1alpha1.common import Capability
from demarc.policy import parsing
from demarc.policy.parsing import CHAT_PATH, MODELS_PATH, ListModels, ParsedRequest
from demarc.policy.refusal import Refusal
from demarc.policy.texts import Texts

JSON = (("Content-Type", "application/json"),)
CANARY = "canary-4111111111111111"


def chat(**changes: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": "hello"}], **changes}


def parse(
    body: bytes | dict[str, Any],
    *,
    method: str = "POST",
    path: str = CHAT_PATH,
    headers: tuple[tuple[str, str], ...] = JSON,
) -> ParsedRequest | ListModels | Refusal:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parsing.parse(raw, method=method, path=path, headers=headers)


def accepted(body: bytes | dict[str, Any], **options: Any) -> ParsedRequest:
    outcome = parse(body, **options)
    assert isinstance(outcome, ParsedRequest), outcome
    return outcome


def refused(body: bytes | dict[str, Any], **options: Any) -> Refusal:
    outcome = parse(body, **options)
    assert isinstance(outcome, Refusal), outcome
    assert CANARY not in outcome.body().decode()
    return outcome


def with_text(written: str) -> bytes:
    """A body whose one message holds this JSON source between its quotes."""
    return b'{"model":"auto","messages":[{"role":"user","content":"' + written.encode() + b'"}]}'


def test_an_ordinary_request_is_understood() -> None:
    request = accepted(
        chat(max_tokens=5, stream=True, stream_options={"include_usage": True}, temperature=0.5)
    )

    assert ("auto", True, True, 5, 1) == (
        request.model,
        request.stream,
        request.include_usage,
        request.needs.max_tokens,
        request.raise_to,
    )
    assert frozenset({Capability.CHAT}) == request.needs.capabilities


def test_text_of_a_request_is_not_printed() -> None:
    request = accepted(chat(model=CANARY, user=CANARY))

    assert CANARY not in repr(request)
    assert CANARY not in f"{request.texts}"


def test_the_estimate_is_a_third_of_the_bytes_rounded_up() -> None:
    body = with_text("语" * 100)

    assert -(-len(body) // 3) == accepted(body).needs.prompt_tokens


def test_every_string_key_and_number_is_kept_as_written() -> None:
    body = (
        b'{"model":"auto","temperature":0.50,"seed":-0,"metadata":{"k\\u0031":"v"},'
        b'"messages":[{"role":"user","content":"a\\"b:1"},{"role":"assistant","content":null,'
        b'"tool_calls":[{"id":"i","type":"function","function":{"name":"f","arguments":"{}"}}]}],'
        b'"tools":[{"type":"function","function":{"name":"g","parameters":{"x":[1e2,true]}}}]}'
    )
    parts = accepted(body).texts.reveal_parts()

    assert {"auto", "0.50", "-0", "k1", "v", 'a"b:1', "i", "f", "{}", "g", "x", "1e2"} <= set(parts)


@pytest.mark.parametrize(
    "body,want_code",
    [
        (b"", "invalid_json"),
        (b"\xef\xbb\xbf" + with_text(""), "invalid_json"),
        (with_text("").replace(b"auto", b"\xff"), "invalid_json"),
        (with_text("").replace(b"auto", b"\xed\xa0\x80"), "invalid_json"),
        (with_text("\\ud800"), "invalid_json"),
        (with_text("\\udc00\\ud800"), "invalid_json"),
        (with_text("\\ud800\\u0041"), "invalid_json"),
        (with_text("\\u0000"), "invalid_json"),
        (with_text("\n"), "invalid_json"),
        (with_text("\\x41"), "invalid_json"),
        (with_text("") + b"{}", "invalid_json"),
        (with_text("") + b"x", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'"' + CANARY.encode() + b'"', "invalid_json"),
        (with_text("")[:-1] + b',"seed":NaN}', "invalid_json"),
        (with_text("")[:-1] + b',"seed":Infinity}', "invalid_json"),
        (with_text("")[:-1] + b',"seed":-Infinity}', "invalid_json"),
        (with_text("")[:-1] + b',"seed":01}', "invalid_json"),
        (with_text("")[:-1] + b',"seed":9007199254740993}', "number_out_of_range"),
        (with_text("")[:-1] + b',"seed":-9007199254740993}', "number_out_of_range"),
        (with_text("")[:-1] + b',"seed":9007199254740993.0}', "number_out_of_range"),
        (with_text("")[:-1] + b',"seed":9007199254740992.5}', "number_out_of_range"),
        (with_text("")[:-1] + b',"seed":1e16}', "number_out_of_range"),
        (with_text("")[:-1] + b',"temperature":1e400}', "number_out_of_range"),
        (with_text("")[:-1] + b',"temperature":-1e400}', "number_out_of_range"),
        (with_text("")[:-1] + b',"temperature":0.' + b"1" * 70 + b"}", "number_out_of_range"),
        (with_text("")[:-1] + b',"seed":' + b"1" * 5000 + b"}", "number_out_of_range"),
        (with_text("")[:-1] + b',"model":"other"}', "duplicate_key"),
        (with_text("")[:-1] + b',"mod\\u0065l":"other"}', "duplicate_key"),
        (with_text("")[:-1] + b',"metadata":{"a":"1","a":"1"}}', "duplicate_key"),
        (with_text("")[:-1] + b',"metadata":{"\\\\":"1","\\u005c":"1"}}', "duplicate_key"),
        (with_text('\\\\\\"')[:-1] + b',"metadata":{"\\":":"1","\\u0022:":"1"}}', "duplicate_key"),
        (b"[" * 100_000 + b"]" * 100_000, "nesting_too_deep"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "nesting_too_deep"),
    ],
)
def test_bytes_that_two_parsers_could_read_differently_are_refused(
    body: bytes, want_code: str
) -> None:
    outcome = refused(body)

    assert (400, want_code) == (outcome.status, outcome.code)


@pytest.mark.parametrize(
    "number",
    [b"9007199254740992", b"-9007199254740992", b"9007199254740992.0", b"-0", b"0", b"1e0"],
)
def test_numbers_that_binary64_holds_exactly_are_accepted(number: bytes) -> None:
    accepted(
        with_text("")[:-1] + b',"metadata":null,"tools":[{"type":"function","function":'
        b'{"name":"f","parameters":{"x":' + number + b"}}}]}"
    )


def test_thirty_two_levels_are_accepted() -> None:
    # the body, `tools`, the tool, `function` and `parameters` are five of them
    schema: Any = {}
    for _ in range(27):
        schema = {"a": schema}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}

    accepted(chat(tools=[tool]))

    tool["function"]["parameters"] = {"a": schema}
    assert "nesting_too_deep" == refused(chat(tools=[tool])).code


def test_a_body_beyond_the_limit_is_refused() -> None:
    assert 413 == refused(with_text("a" * 4 * 1024 * 1024)).status


@pytest.mark.parametrize(
    "changes,want_param",
    [
        ({"store": True}, "store"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"previous_response_id": CANARY}, "previous_response_id"),
        ({"functions": []}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "custom", "custom": {"name": CANARY}}]}, "tools"),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "f", "parameters": {"$ref": "https://a.example/"}},
                    }
                ]
            },
            "tools",
        ),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_completion_tokens"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"model": CANARY * 20}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"role": CANARY, "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "function", "content": "a", "name": "f"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "a", CANARY: "b"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [15339, 1917]}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "b": 1}]}]},
            "messages[0].content[0]",
        ),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant"}]}, "messages[0]"),
    ],
)
def test_fields_outside_the_table_are_refused_with_their_name(
    changes: dict[str, Any], want_param: str
) -> None:
    outcome = refused(chat(**changes))

    assert (400, want_param) == (outcome.status, outcome.param)


def message(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", **fields}]}


def call(**changes: Any) -> dict[str, Any]:
    whole = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, **changes}
    return message(tool_calls=[whole])


FUNCTION = {"type": "function", "function": {"name": "f"}}
SCHEMA = {"name": "s", "schema": {"type": "object"}, "strict": True, "description": "d"}


@pytest.mark.parametrize(
    "changes",
    [
        {"stop": "x"},
        {"stop": ["x", "y"]},
        {"stop": None, "user": None, "tools": None, "functions": None, "audio": None},
        {"metadata": {"a": "b"}},
        {"modalities": ["text"]},
        {"store": False},
        {"logit_bias": {}},
        {"response_format": {"type": "text"}},
        {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s"}}},
        {"tool_choice": "none", "tools": [FUNCTION]},
        {"tool_choice": FUNCTION, "tools": [FUNCTION]},
        {
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "f",
                        "parameters": {"$defs": {"a": {}}, "x": [{"$ref": "#/$defs/a"}], "$ref": 1},
                    },
                }
            ]
        },
        {"service_tier": "auto", "reasoning_effort": "low", "verbosity": "high", "top_p": 1},
        {"max_tokens": 5, "max_completion_tokens": 5},
        message(content="hi", refusal=None, tool_calls=None, audio=None, annotations=[]),
        message(content=None, refusal="no"),
        message(content=[{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]),
        message(content="a", name="n"),
        call(),
        call(index=0),
    ],
)
def test_what_the_table_allows_is_accepted(changes: dict[str, Any]) -> None:
    accepted(chat(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"stop": [""]},
        {"stop": ["x"] * 17},
        {"metadata": {"a": 1}},
        {"metadata": {str(i): "x" for i in range(17)}},
        {"user": "x" * 513},
        {"response_format": "text"},
        {"response_format": {"type": "text", "x": 1}},
        {"response_format": {"type": "yaml"}},
        {"response_format": {"type": "json_schema"}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "s", "schema": {"a": [{"$ref": "other.json"}]}},
            }
        },
        {"stream": True, "stream_options": {"include_usage": 1}},
        {"stream": True, "stream_options": {"other": True}},
        {"tools": {}},
        {"tools": [FUNCTION] * 129},
        {"tools": [{"type": "function", "function": {"name": 1}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "x": 1}}]},
        {"tool_choice": "any"},
        {"tool_choice": {"type": "allowed_tools"}},
        {"service_tier": "other"},
        {"seed": 1.5},
        {"messages": [{"role": "user", "content": "a"}] * 4097},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": [{"role": "user", "content": ["a"]}]},
        {"messages": [{"role": "user", "content": [{"type": "refusal", "refusal": "a"}]}]},
        {"messages": [{"role": "user", "content": [{"type": 1}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
        {"messages": [{"role": "user", "content": "a", "name": 1}]},
        message(content="a", audio={"id": "x"}),
        message(content="a", annotations=[{}]),
        message(tool_calls={}),
        message(tool_calls=[1]),
        call(type="custom"),
        call(id=1),
        call(index="0"),
        call(function="f"),
        call(function={"name": "f"}),
        call(x=1),
    ],
)
def test_what_the_table_does_not_allow_is_refused(changes: dict[str, Any]) -> None:
    assert 400 == refused(chat(**changes)).status


def test_texts_compare_by_what_they_hold() -> None:
    one, same, other = Texts(["a"]), Texts(["a"]), Texts(["a"], [("a", "b")])

    assert one == same != other
    assert hash(one) == hash(same)


def test_split_text_is_joined_by_role_and_over_all() -> None:
    body = chat(
        messages=[
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": [{"type": "text", "text": "three"}]},
        ],
        metadata={"k1": "v1", "k2": "v2"},
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"enum": [1, 2]}}}],
    )
    runs = accepted(body).texts.reveal_runs()

    answer = call()["messages"][0] | {"content": "one"}
    later = {"role": "tool", "tool_call_id": "c", "content": "two"}
    assert ("one", "f", "{}", "two") in accepted(chat(messages=[answer, later])).texts.reveal_runs()
    assert {("one", "two", "three"), ("one", "three"), ("k1", "k2"), ("1", "2")} <= set(runs)


def test_members_of_a_schema_are_kept_with_their_keys() -> None:
    parameters = {
        "type": "object",
        "api_key": "Xk9!fq2Lm",
        "rate": 1.50,
        "long": "y" * 600,
        "x": None,
    }
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    request = accepted(chat(tools=tools))

    want = ("api_key: Xk9!fq2Lm", "rate: 1.5", f"long: {'y' * 512}")
    assert want == request.texts.reveal_pairs()


def test_an_unknown_field_is_refused_without_repeating_it() -> None:
    outcome = refused(chat(**{CANARY: 1}))

    assert ("unknown_parameter", None) == (outcome.code, outcome.param)


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tool_choice": "auto"},
        {"messages": [{"role": "tool", "tool_call_id": "c", "content": "1"}]},
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
                    ],
                }
            ]
        },
    ],
)
def test_tools_are_needed_when_they_are_used(changes: dict[str, Any]) -> None:
    needs = accepted(chat(**changes)).needs

    assert frozenset({Capability.CHAT, Capability.TOOLS}) == needs.capabilities


@pytest.mark.parametrize(
    "headers,want_code",
    [
        ((), "unsupported_media_type"),
        ((("content-type", "text/plain"),), "unsupported_media_type"),
        ((("content-type", "application/json; charset=gbk"),), "unsupported_media_type"),
        ((("content-type", "application/json, text/plain"),), "unsupported_media_type"),
        ((*JSON, *JSON), "duplicate_header"),
        ((*JSON, ("authorization", "a"), ("Authorization", "b")), "duplicate_header"),
        ((*JSON, ("demarc-level", "3"), ("demarc-level", "1")), "duplicate_header"),
        ((*JSON, ("content-encoding", "gzip")), "unsupported_encoding"),
        ((*JSON, ("content-length", "3")), "invalid_header"),
        ((*JSON, ("demarc-level", "0")), "invalid_header"),
        ((*JSON, ("demarc-level", "top")), "invalid_header"),
        ((*JSON, ("demarc-level", "3,1")), "invalid_header"),
        ((*JSON, ("demarc-level", "")), "invalid_header"),
        ((*JSON, ("x-envoy-auth-partial-body", "true")), "request_too_large"),
    ],
)
def test_headers_that_two_readers_could_take_differently_are_refused(
    headers: tuple[tuple[str, str], ...], want_code: str
) -> None:
    assert want_code == refused(chat(), headers=headers).code


@pytest.mark.parametrize("level,want_raise", [("1", 1), ("4", 4), ("5", 5), ("TOP", 6)])
def test_the_level_header_is_read(level: str, want_raise: int) -> None:
    request = accepted(chat(), headers=(*JSON, ("Demarc-Level", level)))

    assert want_raise == request.raise_to


@pytest.mark.parametrize(
    "method,path,want_status",
    [
        ("GET", CHAT_PATH, 405),
        ("post", CHAT_PATH, 405),
        ("POST", MODELS_PATH, 405),
        ("POST", "/v1/completions", 404),
        ("POST", "/v1/responses", 404),
        ("POST", CHAT_PATH + "/", 404),
        ("POST", CHAT_PATH + "?a=1", 400),
        ("POST", "//v1/chat/completions", 400),
        ("POST", "/v1/../v1/chat/completions", 400),
        ("POST", "/v1/chat/%63ompletions", 400),
        ("POST", "/V1/chat/completions", 404),
        ("POST", "/" + CANARY, 404),
        ("POST", "*", 400),
        ("POST", "", 400),
    ],
)
def test_only_two_routes_exist(method: str, path: str, want_status: int) -> None:
    outcome = refused(chat(), method=method, path=path)

    assert want_status == outcome.status
    if want_status == 405:
        assert dict(outcome.headers)["allow"] in {"GET", "POST"}
    if want_status == 404:
        assert CHAT_PATH in outcome.message


def test_models_are_listed_without_a_body() -> None:
    assert isinstance(parse(b"", method="GET", path=MODELS_PATH, headers=()), ListModels)
    assert 400 == refused(b"{}", method="GET", path=MODELS_PATH, headers=()).status


def test_a_refusal_reads_like_one_of_openai() -> None:
    error = json.loads(refused(chat(store=True)).body())["error"]

    assert {"message", "type", "param", "code"} == error.keys()


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.binary() | JSON_VALUES.map(lambda value: json.dumps(value).encode()), st.text())
def test_parsing_is_total(body: bytes, path: str) -> None:
    outcome = parse(body)
    assert isinstance(outcome, Refusal | ParsedRequest)
    assert isinstance(parse(body, path=path), Refusal | ParsedRequest)
