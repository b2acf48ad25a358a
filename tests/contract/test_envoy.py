"""Does a real Envoy do what the files mean? One request at a time through inner, egress and edge.

Agents and frontends are doubles that keep what they got; the proxies are real.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from demarc.xds import linting, resources
from support import envoy, wire
from support.envoy_chain import (
    ANSWER,
    A,
    Chain,
    Gateway,
    R,
    always,
    chain,
    leave,
    onward,
    served,
    stay,
)
from support.wire import Headers, Message

pytestmark = [pytest.mark.proxy, pytest.mark.timeout(60)]

CHAT = "/v1/chat/completions"
BODY = b'{"model" :"auto",  "messages":[]}'
JSON = ("content-type", "application/json")
TWO_LENGTHS = wire.request(CHAT, headers=(("transfer-encoding", "chunked"),)) + b"0\r\n\r\n"
KEY = ("authorization", "Bearer k-1")


@pytest.fixture
async def gateways(tmp_path: Path) -> AsyncIterator[Chain]:
    binary = envoy.binary()
    assert binary, "envoy is not installed: run `make tools`"
    async with chain(tmp_path, binary) as found:
        yield found


def chat(*headers: tuple[str, str], body: bytes = BODY) -> bytes:
    return wire.request(CHAT, body=body, headers=(JSON, *headers))


def code(answer: Message) -> str:
    """The code of an OpenAI-style error."""
    assert ("application/json",) == answer.values("content-type")
    error = json.loads(answer.body)["error"]
    assert {"message", "type", "param", "code"} == set(error)
    return str(error["code"])


def taken(*servers: wire.Server) -> list[int]:
    """How many requests each server got."""
    return [len(server.requests) for server in servers]


# --- the way in and out ---------------------------------------------------------------------------


async def test_a_private_decision_reaches_its_frontend(gateways: Chain) -> None:
    """The decision's cluster is not used, or the body changes on the way."""
    answer = await gateways.ask(chat(KEY))

    assert (200, ANSWER) == (answer.status, answer.body)
    assert ("d-1", "dc") == (answer.value("x-demarc-decision"), answer.value("x-demarc-site"))
    (got,) = gateways.near.requests
    assert (CHAT, BODY) == (got.path, got.body)
    assert [0, 0] == taken(gateways.egress.agent, gateways.far)


async def test_a_public_decision_goes_over_egress_and_edge(gateways: Chain) -> None:
    """The way out lacks a tier, or the body changes on the way."""
    gateways.inner.agent.handler = always(leave())

    answer = await gateways.ask(chat(KEY))

    assert (200, ANSWER) == (answer.status, answer.body)
    assert ("d-1", "far") == (answer.value("x-demarc-decision"), answer.value("x-demarc-site"))
    (got,) = gateways.far.requests
    assert (CHAT, BODY) == (got.path, got.body)
    asked = [gate.agent.requests[0] for gate in (gateways.inner, gateways.egress, gateways.edge)]
    assert ["/decide" + CHAT, "/verify" + CHAT, "/admit" + CHAT] == [got.path for got in asked]
    assert [BODY] * 3 == [got.body for got in asked]
    assert [0] == taken(gateways.near)


async def test_the_agent_sees_every_header(gateways: Chain) -> None:
    """A header that the agent should refuse is hidden from it."""
    sent: Headers = (
        KEY,
        ("x-api-key", "k-2"),
        ("content-encoding", "gzip"),
        ("demarc-level", "2"),
        ("te", "trailers"),
        ("x-double", "1"),
        ("x-double", "2"),
        ("cookie", "a=b"),
        ("x-http-method-override", "GET"),
    )

    await gateways.ask(chat(*sent))

    (got,) = gateways.inner.agent.requests
    for name, value in (JSON, *sent):
        assert value in (got.value(name) or "").split(",")
    assert "1,2" == got.value("x-double")


