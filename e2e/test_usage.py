"""Every token is attributed: each request that reached an engine is booked once, at its price."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from e2e.support.bank import AML, COPILOT, FAQ, INSIDE, OUTSIDE, Bank
from e2e.support.marks import Marks
from e2e.support.waiting import until
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from demarc.ledger import usage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


@dataclass(frozen=True, slots=True)
class Sum:
    """What the ledger says of one app on one site."""

    requests: int
    tokens_in: int
    tokens_out: int
    cost: Decimal
    states: Mapping[str, int]

    def since(self, before: Sum) -> Sum:
        return Sum(
            self.requests - before.requests,
            self.tokens_in - before.tokens_in,
            self.tokens_out - before.tokens_out,
            self.cost - before.cost,
            {
                state: more
                for state, count in self.states.items()
                if (more := count - before.states.get(state, 0))
            },
        )


def booked(bank: Bank, app: str, site: str) -> Sum:
    """What the ledger's file says; `demarc usage` reads the same."""
    tenant, _, name = app.partition("/")
    for row in usage.summary(Path(bank.run["ledger"]), by=("tenant", "app", "site")):
        if row.group == (tenant, name, site):
            return Sum(
                row.requests,
                row.tokens_in,
                row.tokens_out,
                dict(row.costs).get("USD", Decimal(0)),
                dict(row.states),
            )
    return Sum(0, 0, 0, Decimal(0), {})


def said(bank: Bank, app: str, site: str) -> Sum:
    """What `demarc usage` says."""
    tenant, _, name = app.partition("/")
    words = ("usage", "--by", "tenant,app,site", "-o", "json")
    rows: list[dict[str, Any]] = json.loads(bank.demarc(*words).stdout)
    (row,) = [
        row for row in rows if (row["tenant"], row["app"], row["site"]) == (tenant, name, site)
    ]
    cost = Decimal(row["costs"]["USD"])
    return Sum(row["requests"], row["tokensIn"], row["tokensOut"], cost, row["states"])


def grown(bank: Bank, app: str, site: str, before: Sum, requests: int) -> Sum:
    """What was booked since, once that many requests are; more than that is a failure."""

    def enough() -> Sum | None:
        now = booked(bank, app, site).since(before)
        return now if now.requests >= requests else None

    return until(enough, f"{requests} requests of {app} are booked", seconds=60)


