"""Numbers are read off chains where groups end, and nowhere else."""

import pytest

from demarc.policy import digits

LENGTHS = frozenset({16, 18})


def alone(text: str, alphabet: str = digits.PLAIN) -> set[str]:
    chains = digits.chains(text.encode(), alphabet)
    return {number for chain in chains for number in chain.alone(LENGTHS)}


def within(text: str) -> set[str]:
    chains = digits.chains(text.encode(), digits.PLAIN)
    return {number for chain in chains for number in chain.within(LENGTHS)}


@pytest.mark.parametrize(
    "text,want",
    [
        ("4111111111111111", {"4111111111111111"}),
        ("x4111111111111111y", {"4111111111111111"}),
        ("4111 1111 1111 1111", {"4111111111111111"}),
        ("4111 - 1111 - 1111 - 1111", {"4111111111111111"}),
        ("4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", {"4111111111111111"}),
        ("4111,1111,1111,1111", {"4111111111111111"}),
        ("7, 4111 1111 1111 1111", {"4111111111111111"}),
        ("7 4111 1111 1111 1111 12", {"4111111111111111", "411111111111111112"}),
        ("7 41111111 11111111", {"4111111111111111"}),
        ("7 411111 1111111111", {"4111111111111111"}),
        ("4111   1111   1111   1111", set()),
        ("54111111111111111", set()),
        ("7 411 1111 1111 11111", set()),
        ("7,4111,1111,1111,1111", set()),
        ("11010519491231002X", {"11010519491231002X"}),
        ("110105 19491231 002 x", {"11010519491231002X"}),
        ("4111 1111 1111 1111 x", {"4111111111111111"}),
        ("nothing", set()),
    ],
)
def test_a_number_stands_alone(text: str, want: set[str]) -> None:
    assert want == alone(text)


def test_a_table_of_groups_of_four_holds_no_cards() -> None:
    assert set() == alone(" ".join(["4111"] * 12))


@pytest.mark.parametrize(
    "text,want",
    [
        ("5 110105 19491231 0021 7", {"110105194912310021"}),
        ("5 11010519491231002X 7", {"11010519491231002X"}),
        ("5 110105 19491231 002X", {"11010519491231002X"}),
        ("5 110105\x1f19491231 0021 7", {"110105194912310021"}),
        ("110105, 1949-12-31, 0021 7", set()),
        ("110105,19491231,0021,7", set()),
        ("5 110105-19491231 0021 7", set()),
    ],
)
def test_a_number_is_part_of_a_stretch(text: str, want: set[str]) -> None:
    assert want <= within(text)
    assert want or not within(text)


@pytest.mark.parametrize(
    "text,alphabet,want",
    [
        ("四一一一一一一一一一一一一一一一", "numerals", {"4111111111111111"}),
        ("肆壹壹壹-壹壹壹壹-壹壹壹壹-壹壹壹壹", "numerals", {"4111111111111111"}),
        ("4lll-1l11-1I11-l|11", "letters", {"4111111111111111"}),
        ("4111111111111111", "numerals", set()),
        ("4111111111111111", "letters", set()),
    ],
)
def test_other_alphabets_have_digits(text: str, alphabet: str, want: set[str]) -> None:
    assert want == alone(text, alphabet)


def test_parts_hold_a_number_with_words_between() -> None:
    chain = digits.scattered(b"begin 110105 1949\x1fthen 1231 0021 end")

    assert chain is not None
    assert {"110105194912310021"} == chain.within(frozenset({18}), split=True)


def test_few_digits_are_no_number() -> None:
    assert digits.scattered(b"1234567890") is None
