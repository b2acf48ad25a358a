# ruff: noqa: RUF001  # disguised characters are what is tested
"""What must not leave is found however it is written, and a scan that fails is never `nothing`."""

import base64
import html
import random
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demarc.policy import detection, packs
from demarc.policy.detection import Detectors
from demarc.policy.texts import Texts
from support import identifiers

PACKS = Path(__file__).parents[3] / "policies"
ID = "cn-financial/prc-resident-id"
CARD = "cn-financial/bank-card"


@pytest.fixture(scope="module")
def detectors() -> Detectors:
    return detection.load_packs(
        {path.parent.name: path.read_text("utf-8") for path in PACKS.glob("*/pack.yaml")}
    )


def found(detectors: Detectors, *parts: str, runs: tuple[tuple[str, ...], ...] = ()) -> set[str]:
    findings = detection.scan(Texts(parts, runs), detectors)
    assert not findings.failure
    return {finding.detector for finding in findings.findings}


def spelled(table: str) -> Callable[[str], str]:
    return lambda number: "".join(table[int(c)] if c.isdigit() else c for c in number)


FORMS: Mapping[str, Callable[[str], str]] = {
    "plain": str,
    "full-width": lambda n: "".join(chr(ord(c) + 0xFEE0) for c in n),
    "circled": spelled("⓪①②③④⑤⑥⑦⑧⑨"),
    "dingbat circled": spelled("⓿❶❷❸❹❺❻❼❽❾"),
    "mathematical bold": spelled("𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗"),
    "superscript": spelled("⁰¹²³⁴⁵⁶⁷⁸⁹"),
    "arabic-indic": spelled("٠١٢٣٤٥٦٧٨٩"),
    "devanagari": spelled("०१२३४५६७८९"),
    "zero-width": "\u200b".join,
    "soft hyphen": "\u00ad".join,
    "combining": lambda n: "".join(c + "\u0336" for c in n),
    "keycap": lambda n: "".join(c + "\ufe0f\u20e3" for c in n),
    "spaces": " ".join,
    "no-break spaces": "\u00a0".join,
    "dashes": lambda n: "-".join((n[:4], n[4:8], n[8:12], n[12:])),
    "dots": lambda n: ".".join((n[:6], n[6:14], n[14:])),
    "underscores": lambda n: "_".join((n[:8], n[8:])),
    "en dashes": lambda n: " – ".join((n[:6], n[6:])).replace(" – ", "–"),
    "emoji between": "💳".join,
    "chinese": spelled("〇一二三四五六七八九"),
    "chinese zero": spelled("零一二三四五六七八九"),
    "financial": spelled("零壹贰叁肆伍陆柒捌玖"),
    "traditional": spelled("零壹貳參肆伍陸柒捌玖"),
    "letters": lambda n: n.replace("0", "O").replace("1", "l"),
    "base64": lambda n: base64.b64encode(n.encode()).decode("ascii"),
    "base64 in text": lambda n: base64.b64encode(f"the number is {n}, thanks".encode()).decode(),
    "base64 url": lambda n: base64.urlsafe_b64encode(f"¿¿{n}??>>".encode()).decode(),
    "base64 of utf-16": lambda n: base64.b64encode(n.encode("utf-16-le")).decode(),
    "base64 twice": lambda n: base64.b64encode(base64.b64encode(n.encode())).decode(),
    "base64 wrapped": lambda n: base64.encodebytes((n + " " * 90).encode() * 2).decode(),
    "hex": lambda n: n.encode().hex(),
    "hex spaced": lambda n: n.encode().hex(" "),
    "hex escapes": lambda n: "".join(f"\\x{ord(c):02x}" for c in n),
    "percent": lambda n: "".join(f"%{ord(c):02X}" for c in n),
    "percent twice": lambda n: "".join(f"%25{ord(c):02X}" for c in n),
    "json escapes": lambda n: "".join(f"\\u{ord(c):04x}" for c in n),
    "html decimal": lambda n: "".join(f"&#{ord(c)};" for c in n),
    "html hex": lambda n: "".join(f"&#x{ord(c):x};" for c in n),
    "html in percent": lambda n: "".join(f"&#{ord(c)};" for c in n).replace("&", "%26"),
    "unicode tags": lambda n: "".join(chr(0xE0000 + ord(c)) for c in n),
    "variation selectors": lambda n: "a" + "".join(chr(0xE0100 + ord(c) - 16) for c in n),
    "tags as noise": "\U000e0041".join,
    "full-width base64": lambda n: "".join(
        chr(ord(c) + 0xFEE0) for c in base64.b64encode(n.encode()).decode()
    ),
}
SEEDS = st.integers(0, 2**32)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20)
@given(seed=SEEDS)
def test_a_resident_id_is_found_in_every_form(form: str, seed: int, detectors: Detectors) -> None:
    number = identifiers.resident_id(random.Random(seed))

    assert ID in found(detectors, f"请查询 {FORMS[form](number)} 的余额")


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20)
@given(seed=SEEDS)
def test_a_bank_card_is_found_in_every_form(form: str, seed: int, detectors: Detectors) -> None:
    number = identifiers.bank_card(random.Random(seed))

    assert CARD in found(detectors, f"my card {FORMS[form](number)} please")


