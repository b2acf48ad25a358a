"""A request that two readers could read differently is refused, whoever sends it and however.

The gateway decides by the bytes and the engine answers by the bytes. Where their parsers could
disagree, a sensitive half would travel under the label of a harmless one.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from e2e.support import wire
from e2e.support.bank import CHAT, FAQ, OUTSIDE, Bank
from e2e.support.marks import Marks
from e2e.support.wire import Answer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

MIB = 1024 * 1024


def body(word: str, **fields: Any) -> bytes:
    messages = [{"role": "user", "content": word}]
    return json.dumps({"model": "auto", "max_tokens": 4, "messages": messages, **fields}).encode()


def refused(answer: Answer, status: int, code: str) -> bool:
    """Whether it is an OpenAI-style refusal without an engine's answer."""
    assert (status, code) == (answer.status, answer.error["code"])
    assert "" == answer.site
    return True


ASKED = b'"messages":[{"role":"user","content":"%s"}]'
BYTES = {
    "a key twice": b'{"model":"auto","model":"auto",' + ASKED + b"}",
    "a nested key twice": b'{"model":"auto",'
    + ASKED.replace(b'"content"', b'"content":"","content"')
    + b"}",
    "a key twice by an escape": b'{"model":"auto","mod\\u0065l":"auto",' + ASKED + b"}",
    "NaN": b'{"model":"auto","temperature":NaN,' + ASKED + b"}",
    "Infinity": b'{"model":"auto","temperature":Infinity,' + ASKED + b"}",
    "an integer that no double holds": b'{"model":"auto","seed":9007199254740993,' + ASKED + b"}",
    "a byte order mark": b'\xef\xbb\xbf{"model":"auto",' + ASKED + b"}",
    "bytes after the end": b'{"model":"auto",' + ASKED + b"}{}",
    "half a surrogate": b'{"model":"auto",' + ASKED.replace(b"%s", b"\\ud800%s") + b"}",
    "bytes that are not UTF-8": b'{"model":"auto",' + ASKED.replace(b"%s", b"\xff%s") + b"}",
    "a comment": b'{"model":"auto",/* */' + ASKED + b"}",
    "a comma too many": b'{"model":"auto",' + ASKED + b",}",
    "single quotes": (b'{"model":"auto",' + ASKED + b"}").replace(b'"', b"'"),
    "an unfinished object": b'{"model":"auto",' + ASKED,
    "a list": b'[{"model":"auto",' + ASKED + b"}]",
    "UTF-16": '{"model":"auto","messages":[]}'.encode("utf-16"),
    "nothing": b"",
}


@pytest.mark.parametrize("name", BYTES)
def test_ambiguous_bytes_are_refused(bank: Bank, marks: Marks, name: str) -> None:
    """Each of these is one request to one parser and another, or none, to the next."""
    since, word = bank.recording.end(), marks.word()

    answer = bank.send(BYTES[name].replace(b"%s", word.encode()))

    assert 400 == answer.status
    assert answer.error["type"] == "invalid_request_error"
    assert "" == answer.site
    assert answer.decision
    assert word.encode() not in answer.body
    assert () == bank.recording.holding(word, since=since)


def test_deep_nesting_is_refused(bank: Bank) -> None:
    """Parsers give up at different depths, some by falling over."""
    schema: dict[str, Any] = {}
    for _ in range(40):
        schema = {"items": schema}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}

    answer = bank.send(body("hello", tools=[tool]))
    absurd = bank.send(b'{"model":' + b"[" * 200_000)

    assert refused(answer, 400, answer.error["code"])
    assert refused(absurd, 400, absurd.error["code"])


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity"])
def test_an_encoded_body_is_refused(bank: Bank, marks: Marks, encoding: str) -> None:
    """What is compressed is not scanned, and some server behind would unpack it."""
    since, word = bank.recording.end(), marks.word()
    data = gzip.compress(body(word)) if encoding == "gzip" else body(word)

    answer = bank.send(data, more=(("content-encoding", encoding),))

    assert refused(answer, 400, "unsupported_encoding")
    assert () == bank.recording.holding(word, since=since)


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/json; charset=gbk", "multipart/form-data", "application/jsonl", ""],
)
def test_another_content_type_is_refused(bank: Bank, content_type: str) -> None:
    """A server that believes the type reads other text out of the same bytes."""
    answer = bank.send(
        body("hello"), more=(("content-type", content_type),), without=("content-type",)
    )

    assert refused(answer, 400, "unsupported_media_type")


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", CHAT, 405),
        ("PUT", CHAT, 405),
        ("DELETE", CHAT, 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/embeddings", 404),
        ("POST", "/v1/completions", 404),
        ("POST", "/v1/responses", 404),
        ("GET", "/v1/models/auto", 404),
        ("GET", "/", 404),
        ("GET", "/metrics", 404),
        ("POST", "/v2/models/tensorrt_llm/infer", 404),
        ("POST", f"{CHAT}/", 404),
        ("POST", CHAT.upper(), 404),
        ("POST", f"{CHAT}?stream=true", 400),
        ("POST", f"{CHAT}?", 400),
        ("POST", f"{CHAT}#a", 400),
        ("POST", "/v1%2fchat/completions", 400),
        ("POST", f"{CHAT};a=b", 400),
        ("TRACE", CHAT, 405),
        ("OPTIONS", CHAT, 405),
    ],
)
def test_only_two_paths_are_there_and_each_has_one_method(
    bank: Bank, method: str, path: str, status: int
) -> None:
    """A path that passes the gateway unknown is read by the engine's own table of routes."""
    data = body("hello") if method in {"POST", "PUT"} else b""

    answer = bank.send(data, method=method, path=path)

    assert status == answer.status
    assert "invalid_request_error" == answer.error["type"]
    assert "" == answer.site