@pytest.mark.parametrize("way", [stay, leave])
async def test_forged_headers_reach_nobody(gateways: Chain, way: Callable[[], bytes]) -> None:
    """A client speaks in the name of an agent or of Envoy."""
    gateways.inner.agent.handler = always(way())
    forged = (
        ("X-Demarc-Cluster", "egress"),
        ("x-demarc-class", "public"),
        ("X-DEMARC-GRANT", "forged"),
        ("x-demarc-endpoint", "forged"),
        ("x-demarc-anything", "forged"),
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
    )

    answer = await gateways.ask(chat(*forged))

    assert 200 == answer.status
    for server in (gateways.inner.agent, gateways.egress.agent, gateways.near, gateways.far):
        for got in server.requests:
            assert "forged" not in str(got.headers)
            assert got.names.isdisjoint({"x-envoy-retry-on", "x-envoy-upstream-rq-timeout-ms"})


async def test_only_listed_headers_reach_a_frontend(gateways: Chain) -> None:
    """A credential or a stranger's header reaches an engine."""
    sent = (KEY, ("x-api-key", "k"), ("api-key", "k"), ("cookie", "a=b"), ("x-other", "1"))
    more = (("accept", "text/event-stream"), ("demarc-level", "3"), ("traceparent", "00-1"))

    await gateways.ask(chat(*sent, *more))
    gateways.inner.agent.handler = always(leave())
    await gateways.ask(chat(*sent, *more))

    wanted = {"host", "content-type", "content-length", "accept"}
    wanted |= {"x-demarc-model", "x-demarc-decision"}
    assert [wanted] * 2 == [got.names for got in (*gateways.near.requests, *gateways.far.requests)]


async def test_credentials_travel_to_egress_and_no_further(gateways: Chain) -> None:
    """Egress cannot authenticate again, or the far side learns the client's key."""
    gateways.inner.agent.handler = always(leave())

    await gateways.ask(chat(KEY, ("demarc-level", "2"), ("x-other", "1")))

    (egress,) = gateways.egress.agent.requests
    (edge,) = gateways.edge.agent.requests
    assert ("Bearer k-1", "2") == (egress.value("authorization"), egress.value("demarc-level"))
    assert ("g-1", R.name) == (egress.value("x-demarc-grant"), egress.value("x-demarc-endpoint"))
    assert ("g-1", R.name) == (edge.value("x-demarc-grant"), edge.value("x-demarc-endpoint"))
    assert edge.names.isdisjoint({"authorization", "demarc-level", "x-other"})
    assert "x-other" not in egress.names
    for got in (egress, edge):
        assert got.names.isdisjoint({"x-demarc-cluster", "x-demarc-class", "x-demarc-model"})


@pytest.mark.parametrize("way", [stay, leave])
async def test_only_listed_headers_reach_the_client(
    gateways: Chain, way: Callable[[], bytes]
) -> None:
    """A server sets a cookie, leads elsewhere or speaks in the name of the agent."""
    gateways.inner.agent.handler = always(way())
    payload = served(
        set_cookie="a=b",
        location="http://elsewhere/",
        x_demarc_decision="forged",
        x_demarc_site="forged",
        x_demarc_far="forged",
        x_demarc_usage="forged",
        x_other="1",
        server="engine",
        retry_after="3",
    )
    gateways.near.handler = gateways.far.handler = always(payload)

    answer = await gateways.ask(chat())

    wanted = {"content-type", "transfer-encoding", "date", "server", "retry-after"}
    assert wanted | {"x-demarc-decision", "x-demarc-site"} == answer.names
    assert ("d-1", "demarc") == (answer.value("x-demarc-decision"), answer.value("server"))


@pytest.mark.parametrize("status", [301, 302, 304, 307, 308, 399])
@pytest.mark.parametrize("way", [stay, leave])
async def test_a_redirect_of_a_server_is_a_502(
    gateways: Chain, way: Callable[[], bytes], status: int
) -> None:
    """A server sends the client, and the prompt with it, where no decision leads."""
    gateways.inner.agent.handler = always(way())
    body = b"" if status == 304 else b"elsewhere"
    payload = wire.answer(status, body=body, headers=(("location", "http://elsewhere/"),))
    gateways.near.handler = gateways.far.handler = always(payload)

    answer = await gateways.ask(chat())

    assert (502, "upstream_redirect") == (answer.status, code(answer))
    assert "location" not in answer.names
    assert "d-1" == answer.value("x-demarc-decision")