@given(seed=SEEDS, cuts=st.sets(st.integers(1, 15), min_size=1, max_size=4))
def test_a_number_split_over_parts_is_found(
    seed: int, cuts: set[int], detectors: Detectors
) -> None:
    chance = random.Random(seed)
    for make, want in ((identifiers.resident_id, ID), (identifiers.bank_card, CARD)):
        number = make(chance)
        places = [0, *sorted(cuts), len(number)]
        pieces = tuple(number[a:b] for a, b in pairwise(places))
        run = (f"it is {pieces[0]}", *pieces[1:-1], f"{pieces[-1]} thanks")

        assert want in found(detectors, *run, runs=(run,))


@given(seed=SEEDS, cut=st.integers(1, 17))
def test_a_resident_id_is_found_with_words_between_its_parts(
    seed: int, cut: int, detectors: Detectors
) -> None:
    number = identifiers.resident_id(random.Random(seed))
    run = (f"first {number[:cut]} then", "more follows", f"the rest is {number[cut:]}!")

    assert ID in found(detectors, *run, runs=(run,))


@pytest.mark.parametrize("form", ["base64", "hex", "percent", "json escapes", "html decimal"])
@settings(max_examples=20)
@given(seed=SEEDS, cut=st.integers(1, 20))
def test_an_encoded_number_split_over_parts_is_found(
    form: str, seed: int, cut: int, detectors: Detectors
) -> None:
    number = FORMS[form](identifiers.bank_card(random.Random(seed)))
    run = (number[:cut], number[cut:])

    assert CARD in found(detectors, *run, runs=(run,))


def test_a_card_inside_a_longer_chain_is_none(detectors: Detectors) -> None:
    assert {CARD} == found(detectors, "620001234567890123")
    assert set() == found(detectors, "7 62000 1234567 890123 12")


def test_an_exhausted_budget_is_a_failure(detectors: Detectors) -> None:
    findings = detection.scan(Texts(["hello " * 100]), detectors, budget=50)

    assert "budget exhausted" == findings.failure


def test_any_error_is_a_failure_without_the_text(detectors: Detectors) -> None:
    class Broken(Texts):
        def reveal_parts(self) -> tuple[str, ...]:
            raise ValueError("4111111111111111")

    findings = detection.scan(Broken([]), detectors)

    assert "detector error: ValueError" == findings.failure


def test_the_same_value_in_several_views_counts_once(detectors: Detectors) -> None:
    card = "4111111111111111"
    encoded = base64.b64encode(card.encode()).decode()
    findings = detection.scan(Texts([card, "4111 1111 1111 1111", encoded]), detectors)

    assert [(CARD, 1)] == [(finding.detector, finding.count) for finding in findings.findings]


@given(parts=st.lists(st.text(), max_size=5))
def test_a_scan_never_raises(parts: list[str], detectors: Detectors) -> None:
    findings = detection.scan(Texts(parts, (tuple(parts),)), detectors)

    assert not findings.failure


