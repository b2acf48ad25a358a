"""Does the frontend's server take what HTTP/1.1 allows, refuse the rest, and never hang?

Spoken to over raw sockets with mutual TLS; the engine is the fake.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demarc.frontend.http import Limits
from demarc.frontend.readiness import ProbeTimes
from demarc.frontend.server import Frontend, running
from demarc.local.simulator import folder
from support import frontends
from support.engines import FakeEngine
from support.frontends import GATEWAY, NOW, Answer, SpiffeAuthority, Wire, chat, post

pytestmark = pytest.mark.timeout(60)

GONE = (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)
SECRET = "4111 1111 1111 1111"
NOTHING = "in=0;out=0;source=tokenizer;finish=refused"


@dataclass
class Rig:
    """A frontend over the fake engine."""

    frontend: Frontend
    engine: FakeEngine
    context: ssl.SSLContext
    authority: SpiffeAuthority
    home: Path

    @asynccontextmanager
    async def wire(self, context: ssl.SSLContext | None = None) -> AsyncGenerator[Wire]:
        async with frontends.wire(self.frontend.port, context or self.context) as wire:
            yield wire

    async def ask(self, raw: bytes) -> Answer:
        async with self.wire() as wire:
            await wire.send(raw)
            return await wire.answer()


@pytest.fixture
async def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return getattr(request, "param", {})


@pytest.fixture
async def rig(tmp_path: Path, options: dict[str, Any]) -> AsyncGenerator[Rig]:
    authority = SpiffeAuthority()
    tls = authority.write(tmp_path / "tls", frontends.FRONTEND)
    client = authority.write(tmp_path / "client", GATEWAY)
    folder.make(tmp_path / "model", name="simulated")
    engine = FakeEngine()
    given = frontends.options(tmp_path, tls, tmp_path / "model", **options)
    async with running(given, engine, now=lambda: NOW) as frontend:
        yield Rig(frontend, engine, frontends.client_context(client), authority, tmp_path)


def with_limits(**limits: Any) -> Any:
    return pytest.mark.parametrize("options", [{"limits": Limits(**limits)}], indirect=True)


async def gets_nothing(port: int, context: ssl.SSLContext | None) -> bool:
    """A whole request is sent, and no byte of an answer comes."""
    try:
        async with frontends.wire(port, context) as wire:
            await wire.send(post(chat()))
            await wire.answer()
    except GONE:
        return True
    return False


async def test_one_connection_serves_many_requests(rig: Rig) -> None:
    async with rig.wire() as wire:
        for number in range(3):
            await wire.send(post(chat(messages=[{"role": "user", "content": f"say:{number}"}])))
            answer = await wire.answer()
            assert str(number) == answer.json["choices"][0]["message"]["content"]


async def test_a_request_may_come_byte_by_byte(rig: Rig) -> None:
    async with rig.wire() as wire:
        for byte in post(chat(messages=[{"role": "user", "content": "say:slow"}])):
            await wire.send(bytes((byte,)))
        answer = await wire.answer()

    assert "slow" == answer.json["choices"][0]["message"]["content"]


async def test_a_body_may_be_chunked(rig: Rig) -> None:
    body = chat(messages=[{"role": "user", "content": "say:parts"}])
    head = post(b"", content_length="", transfer_encoding="chunked")
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:7], body[7:]))

    answer = await rig.ask(head + chunks + b"0\r\n\r\n")

    assert "parts" == answer.json["choices"][0]["message"]["content"]


async def test_a_client_may_ask_before_it_sends_the_body(rig: Rig) -> None:
    raw = post(chat(), expect="100-continue")
    head, _, body = raw.partition(b"\r\n\r\n")
    async with rig.wire() as wire:
        await wire.send(head + b"\r\n\r\n")
        assert (100, {}) == await wire.head()
        await wire.send(body)
        assert 200 == (await wire.answer()).status


async def test_a_client_that_says_close_is_closed(rig: Rig) -> None:
    async with rig.wire() as wire:
        await wire.send(post(chat(), connection="close"))
        answer = await wire.answer()
        assert ("close", True) == (answer.headers["connection"], await wire.ended())


async def test_a_second_request_before_the_answer_ends_the_connection(rig: Rig) -> None:
    """The first is answered whole; the second is not half-read."""
    one = post(chat(messages=[{"role": "user", "content": "say:first"}]))
    async with rig.wire() as wire:
        await wire.send(one + post(chat()))
        answer = await wire.answer()
        assert await wire.ended()

    assert "first" == answer.json["choices"][0]["message"]["content"]
    assert 1 == sum("first" in r.prompt.reveal() for r in rig.engine.requests)


async def test_a_second_request_during_the_answer_ends_the_connection_too(rig: Rig) -> None:
    rig.engine.hold_after = 1
    async with rig.wire() as wire:
        await wire.send(post(chat(stream=True), decision="one"))
        await wire.head()
        await wire.send(post(chat(), decision="two"))
        async with rig.wire() as other:  # by its answer the frontend has read what came before
            await other.send(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
            await other.answer()
        rig.engine.release()
        chunks, trailers = await wire.answer_rest()
        assert await wire.ended()

    assert b"[DONE]" in chunks[-1]
    assert trailers["x-demarc-usage"].endswith("finish=stop")


@pytest.mark.parametrize(
    "raw,want",
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", 400),
        (b"GET /v1/models HTTP/1.0\r\nhost: x\r\n\r\n", 505),
        (b"GET /v1/models HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nhost: x\r\nbad header: y\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\nhost: x\n\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", 400),
        (post(chat(), content_length="-1"), 400),
        (post(chat(), content_length="+5"), 400),
        (post(chat(), content_length="5 5"), 400),
        (post(chat(), content_length="5000000"), 413),
        (post(chat(), content_length="99999999999999999999999"), 400),
        (post(chat(), transfer_encoding="chunked"), 400),
        (post(b"", content_length="", transfer_encoding="gzip, chunked") + b"0\r\n\r\n", 501),
        (post(b"", content_length="", transfer_encoding="chunked") + b"zz\r\n", 400),
        (post(chat(), content_encoding="gzip"), 415),
        (post(chat(), expect="magic"), 417),
        (post(chat(), x="y" * 40_000), 431),
        (post(chat(), **{f"x{n}": "y" for n in range(120)}), 431),
    ],
)
async def test_what_is_no_request_is_refused_and_the_connection_ends(
    rig: Rig, raw: bytes, want: int
) -> None:
    async with rig.wire() as wire:
        await wire.send(raw)
        answer = await wire.answer()
        assert await wire.ended()

    assert want == answer.status
    assert "invalid_request_error" == answer.json["error"]["type"]
    assert {"x-demarc-usage": NOTHING} == answer.trailers
    assert "close" == answer.headers["connection"]


@pytest.mark.parametrize(
    "raw,want,code",
    [
        (post(chat(), content_type="text/plain"), 415, "unsupported_media_type"),
        (
            post(chat(), content_type="application/json; charset=big5"),
            415,
            "unsupported_media_type",
        ),
        (post(chat(), content_type=""), 415, "unsupported_media_type"),
        (post(chat(), decision=""), 400, "bad_request"),
        (post(chat(), decision="two words"), 400, "bad_request"),
        (post(b"{"), 400, "invalid_json"),
        (post(chat(n=2)), 400, "unsupported_parameter"),
        (post(chat(), x_demarc_model="other"), 404, "model_not_found"),
        (post(chat(), x_demarc_model=""), 404, "model_not_found"),
        (post(chat(max_tokens=2048)), 400, "context_length_exceeded"),
        (b"GET /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n", 405, "method_not_allowed"),
        (b"DELETE /v1/models HTTP/1.1\r\nhost: x\r\n\r\n", 405, "method_not_allowed"),
        (b"GET /v1/embeddings HTTP/1.1\r\nhost: x\r\n\r\n", 404, "unknown_url"),
        (b"GET /v1/models?a=b HTTP/1.1\r\nhost: x\r\n\r\n", 404, "unknown_url"),
        (b"GET /v1/models/ HTTP/1.1\r\nhost: x\r\n\r\n", 404, "unknown_url"),
        (b"GET //v1/models HTTP/1.1\r\nhost: x\r\n\r\n", 404, "unknown_url"),
        (b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n", 404, "unknown_url"),
    ],
)
async def test_what_is_refused_costs_nothing_and_the_connection_stays(
    rig: Rig, raw: bytes, want: int, code: str
) -> None:
    async with rig.wire() as wire:
        await wire.send(raw)
        answer = await wire.answer()
        await wire.send(post(chat(messages=[{"role": "user", "content": "say:still here"}])))
        after = await wire.answer()

    assert (want, code) == (answer.status, answer.json["error"]["code"])
    assert {"x-demarc-usage": NOTHING} == answer.trailers
    assert "still here" == after.json["choices"][0]["message"]["content"]


async def test_the_answer_to_head_has_no_body(rig: Rig) -> None:
    async with rig.wire() as wire:
        await wire.send(b"HEAD /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
        status, _ = await wire.head()
        await wire.send(post(chat(messages=[{"role": "user", "content": "say:next"}])))
        after = await wire.answer()

    assert 405 == status
    assert "next" == after.json["choices"][0]["message"]["content"]


async def test_the_models_are_listed_under_the_served_name(rig: Rig) -> None:
    answer = await rig.ask(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")

    assert {
        "object": "list",
        "data": [
            {
                "id": frontends.MODEL,
                "object": "model",
                "created": int(NOW.timestamp()),
                "owned_by": "demarc",
            }
        ],
    } == answer.json


async def test_without_the_gateway_s_header_the_served_name_must_be_said(rig: Rig) -> None:
    answer = await rig.ask(post(chat(model=frontends.MODEL), x_demarc_model=""))

    assert (200, frontends.MODEL) == (answer.status, answer.json["model"])


@with_limits(head_seconds=0.2)
async def test_a_head_that_does_not_end_is_given_up(rig: Rig) -> None:
    async with rig.wire() as wire:
        await wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
        answer = await wire.answer()
        assert (408, True) == (answer.status, await wire.ended())


@with_limits(body_seconds=0.2)
async def test_a_body_that_does_not_come_is_given_up(rig: Rig) -> None:
    async with rig.wire() as wire:
        await wire.send(post(chat())[:-5])
        answer = await wire.answer()
        assert (408, True) == (answer.status, await wire.ended())


@with_limits(idle_seconds=0.2)
async def test_an_idle_connection_ends_without_a_word(rig: Rig) -> None:
    async with rig.wire() as wire:
        await wire.send(post(chat()))
        await wire.answer()
        assert await wire.ended()


@with_limits(body_bytes=1000)
async def test_a_body_too_large_is_refused_while_it_comes(rig: Rig) -> None:
    head = post(b"", content_length="", transfer_encoding="chunked")
    async with rig.wire() as wire:
        await wire.send(head + b"258\r\n" + b"x" * 600 + b"\r\n258\r\n" + b"x" * 600)
        answer = await wire.answer()
        assert (413, True) == (answer.status, await wire.ended())


@with_limits(body_bytes=1000, head_bytes=1000)
async def test_chunks_of_one_byte_cannot_hide_a_flood(rig: Rig) -> None:
    head = post(b"", content_length="", transfer_encoding="chunked")
    async with rig.wire() as wire:
        await wire.send(head + b"1;a=" + b"b" * 8000)
        answer = await wire.answer()
        assert (413, True) == (answer.status, await wire.ended())


@with_limits(head_bytes=1000)
async def test_a_header_without_an_end_is_bounded(rig: Rig) -> None:
    async with rig.wire() as wire:
        await wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: " + b"x" * 2000)
        answer = await wire.answer()
        assert (431, True) == (answer.status, await wire.ended())


@with_limits(connections=2)
async def test_connections_are_bounded(rig: Rig) -> None:
    async with rig.wire() as one, rig.wire():
        assert await gets_nothing(rig.frontend.port, rig.context)
        await one.send(post(chat()))
        assert 200 == (await one.answer()).status


@pytest.mark.parametrize(
    "uris", [(), ("spiffe://demarc/home/egress",), (GATEWAY, "spiffe://demarc/home/egress")]
)
async def test_a_certificate_of_another_name_gets_nothing(rig: Rig, uris: tuple[str, ...]) -> None:
    other = frontends.client_context(rig.authority.write(rig.home / "other", *uris))
    assert await gets_nothing(rig.frontend.port, other)

    assert not [r for r in rig.engine.requests if "tell me" in r.prompt.reveal()]


async def test_a_certificate_of_another_authority_gets_nothing(rig: Rig) -> None:
    foreign = SpiffeAuthority().write(rig.home / "foreign", GATEWAY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(rig.home / "tls" / "ca.crt")
    context.load_cert_chain(foreign / "tls.crt", foreign / "tls.key")
    assert await gets_nothing(rig.frontend.port, context)


async def test_without_a_certificate_nobody_is_served(rig: Rig) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(rig.home / "tls" / "ca.crt")
    assert await gets_nothing(rig.frontend.port, context)


async def test_plain_text_is_not_spoken(rig: Rig) -> None:
    assert await gets_nothing(rig.frontend.port, None)


@with_limits(write_seconds=0.3)
async def test_a_client_that_takes_nothing_is_cut_and_booked(rig: Rig) -> None:
    """Twenty megabytes of answer and no reader: the socket fills, and the engine is let go."""
    words = " ".join("x" * 500_000 for _ in range(40))
    rig.engine.parameters = {"answers": [{"contains": "much", "text": words}]}
    asked = [{"role": "user", "content": "much"}]
    reader, writer = await asyncio.open_connection(
        frontends.LOOPBACK, rig.frontend.port, ssl=rig.context, limit=1024
    )
    writer.write(post(chat(messages=asked, max_tokens=1000, stream=True), decision="stuck"))
    writer.transport.pause_reading()
    journal = rig.home / "usage.jsonl"

    async def booked() -> bool:
        return journal.exists() and "stuck" in journal.read_text()

    try:
        await frontends.until(booked)
    finally:
        writer.transport.abort()
        del reader

    (row,) = [json.loads(line) for line in journal.read_text().splitlines()]
    assert "cancelled" == row["finish"]
    assert 1 == rig.engine.cancelled


async def test_a_client_that_leaves_before_the_engine_answers_is_booked(rig: Rig) -> None:
    rig.engine.hold_after = 0
    async with rig.wire() as wire:
        await wire.send(post(chat(), decision="early"))

        async def asked() -> bool:
            return any("tell me" in r.prompt.reveal() for r in rig.engine.requests)

        await frontends.until(asked)
    journal = rig.home / "usage.jsonl"

    async def booked() -> bool:
        return journal.exists()

    await frontends.until(booked)
    row = json.loads(journal.read_text())
    assert ("early", "cancelled", 0) == (row["decision"], row["finish"], row["out"])
    assert row["in"] > 0


async def test_an_engine_that_is_gone_is_a_503_that_says_when_to_retry(rig: Rig) -> None:
    rig.engine.available = False
    answer = await rig.ask(post(chat(stream=True)))

    assert (503, "1") == (answer.status, answer.headers["retry-after"])
    assert "engine_unavailable" == answer.json["error"]["code"]
    assert "in=0;out=0;source=tokenizer;finish=error" == answer.trailers["x-demarc-usage"]


@pytest.mark.parametrize("options", [{"request_seconds": 0.3}], indirect=True)
async def test_a_stream_that_breaks_ends_with_an_error_event(rig: Rig) -> None:
    rig.engine.hold_after = 2
    answer = await rig.ask(post(chat(stream=True), decision="cut"))

    assert 200 == answer.status
    *_, last = answer.events
    assert "engine_timeout" == last["error"]["code"]
    assert answer.trailers["x-demarc-usage"].endswith("out=2;source=tokenizer;finish=timeout")


async def test_prompt_and_answer_reach_no_log_no_page_and_no_file(
    rig: Rig, capfd: pytest.CaptureFixture[str]
) -> None:
    said = [{"role": "user", "content": f"say:{SECRET}"}]
    bodies = [
        chat(messages=said),
        chat(messages=said, stream=True),
        chat(messages=[{"role": SECRET, "content": SECRET}]),
        chat(messages=said, **{SECRET: 1}),
        chat(messages=said, model=SECRET),
        chat(messages=[*said, {"role": "system", "content": SECRET}]),
    ]
    answers = [await rig.ask(post(body)) for body in bodies]
    async with frontends.wire(rig.frontend.health_port, None) as wire:
        await wire.send(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        page = await wire.answer()
    output = capfd.readouterr()

    assert [200, 200, 400, 400, 200, 400] == [answer.status for answer in answers]
    refusals = b"".join(answer.body for answer in answers if answer.status != 200)
    kept = (rig.home / "usage.jsonl").read_bytes()
    for text in (output.out, output.err, page.body.decode(), refusals.decode(), kept.decode()):
        assert "4111" not in text
    assert "request_answered" in output.out + output.err
    assert b'demarc_frontend_requests_total{status="200",finish="stop"} 3' in page.body


@pytest.mark.parametrize(
    "options",
    [{"probe": ProbeTimes(every_seconds=1000, again_seconds=1000, timeout_seconds=2)}],
    indirect=True,
)
async def test_a_fault_of_a_real_request_is_looked_into_at_once(rig: Rig) -> None:
    async def page() -> int:
        async with frontends.wire(rig.frontend.health_port, None) as wire:
            await wire.send(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
            return (await wire.answer()).status

    async def ready() -> bool:
        return 200 == await page()

    async def unready() -> bool:
        return 503 == await page()

    await frontends.until(ready)
    rig.engine.available = False
    await rig.ask(post(chat()))

    await frontends.until(unready)


async def test_health_pages_are_plain_and_few(rig: Rig) -> None:
    async def page(path: str) -> int:
        async with frontends.wire(rig.frontend.health_port, None) as wire:
            await wire.send(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            return (await wire.answer()).status

    async def ready() -> bool:
        return 200 == await page("/readyz")

    await frontends.until(ready)
    assert [200, 200, 404, 404] == [
        await page(path) for path in ("/livez", "/metrics", "/", "/v1/chat/completions")
    ]


async def test_a_stop_lets_answers_end_and_takes_no_more(tmp_path: Path) -> None:
    authority = SpiffeAuthority()
    tls = authority.write(tmp_path / "tls", frontends.FRONTEND)
    context = frontends.client_context(authority.write(tmp_path / "client", GATEWAY))
    folder.make(tmp_path / "model", name="simulated")
    engine = FakeEngine(hold_after=2)
    given = frontends.options(tmp_path, tls, tmp_path / "model")
    started, ports = asyncio.Event(), list[Frontend]()

    async def serve() -> None:
        async with running(given, engine, now=lambda: NOW) as frontend:
            ports.append(frontend)
            started.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(serve())
        await started.wait()
        port = ports[0].port
        async with frontends.wire(port, context) as idle, frontends.wire(port, context) as busy:
            await busy.send(post(chat(stream=True), decision="last"))
            status, _ = await busy.head()
            first = await busy.chunk()
            task.cancel()
            assert await idle.ended()
            assert await gets_nothing(port, context)
            engine.release()
            rest, trailers = await busy.answer_rest()
            assert await busy.ended()
    assert 200 == status
    assert first
    assert b"[DONE]" in rest[-1]
    assert trailers["x-demarc-usage"].endswith("finish=stop")
    assert task.cancelled()


async def test_a_stop_cuts_what_does_not_end(tmp_path: Path) -> None:
    authority = SpiffeAuthority()
    tls = authority.write(tmp_path / "tls", frontends.FRONTEND)
    context = frontends.client_context(authority.write(tmp_path / "client", GATEWAY))
    folder.make(tmp_path / "model", name="simulated")
    given = frontends.options(tmp_path, tls, tmp_path / "model", grace_seconds=0.2)

    async with running(given, FakeEngine(hold_after=2), now=lambda: NOW) as frontend:
        reader, writer = await asyncio.open_connection(
            frontends.LOOPBACK, frontend.port, ssl=context
        )
        wire = Wire(reader, writer)
        await wire.send(post(chat(stream=True), decision="cut"))
        await wire.head()

    with pytest.raises(GONE):
        await wire.answer_rest()
    writer.transport.abort()
    assert "cancelled" == json.loads((tmp_path / "usage.jsonl").read_text())["finish"]
