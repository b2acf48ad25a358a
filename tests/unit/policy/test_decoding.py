"""One layer of encoding is undone at a time; what is unreadable stays unread."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.policy import decoding


def decoded(text: str) -> list[str]:
    return [
        said for token in decoding.tokens(text.encode()) for said in decoding.decode_token(token)
    ]


WORDS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=16, max_size=200)


@given(text=WORDS, before=st.sampled_from(["", "a", "ab", "abc"]), url=st.booleans())
def test_base64_is_read_at_every_alignment(text: str, before: str, url: bool) -> None:  # noqa: FBT001
    encode = base64.urlsafe_b64encode if url else base64.b64encode
    token = before + encode(text.encode()).decode().rstrip("=")

    if not token.islower():
        assert any(text in said for said in decoded(f"see {token}, thanks"))


@given(text=WORDS)
def test_hex_is_read_at_every_alignment(text: str) -> None:
    assert any(text in said for said in decoded(f"see a{text.encode().hex()}"))


@given(text=WORDS, form=st.sampled_from(["", " ", ":", ", ", "-", "\\x", "0x"]))
def test_hex_is_read_in_every_form(text: str, form: str) -> None:
    if form in {"\\x", "0x"}:
        token = "".join(f"{form}{byte:02x}" for byte in text.encode())
    else:
        token = form.join(f"{byte:02X}" for byte in text.encode())

    assert any(text in said for said in decoded(f"see: {token}"))


def test_wrapped_base64_is_one_token() -> None:
    text = "a number in the middle of a long text: 4111111111111111, and so on " * 3

    assert any(text in said for said in decoded(base64.encodebytes(text.encode()).decode()))


@pytest.mark.parametrize(
    "text",
    [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "550e8400-e29b-41d4-a716-446655440000",
        "internationalization",
        "AStrangelyLongIdentifierOfSomeLibrary",
        "2026112410304512345678",
    ],
)
def test_what_is_no_text_is_not_read(text: str) -> None:
    assert [] == [said for said in decoded(text) if any(map(str.isdigit, said))]


@pytest.mark.parametrize(
    "text,want",
    [
        ("%34%31", "41"),
        ("%E8%BA%AB", "身"),
        ("%zz%4", "%zz%4"),
        ("&#52;&#x31;&amp;", "41&"),
        ("&#52&#49", "41"),
        ("\\u0034\\x31", "41"),
        ("\\u{34}\\U00000031", "41"),
        ("\\064\\061", "41"),
        ("\\ud83d\\ude00", "😀"),
        ("\\ud83d", "\ufffd"),
        ("\\U00110000", "\ufffd"),
        ("4\\n1\\/1", "4\n1/1"),
        ("plain", "plain"),
    ],
)
def test_escapes_are_undone(text: str, want: str) -> None:
    assert want == decoding.unescape(text)


@given(st.text())
def test_decoding_never_raises(text: str) -> None:
    decoding.unescape(text)
    decoded(text)
