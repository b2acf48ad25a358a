"""Do frames tell whole records from broken ones?"""

from __future__ import annotations

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.audit import segments
from demarc.audit.segments import Damage, Frame

payloads = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=5)


@given(payloads)
def test_what_was_framed_is_read(items: list[bytes]) -> None:
    data = b"".join(map(segments.frame, items))

    found = list(segments.read(data))

    assert items == [item.payload for item in found if isinstance(item, Frame)]
    assert len(items) == len(found)


def test_the_checksum_is_crc_32c() -> None:
    """Another program cannot read the files. The value is that of RFC 3720 for nine digits."""
    length = (9).to_bytes(4, "big")

    assert 0xE3069283 == google_crc32c.value(b"123456789")
    assert segments.frame(b"123456789")[4:8] == google_crc32c.value(length + b"123456789").to_bytes(
        4, "big"
    )


@given(payloads, st.data())
def test_a_file_that_ends_early_is_torn_and_loses_only_its_last_frame(
    items: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(map(segments.frame, items))
    cut = data.draw(st.integers(0, len(whole) - 1))

    found = list(segments.read(whole[:cut]))

    frames = [item for item in found if isinstance(item, Frame)]
    assert items[: len(frames)] == [item.payload for item in frames]
    for item in found:
        if isinstance(item, Damage):
            assert item.torn


@given(payloads, st.data())
def test_a_changed_byte_stops_the_reading_where_it_is(
    items: list[bytes], data: st.DataObject
) -> None:
    whole = bytearray(b"".join(map(segments.frame, items)))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))

    found = list(segments.read(bytes(whole)))

    assert isinstance(found[-1], Damage)
    assert found[-1].start <= place


def test_zeros_at_the_end_are_torn() -> None:
    """After a power loss the length of a file can be ahead of its content."""
    data = segments.frame(b"x") + bytes(4096)

    *_, last = segments.read(data)

    assert isinstance(last, Damage)
    assert last.torn


@pytest.mark.parametrize("size", [0, segments.MAX_RECORD + 1])
def test_a_record_has_bounds(size: int) -> None:
    with pytest.raises(ValueError):
        segments.frame(bytes(size))


@pytest.mark.parametrize(
    "name, want",
    [
        ("segment-0000000001.records", 1),
        ("segment-0000000012.records", 12),
        ("segment-1.records", None),
        ("segment-000000000a.records", None),
        ("segment-" + 10 * "\N{ARABIC-INDIC DIGIT ONE}" + ".records", None),
        ("segment-0000000001.records.new", None),
        ("lock", None),
        ("", None),
    ],
)
def test_only_names_of_segments_are_segments(name: str, want: int | None) -> None:
    assert want == segments.number(name)


def test_names_sort_by_number() -> None:
    assert sorted(map(segments.name, (2, 10, 1))) == [*map(segments.name, (1, 2, 10))]
