"""Which bank do the stories share? One for the session, in networks that no other worker has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e.support.bank import Bank
from e2e.support.marks import Marks

_FIRST_NETWORK = 150


def networks(worker: str, turn: int) -> tuple[int, int]:
    """Second octets of two networks: by pytest worker, and by bank of that worker."""
    number = int(worker.removeprefix("gw")) if worker.startswith("gw") else 0
    first = _FIRST_NETWORK + 6 * number + 2 * turn
    return first, first + 1


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Bank]:
    """The example bank, running; at the end of the session it leaves no process."""
    made = Bank(tmp_path_factory.mktemp("e"), networks=networks(worker_id, 0))
    try:
        made.up()
        yield made
    finally:
        made.end()


@pytest.fixture(autouse=True)
def _hang_up(request: pytest.FixtureRequest) -> Iterator[None]:
    """Connections of official clients end with the test that opened them."""
    yield
    if "bank" in request.fixturenames:
        request.getfixturevalue("bank").hang_up()


@pytest.fixture
def marks(request: pytest.FixtureRequest) -> Marks:
    """Words and numbers of this test alone, the same in each run."""
    return Marks(request.node.nodeid)