@pytest.mark.parametrize("status", [101, 600, 999])
@pytest.mark.parametrize("way", [stay, leave])
async def test_a_status_that_is_no_answer_is_a_502(
    gateways: Chain, way: Callable[[], bytes], status: int
) -> None:
    """A server switches the protocol, or leaves the client waiting for an answer."""
    gateways.inner.agent.handler = always(way())
    lines = f"HTTP/1.1 {status} X\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nraw".encode()

    async def once(_: Message) -> AsyncIterator[bytes]:
        async def parts() -> AsyncIterator[bytes]:
            yield lines
            raise ConnectionError  # the server ends the connection

        return parts()

    gateways.near.handler = gateways.far.handler = once

    answer = await gateways.ask(chat())

    assert (502, "bad_gateway") == (answer.status, code(answer))
    assert "upgrade" not in answer.names


@pytest.mark.parametrize("status", [100, 102, 103])
async def test_what_a_server_says_before_its_answer_is_dropped(
    gateways: Chain, status: int
) -> None:
    """A server sets a cookie before its answer begins."""
    early = f"HTTP/1.1 {status} X\r\nset-cookie: a=b\r\nlink: </x>\r\n\r\n".encode()
    gateways.near.handler = always(early + served())

    answer = await gateways.ask(chat())

    assert (200, ANSWER) == (answer.status, answer.body)
    assert answer.names.isdisjoint({"set-cookie", "link"})


@pytest.mark.parametrize("way", [stay, leave])
async def test_an_engine_asks_nobody_for_a_password(
    gateways: Chain, way: Callable[[], bytes]
) -> None:
    """A public site lets the client's program ask its user for the company's password."""
    gateways.inner.agent.handler = always(way())
    challenge = (("www-authenticate", 'Basic realm="company"'), ("allow", "GET"), JSON)
    payload = wire.answer(401, body=b"{}", headers=challenge)
    gateways.near.handler = gateways.far.handler = always(payload)

    answer = await gateways.ask(chat())

    assert 401 == answer.status
    assert answer.names.isdisjoint({"www-authenticate", "allow"})


async def test_an_error_of_a_frontend_passes_as_it_is(gateways: Chain) -> None:
    """A client cannot see why its request was refused by the engine."""
    gateways.near.handler = always(wire.answer(422, body=b'{"error":"x"}', headers=(JSON,)))

    answer = await gateways.ask(chat())

    assert (422, b'{"error":"x"}') == (answer.status, answer.body)


LIST = b'{"object":"list","data":[]}'


async def listing(question: Message) -> bytes:
    """The inner agent: asked about a list it names itself, asked for one it answers."""
    if question.path.startswith("/decide/"):
        return stay("agent")
    return wire.answer(200, body=LIST, headers=(JSON,))


async def test_the_list_of_models_comes_from_the_agent(gateways: Chain) -> None:
    """Clients that list the models before they start do not start."""
    gateways.inner.agent.handler = listing

    answer = await gateways.ask(wire.request("/v1/models", method="GET", headers=(KEY,)))

    assert (200, LIST) == (answer.status, answer.body)
    question, request = gateways.inner.agent.requests
    assert ("/decide/v1/models", "/v1/models") == (question.path, request.path)
    assert ("Bearer k-1", None) == (
        request.value("authorization"),
        request.value("x-demarc-class"),
    )


@pytest.mark.parametrize(
    "payload",
    [
        wire.request("/v1/models"),
        wire.request("/v1/models/x", method="GET"),
        wire.request("/livez", method="GET"),
        chat(),
    ],
    ids=["POST", "a model", "another path", "chat"],
)
async def test_nothing_but_the_list_leads_back_to_the_agent(
    gateways: Chain, payload: bytes
) -> None:
    """An agent that names itself is reached with a prompt."""
    gateways.inner.agent.handler = listing

    assert 503 == (await gateways.ask(payload)).status
    assert 1 == len(gateways.inner.agent.requests)


