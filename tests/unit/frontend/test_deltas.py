"""Is a stream, joined, the answer? For every way in which an engine may cut it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from demarc.frontend import deltas
from demarc.frontend.deltas import Released, TextRewrittenError

# few letters, so that stop texts are met; and characters of one to four bytes
LETTERS = st.text(st.sampled_from("ab\n你😀é"), max_size=30)
STOPS = st.lists(st.text(st.sampled_from("ab\n你"), min_size=1, max_size=4), max_size=3)


def views(text: str, cuts: list[int]) -> list[str]:
    """What an engine gives that cuts the bytes there: incomplete characters become U+FFFD."""
    raw = text.encode()
    ends = sorted({min(cut, len(raw)) for cut in cuts} | {len(raw)})
    return [raw[:end].decode("utf-8", "replace") for end in ends]


def run(seen: list[str], stops: tuple[str, ...]) -> list[Released]:
    states = [Released(stops=stops)]
    for number, view in enumerate(seen, 1):
        states.append(deltas.release(states[-1], view, final=number == len(seen)))
    return states


def expected(text: str, stops: tuple[str, ...]) -> str:
    """The answer, read letter by letter, ends where the first stop text is complete."""
    for end in range(len(text) + 1):
        met = [stop for stop in stops if text[:end].endswith(stop)]
        if met:
            return text[: end - max(map(len, met))]
    return text


@given(LETTERS, st.lists(st.integers(0, 120)), STOPS)
@example("\naa", [2], ["a", "\naa"])
def test_the_released_text_is_the_answer_up_to_its_first_stop(
    text: str, cuts: list[int], stops: list[str]
) -> None:
    last = run(views(text, cuts), tuple(stops))[-1]

    assert expected(text, tuple(stops)) == last.text
    assert any(stop in text for stop in stops) == last.stopped


@given(LETTERS, st.lists(st.integers(0, 120)), STOPS)
def test_what_was_released_is_never_taken_back(
    text: str, cuts: list[int], stops: list[str]
) -> None:
    states = run(views(text, cuts), tuple(stops))

    assert all(later.text.startswith(earlier.text) for earlier, later in pairwise(states))


@given(LETTERS, st.lists(st.integers(0, 120)), STOPS)
def test_no_half_character_and_no_part_of_a_stop_goes_out(
    text: str, cuts: list[int], stops: list[str]
) -> None:
    states = run(views(text, cuts), tuple(stops))

    whole = expected(text, tuple(stops))
    assert all("\ufffd" not in state.text for state in states)
    assert all(whole.startswith(state.text) for state in states)


@given(LETTERS, STOPS)
def test_little_is_held_back(text: str, stops: list[str]) -> None:
    """Less than the longest stop text waits, so that a stream does not stutter."""
    state = deltas.release(Released(stops=tuple(stops)), text, final=False)

    longest = max((len(stop) for stop in stops), default=1)
    assert state.stopped or len(text) - len(state.text) < longest


def test_a_replacement_character_that_the_model_wrote_goes_out_with_the_next() -> None:
    first = deltas.release(Released(), "a\ufffd", final=False)
    second = deltas.release(first, "a\ufffdb", final=False)
    third = deltas.release(second, "a\ufffdb\ufffd", final=True)

    assert ["a", "a\ufffdb", "a\ufffdb\ufffd"] == [s.text for s in (first, second, third)]


def test_an_engine_that_takes_back_text_is_refused() -> None:
    first = deltas.release(Released(), "good", final=False)

    with pytest.raises(TextRewrittenError):
        deltas.release(first, "goof", final=False)
    with pytest.raises(TextRewrittenError):
        deltas.release(first, "goo", final=True)


def test_nothing_follows_a_stop() -> None:
    stopped = deltas.release(Released(stops=("x",)), "axb", final=False)

    assert stopped == deltas.release(stopped, "something else", final=True)


@pytest.mark.parametrize(
    "text,words,want",
    [
        ("abc", ("cd",), 1),
        ("abc", ("bcd", "cd"), 2),
        ("abc", ("abc",), 0),
        ("aaa", ("aaaa",), 3),
        ("abc", (), 0),
        ("", ("a",), 0),
    ],
)
def test_the_longest_beginning_is_held(text: str, words: tuple[str, ...], want: int) -> None:
    assert want == deltas.held_back(text, words)
