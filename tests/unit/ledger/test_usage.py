"""Is every token attributed once, with its exact cost?"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demarc.ledger import usage
from demarc.ledger.usage import Booked, LedgerError, Position, Row, State, Sum, UsageLedger

ROW = Row(
    decision="d1",
    attempt=1,
    tenant="retail",
    app="branch-faq",
    client="faq-key",
    model="auto",
    endpoint="models/glm-4-flash@cloud-sg",
    site="cloud-sg",
    scope="Public",
    tokens_in=12,
    tokens_out=3,
    cost="0.0000015",
    currency="USD",
    state=State.REPORTED,
    source="tokenizer",
    at="2026-12-01T12:00:00.000000Z",
    status=200,
    milliseconds=40,
)
HERE = Position(7, 100)


def book(path: Path, *rows: Row, position: Position = HERE) -> Booked:
    with UsageLedger(path) as ledger:
        return ledger.book(rows, name="access", position=position)


def test_a_row_is_booked_once(tmp_path: Path) -> None:
    """A line that is read twice is paid twice."""
    path = tmp_path / "ledger.sqlite"

    assert Booked(1, 0, 0) == book(path, ROW)
    assert Booked(0, 1, 0) == book(path, ROW)
    assert Booked(1, 1, 0) == book(path, ROW, replace(ROW, attempt=2))
    assert 2 == len(usage.read(path))


def test_a_row_that_contradicts_a_booked_one_is_counted_and_the_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    book(path, ROW)

    assert Booked(0, 0, 1) == book(path, replace(ROW, tokens_out=4))
    assert (ROW,) == usage.read(path)


def test_rows_and_position_are_one_commit(tmp_path: Path) -> None:
    """After a crash lines are lost, or the position is ahead of what was booked."""
    path = tmp_path / "ledger.sqlite"
    with UsageLedger(path) as ledger:
        assert ledger.position("access") is None
        ledger.book([ROW], name="access", position=HERE)
        broken = replace(ROW, decision="d2", tokens_in="many")  # type: ignore[arg-type]
        with pytest.raises(LedgerError):
            ledger.book(
                [replace(ROW, decision="d3"), broken], name="access", position=Position(7, 900)
            )
        assert HERE == ledger.position("access")

    assert (ROW,) == usage.read(path)


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    book(path, ROW)

    assert 0o600 == path.stat().st_mode & 0o777


def test_usage_is_summed_by_group_with_exact_amounts(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    book(
        path,
        ROW,
        replace(ROW, decision="d2", cost="0.000000000000001", state=State.PARTIAL),
        replace(ROW, decision="d3", cost="", currency=""),
        replace(ROW, decision="d4", tenant="risk", cost="2", currency="CNY"),
    )

    retail, risk = usage.summary(path, by=("tenant",))

    assert retail == Sum(
        group=("retail",),
        requests=3,
        tokens_in=36,
        tokens_out=9,
        costs=(("USD", Decimal("0.000001500000001")),),
        unpriced=1,
        states=(("partial", 1), ("reported", 2)),
    )
    assert (("risk",), (("CNY", Decimal(2)),)) == (risk.group, risk.costs)
    assert (risk,) == usage.summary(path, by=("tenant",), tenant="risk")
    assert () == usage.summary(path, since="2026-12-01T12:00:00.000001Z")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=20))
def test_a_sum_loses_no_fraction(tmp_path: Path, amounts: list[int]) -> None:
    """Floats lose money."""
    path = tmp_path / "ledger.sqlite"
    path.unlink(missing_ok=True)
    rows = [
        replace(ROW, decision=str(index), cost=format(Decimal(amount).scaleb(-15), "f"))
        for index, amount in enumerate(amounts)
    ]
    book(path, *rows)

    ((_, total),) = usage.summary(path, by=("tenant",))[0].costs

    assert Decimal(sum(amounts)).scaleb(-15) == total


def test_an_unknown_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="`tenant; DROP`"):
        usage.summary(tmp_path / "x", by=("tenant; DROP",))


def test_a_ledger_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert () == usage.read(tmp_path / "x")


def test_a_ledger_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """After a downgrade rows are written in a form that nobody reads."""
    path = tmp_path / "ledger.sqlite"
    book(path, ROW)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()

    with pytest.raises(LedgerError, match="newer"):
        UsageLedger(path)


@pytest.mark.parametrize("content", [b"not a database, but long enough to be looked at" * 30])
def test_what_is_no_ledger_is_an_error_of_ours(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(content)

    with pytest.raises(LedgerError):
        UsageLedger(path)
    with pytest.raises(LedgerError):
        usage.read(path)


def test_it_is_read_while_it_is_written(tmp_path: Path) -> None:
    """The command line shows nothing while the agent runs."""
    path = tmp_path / "ledger.sqlite"
    with UsageLedger(path) as ledger:
        ledger.book([ROW], name="access", position=HERE)

        assert (ROW,) == usage.read(path)