# --- no decision, no way --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(wire.answer(200), id="an allow that names nothing"),
        pytest.param(stay("agent"), id="the agent itself"),
        pytest.param(stay("models/zz@dc"), id="an unknown endpoint"),
        pytest.param(stay(R.name), id="an endpoint of another site"),
        pytest.param(stay("egress"), id="egress without a grant"),
        pytest.param(stay(grant="g"), id="a private endpoint with a grant"),
        pytest.param(stay(f"{A.name}, {A.name}"), id="two clusters"),
        pytest.param(stay(""), id="an empty name"),
        pytest.param(wire.answer(204), id="204"),
        pytest.param(wire.answer(201), id="201"),
        pytest.param(wire.answer(302, headers=(("location", "http://x/"),)), id="302"),
        pytest.param(wire.answer(500, body=b"trace"), id="500"),
        pytest.param(wire.answer(503, body=b"trace"), id="503"),
        pytest.param(None, id="a closed connection"),
        pytest.param(b"nonsense\r\n\r\n", id="nonsense"),
    ],
)
async def test_without_a_usable_decision_the_answer_is_503(
    gateways: Chain, payload: bytes | None
) -> None:
    """A failing agent lets a request pass, or its caller reads success."""
    gateways.inner.agent.handler = always(payload)

    answer = await gateways.ask(chat())

    assert (503, "1") == (answer.status, answer.value("retry-after"))
    assert code(answer) in {"no_policy_decision", "no_capacity"}
    assert [0, 0, 0] == taken(gateways.near, gateways.far, gateways.egress.agent)


@pytest.mark.parametrize("value", ["private", "", "Public", "public "])
async def test_the_guard_lets_nothing_out_that_is_not_public(gateways: Chain, value: str) -> None:
    """An agent that names egress for a sensitive request leaks it."""
    gateways.inner.agent.handler = always(leave(**{"class": value}))

    answer = await gateways.ask(chat())

    want = (200, [1]) if value == "public " else (403, [0])  # blanks around a value do not count
    assert want == (answer.status, taken(gateways.egress.agent))


async def test_the_guard_of_egress_lets_nothing_out_that_is_not_public(gateways: Chain) -> None:
    """The second tier trusts the first one."""
    gateways.inner.agent.handler = always(leave())
    gateways.egress.agent.handler = always(onward(**{"class": "private"}))

    answer = await gateways.ask(chat())

    assert (403, "policy_denied") == (answer.status, code(answer))
    assert [0] == taken(gateways.edge.agent)


@pytest.mark.parametrize("tier", ["inner", "egress", "edge"])
async def test_a_dead_agent_of_any_tier_stops_the_request(gateways: Chain, tier: str) -> None:
    """A tier goes on without its agent."""
    gateways.inner.agent.handler = always(leave())
    gateway: Gateway = getattr(gateways, tier)
    await gateway.agent.close()

    answer = await gateways.ask(chat())

    assert (503, "no_policy_decision") == (answer.status, code(answer))
    assert [0] == taken(gateways.far)


async def test_a_refusal_reaches_the_client_as_the_agent_wrote_it(gateways: Chain) -> None:
    """A client cannot tell why it was refused, or reads what is not meant for it."""
    own = (JSON, ("x-demarc-decision", "d-9"), ("www-authenticate", "Bearer"))
    hidden = (("x-demarc-grant", "g"), ("x-demarc-cluster", "c"), ("x-other", "1"))
    for status in (400, 401, 403, 404, 413, 429):
        refusal = wire.answer(status, body=b'{"error":{}}', headers=(*own, *hidden))
        gateways.inner.agent.handler = always(refusal)

        answer = await gateways.ask(chat())

        assert (status, b'{"error":{}}') == (answer.status, answer.body)
        for name, value in own:
            assert value == answer.value(name)
        assert answer.names.isdisjoint(name for name, _ in hidden)


async def test_an_agent_can_refuse_with_503(gateways: Chain) -> None:
    """`no_capacity` loses its body, because ext_authz takes a 5xx for a failure."""
    own = (JSON, ("retry-after", "7"), ("x-demarc-status", "503"), ("x-demarc-decision", "d-9"))
    gateways.inner.agent.handler = always(wire.answer(403, body=b'{"error":{}}', headers=own))

    answer = await gateways.ask(chat())

    assert (503, b'{"error":{}}', "7") == (
        answer.status,
        answer.body,
        answer.value("retry-after"),
    )
    assert "d-9" == answer.value("x-demarc-decision")


