# ruff: noqa: RUF001  # disguised characters are what is tested
"""Folding gives what a reader sees, and the class of disguises misses none of it."""

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from demarc.policy import folding


@pytest.mark.parametrize(
    "text,want",
    [
        ("plain ASCII", "plain ASCII"),
        ("普通中文，没有变化。", "普通中文,没有变化。"),
        ("１２３ＡＢＣ", "123ABC"),
        ("①②③⑩", "12310"),
        ("❶➁", "12"),
        ("²₃", "23"),
        ("٠١٢", "012"),
        ("𝟏𝟚𝐩𝐚𝐬𝐬", "12pass"),
        ("1\u200b2\u00ad3\u20604\ufeff5", "12345"),
        ("1\ufe0f\u20e3", "1"),
        ("p\u0336a\u0336s\u0336s\u0336", "pass"),
        ("раѕѕwоrd", "password"),
        ("pássword", "password"),
        ("a\x00b\x08c", "abc"),
        ("a\tb\nc\x1fd", "a\tb\nc\x1fd"),
        ("1\u31642\U000500003\ue0004", "1234"),
        ("ⅫⅩ", "XIIX"),
    ],
)
def test_disguises_are_undone(text: str, want: str) -> None:
    assert want == folding.fold(text)


@given(st.text())
def test_folding_twice_changes_nothing_more(text: str) -> None:
    once = folding.fold(text)

    assert once == folding.fold(once)


def hides(character: str) -> bool:
    plain = folding.fold(character)
    if character in "，（）；！？：…‥":
        return False
    return plain != character and (not plain or any("!" <= c <= "~" for c in plain))


def test_the_class_holds_every_character_that_hides_something() -> None:
    points = [*range(0xD800), *range(0xE000, 0x40000), 0x50000, 0xE0041, 0xF0000, 0x10FFFF]
    hiding = "".join(character for character in map(chr, points) if hides(character))

    assert len(hiding) > 1000
    assert re2.fullmatch(f"{folding.disguised_class()}+", hiding) is not None


def test_plain_chinese_and_ascii_hide_nothing() -> None:
    pattern = re2.compile(folding.disguised_class())

    assert pattern.search("请介绍一下贵行的理财产品，并说明风险等级。Thanks!\r\n\t") is None


@pytest.mark.parametrize(
    "text,want",
    [
        ("hi" + "".join(chr(0xE0000 + ord(c)) for c in "4111"), "4111"),
        ("a" + "".join(chr(0xE0100 + b - 16) for b in b"card"), "card"),
        ("a" + "".join(chr(0xFE00 + b) for b in (9, 10, 13, 9)), "\t\n\r\t"),
        ("❤\ufe0f", ""),
        ("nothing", ""),
    ],
)
def test_what_invisible_characters_spell_is_read(text: str, want: str) -> None:
    assert want == folding.hidden(text)
