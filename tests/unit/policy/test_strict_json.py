"""A slow parser that checks everything itself agrees on every document, accepted or refused."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from demarc.policy import strict_json
from demarc.policy.refusal import Refusal
from demarc.policy.strict_json import Json

NUMBERS = st.sampled_from(
    """
    0 -0 1 12 -3.5 1e5 1E-3 2.50 9007199254740992 9007199254740993 -9007199254740992.0 1e16
    9007199254740992.5 1e400 -1e400 1e-400 NaN Infinity -Infinity 01 1. .5 +1 - 0x1
    """.split()  # noqa: SIM905  # a table of words
)
ESCAPES = (
    "\\n",
    "\\u0061",
    "\\ud83d\\ude00",
    "\\ud800",
    "\\udc00",
    "\\\\",
    '\\"',
    "\\u0000",
    "\\x41",
)
CHARACTERS = st.sampled_from([*'a:,{}[]"\\/é语😀 \n\x7f', *ESCAPES, "\\u005c", "\\u0022"])
SPACE = st.sampled_from(["", "", "", " ", "\n", "\t", "\r", "\x0c", "\u00a0"])
STRINGS = st.lists(CHARACTERS, max_size=4).map(lambda parts: f'"{"".join(parts)}"')
SCALARS = NUMBERS | STRINGS | st.sampled_from(["true", "false", "null"])


def arrays(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")


def objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.tuples(STRINGS, SPACE, inner).map(lambda m: f"{m[0]}{m[1]}:{m[2]}")
    return st.lists(members, max_size=3).map(lambda items: f"{{{','.join(items)}}}")


DOCUMENTS = st.recursive(SCALARS, lambda inner: arrays(inner) | objects(inner), max_leaves=12)


class WrongError(Exception):
    pass


def judge(body: bytes) -> Any:  # noqa: C901  # one rule a line, on purpose in one place
    """The value of a document that is right in every respect."""

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in members}) != len(members):
            raise WrongError
        return dict(members)

    def number(text: str) -> float:
        if abs(float(text)) > 2**53 or (float(text).is_integer() and abs(int(float(text))) > 2**53):
            raise WrongError
        if "e" not in text.lower() and "." in text and abs(float(text)) == 2**53:
            whole, _, rest = text.partition(".")
            if rest.strip("0") or abs(int(whole)) > 2**53:
                raise WrongError
        return float(text)

    def integer(text: str) -> int:
        if abs(int(text)) > 2**53:
            raise WrongError
        return int(text)

    def constant(_: str) -> None:
        raise WrongError

    def visit(value: Any, depth: int = 0) -> None:
        if isinstance(value, str) and ("\0" in value or not value.encode("utf-8", "strict")):
            if value:
                raise WrongError
        elif isinstance(value, dict | list):
            if depth == 32:
                raise WrongError
            for key in value if isinstance(value, dict) else ():
                visit(key, depth)
            for item in value.values() if isinstance(value, dict) else value:
                visit(item, depth + 1)

    value = json.loads(
        body.decode("utf-8"),
        object_pairs_hook=pairs,
        parse_float=number,
        parse_int=integer,
        parse_constant=constant,
    )
    visit(value)
    return value


@given(document=DOCUMENTS, before=SPACE, after=SPACE | st.sampled_from(["x", "{}", ","]))
@example(document="[" * 32 + "]" * 32, before="", after="")
@example(document="[" * 33 + "]" * 33, before="", after="")
@example(document='{"\\\\":1,"\\u005c":1}', before="", after="")
@example(document='{"a":"b\\\\","c:d":1}', before="", after="")
@example(document='{"a":"\\\\\\":","b":1}', before="", after="")
def test_both_agree_on_documents(document: str, before: str, after: str) -> None:
    check(f"{before}{document}{after}".encode())


@given(
    document=DOCUMENTS,
    place=st.floats(0, 1),
    byte=st.sampled_from([*range(32, 127), 0, 9, 10, 0x80, 0xC0, 0xED, 0xFF]),
)
def test_both_agree_on_documents_with_one_byte_changed(
    document: str, place: float, byte: int
) -> None:
    body = bytearray(document.encode())
    body[int(place * (len(body) - 1))] = byte
    check(bytes(body))


def check(body: bytes) -> None:
    try:
        want = judge(body)
    except (WrongError, ValueError):
        assert isinstance(strict_json.read(body), Refusal)
        return
    actual = strict_json.read(body)

    assert isinstance(actual, Json)
    assert want == actual.value


@given(DOCUMENTS)
def test_every_string_key_and_number_is_collected(document: str) -> None:
    read = strict_json.read(document.encode())
    if isinstance(read, Refusal):
        return
    want: list[str] = []

    def visit(value: Any) -> None:
        if isinstance(value, str):
            want.append(value)
        elif isinstance(value, dict):
            for key, item in value.items():
                want.append(key)
                visit(item)
        elif isinstance(value, list):
            for item in value:
                visit(item)

    visit(json.loads(document, parse_float=str, parse_int=str))

    assert tuple(want) == read.tree.parts
    assert sorted(want) == sorted(read.tree.values + read.tree.keys)
