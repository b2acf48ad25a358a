"""Each part of the way is killed under load: nothing sensitive leaves, and service comes back.

Before and after, ordinary requests arrive outside and sensitive ones are answered inside. In
between a request may be refused, and never goes where its label forbids.
"""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from e2e.support.bank import COPILOT, INSIDE, OUTSIDE, Bank, Pod
from e2e.support.load import BROKEN, Load, tally
from e2e.support.marks import Marks
from e2e.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

REQUESTS = 1000
KILLED_AFTER = 300
RECOVERY_SECONDS = 120.0

VICTIMS = {
    "private engine": ("engine", "glm-4-air", "triton"),
    "private frontend": ("engine", "glm-4-air", "frontend"),
    "inner agent": ("inner", "demarc-inner", "agent"),
    "egress agent": ("egress", "demarc-egress", "agent"),
    "inner Envoy": ("inner", "demarc-inner", "envoy"),
    "edge agent": ("edge", "demarc-edge", "agent"),
    "public engine": ("engine", "glm-4-flash", "triton"),
}
"""Role and name of a pod, and the container in it."""


def victim(bank: Bank, name: str) -> Pod:
    role, begins, _ = VICTIMS[name]
    return bank.pod(role, name=begins)


def serves(bank: Bank, marks: Marks) -> bool:
    """Ordinary requests arrive outside, sensitive ones are answered inside."""
    since, word, secret, card = bank.recording.end(), marks.word(), marks.word(), marks.card()
    ordinary = bank.chat(f"good morning {word}")
    sensitive = bank.chat(f"good morning {secret} {card}")
    assert (200, OUTSIDE) == (ordinary.status, ordinary.site)
    assert (200, INSIDE) == (sensitive.status, sensitive.site)
    assert bank.recording.holding(word, since=since, at="engine")
    return True


@pytest.mark.parametrize("name", VICTIMS)
def test_a_part_that_is_killed_under_load_leaks_nothing_and_comes_back(
    bank: Bank, marks: Marks, name: str
) -> None:
    """A fault that opens the way outside, or that needs a person to mend it."""
    container = VICTIMS[name][2]
    assert serves(bank, marks)
    before, since = victim(bank, name), bank.recording.end()
    load = Load(bank, marks)
    killed: list[int] = []

    def enough() -> bool:
        if not killed and len(load.outcomes) >= KILLED_AFTER:
            killed.append(before.pids[container])
            os.kill(killed[0], signal.SIGKILL)
        return len(load.outcomes) >= REQUESTS

    asyncio.run(load.run(enough))

    def recovered() -> bool:
        now = victim(bank, name)
        assert now.restarts[container] > before.restarts[container]
        assert now.ready
        return serves(bank, marks)

    until(recovered, f"{name} serves again", seconds=RECOVERY_SECONDS)
    said = tally(load.outcomes)
    print(name, said)
    sensitive = [outcome for outcome in load.outcomes if outcome.request.is_sensitive]
    ordinary = [outcome for outcome in load.outcomes if not outcome.request.is_sensitive]
    outside = bank.recording.words(since=since)
    arrived = {
        outcome.request.word
        for outcome in ordinary
        if (outcome.status, outcome.site) == (200, OUTSIDE)
    }
    leaked = {outcome.request.word for outcome in sensitive} & outside
    numbers = {outcome.request.number for outcome in sensitive if outcome.request.number}

    assert REQUESTS <= len(load.outcomes)
    assert set() == leaked
    assert frozenset() == bank.recording.numbers(numbers, since=since)
    assert arrived
    assert arrived <= outside
    assert OUTSIDE not in {outcome.site for outcome in sensitive}
    assert {200, 502, 503, 504, BROKEN} >= {outcome.status for outcome in load.outcomes}, said
    # what does not need the killed part goes on
    untouched = {
        "egress agent": sensitive,
        "private engine": ordinary,
        "private frontend": ordinary,
        "edge agent": sensitive,
        "public engine": sensitive,
    }.get(name, [])
    assert {200} >= {outcome.status for outcome in untouched}, said


def test_the_official_client_outlives_the_death_of_the_agent(bank: Bank) -> None:
    """A refusal says when to try again, and the client that everybody uses does so by itself."""
    container, before = "agent", victim(bank, "inner agent")
    client = bank.openai(COPILOT, retries=60)
    os.kill(before.pids[container], signal.SIGKILL)

    answer = client.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": "say: still here"}]
    )

    assert "still here" == answer.choices[0].message.content
    until(lambda: victim(bank, "inner agent").ready, "the inner gateway is ready")
