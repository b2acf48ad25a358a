"""Somebody inside the network talks to the gateways behind the first one, and gets nowhere.

Egress, edge and the frontends open to one name each. A stolen certificate opens the one door that
it is for, and there the bytes are judged again.
"""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import pytest
from e2e.support import thief, wire
from e2e.support.bank import CHAT, FAQ, Bank
from e2e.support.marks import Marks
from e2e.support.thief import (
    EDGE,
    EGRESS,
    INNER,
    PRIVATE_FRONTEND,
    PUBLIC_FRONTEND,
    TARGET,
    Thief,
)
from e2e.support.wire import Answer, Headers

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

PORT = 8443
DOORS = ("egress", "edge", "private frontend", "public frontend")
OPENS = {
    "egress": INNER,
    "edge": EGRESS,
    "private frontend": INNER,
    "public frontend": EDGE,
}
"""The one name to which a door opens."""


def address(bank: Bank, door: str) -> tuple[str, int]:
    pod = {
        "egress": lambda: bank.pod("egress"),
        "edge": lambda: bank.pod("edge"),
        "private frontend": lambda: bank.pod("engine", name="glm-4-air"),
        "public frontend": lambda: bank.pod("engine", name="glm-4-flash"),
    }[door]()
    return pod.address, PORT


def request(body: bytes, *more: tuple[str, str]) -> bytes:
    lines: Headers = (
        ("host", "demarc"),
        ("connection", "close"),
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        *more,
    )
    return wire.head("POST", CHAT, lines) + body


def chat(word: str) -> bytes:
    messages = [{"role": "user", "content": word}]
    return json.dumps({"model": "auto", "max_tokens": 4, "messages": messages}).encode()


def shut(bank: Bank, door: str, context: Any, data: bytes) -> bool:
    """Whether a door does not open; an answer of any kind is one that was let in."""
    try:
        answer = wire.exchange(address(bank, door), context, data)
    except (OSError, http.client.HTTPException):
        return True
    raise AssertionError(f"{door} answered {answer.status}")


@pytest.mark.parametrize("door", DOORS)
def test_a_door_is_shut_to_a_caller_without_a_certificate(
    bank: Bank, marks: Marks, door: str
) -> None:
    """Everything behind the inner gateway trusts what it is told, so it must know who tells it."""
    since, word = bank.recording.end(), marks.word()
    forged = (
        ("authorization", f"Bearer {bank.credential(FAQ)}"),
        ("x-demarc-model", "glm-4-flash"),
        ("x-demarc-endpoint", TARGET),
        ("x-demarc-decision", "0" * 32),
    )

    assert shut(bank, door, Thief(bank).context(), request(chat(word), *forged))
    assert () == bank.recording.holding(word, since=since)


@pytest.mark.parametrize("door", DOORS)
def test_a_door_is_shut_to_a_name_that_another_authority_signed(
    bank: Bank, marks: Marks, door: str, tmp_path: Path
) -> None:
    """Anybody can write any name into a certificate."""
    since, word = bank.recording.end(), marks.word()
    context = thief.self_made(OPENS[door], tmp_path)

    assert shut(bank, door, context, request(chat(word)))
    assert () == bank.recording.holding(word, since=since)


@pytest.mark.parametrize(
    "door, name",
    [
        ("egress", EDGE),
        ("egress", EGRESS),
        ("egress", PUBLIC_FRONTEND),
        ("egress", PRIVATE_FRONTEND),
        ("edge", INNER),
        ("edge", EDGE),
        ("edge", PUBLIC_FRONTEND),
        ("private frontend", EGRESS),
        ("private frontend", EDGE),
        ("private frontend", PUBLIC_FRONTEND),
        ("public frontend", EGRESS),
        ("public frontend", INNER),
        ("public frontend", PRIVATE_FRONTEND),
    ],
)
def test_a_door_is_shut_to_every_other_name_of_the_same_authority(
    bank: Bank, marks: Marks, door: str, name: str
) -> None:
    """An engine in a rented cluster that was broken into must not become a caller at home."""
    since, word = bank.recording.end(), marks.word()

    assert shut(bank, door, Thief(bank).context(name), request(chat(word)))
    assert () == bank.recording.holding(word, since=since)


