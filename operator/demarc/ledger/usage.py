"""Who used how many tokens, where, and what did it cost? Rows in SQLite, one per attempt.

Rules:
    A row's key is (decision, attempt): the same line booked twice is one row. The same key with
    other content is not a repetition; it is counted as a conflict and the first row stays.
    Rows and the position of the log they came from are committed together, durably.
    Cost is exact: an integer of 10^-15 of the currency; amounts are written as decimals.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Self

_SCHEMA_VERSION = 1
_UNITS = 15
"""Digits of a cost after the point."""


class State(StrEnum):
    """How sure the tokens of a row are."""

    REPORTED = "reported"
    PARTIAL = "partial"
    """The answer broke off and nobody counted it: estimated from what was sent."""
    ESTIMATED = "estimated"


@dataclass(frozen=True, slots=True)
class Row:
    """Usage of one attempt.

    Attributes:
        attempt: 1 for the first.
        site, scope: of the endpoint; scope is `Private` or `Public`.
        tokens_in, tokens_out: tokens.
        cost: exact decimal in `currency`; empty when the endpoint has no price.
        at: RFC 3339 in UTC, when the request began.
        status: HTTP status that the caller got; 0 when none was sent.
        milliseconds: whole duration.
        source: what counted: `tokenizer`, `bytes`.
    """

    decision: str
    attempt: int
    tenant: str
    app: str
    client: str
    model: str
    endpoint: str
    site: str
    scope: str
    tokens_in: int
    tokens_out: int
    cost: str
    currency: str
    state: State
    source: str
    at: str
    status: int
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Position:
    """How far an access log was read: the file and the byte behind the last whole line."""

    inode: int
    offset: int


@dataclass(frozen=True, slots=True)
class Booked:
    """What became of a batch: new rows, known ones, and those that contradict a known one."""

    added: int
    repeated: int
    conflicting: int


@dataclass(frozen=True, slots=True)
class Sum:
    """Usage of one group.

    Attributes:
        group: values of the columns that were asked for, in their order.
        costs: currency -> exact amount; rows without a price are in `unpriced`.
        states: state -> rows.
    """

    group: tuple[str, ...]
    requests: int
    tokens_in: int
    tokens_out: int
    costs: tuple[tuple[str, Decimal], ...]
    unpriced: int
    states: tuple[tuple[str, int], ...]


GROUPS = ("tenant", "app", "client", "model", "endpoint", "site", "scope")
_COLUMNS = tuple(field.name for field in fields(Row))
_INSERT = (
    f"INSERT INTO usage ({', '.join(_COLUMNS)}) "  # noqa: S608  # names of our own class
    f"VALUES ({', '.join('?' for _ in _COLUMNS)}) ON CONFLICT DO NOTHING"
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM usage"  # noqa: S608  # as above


class LedgerError(Exception):
    """The ledger cannot be read or written; the text is for the operator."""


class UsageLedger:
    """The writer of one ledger file. It belongs to one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            LedgerError: it cannot be used.
        """
        try:
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            path.chmod(0o600)
            self._database.execute("PRAGMA journal_mode = WAL")
            # The log's lines are removed once they are booked, so a commit must be on the disk.
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("PRAGMA busy_timeout = 5000")
            _migrate(self._database)
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(f"the ledger `{path.name}` cannot be opened: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def position(self, name: str) -> Position | None:
        """How far the log of that name was booked; None: never.

        Raises:
            LedgerError: the file cannot be read.
        """
        with _errors():
            found = self._database.execute(
                "SELECT inode, offset FROM position WHERE name = ?", (name,)
            ).fetchone()
        return None if found is None else Position(int(found[0]), int(found[1]))

    def book(self, rows: Sequence[Row], *, name: str, position: Position) -> Booked:
        """Book rows and how far their log was read, in one durable commit.

        Raises:
            LedgerError: nothing of it was booked.
        """
        added = repeated = conflicting = 0
        with _errors(), self._transaction():
            for row in rows:
                if self._database.execute(_INSERT, astuple(row)).rowcount:
                    added += 1
                elif self._known(row):
                    repeated += 1
                else:
                    conflicting += 1
            self._database.execute(
                "INSERT INTO position (name, inode, offset) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET inode = excluded.inode, offset = excluded.offset",
                (name, position.inode, position.offset),
            )
        return Booked(added, repeated, conflicting)

    def _known(self, row: Row) -> bool:
        found = self._database.execute(
            f"{_SELECT} WHERE decision = ? AND attempt = ?", (row.decision, row.attempt)
        ).fetchone()
        return tuple(found) == astuple(row)

    @contextmanager
    def _transaction(self) -> Generator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")


def summary(
    path: Path,
    *,
    by: Sequence[str] = ("tenant", "model", "site"),
    since: str = "",
    tenant: str | None = None,
) -> tuple[Sum, ...]:
    """Usage by groups, sorted by group.

    Args:
        path: the ledger file; it may be in use.
        by: columns out of `GROUPS`.
        since: only rows that began at or after this RFC 3339 time in UTC.
        tenant: only this tenant's rows.

    Raises:
        LedgerError: the file cannot be read, or a column is not one of `GROUPS`.
    """
    if unknown := sorted(set(by) - set(GROUPS)):
        raise LedgerError(f"usage has no column `{unknown[0]}`: there are {', '.join(GROUPS)}")
    sums: dict[tuple[str, ...], _Adding] = {}
    for row in read(path, since=since, tenant=tenant):
        group = tuple(str(getattr(row, name)) for name in by)
        sums.setdefault(group, _Adding()).add(row)
    return tuple(sums[group].sum(group) for group in sorted(sums))


def read(path: Path, *, since: str = "", tenant: str | None = None) -> tuple[Row, ...]:
    """Rows in the order of their time.

    Raises:
        LedgerError: the file cannot be read.
    """
    if not path.exists():
        return ()
    with _errors():
        # `mode=ro` still takes part in the WAL, so what is committed is seen.
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            found = database.execute(
                f"{_SELECT} WHERE at >= ? AND (? IS NULL OR tenant = ?) ORDER BY at, decision",
                (since, tenant, tenant),
            )
            return tuple(_row(values) for values in found)
        finally:
            database.close()


def units(amount: str) -> int:
    """An exact amount as an integer of 10^-15 of its currency."""
    return int(Decimal(amount).scaleb(_UNITS))


class _Adding:
    def __init__(self) -> None:
        self.requests = self.tokens_in = self.tokens_out = self.unpriced = 0
        self.costs: dict[str, int] = {}
        self.states: dict[str, int] = {}

    def add(self, row: Row) -> None:
        self.requests += 1
        self.tokens_in += row.tokens_in
        self.tokens_out += row.tokens_out
        self.states[row.state] = self.states.get(row.state, 0) + 1
        if row.cost:
            self.costs[row.currency] = self.costs.get(row.currency, 0) + units(row.cost)
        else:
            self.unpriced += 1

    def sum(self, group: tuple[str, ...]) -> Sum:
        return Sum(
            group=group,
            requests=self.requests,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            costs=tuple(
                (currency, Decimal(total).scaleb(-_UNITS))
                for currency, total in sorted(self.costs.items())
            ),
            unpriced=self.unpriced,
            states=tuple(sorted(self.states.items())),
        )


def _row(values: Iterable[object]) -> Row:
    found = dict(zip(_COLUMNS, values, strict=True))
    return Row(**{**found, "state": State(str(found["state"]))})  # type: ignore[arg-type]  # by the schema


def _migrate(database: sqlite3.Connection) -> None:
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if version > _SCHEMA_VERSION:
        raise LedgerError(f"the ledger has version {version}: a newer Demarc wrote it")
    if version == _SCHEMA_VERSION:
        return
    numbers = {"attempt", "tokens_in", "tokens_out", "status", "milliseconds"}
    columns = ", ".join(
        f"{name} {'INTEGER' if name in numbers else 'TEXT'} NOT NULL" for name in _COLUMNS
    )
    database.executescript(
        f"""
        BEGIN IMMEDIATE;
        CREATE TABLE usage ({columns}, PRIMARY KEY (decision, attempt)) STRICT, WITHOUT ROWID;
        CREATE INDEX usage_at ON usage (at);
        CREATE TABLE position (
            name TEXT NOT NULL PRIMARY KEY, inode INTEGER NOT NULL, offset INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        PRAGMA user_version = {_SCHEMA_VERSION};
        COMMIT;
        """
    )


@contextmanager
def _errors() -> Generator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger failed: {error}") from error
