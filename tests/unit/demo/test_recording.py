"""Is a text found in a recording in every spelling that a leak could take?"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from story import recording

WORD = "velomarikunopa"
CARD = "4026301285179953"


def line(at: str, text: str, body: bytes | None = None) -> bytes:
    entry = {"at": at, "text": text}
    if body is not None:
        entry["base64"] = base64.b64encode(body).decode()
    return json.dumps(entry).encode() + b"\n"


def test_the_edge_and_the_engine_are_told_apart() -> None:
    """A control that finds only one of them would prove only one of them."""
    at_edge = line("edge", f"say {WORD}")
    at_engine = line("engine", f"say {WORD}")

    assert {"edge", "undecoded"} == recording.places(at_edge, WORD)
    assert {"engine", "undecoded"} == recording.places(at_engine, WORD)
    assert {"edge", "engine", "undecoded"} == recording.places(at_edge + at_engine, WORD)


def test_what_was_never_said_is_not_found() -> None:
    """Every question would count as leaked."""
    content = line("edge", "When do you open?", b"When do you open?")

    assert frozenset() == recording.places(content, WORD)


@pytest.mark.parametrize(
    "shown",
    [
        "4026 3012 8517 9953",
        "4026-3012-8517-9953",
        "4026.3012.8517\u00a09953",
        "40263012 85179953",
    ],
)
def test_a_number_is_found_whatever_separates_its_digits(shown: str) -> None:
    """A leak of the same number in groups would go unseen."""
    assert "engine" in recording.places(line("engine", f"my card {shown}, please"), CARD)


def test_text_inside_a_json_body_is_decoded() -> None:
    """A body may spell every character as an escape."""
    escaped = "".join(f"\\u{ord(c):04x}" for c in CARD)
    body = f'{{"messages": [{{"content": "card {escaped}"}}]}}'

    assert {"edge"} == recording.places(line("edge", body), CARD)


def test_a_number_of_json_is_text_too() -> None:
    assert "edge" in recording.places(line("edge", f'{{"card": {CARD}}}'), CARD)


def test_the_base64_of_a_body_is_decoded() -> None:
    """The text of an entry may be replaced where the bytes are not UTF-8."""
    body = b"\xff" + WORD.encode()

    assert "edge" in recording.places(line("edge", "?", body), WORD)


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc"])
def test_base64_is_found_undecoded_at_each_alignment(before: bytes) -> None:
    """A leak into a file that nobody can parse would go unseen."""
    content = b"noise " + base64.b64encode(before + WORD.encode() + b" and more") + b" noise"

    assert recording.holds(content, WORD)


def test_hex_and_other_case_are_found_undecoded() -> None:
    assert recording.holds(WORD.encode().hex().upper().encode(), WORD)
    assert recording.holds(WORD.upper().encode(), WORD)


def test_a_line_that_is_still_being_written_is_searched_as_it_is() -> None:
    """The newest question would be looked for in all lines but its own."""
    content = line("edge", "one") + f'{{"at": "edge", "text": "{WORD}'.encode()

    assert {"undecoded"} == recording.places(content, WORD)


def test_a_short_text_is_not_searched_for() -> None:
    """It is found by chance, or its absence says nothing."""
    with pytest.raises(ValueError, match="too short"):
        recording.holds(b"", "card")


def test_files_that_hold_a_text_are_named_but_for_the_recording(tmp_path: Path) -> None:
    """The recording holds what it should; a log must not."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "agent.log").write_text(f"answered {WORD}", "utf-8")
    (tmp_path / "logs" / "envoy.log").write_text("started", "utf-8")
    (tmp_path / "recording.jsonl").write_bytes(line("edge", WORD))

    found = recording.spilled(tmp_path, [WORD], except_for=[tmp_path / "recording.jsonl"])

    assert ["logs/agent.log"] == found
