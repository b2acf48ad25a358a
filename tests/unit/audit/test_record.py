"""Are the bytes of a record the ones that were agreed? RFC 8785, and nothing unknown."""

from __future__ import annotations

import json

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from demarc.audit import record
from demarc.audit.record import Gap, Note, RecordError
from support.recorded import AT, decision

NOTES = (
    Note(gap=None, number=7, type="Segment"),
    Note(gap=None, number=12, type="Truncated"),
    Note(gap=None, number=3, type="Refusals"),
    Note(gap=Gap(allowed=1, denied=2, since=AT, superseded=("a", "b")), number=0, type="Gap"),
)
ENTRIES = (
    *NOTES,
    decision(),
    decision(caller=None, chosen=None, epoch=None, label=None, needs=None, health={}, removed=()),
    decision(granted=record.Granted(epoch_hash="e" * 64, gateway="spiffe://demarc/dc/inner")),
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_bytes_are_rfc_8785(entry: record.Decision | Note) -> None:
    """Another program hashes the record to something else."""
    data = record.encode(entry, at=AT, gateway="g", prev="0" * 64, seq=1)

    assert rfc8785.dumps(json.loads(data)) == data


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_was_written_is_read(entry: record.Decision | Note) -> None:
    """A field is lost on the way."""
    found = record.decode(record.encode(entry, at=AT, gateway="g", prev="0" * 64, seq=1))

    assert entry in (found.decision, found.note)
    assert (1, "g", AT) == (found.seq, found.gateway, found.at)


@given(st.text(), st.text(), st.integers(0, 2**53 - 1), st.dictionaries(st.text(), st.booleans()))
def test_any_text_keeps_the_form(
    name: str, reason: str, size: int, health: dict[str, bool]
) -> None:
    """A name with odd characters breaks the canonical form, or the encoder."""
    ordered = {
        key: health[key]
        for key in sorted(health, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
    }
    entry = decision(
        name, reason=reason, health=ordered, body=record.Body(bytes=size, mac="", mac_key="")
    )
    try:
        data = record.encode(entry, at=AT, gateway="g", prev="", seq=1)
    except UnicodeEncodeError:
        assert any("\ud800" <= char <= "\udfff" for char in f"{name}{reason}{''.join(health)}")
        return

    assert rfc8785.dumps(json.loads(data)) == data
    assert entry == record.decode(data).decision


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(extra=1),
        lambda v: v["decision"].update(extra=1),
        lambda v: v.update(apiVersion="demarc.dev/record/v2"),
        lambda v: v.update(note={"gap": None, "number": 1, "type": "Segment"}),
        lambda v: v.pop("decision"),
        lambda v: v["decision"].update(outcome="Maybe"),
        lambda v: v["decision"].pop("label"),
        lambda v: v.update(seq=1.5),
    ],
)
def test_what_is_not_known_is_refused(change: object) -> None:
    """An auditor reads over a field that matters."""
    value = json.loads(record.encode(decision(), at=AT, gateway="g", prev="", seq=1))
    change(value)  # type: ignore[operator]

    with pytest.raises(RecordError):
        record.decode(rfc8785.dumps(value))


@pytest.mark.parametrize("data", [b"", b"{", b"null", b"[" * 100_000, b" {}", b"\xff"])
def test_garbage_is_refused(data: bytes) -> None:
    """Verification stops with an exception of a library."""
    with pytest.raises(RecordError):
        record.decode(data)


def test_white_space_is_refused() -> None:
    """Two byte strings are the same record."""
    data = record.encode(decision(), at=AT, gateway="g", prev="", seq=1)

    with pytest.raises(RecordError):
        record.decode(data.replace(b'"seq":1', b'"seq": 1'))


def test_the_schema_holds_every_field() -> None:
    """The published schema is of something else."""
    found = json.dumps(record.schema())

    assert all(name in found for name in msgspec.structs.asdict(decision()))