@pytest.mark.parametrize(
    "text",
    [
        "order 2026112410304512345678 was shipped",
        "at 1732445445123 and 1732445445123456789 ns",
        "550e8400-e29b-41d4-a716-446655440000",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "从二〇二五年一月一日到二〇二六年十二月三十一日，共有一千二百三十四笔",
        "2024-01-01 10:00:00, 2024-01-02 11:00:00, 2024-01-03 12:00:00",
        "card 4111111111111112 fails its check digit",
        "11010519491331008X has no such month",
        html.escape("a < b && c > d"),
        "x = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]",
    ],
)
def test_harmless_numbers_are_not_found(text: str, detectors: Detectors) -> None:
    assert set() == found(detectors, text)


PACK = """
schema: demarc.dev/pack/v1
name: p
rules:
- {name: r, match: Text, pattern: secret, validator: Shape, level: 3, categories: [SECRET]}
"""


@pytest.mark.parametrize(
    "before,after,want",
    [
        ("match: Text", "match: Text, extra: 1", "extra"),
        ("pattern: secret", "pattern: '(?=x)'", "pattern"),
        ("pattern: secret", "pattern: 'a*'", "empty"),
        ("level: 3", "level: 6", "level"),
        ("level: 3", "level: '3'", "level"),
        ("level: 3, categories: [SECRET]", "level: 1, categories: []", "raises nothing"),
        ("[SECRET]", "[NEW]", "categories"),
        ("validator: Shape", "validator: Mine", "validator"),
        ("match: Text", "match: Number", "lengths"),
        ("name: r", "name: r, name: s", "twice"),
        ("name: p", "name: q", "name"),
        ("pack/v1", "pack/v2", "schema"),
        ("rules:", "rules: [] \nmore:", "more"),
        ("- {", "-{", "YAML"),
        ("name: p", "name: p\nname: p", "a key comes twice"),
        ("rules:", "rules: []\nrules:", "a key comes twice"),
        ("rules:", "rules:\n" + PACK.splitlines()[-1], "`r` comes twice"),
    ],
)
def test_a_pack_that_is_not_understood_is_refused(before: str, after: str, want: str) -> None:
    with pytest.raises(packs.PackError, match=want):
        detection.load_packs({"p": PACK.replace(before, after)})


def test_a_pack_has_the_same_hash_however_it_is_written() -> None:
    same = PACK.replace("level: 3, categories", "'level': 3, 'categories'")
    other = PACK.replace("level: 3", "level: 4")
    hashes = [detection.load_packs({"p": text}).hashes["p"] for text in (PACK, same, other)]

    assert hashes[0] == hashes[1] != hashes[2]


def test_a_pack_of_text_rules_alone_reads_no_numbers() -> None:
    detectors = detection.load_packs({"p": PACK})

    assert {"p/r"} == found(detectors, "secret 4111111111111111", runs=(("4111", "secret"),))


def test_a_pack_of_number_rules_alone_reads_no_text() -> None:
    text = PACK.replace(
        "match: Text, pattern: secret", "match: Number, lengths: [12], pattern: '1+'"
    )
    detectors = detection.load_packs({"p": text})

    assert {"p/r"} == found(detectors, "secret 1111 1111 1111")


def test_very_many_matches_are_still_one_finding(detectors: Detectors) -> None:
    text = "cvv 123\n" * 5000

    assert {"cn-financial/card-verification-value"} == found(detectors, text)


def test_what_does_not_hold_up_hides_nothing_behind_it(detectors: Detectors) -> None:
    decoys = "password: ${DB_PASSWORD} " * 5000

    assert {"secrets/password"} == found(detectors, f"{decoys} password: Xk9!fq2Lm")


def test_decoys_beyond_the_budget_are_a_failure(detectors: Detectors) -> None:
    decoys = "password: ${DB_PASSWORD} " * 50_000

    assert "budget exhausted" == detection.scan(Texts([decoys]), detectors).failure