@pytest.mark.parametrize(
    "path",
    [f"/{CHAT}", "/v1//chat/completions", "/v1/../v1/chat/completions", "/v1/%63hat/completions"],
)
def test_a_path_that_is_written_otherwise_is_one_path_to_all_or_refused(
    bank: Bank, marks: Marks, path: str
) -> None:
    """Decision and engine must never see two paths: normalised before both, or refused."""
    word = marks.word()

    answer = bank.send(body(word), path=path)

    if answer.status == 200:
        assert OUTSIDE == answer.site
        assert answer.text
    else:
        assert answer.status in {400, 404}
        assert "invalid_request_error" == answer.error["type"]


@pytest.mark.parametrize(
    "name, value",
    [
        ("demarc-level", "0"),
        ("demarc-level", "6"),
        ("demarc-level", "top"),
        ("demarc-level", ""),
        ("demarc-level", "1, 5"),
    ],
)
def test_a_level_that_is_none_is_refused(bank: Bank, name: str, value: str) -> None:
    """A raise that is misread is a question outside that its sender wanted inside."""
    answer = bank.send(body("hello"), more=((name, value),))

    assert refused(answer, 400, "invalid_header")


@pytest.mark.parametrize("name", ["content-type", "demarc-level", "content-length"])
def test_a_header_that_stands_there_twice_is_refused(bank: Bank, name: str) -> None:
    """The first value to one reader, the last to the next."""
    data = body("hello")
    value = {
        "content-type": "application/json",
        "demarc-level": "1",
        "content-length": str(len(data)),
    }[name]
    more = ((name, value),) if name != "demarc-level" else ((name, value), (name, "5"))

    answer = bank.send(data, more=more)

    assert 400 == answer.status
    assert "invalid_request_error" == answer.error["type"]


def test_a_body_in_chunks_is_read_whole(bank: Bank, marks: Marks) -> None:
    """The cut between two chunks is no cut between two texts: a card over it is still a card."""
    since, word, card = bank.recording.end(), marks.word(), marks.card()
    plain = body(f"{word} {card}")
    cut = plain.index(card.encode()) + 7
    host, port = bank.address
    head = wire.head(
        "POST",
        CHAT,
        (
            ("host", f"{host}:{port}"),
            ("authorization", f"Bearer {bank.credential(FAQ)}"),
            ("content-type", "application/json"),
            ("transfer-encoding", "chunked"),
        ),
    )

    harmless = wire.exchange(
        (host, port), bank.context(), head + wire.chunked(body("hello")[:9], body("hello")[9:])
    )
    sensitive = wire.exchange(
        (host, port), bank.context(), head + wire.chunked(plain[:cut], plain[cut:])
    )

    assert (200, OUTSIDE) == (harmless.status, harmless.site)
    assert 200 == sensitive.status
    assert OUTSIDE != sensitive.site
    assert () == bank.recording.holding(word, since=since)