def test_a_private_frontend_opens_to_its_inner_gateway(bank: Bank) -> None:
    """The control of the stories above: a shut door and a dead one look alike."""
    answer = wire.exchange(
        address(bank, "private frontend"),
        Thief(bank).context(INNER),
        request(chat("hello"), ("x-demarc-model", "glm-4.5-air"), ("x-demarc-decision", "a" * 32)),
    )

    assert 200 == answer.status
    assert answer.text


def leave(bank: Bank, body: bytes, *more: tuple[str, str], door: str = "egress") -> Answer:
    """What a thief of the inner gateway (or of egress) says to the next door."""
    return wire.exchange(
        address(bank, door), Thief(bank).context(OPENS[door]), request(body, *more)
    )


def with_grant(bank: Bank, body: bytes, *, app: str = FAQ, **lies: object) -> Headers:
    return (
        ("authorization", f"Bearer {bank.credential(app)}"),
        ("x-demarc-endpoint", TARGET),
        ("x-demarc-grant", Thief(bank).grant(body, **lies)),
    )


def test_a_stolen_inner_gateway_can_send_what_was_permitted_anyway(
    bank: Bank, marks: Marks
) -> None:
    """The control: certificate and grant of the thief are good; what is refused is the lie."""
    since, word = bank.recording.end(), marks.word()
    body = chat(word)

    answer = leave(bank, body, *with_grant(bank, body))

    assert 200 == answer.status
    assert bank.recording.holding(word, since=since, at="edge")


def test_a_stolen_inner_gateway_cannot_send_a_card_outside(bank: Bank, marks: Marks) -> None:
    """One gateway that lies about a label is one fault, and one fault must not leak."""
    since, word, card = bank.recording.end(), marks.word(), marks.card()
    body = chat(f"{word} {card}")

    answer = leave(bank, body, *with_grant(bank, body))

    assert (403, "egress_refused") == (answer.status, answer.error["code"])
    assert () == bank.recording.holding(word, since=since)


def test_a_stolen_inner_gateway_cannot_speak_for_another_app(bank: Bank, marks: Marks) -> None:
    """The caller's own credential travels to egress, which proves it again."""
    since, word = bank.recording.end(), marks.word()
    body = chat(word)

    copilot = leave(bank, body, *with_grant(bank, body, app="retail/copilot"))
    nobody = leave(bank, body, *with_grant(bank, body)[1:])

    assert (403, "egress_refused") == (copilot.status, copilot.error["code"])
    assert (403, "egress_refused") == (nobody.status, nobody.error["code"])
    assert () == bank.recording.holding(word, since=since)


def test_a_grant_is_for_one_body_one_use_and_one_place(bank: Bank, marks: Marks) -> None:
    """A grant that was seen once must not carry other bytes, nor the same ones again."""
    since, word, other = bank.recording.end(), marks.word(), marks.word()
    body = chat(word)
    lines = with_grant(bank, body)

    first = leave(bank, body, *lines)
    again = leave(bank, body, *lines)
    swapped = leave(bank, chat(other), *lines)
    elsewhere = leave(
        bank,
        chat(other),
        *with_grant(bank, chat(other), endpoint="models/glm-4-9b@cloud-sg"),
    )
    late = leave(bank, chat(other), *with_grant(bank, chat(other), expires=thief.long_ago()))
    none = leave(bank, chat(other), *lines[:2])

    assert 200 == first.status
    for answer in (again, swapped, elsewhere, late, none):
        assert (403, "egress_refused") == (answer.status, answer.error["code"])
    assert 1 == len(bank.recording.holding(word, since=since, at="edge"))
    assert () == bank.recording.holding(other, since=since)


def test_a_stolen_egress_gateway_cannot_use_an_engine_without_a_grant(
    bank: Bank, marks: Marks
) -> None:
    """The edge holds no policy: it takes a fresh grant for these bytes, and nothing else."""
    since, word = bank.recording.end(), marks.word()
    body = chat(word)
    lines = with_grant(bank, chat("other bytes"))

    bare = leave(bank, body, ("x-demarc-endpoint", TARGET), door="edge")
    swapped = leave(bank, body, *lines[1:], door="edge")

    assert 403 == bare.status
    assert 403 == swapped.status
    # the edge has read them, so they are in its recording; no engine has
    assert () == bank.recording.holding(word, since=since, at="engine")