@pytest.mark.parametrize(
    "text",
    [
        '{"card": 6222020200112229.9999999}',
        '{"card": 6222020200112229.99999}',
        '{"card": 622202020011223e1}',
        '{"card": 622202020011223000E-2}',
        '{"card": 0.622202020011223e+16}',
        "６２２２０２０２００１１２２３ｅ１",
    ],
)
def test_a_number_is_found_as_a_parser_reads_it(text: str, detectors: Detectors) -> None:
    assert {CARD} == found(detectors, text)


def test_a_number_that_is_written_out_keeps_its_context(detectors: Detectors) -> None:
    assert {"cn-financial/prc-mobile"} == found(detectors, "phone 1380013800e1")
    assert set() == found(detectors, "phone 1380013800e1x, commit 7e12345678901, 1e400, 1e-9")


def test_invisible_text_does_not_push_a_value_out_of_the_ends(detectors: Detectors) -> None:
    unseen = "\u200b" * (2 * detection.EDGE)
    run = (f"{'x' * 2000}41111111{unseen}", f"{unseen}11111111")

    assert {CARD} == found(detectors, *run, runs=(run,))


@pytest.mark.parametrize(
    "text,want",
    [
        ("postgres：／／admin：s3cretpw＠db", "secrets/password-in-url"),
        ("postgres：//admin：s3cretpw@db", "secrets/password-in-url"),
        ("－－－－－BEGIN PRIVATE KEY－－－－－", "secrets/private-key"),
        ("﹣﹣﹣﹣﹣BEGIN PRIVATE KEY﹣﹣﹣﹣﹣", "secrets/private-key"),
        ("password＝Xk9!fq2Lm", "secrets/password"),
        ("Authorization： Bearer abcdefghijklmnop0123", "secrets/authorization-header"),
        ("％34％31％31％31 ％31％31％31％31％31％31％31％31％31％31％31％31", CARD),
    ],
)
def test_full_width_signs_disguise_nothing(text: str, want: str, detectors: Detectors) -> None:
    assert {want} == found(detectors, text)


def wrapped(text: str, times: int) -> str:
    for _ in range(times):
        text = base64.b64encode(text.encode()).decode("ascii")
    return text


@pytest.mark.parametrize("times,want", [(1, {CARD}), (3, {CARD}), (4, set())])
def test_three_layers_are_undone(times: int, want: set[str], detectors: Detectors) -> None:
    assert want == found(detectors, wrapped("4111111111111111", times))


def test_a_text_that_was_met_deep_down_is_still_undone_from_the_top(detectors: Detectors) -> None:
    inner = wrapped("4111111111111111", 1)

    assert {CARD} == found(detectors, wrapped(inner, 3), runs=((inner[:9], inner[9:]),))


def test_a_token_that_was_met_deep_down_is_still_undone_from_the_top(detectors: Detectors) -> None:
    token = wrapped("4111111111111111", 3)
    deep = wrapped(token, 2)
    halves = (token[:20], token[20:])

    assert {CARD} == found(detectors, deep, *halves, runs=(halves,))


def test_a_long_part_is_joined_at_its_ends(detectors: Detectors) -> None:
    long = "中" * 5000
    run = (f"{long}4111", f"1111{long}1111", f"1111{long}")

    assert set() == found(detectors, *run, runs=(run,))
    run = (f"{long}41111111", f"11111111{long}")
    assert {CARD} == found(detectors, *run, runs=(run,))


def test_text_that_utf8_cannot_carry_is_a_failure(detectors: Detectors) -> None:
    findings = detection.scan(Texts(["\ud800"]), detectors)

    assert "detector error: UnicodeEncodeError" == findings.failure


def test_running_out_of_memory_is_a_failure(detectors: Detectors) -> None:
    class Broken(Texts):
        def reveal_parts(self) -> tuple[str, ...]:
            raise MemoryError

    assert "out of memory" == detection.scan(Broken([]), detectors).failure


def test_no_packs_are_refused() -> None:
    with pytest.raises(packs.PackError):
        detection.load_packs({})