def test_two_statements_of_length_are_refused(bank: Bank, marks: Marks) -> None:
    """Chunks and a length: the seed of a smuggled second request."""
    since, word = bank.recording.end(), marks.word()
    data = body(word)
    host, port = bank.address
    head = wire.head(
        "POST",
        CHAT,
        (
            ("host", f"{host}:{port}"),
            ("authorization", f"Bearer {bank.credential(FAQ)}"),
            ("content-type", "application/json"),
            ("content-length", str(len(data))),
            ("transfer-encoding", "chunked"),
        ),
    )

    answer = wire.exchange((host, port), bank.context(), head + wire.chunked(data))

    assert 400 == answer.status
    assert () == bank.recording.holding(word, since=since)


def test_a_huge_body_is_refused_with_a_status_of_its_own(bank: Bank, marks: Marks) -> None:
    """Half a body is not decided upon, and a client should know that its body was too large."""
    since, word = bank.recording.end(), marks.word()

    answer = bank.send(body(word + " " + "a " * (3 * MIB)))

    assert refused(answer, 413, "request_too_large")
    assert () == bank.recording.holding(word, since=since)


def test_a_large_body_is_served(bank: Bank) -> None:
    """The limit is for abuse; a long document is work."""
    answer = bank.send(
        json.dumps(
            {
                "model": "glm-4.5-air",
                "max_tokens": 4,
                "messages": [{"role": "user", "content": "word " * 50_000}],
            }
        ).encode(),
        app="retail/copilot",
    )

    assert 200 == answer.status


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 3},
        {"logprobs": True},
        {"unknown_field": 1},
        {"store": True},
        {"functions": []},
        {"tools": [{"type": "web_search"}]},
        {"messages": [{"role": "user", "content": [15496, 995]}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/a"}}],
                }
            ]
        },
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "a"}}]}]},
        {"messages": []},
        {"messages": [{"role": "root", "content": "hello"}]},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": {"$ref": "http://10.0.0.1/"}},
            }
        },
    ],
    ids=lambda fields: json.dumps(fields)[:40],
)
def test_what_no_engine_here_does_is_refused_and_not_dropped(
    bank: Bank, fields: dict[str, Any]
) -> None:
    """A field that is silently ignored, fetched or resolved is worse than a refusal."""
    answer = bank.send(body("hello", **fields))

    assert 400 == answer.status
    assert "invalid_request_error" == answer.error["type"]


@pytest.mark.parametrize(
    "name",
    [
        "x-demarc-cluster",
        "x-demarc-endpoint",
        "x-demarc-class",
        "x-demarc-grant",
        "x-demarc-model",
        "x-demarc-decision",
        "x-demarc-site",
        "x-demarc-stream",
        "x-demarc-far",
        "x-demarc-status",
        "x-demarc-usage",
        "X-Demarc-Cluster",
        "x-envoy-upstream-alt-stat-name",
        "x-envoy-original-path",
        "x-envoy-retry-on",
        "x-forwarded-for",
        "x-forwarded-host",
    ],
)
def test_a_forged_header_changes_nothing(bank: Bank, marks: Marks, name: str) -> None:
    """What the tiers tell each other in headers, a client cannot tell them."""
    since, word, card = bank.recording.end(), marks.word(), marks.card()
    values = {
        "x-demarc-cluster": "models/glm-4-flash@cloud-sg",
        "x-demarc-class": "public",
        "x-demarc-decision": "0" * 32,
        "x-demarc-model": "glm-4-flash",
        "x-demarc-site": OUTSIDE,
        "x-demarc-status": "200",
        "x-demarc-stream": "1",
        "x-demarc-usage": "in=0;out=0;source=tokenizer",
    }
    value = values.get(name.lower(), "models/glm-4-flash@cloud-sg")

    answer = bank.send(body(f"{word} {card}"), more=((name, value),))
    egress = bank.send(body(f"{word} {card}"), more=((name, "egress"),))

    for each in (answer, egress):
        assert 200 == each.status
        assert OUTSIDE != each.site
        assert "0" * 32 != each.decision
        assert each.text
    assert () == bank.recording.holding(word, since=since)
    assert () == bank.recording.holding(card, since=since)


def test_a_header_with_an_underscore_is_refused(bank: Bank) -> None:
    """Some servers read `x_demarc_cluster` as `x-demarc-cluster`."""
    answer = bank.send(body("hello"), more=(("x_demarc_cluster", "egress"),))

    assert 400 == answer.status


def test_a_redirecting_host_header_leads_nowhere_else(bank: Bank, marks: Marks) -> None:
    """The host that a client names selects nothing: there is one gateway."""
    word = marks.word()

    answer = bank.send(
        body(word), more=(("host", "models.glm-4-flash.cloud-sg"),), without=("host",)
    )

    assert answer.status in {200, 400, 404}
    if answer.status == 200:
        assert answer.text
