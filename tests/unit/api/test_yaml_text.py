from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from demarc.api import yaml_text

SCALARS = {
    "NO": False,
    "on": True,
    "true": True,
    "~": None,
    "": None,
    "12": 12,
    "-7": -7,
    "1_000": 1000,
    "010": 8,
    "-017": -15,
    "0x1F": 31,
    "0b101": 5,
    "1.5": 1.5,
    "-1e3": -1000.0,
    ".5": 0.5,
    "1.": 1.0,
    "0E0": 0.0,
    "._": "._",
    ".inf": ".inf",
    "09": 9.0,
    "12:30:00": "12:30:00",
    "2027-06-30T00:00:00Z": "2027-06-30T00:00:00Z",
    "y": "y",
    "9" * 31: "9" * 31,
    "sha256:00": "sha256:00",
}


@pytest.mark.parametrize("text", SCALARS)
def test_a_scalar_without_quotes_is_read_as_kubectl_reads_it(text: str) -> None:
    """A value means one thing to us and another to the API server."""
    assert SCALARS[text] == yaml_text.resolve(text)


def test_quotes_and_tags_make_text() -> None:
    """A quoted word is not what it says."""
    [document], faults = yaml_text.read(
        'a: \'NO\'\nb: "1"\nc: !!str 5\nd: !!int "7"\ne: |\n  x\nf: ! 8\ng: !!map {}\nh: !!seq []\n'
    )

    assert (
        {"a": "NO", "b": "1", "c": "5", "d": 7, "e": "x\n", "f": "8", "g": {}, "h": []},
        (),
    ) == (
        document.plain(),
        faults,
    )


def test_empty_documents_are_no_objects() -> None:
    """A trailing separator makes an object of nothing."""
    documents, faults = yaml_text.read("---\n---\n# words\n---\na: 1\n---\n")

    assert ([{"a": 1}], ()) == ([each.plain() for each in documents], faults)


def test_aliases_and_merge_keys_repeat_what_they_name() -> None:
    """An alias is lost, or a merged key wins over an own one."""
    [document], faults = yaml_text.read(
        "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\nd: {<<: *a}\ne: *a\n"
    )

    assert () == faults
    assert {
        "a": {"x": 1, "y": 1},
        "b": {"y": 2, "z": 2},
        "c": {"x": 3, "y": 1, "z": 2},
        "d": {"x": 1, "y": 1},
        "e": {"x": 1, "y": 1},
    } == document.plain()


def test_a_quoted_merge_key_is_a_key() -> None:
    """Text in quotes acts."""
    [document], faults = yaml_text.read("'<<': {a: 1}\n")

    assert ({"<<": {"a": 1}}, ()) == (document.plain(), faults)


FAULTS = {
    "a: 1\na: 2\n": (2, 1, "the key `a` is already in line 1"),
    "a: {b: 1, b: 2}\n": (1, 11, "the key `b` is already in line 1"),
    "a: *b\n": (1, 4, "there is no anchor `b` above"),
    "a: &a [*a]\n": (1, 8, "there is no anchor `a` above"),
    "a: &a 1\n---\nb: *a\n": (3, 4, "there is no anchor `a` above"),
    "a: !secret x\n": (1, 4, "the tag `!secret` is not accepted"),
    "a: !!python/object:os.system {}\n": (
        1,
        4,
        "the tag `!!python/object:os.system` is not accepted",
    ),
    "a: !!binary aGk=\n": (1, 4, "the tag `!!binary` is not accepted"),
    "NO: 1\n": (1, 1, "`NO` is no text, and a key must be"),
    "? [a]\n: 1\n": (1, 3, "a key is no text, and a key must be"),
    "a: {<<: 1}\n": (1, 5, "`<<` takes a mapping or a list of mappings"),
    "a: {<<: [1]}\n": (1, 5, "`<<` takes a mapping or a list of mappings"),
    "a:\n\t- b\n": (2, 1, "this is no YAML: found character that cannot start any token"),
    "a: \x00\n": (0, 0, "this is no YAML: "),
    "a: 'b\n": (2, 1, "this is no YAML: "),
    "[" * 70 + "]" * 70: (1, 66, "nested deeper than 64 levels"),
    "[" * 5000: (1, 1001, "this is no YAML: "),
}


@pytest.mark.parametrize("text", FAULTS, ids=range(len(FAULTS)))
def test_a_fault_says_where_and_what(text: str) -> None:
    """A text that two readers could read differently is read, or refused without a place."""
    _, faults = yaml_text.read(text)
    line, column, message = FAULTS[text]

    if text.startswith(("[[", "a: 'b")):  # the two parsers see the end in different places
        assert any(word in faults[0].message for word in ("no YAML", "nested"))
        return
    if message.startswith("`<<`"):
        assert message == faults[0].message
        return
    assert (line, column) == (faults[0].line, faults[0].column)
    assert faults[0].message.startswith(message)


def test_all_readable_faults_are_found_at_once() -> None:
    """The second mistake is only seen after the first is repaired."""
    _, faults = yaml_text.read("a: 1\na: 2\nb: !x 1\n1: 2\n")

    assert [2, 3, 4] == [each.line for each in faults]


def test_documents_before_a_broken_one_are_kept() -> None:
    """One broken document hides the others."""
    documents, faults = yaml_text.read("a: 1\n---\nb: [\n")

    assert ([{"a": 1}], 1) == ([each.plain() for each in documents], len(faults))


def test_a_small_text_cannot_become_a_large_object() -> None:
    """Nine lines of aliases fill the memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    documents, faults = yaml_text.read("\n".join(lines))

    assert 0 == len(documents)  # not compared: to print them would take for ever
    assert "more than 200000 values" in faults[0].message


def test_a_text_has_a_bound() -> None:
    """A text of any size is parsed."""
    documents, faults = yaml_text.read("#" * (yaml_text.MAX_CHARACTERS + 1))

    assert ((), "the text has more than 4000000 characters") == (documents, faults[0].message)


def test_a_node_is_found_by_its_path_or_its_nearest_parent() -> None:
    """A problem points at the wrong line."""
    [document], _ = yaml_text.read("a:\n  b:\n  - c: 1\n  - d: 2\n")

    assert (4, 5) == (document.at(("a", "b", 1, "d")).line, document.at(("a", "b", 1, "d")).column)
    assert 2 == document.at(("a", "b", 7)).line
    assert 4 == document.at(("a", "b", 1, "x", "y")).line


@given(st.text(alphabet="ab: -[]{}&*!<>|'\"#\n\t,?%@`0123NO~.\u00e9\u2028", max_size=60))
def test_any_text_is_read_or_faulted(text: str) -> None:
    """A text ends the program."""
    documents, faults = yaml_text.read(text)

    for each in faults:
        assert "\n" not in each.message
    for document in documents:
        document.plain()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_what_a_writer_writes_is_what_is_read(value: object) -> None:
    """Data changes on its way through a file."""
    # in quotes: PyYAML's writer takes `0E0` for text, and kubectl's reader for a number
    text = yaml.safe_dump({"v": value}, allow_unicode=True, default_style='"')
    documents, faults = yaml_text.read(text)

    assert ([{"v": value}], ()) == ([each.plain() for each in documents], faults)
