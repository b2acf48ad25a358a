"""Is every change of a stored record found? The law of the log, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.audit import record, segments, verification
from demarc.audit.chain import GENESIS, Head
from demarc.audit.record import Note
from demarc.audit.segments import Frame
from support.recorded import AT, decision, log_of

LOG = log_of(3, 0, 2)
WHOLE = verification.verify(LOG)


def frames(data: bytes) -> list[bytes]:
    return [data[i.start : i.end] for i in segments.read(data) if isinstance(i, Frame)]


def rebuilt(groups: list[list[bytes]]) -> list[tuple[str, bytes]]:
    names = [name for name, _ in LOG]
    return [(name, b"".join(parts)) for name, parts in zip(names, groups, strict=True)]


def test_a_whole_log_has_no_problem() -> None:
    assert () == WHOLE.problems
    assert (3, 8, 5, 0) == (WHOLE.segments, WHOLE.records, WHOLE.decisions, WHOLE.torn)


def test_every_flipped_byte_is_found() -> None:
    """A record says something else than what was decided."""
    for index, (name, data) in enumerate(LOG):
        for place in range(len(data)):
            changed = bytearray(data)
            changed[place] ^= 1
            log = [*LOG[:index], (name, bytes(changed)), *LOG[index + 1 :]]

            assert verification.verify(log).problems, f"byte {place} of {name}"


def test_a_record_that_was_written_anew_with_its_checksum_is_found() -> None:
    """Who can compute a CRC can change a record."""
    groups = [frames(data) for _, data in LOG]
    old = record.decode(groups[0][1][segments.HEAD :])
    forged = record.encode(
        decision("f" * 32, outcome="Deny"), at=AT, gateway=old.gateway, prev=old.prev, seq=old.seq
    )
    groups[0][1] = segments.frame(forged)

    assert verification.verify(rebuilt(groups)).problems


@pytest.mark.parametrize("segment, place", [(0, 0), (0, 1), (0, 3), (1, 0), (2, 0), (2, 1)])
def test_a_dropped_record_is_found(segment: int, place: int) -> None:
    groups = [frames(data) for _, data in LOG]
    del groups[segment][place]

    assert verification.verify(rebuilt(groups)).problems


@given(st.data())
def test_a_doubled_or_moved_record_is_found(data: st.DataObject) -> None:
    groups = [frames(content) for _, content in LOG]
    source = data.draw(st.integers(0, 2))
    place = data.draw(st.integers(0, len(groups[source]) - 1))
    item = groups[source][place]
    if data.draw(st.booleans()):
        del groups[source][place]
    target = data.draw(st.integers(0, 2))
    groups[target].insert(data.draw(st.integers(0, len(groups[target]))), item)
    if groups == [frames(content) for _, content in LOG]:
        return

    assert verification.verify(rebuilt(groups)).problems


@pytest.mark.parametrize("gone", [0, 1])
def test_a_missing_segment_is_found(gone: int) -> None:
    log = [item for index, item in enumerate(LOG) if index != gone]

    assert verification.verify(log).problems


def test_segments_in_another_order_are_found() -> None:
    assert verification.verify(LOG[::-1]).problems


def test_a_missing_end_is_found_against_a_head_that_was_kept() -> None:
    """Without one it cannot be found, which the documentation says."""
    shorter = LOG[:-1]

    assert () == verification.verify(shorter).problems
    assert verification.verify(shorter, contains=WHOLE.head).problems
    assert () == verification.verify(LOG, contains=verification.verify(shorter).head).problems


def test_a_log_goes_on_from_a_head() -> None:
    """Older segments were moved to an archive."""
    head = verification.verify(LOG[:1]).head

    assert () == verification.verify(LOG[1:], after=head).problems
    assert verification.verify(LOG[1:]).problems


def test_an_unfinished_record_at_the_very_end_is_told_apart() -> None:
    name, data = LOG[-1]
    found = verification.verify([*LOG[:-1], (name, data[:-3])])

    assert len(frames(data)[-1]) - 3 == found.torn
    assert WHOLE.records - 1 == found.records


def test_an_unfinished_record_in_the_middle_is_no_crash() -> None:
    name, data = LOG[0]
    found = verification.verify([(name, data[:-3]), *LOG[1:]])

    assert 0 == found.torn
    assert found.problems


def test_a_segment_that_begins_inside_another_is_found() -> None:
    (name, data), *_ = LOG
    head = verification.verify(LOG[:1]).head
    note = record.encode(
        Note(gap=None, number=9, type="Segment"),
        at=AT,
        gateway="g",
        prev=head.hash,
        seq=head.seq + 1,
    )

    found = verification.verify([(name, data + segments.frame(note))])

    assert "begins inside" in str(found.problems[0])


@pytest.mark.parametrize("name, data", [("notes.txt", b""), (segments.name(1), b"")])
def test_what_is_no_segment_is_a_problem(name: str, data: bytes) -> None:
    assert verification.verify([(name, data)]).problems


def test_frames_of_something_else_are_a_problem() -> None:
    found = verification.verify([(segments.name(1), segments.frame(b"{}"))])

    assert any("no record" in str(problem) for problem in found.problems)


def test_an_empty_log_is_whole_and_starts_at_genesis() -> None:
    found = verification.verify([])

    assert ((), Head(0, GENESIS)) == (found.problems, found.head)
