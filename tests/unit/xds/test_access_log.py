"""Is a line of Envoy's log read as it was meant, and anything else refused?"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.xds import access_log, headers

LINE = {
    "ts": "1795541654.116756",
    "decision": "d-1",
    "endpoint": "models/r@far",
    "epoch": "1.1",
    "code": 200,
    "details": "via_upstream",
    "flags": "-",
    "cluster": "egress",
    "host": "10.0.0.1:8443",
    "attempts": 1,
    "rx": 7,
    "tx": 14,
    "ms": 8,
    "ttfb": 8,
    "protocol": "HTTP/1.1",
    "usage": "in=12;out=3;source=tokenizer",
    "far": "1",
}


def test_a_whole_line_is_read() -> None:
    """A field is lost or read as another."""
    found = access_log.parse(json.dumps(LINE))

    assert found is not None
    assert ("d-1", "models/r@far", "1.1") == (found.decision, found.endpoint, found.epoch)
    assert (200, "", 1, True) == (found.code, found.flags, found.attempts, found.far)
    assert "in=12;out=3;source=tokenizer" == found.usage
    assert set(LINE) == set(access_log.FORMAT)


def test_what_envoy_does_not_know_is_none() -> None:
    """A missing trailer is booked as one."""
    empty = dict.fromkeys(LINE) | {"ts": "1.0", "code": 0, "usage": "-"}

    found = access_log.parse(json.dumps(empty))

    assert found is not None
    assert (None, None, False, None) == (found.usage, found.decision, found.far, found.ttfb)


@pytest.mark.parametrize(
    "change",
    [{"code": "200"}, {"ts": None}, {"code": True}, {"usage": 3}, {"host": ["x"]}, {"ms": 1.5}],
)
def test_a_field_of_another_type_makes_the_line_unreadable(change: dict[str, object]) -> None:
    """A line that Envoy did not write is booked."""
    assert access_log.parse(json.dumps(LINE | change)) is None


@given(st.text(), st.sampled_from(sorted(LINE)))
def test_what_is_no_line_is_none(text: str, field: str) -> None:
    """A broken line stops the tailer, or is guessed."""
    missing = {key: value for key, value in LINE.items() if key != field}

    assert access_log.parse(text) is None
    assert access_log.parse(json.dumps(missing)) is None
    assert access_log.parse(json.dumps(LINE)[:-3]) is None


def test_no_operator_prints_what_a_caller_wrote() -> None:
    """A prompt or a credential reaches the log."""
    operators = " ".join(access_log.FORMAT.values())

    assert "%REQ(" not in operators
    assert "PATH" not in operators
    assert headers.GRANT not in operators
