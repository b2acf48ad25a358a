"""What is Envoy told? An allow with headers, or a refusal in OpenAI's form; pure.

Envoy takes 200 for an allow, and passes 4xx on to the caller as a refusal. A 5xx would count as a
failure of the agent, so a refusal with 503 travels as 429 with `x-demarc-status: 503`, which Envoy
turns back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import msgspec

from demarc.api.v1alpha1.common import Scope
from demarc.gateway import wire
from demarc.gateway.wire import Header
from demarc.policy import grant
from demarc.policy.decision import Deny, DenyReason, Unavailable
from demarc.policy.epoch import Endpoint
from demarc.policy.grant import GrantError
from demarc.policy.identity import Refused as NotProved
from demarc.policy.refusal import Refusal
from demarc.xds import headers
from demarc.xds.clusters import AGENT, EGRESS

_UNAVAILABLE = 503
_CARRIER = 429
_JSON = ("content-type", "application/json")
RETRY_SECONDS = 1
_ASKED = {
    NotProved.MISSING: "No credential was sent",
    NotProved.AMBIGUOUS: "More than one credential was sent",
    NotProved.MALFORMED: "The credential has an unknown form",
    NotProved.UNKNOWN: "The credential is not known",
    NotProved.EXPIRED: "The token has expired or is not valid yet",
}


@dataclass(frozen=True, slots=True)
class Refuse:
    """A refusal as the caller reads it.

    Attributes:
        code: also the reason in the record and in metrics.
        extra: more headers of the answer.
    """

    status: int
    type: str
    code: str
    message: str
    param: str | None = None
    extra: tuple[Header, ...] = ()

    @property
    def body(self) -> bytes:
        """The JSON object that OpenAI clients read."""
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        return msgspec.json.encode({"error": error})


def unproved(reason: NotProved) -> Refuse:
    """No client is proved."""
    message = f"{_ASKED[reason]}: send one API key or token as `Authorization: Bearer ...`."
    challenge = ("www-authenticate", 'Bearer realm="demarc"')
    return Refuse(401, "authentication_error", "invalid_api_key", message, None, (challenge,))


def unreadable(refusal: Refusal) -> Refuse:
    """The request was not understood."""
    return Refuse(
        refusal.status,
        refusal.type,
        refusal.code,
        _sentence(refusal.message),
        refusal.param,
        refusal.headers,
    )


def denied(deny: Deny, models: tuple[str, ...]) -> Refuse:
    """Policy has no endpoint for it; `models` are the names that the app may ask for."""
    message = _sentence(deny.detail)
    match deny.reason:
        case DenyReason.MODEL_NOT_FOUND:
            there_are = ", ".join(f"`{name}`" for name in models) or "none"
            message = f"The model does not exist for this app; there are: {there_are}."
            return Refuse(404, "invalid_request_error", deny.reason.value, message, "model")
        case DenyReason.POLICY_DENIED:
            return Refuse(403, "permission_error", deny.reason.value, message)
        case DenyReason.CONTEXT_LENGTH_EXCEEDED:
            return Refuse(400, "invalid_request_error", deny.reason.value, message, "messages")
        case DenyReason.UNSUPPORTED_CAPABILITY:
            return Refuse(400, "invalid_request_error", deny.reason.value, message)
        case _:
            assert_never(deny.reason)


def no_capacity(found: Unavailable) -> Refuse:
    """Permitted endpoints exist, and none takes requests."""
    return unavailable("no_capacity", _sentence(found.detail))


def unavailable(code: str, message: str) -> Refuse:
    """Try again later."""
    return Refuse(
        _UNAVAILABLE,
        "server_error",
        code,
        message,
        None,
        (("retry-after", str(RETRY_SECONDS)),),
    )


def grant_fault(error: GrantError) -> str:
    """What is wrong with a grant, in words of our own: its text may quote what a caller wrote."""
    match error:
        case grant.UnreadableGrantError():
            return "grant is unreadable"
        case grant.UntrustedGrantError():
            return "grant is not trusted"
        case grant.ExpiredGrantError():
            return "grant has expired or is not valid yet"
        case _:
            return str(error)  # it names a field


def forbidden(code: str, why: str) -> Refuse:
    """A later tier does not let it pass; `why` is a kind, never content."""
    return Refuse(403, "permission_error", code, f"The request was refused: {why}.")


def refusal(refuse: Refuse, decision_id: str) -> bytes:
    """A refusal on the wire."""
    body = refuse.body
    lines = [(headers.DECISION, decision_id), _JSON, *refuse.extra]
    if refuse.status == _UNAVAILABLE:
        lines.append((headers.STATUS, str(_UNAVAILABLE)))
        return wire.render(_CARRIER, lines, body)
    return wire.render(refuse.status, lines, body)


def to_private(endpoint: Endpoint, decision_id: str, *, stream: bool) -> bytes:
    """Allow: the inner gateway goes to a private endpoint itself."""
    lines = [
        (headers.CLASS, "private"),
        (headers.CLUSTER, endpoint.name),
        (headers.DECISION, decision_id),
        (headers.ENDPOINT, endpoint.name),
        (headers.MODEL, endpoint.served_name),
        (headers.SITE, endpoint.site),
    ]
    return wire.render(200, _streamed(lines, stream))


def to_egress(endpoint: Endpoint, decision_id: str, granted: str, *, stream: bool) -> bytes:
    """Allow: the inner gateway goes to the egress gateway with a grant."""
    assert endpoint.scope is Scope.PUBLIC
    lines = [
        (headers.CLASS, headers.PUBLIC),
        (headers.CLUSTER, EGRESS),
        (headers.DECISION, decision_id),
        (headers.ENDPOINT, endpoint.name),
        (headers.GRANT, granted),
        (headers.SITE, endpoint.site),
    ]
    return wire.render(200, _streamed(lines, stream))


def to_edge(endpoint: Endpoint, decision_id: str, granted: str, *, stream: bool) -> bytes:
    """Allow: the egress gateway goes to the edge of the endpoint's site."""
    lines = [
        (headers.CLASS, headers.PUBLIC),
        (headers.CLUSTER, endpoint.name),
        (headers.DECISION, decision_id),
        (headers.ENDPOINT, endpoint.name),
        (headers.GRANT, granted),
        (headers.SITE, endpoint.site),
    ]
    return wire.render(200, _streamed(lines, stream))