# --- Envoy's own answers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload, want",
    [
        (chat(body=b"x" * (4 * 1024 * 1024 + 1)), (413, "request_too_large")),
        (chat(("x-long", "x" * 61 * 1024)), (431, "headers_too_large")),
        (chat(("x_demarc_cluster", "egress")), (400, "bad_request")),
        (wire.request("/v1%2fchat"), (400, "bad_request")),
        (b"NONSENSE\r\n\r\n", (400, "bad_request")),
        (b"GET /v1/models HTTP/1.0\r\nhost: x\r\n\r\n", (426, "upgrade_required")),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, "bad_request")),
        (b"CONNECT x:1 HTTP/1.1\r\nhost: x:1\r\n\r\n", (404, "not_found")),
        (
            chat(("connection", "upgrade"), ("upgrade", "websocket")),
            (403, "policy_denied"),
        ),
        (TWO_LENGTHS, (400, "bad_request")),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_envoy_refuses_reads_like_any_other_error(
    gateways: Chain, payload: bytes, want: tuple[int, str]
) -> None:
    """An SDK cannot read an error, or the agent is asked about what is no request."""
    answer = await gateways.ask(payload)

    assert want == (answer.status, code(answer))
    assert [0, 0] == taken(gateways.inner.agent, gateways.near)


@pytest.mark.parametrize("way, size", [(stay, 4 * 1024 * 1024), (leave, 4 * 1024 * 1024)])
async def test_the_limit_of_a_body_is_the_same_in_every_tier(
    gateways: Chain, way: Callable[[], bytes], size: int
) -> None:
    """A later tier refuses what the first one has decided."""
    gateways.inner.agent.handler = always(way())

    answer = await gateways.ask(chat(body=b"x" * size))

    assert 200 == answer.status
    assert size == len((*gateways.near.requests, *gateways.far.requests)[0].body)


@pytest.mark.parametrize(
    "handler, want",
    [
        (always(None), (503, "no_capacity")),
        (always(b"nonsense\r\n\r\n"), (502, "bad_gateway")),
    ],
)
async def test_a_broken_frontend_reads_like_any_other_error(
    gateways: Chain, handler: Callable[[Message], Awaitable[bytes | None]], want: tuple[int, str]
) -> None:
    """An SDK cannot read an error, so that it does not try again."""
    gateways.near.handler = handler

    answer = await gateways.ask(chat())

    assert want == (answer.status, code(answer))
    assert ("1" if want[0] == 503 else None) == answer.value("retry-after")
    assert [1] == taken(gateways.near)


WITH_TRAILERS = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
    b"\r\n2\r\n{}\r\n0\r\nx-demarc-cluster: egress\r\nx-other: 1\r\n\r\n"
)


async def test_trailers_of_a_request_are_dropped(gateways: Chain) -> None:
    """A trailer carries what the agent has not seen."""
    await gateways.ask(WITH_TRAILERS)
    await gateways.call(gateways.egress, "inner", WITH_TRAILERS)

    (got,) = gateways.near.requests
    (far,) = gateways.far.requests
    assert [(b"{}", ())] * 2 == [(got.body, got.trailers), (far.body, far.trailers)]
    for agent in (gateways.inner.agent, gateways.egress.agent, gateways.edge.agent):
        assert "egress" not in str(agent.requests[0])


# --- who may call ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tier, who, want",
    [
        ("egress", "inner", True),
        ("egress", "egress", False),
        ("egress", "edge", False),
        ("egress", "a", False),
        ("edge", "egress", True),
        ("edge", "inner", False),
        ("edge", "edge", False),
        ("edge", "r", False),
    ],
)
async def test_a_tier_answers_only_the_tier_before_it(
    gateways: Chain, tier: str, who: str, *, want: bool
) -> None:
    """Any certificate of the authority opens the way out."""
    gateway: Gateway = getattr(gateways, tier)
    try:
        answered = (await gateways.call(gateway, who, chat())).status == 200
    except (ConnectionError, OSError, AssertionError):
        answered = False

    assert want == answered
    assert [int(want)] == taken(gateway.agent)


async def test_a_frontend_with_another_name_gets_nothing(gateways: Chain) -> None:
    """A false address leads a prompt to somebody else's engine."""
    await gateways.near.close()
    settings = envoy.server_context(gateways.folders["b"])
    ((host, port),) = gateways.inner.addresses[A.name]
    await gateways.near.listen(host, port, settings)

    answer = await gateways.ask(chat())

    assert (503, [0]) == (answer.status, taken(gateways.near))


