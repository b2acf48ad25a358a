"""Does a pod get a free address, the same again when it comes back?"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.local import addresses
from demarc.local.addresses import NoAddressError

BLOCK = "127.20.1.0/24"


def test_the_first_address_is_the_nodes_own() -> None:
    assert "127.20.1.1" == addresses.host_of(BLOCK)


@pytest.mark.parametrize("block", ["10.0.0.0/24", "127.0.0.0/16", "127.0.0.1/24", "x"])
def test_a_block_is_a_24_of_loopback(block: str) -> None:
    with pytest.raises(ValueError):
        addresses.host_of(block)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=60))
def test_no_two_pods_share_an_address_and_names_keep_theirs(moves: list[tuple[str, bool]]) -> None:
    earlier: Mapping[str, str] = {}
    held: dict[str, str] = {}
    first: dict[str, str] = {}
    for name, comes in moves:
        if not comes:
            held.pop(name, None)
        elif name not in held:
            held[name], earlier = addresses.choose(BLOCK, name, held=held.values(), earlier=earlier)

            assert first.setdefault(name, held[name]) == held[name]
        assert len(held) == len(set(held.values()))


def test_a_new_name_gets_the_address_that_was_unused_for_longest() -> None:
    earlier: Mapping[str, str] = {}
    for number in range(253):
        _, earlier = addresses.choose(BLOCK, f"p{number}", held=(), earlier=earlier)
    found, earlier = addresses.choose(BLOCK, "new", held=("127.20.1.2",), earlier=earlier)

    assert "127.20.1.3" == found
    assert "p1" not in earlier


def test_a_full_block_says_so() -> None:
    held = [f"127.20.1.{number}" for number in range(2, 255)]

    with pytest.raises(NoAddressError, match="all 253 addresses of"):
        addresses.choose(BLOCK, "new", held=held, earlier={})


def test_an_address_of_another_block_is_not_kept() -> None:
    found, _ = addresses.choose(BLOCK, "a", held=(), earlier={"a": "127.20.2.9"})

    assert "127.20.1.2" == found
