"""Does every refusal of the API server become the right error, and no Secret's text a message?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from demarc.api.cluster import (
    CONFIG_MAP,
    SECRET,
    ClusterError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    NotFoundError,
    TransientError,
)
from demarc.kube import answers
from demarc.kube.answers import Answer


def _status(code: int, reason: str = "Why", message: str = "what", **details: Any) -> Answer:
    document = {"kind": "Status", "code": code, "reason": reason, "message": message, **details}
    return Answer(code, json.dumps(document).encode())


def _error(answer: Answer, kind: Any = CONFIG_MAP) -> ClusterError:
    return answers.error_of(answers.refusal_of(answer), kind)


@pytest.mark.parametrize(
    "code, want",
    [
        (400, InvalidError),
        (401, ForbiddenError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (405, InvalidError),
        (408, TransientError),
        (409, ConflictError),
        (410, GoneError),
        (415, InvalidError),
        (422, InvalidError),
        (429, TransientError),
        (500, TransientError),
        (503, TransientError),
        (504, TransientError),
    ],
)
def test_a_code_means_an_error(code: int, want: type[ClusterError]) -> None:
    """A permanent error that looks transient is tried for ever; the other way round, never."""
    error = _error(_status(code))

    assert want is type(error)
    assert "what" in str(error)


def test_a_patch_that_does_not_fit_is_not_tried_again() -> None:
    """The API reports it as an internal error, without a reason."""
    assert InvalidError is type(_error(_status(500, reason="")))


def test_another_uid_is_a_conflict() -> None:
    answer = _status(422, details={"causes": [{"field": "metadata.uid"}]})

    assert ConflictError is type(_error(answer))


@pytest.mark.parametrize("body", [b"404 page not found\n", b"{}", b"\xff"])
def test_a_path_that_is_not_served_asks_for_the_crds(body: bytes) -> None:
    error = _error(Answer(404, body))

    assert InvalidError is type(error)
    assert "install the CRDs" in str(error)


@pytest.mark.parametrize("body", [b"<html>", b""])
def test_a_broken_proxy_is_transient(body: bytes) -> None:
    assert TransientError is type(_error(Answer(502, body)))


def test_no_text_about_a_secret_goes_on() -> None:
    answer = _status(
        422, message='Invalid value: "swordfish"', details={"causes": [{"field": "data.a"}]}
    )

    text = str(_error(answer, SECRET))

    assert "swordfish" not in text
    assert "`data.a`" in text


def test_a_missing_secret_is_named() -> None:
    assert "what" in str(_error(_status(404), SECRET))


@pytest.mark.parametrize("body", [b"[]", b"no", b"\xff"])
def test_an_answer_that_is_no_object_is_transient(body: bytes) -> None:
    with pytest.raises(TransientError):
        answers.parse_object(body)