def to_frontend(
    endpoint: str, served_name: str, site: str, decision_id: str, *, stream: bool
) -> bytes:
    """Allow: the edge goes to the frontend of its own site."""
    lines = [
        (headers.CLASS, headers.PUBLIC),
        (headers.CLUSTER, endpoint),
        (headers.DECISION, decision_id),
        (headers.ENDPOINT, endpoint),
        (headers.MODEL, served_name),
        (headers.SITE, site),
    ]
    return wire.render(200, _streamed(lines, stream))


def to_agent(decision_id: str) -> bytes:
    """Allow: Envoy asks this agent again, as a server, for the list of models."""
    lines = [
        (headers.CLASS, "private"),
        (headers.CLUSTER, AGENT),
        (headers.DECISION, decision_id),
    ]
    return wire.render(200, lines)


def model_list(models: tuple[str, ...], created: int) -> bytes:
    """OpenAI's list of models: https://platform.openai.com/docs/api-reference/models/list."""
    data = [
        {"id": name, "object": "model", "created": created, "owned_by": "demarc"} for name in models
    ]
    return wire.render(200, [_JSON], msgspec.json.encode({"object": "list", "data": data}))


def _streamed(lines: list[Header], stream: bool) -> list[Header]:  # noqa: FBT001  # private
    return [*lines, (headers.STREAM, "1")] if stream else lines


def _sentence(text: str) -> str:
    """An error text as a sentence for people."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