def asked(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def fence(bank: Bank, client: OpenAI, app: str, site: str) -> None:
    """Ask one more, and wait until it is booked: what came before it is booked by then."""
    before = booked(bank, app, site)
    client.chat.completions.create(model="auto", messages=asked("say: fence"))
    grown(bank, app, site, before, 1)


@pytest.mark.parametrize(
    "app, site, prices", [(AML, INSIDE, ("0.70", "2.80")), (FAQ, OUTSIDE, ("0.10", "0.10"))]
)
def test_answers_and_streams_are_booked_once_with_their_tokens_and_cost(
    bank: Bank, app: str, site: str, prices: tuple[str, str]
) -> None:
    """A bill that differs from what the client was told is one that nobody pays."""
    client = bank.openai(app)
    fence(bank, client, app, site)
    before = said(bank, app, site)
    tokens_in = tokens_out = 0

    for number in range(5):
        answer = client.chat.completions.create(model="auto", messages=asked(f"number {number}"))
        assert answer.usage is not None
        tokens_in += answer.usage.prompt_tokens
        tokens_out += answer.usage.completion_tokens
    for number in range(5):
        *_, last = client.chat.completions.create(
            model="auto",
            messages=asked(f"streamed {number}"),
            stream=True,
            stream_options={"include_usage": True},
        )
        assert last.usage is not None
        tokens_in += last.usage.prompt_tokens
        tokens_out += last.usage.completion_tokens

    grown(bank, app, site, before, 10)
    used = said(bank, app, site).since(before)
    price_in, price_out = (Decimal(price) for price in prices)
    assert (
        Sum(
            10,
            tokens_in,
            tokens_out,
            (tokens_in * price_in + tokens_out * price_out) / 1_000_000,
            {"reported": 10},
        )
        == used
    )


@pytest.mark.parametrize("app, site", [(AML, INSIDE), (FAQ, OUTSIDE)])
def test_a_stream_that_is_read_to_its_last_event_is_counted_and_not_estimated(
    bank: Bank, app: str, site: str
) -> None:
    """The official client hangs up at `[DONE]`, which is before the end of the answer."""
    client = bank.openai(app)
    fence(bank, client, app, site)
    before = booked(bank, app, site)

    for number in range(40):
        for _ in client.chat.completions.create(
            model="auto", messages=asked(f"say: {number}"), stream=True
        ):
            pass

    used = grown(bank, app, site, before, 40)
    assert {"reported": 40} == used.states


@pytest.mark.parametrize("app, site", [(AML, INSIDE), (FAQ, OUTSIDE)])
def test_a_stream_that_the_client_leaves_is_booked_once_for_what_it_used(
    bank: Bank, app: str, site: str
) -> None:
    """What was generated until the tab was closed has cost money; what was not has not."""
    client = bank.openai(app)
    fence(bank, client, app, site)
    before = booked(bank, app, site)

    stream = client.chat.completions.create(
        model="auto", messages=asked("say:" + " more" * 4000), stream=True, max_tokens=4000
    )
    for _ in zip(range(5), stream, strict=False):
        pass
    stream.close()

    used = grown(bank, app, site, before, 1)
    fence(bank, client, app, site)
    after = booked(bank, app, site).since(before)
    assert 1 == used.requests
    assert 2 == after.requests  # with the fence
    assert 0 < used.tokens_out < 4000
    assert used.cost > 0


def test_each_decision_is_one_row(bank: Bank, marks: Marks) -> None:
    """A row that stands there twice is paid twice, and one that is missing by nobody."""
    answers = [
        bank.chat(f"good morning {text}", app=app, stream=turn % 2 == 1)
        for app in (FAQ, COPILOT, AML)
        for turn, text in enumerate(("", marks.card(), marks.word()))
    ]
    asked_ids = sorted(answer.decision for answer in answers)

    def rows() -> list[str]:
        found = usage.read(Path(bank.run["ledger"]))
        return sorted(row.decision for row in found if row.decision in asked_ids)

    until(lambda: len(rows()) >= len(asked_ids), "every decision is booked")

    assert {200} == {answer.status for answer in answers}
    assert asked_ids == rows()


def test_what_is_refused_is_not_booked(bank: Bank) -> None:
    """A client pays for engines, and no engine has seen these."""
    client = bank.openai(AML)
    fence(bank, client, AML, INSIDE)
    before = booked(bank, AML, INSIDE)

    refused = [
        bank.chat("hello", app=AML, model="none"),
        bank.chat("hello", app=AML, temperature=9),
        bank.chat("hello", app=AML, max_tokens=1_000_000),
        bank.send(b"{", app=AML),
        bank.send(b"", app=AML, method="GET", path="/v1/models"),
    ]
    client.chat.completions.create(model="auto", messages=asked("say: fence"))

    used = grown(bank, AML, INSIDE, before, 1)
    assert [404, 400, 400, 400, 200] == [answer.status for answer in refused]
    assert 1 == used.requests


def test_no_usage_is_without_an_app(bank: Bank) -> None:
    """Tokens that belong to nobody are tokens that nobody watches."""
    rows = json.loads(bank.demarc("usage", "--by", "tenant,app,client", "-o", "json").stdout)

    assert rows
    assert all(row["tenant"] and row["app"] and row["client"] for row in rows)
    assert all(row["unpriced"] == 0 for row in rows)


def test_usage_is_a_table_for_people(bank: Bank) -> None:
    """The default output is read and not parsed."""
    bank.chat("hello")

    lines = bank.demarc("usage").stdout.splitlines()

    assert ["TENANT", "MODEL", "SITE"] == lines[0].split()[:3]
    assert any(line.split()[:3] == ["retail", "auto", OUTSIDE] for line in lines)
    assert "USD" in lines[1]
