"""What does an answer of the API server mean to us? Its errors in the words of the port.

INVARIANT: no text that the server wrote about a Secret goes on: it may quote a value.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from demarc.api import cluster
from demarc.api.cluster import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    Kind,
    NotFoundError,
    TransientError,
)

_LONGEST_TEXT = 2000

_BEFORE_THE_BODY = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
"""Refusals that speak of a caller and a name: the server has not looked at what we sent."""

_BY_CODE: Mapping[int, type[ClusterError]] = MappingProxyType(
    {
        HTTPStatus.UNAUTHORIZED: ForbiddenError,
        HTTPStatus.FORBIDDEN: ForbiddenError,
        HTTPStatus.NOT_FOUND: NotFoundError,
        HTTPStatus.REQUEST_TIMEOUT: TransientError,
        HTTPStatus.CONFLICT: ConflictError,
        HTTPStatus.GONE: GoneError,
        HTTPStatus.TOO_MANY_REQUESTS: TransientError,
    }
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A status code and a body."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the server did what it was asked."""
        return self.status < HTTPStatus.BAD_REQUEST


@dataclass(frozen=True, slots=True)
class Refusal:
    """A `Status` object of the API that reports a failure.

    Attributes:
        code: the HTTP status code.
        reason: the API's word for it, `Conflict`; empty where the API gives none.
        message: the API's sentence.
        fields: the fields that the causes name.
        is_status: false where the body was no `Status`, as for a path that is not served.
    """

    code: int
    reason: str
    message: str
    fields: tuple[str, ...]
    is_status: bool


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; `TransientError` if it is none, as from a proxy in between."""
    try:
        value = json.loads(body)
    except ValueError as error:
        raise TransientError("the API server's answer is no JSON") from error
    if not isinstance(value, dict):
        raise TransientError("the API server's answer is no JSON object")
    return value


def refusal_of(answer: Answer) -> Refusal:
    """What a failed answer says."""
    try:
        status = json.loads(answer.body)
    except ValueError:
        status = None
    if not isinstance(status, Mapping) or status.get("kind") != "Status":
        return Refusal(answer.status, "", f"HTTP status {answer.status}", (), is_status=False)
    return refusal_of_status(status, answer.status)


def refusal_of_status(status: Mapping[str, Any], code: int) -> Refusal:
    """What a `Status` object says; `code` where it states none."""
    causes = (status.get("details") or {}).get("causes") or ()
    return Refusal(
        code=int(status.get("code") or code),
        reason=str(status.get("reason") or ""),
        message=str(status.get("message") or ""),
        fields=tuple(str(cause.get("field") or "") for cause in causes),
        is_status=True,
    )


def error_of(refusal: Refusal, kind: Kind) -> ClusterError:
    """The port's error for a refusal that concerns an object of this kind."""
    if refusal.code == HTTPStatus.NOT_FOUND and not refusal.is_status:
        return InvalidError(
            f"the cluster does not serve `{kind.plural}` of `{kind.api_version}`: install the CRDs"
        )
    return _class_of(refusal)(_text(refusal, kind))


def _class_of(refusal: Refusal) -> type[ClusterError]:
    if refusal.code in _BY_CODE:
        return _BY_CODE[refusal.code]
    if refusal.code < HTTPStatus.INTERNAL_SERVER_ERROR:
        names_another_object = set(refusal.fields) == {"metadata.uid"}
        return ConflictError if names_another_object else InvalidError
    # The API gives no reason when a patch does not fit the schema of its kind.
    unreasoned = refusal.code == HTTPStatus.INTERNAL_SERVER_ERROR and not refusal.reason
    return InvalidError if unreasoned and refusal.is_status else TransientError


def _text(refusal: Refusal, kind: Kind) -> str:
    if kind != cluster.SECRET or refusal.code in _BEFORE_THE_BODY:
        return f"the API server refused: {refusal.message[:_LONGEST_TEXT]}"
    fields = f" of {', '.join(f'`{name}`' for name in refusal.fields)}" if refusal.fields else ""
    return f"the API server refused a Secret with {refusal.code} {refusal.reason}{fields}".strip()