async def test_clients_are_offered_http_1_alone(gateways: Chain) -> None:
    """Over HTTP/2 the usage trailer would reach the client."""
    gateways.client.set_alpn_protocols(["h2", "http/1.1"])

    answer = await gateways.ask(chat())

    assert (200, ()) == (answer.status, answer.trailers)
    assert answer.start.startswith("HTTP/1.1")


# --- what is written ------------------------------------------------------------------------------


def line(found: dict[str, object], *names: str) -> tuple[object, ...]:
    return tuple(found[name] for name in names)


async def test_usage_of_a_frontend_stands_in_the_log_of_every_tier(gateways: Chain) -> None:
    """Tokens of the far side are not booked, or the client reads them."""
    gateways.inner.agent.handler = always(leave())

    answer = await gateways.ask(chat())

    for gateway in (gateways.inner, gateways.egress, gateways.edge):
        (found,) = await gateway.logged()
        want = ("in=12;out=3;source=tokenizer", "d-1", R.name, "1.1", 200, "via_upstream")
        names = ("usage", "decision", "endpoint", "epoch", "code", "details")
        assert want == line(found, *names)
    assert () == answer.trailers


async def test_an_answer_without_a_trailer_has_no_usage(gateways: Chain) -> None:
    """A missing count is booked as one."""
    gateways.near.handler = always(wire.answer(200, body=b"{}"))

    await gateways.ask(chat())

    (found,) = await gateways.inner.logged()
    assert (None, 200, 1) == line(found, "usage", "code", "attempts")


async def test_a_refusal_is_logged_with_its_decision(gateways: Chain) -> None:
    """A refusal cannot be joined with its record."""
    own = (("x-demarc-decision", "d-9"), ("x-demarc-endpoint", A.name), ("x-demarc-grant", "g-9"))
    gateways.inner.agent.handler = always(wire.answer(403, headers=own))

    await gateways.ask(chat(KEY, body=b'{"prompt":"p-1"}'))

    (found,) = await gateways.inner.logged()
    assert ("d-9", 403, "ext_authz_denied", "UAEX") == line(
        found, "decision", "code", "details", "flags"
    )
    for secret in ("g-9", "k-1", "p-1", CHAT):
        assert secret not in json.dumps(found)


async def test_only_the_far_side_is_marked_as_far(gateways: Chain) -> None:
    """A refusal by egress closes an endpoint that works, or a dead one is not noticed."""
    gateways.inner.agent.handler = always(leave())
    marks: dict[str, Any] = {}

    gateways.far.handler = always(wire.answer(500, body=b"{}"))
    marks["the engine fails"] = (await gateways.ask(chat())).status
    await gateways.far.close()
    marks["the engine is dead"] = (await gateways.ask(chat())).status
    gateways.egress.agent.handler = always(wire.answer(403))
    marks["egress refuses"] = (await gateways.ask(chat())).status
    gateways.egress.agent.handler = always(onward())
    await gateways.edge.process.stop()
    marks["the edge is dead"] = (await gateways.ask(chat())).status
    await gateways.egress.agent.close()
    marks["egress cannot decide"] = (await gateways.ask(chat())).status

    found = [line(item, "code", "far") for item in await gateways.inner.logged(5)]
    assert [(500, "1"), (503, "1"), (403, None), (503, "1"), (503, None)] == found
    assert [500, 503, 403, 503, 503] == list(marks.values())


# --- the configuration in use ---------------------------------------------------------------------


async def test_what_envoy_runs_keeps_every_invariant(gateways: Chain) -> None:
    """Envoy reads the files in another way than the linter."""
    for gateway in (gateways.inner, gateways.egress, gateways.edge):
        async with gateway.admin as admin:
            running = resources.read_dump(await admin.config_dump())

        assert () == linting.lint(running, gateway.view, gateway.settings)


async def test_envoy_has_no_objection(gateways: Chain) -> None:
    """A field is unknown, unstable or out of Envoy's threat model."""
    for gateway in (gateways.inner, gateways.egress, gateways.edge):
        assert (0, "") == (
            (await gateway.process.validate())[0],
            gateway.process.messages,
        )
