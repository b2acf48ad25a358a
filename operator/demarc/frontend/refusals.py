"""How is a request refused, in the words of the OpenAI API?

INVARIANT: a refusal repeats no value of the request. Names (of a field, of a model) are repeated
only when they look like names; anything else could be text of a prompt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}")
_INVALID = "invalid_request_error"
_SERVER = "server_error"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error object and its HTTP status.

    Attributes:
        status: HTTP status.
        type: the `type` of OpenAI's error object.
        code: a stable word for programs.
        message: one sentence for people.
        param: path of the field that is at fault, for example `messages[2].content`.
        retry_after_seconds: when a second try makes sense.
    """

    status: int
    type: str
    code: str
    message: str
    param: str | None = None
    retry_after_seconds: int | None = None


class RefusedError(Exception):
    """Carries a refusal out of a nested reader."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


def quoted(name: str, otherwise: str) -> str:
    """Put a name of the client into backticks, or say `otherwise` if it may be text."""
    return f"`{name}`" if _NAME.fullmatch(name) else otherwise


def param(name: str) -> str | None:
    """Give the name of a field for `param`, if it looks like one."""
    return name if _NAME.fullmatch(name) else None


def invalid(message: str, where: str | None = None, code: str = "invalid_value") -> Refusal:
    """Refuse a value: 400."""
    return Refusal(400, _INVALID, code, message, where)


def missing(where: str) -> Refusal:
    """Refuse a request that lacks a field: 400."""
    return invalid(f"`{where}` is required", where, "missing_required_parameter")


def unknown(name: str) -> Refusal:
    """Refuse a field that nobody reads: 400."""
    what = quoted(name, "a field")
    return invalid(f"{what} is not a known parameter", param(name), "unknown_parameter")


def unsupported(where: str, what: str) -> Refusal:
    """Refuse what this engine cannot do: 400."""
    return invalid(what, where, "unsupported_parameter")


def model_not_found(model: str) -> Refusal:
    """Refuse a model that is not served here: 404."""
    what = quoted(model, "of the request")
    return Refusal(
        404, _INVALID, "model_not_found", f"the model {what} does not exist here", "model"
    )


def context_length(limit: int, prompt_tokens: int, max_tokens: int | None) -> Refusal:
    """Refuse what does not fit into the context: 400."""
    asked = "" if max_tokens is None else f" and {max_tokens} of the answer"
    return invalid(
        f"the context holds {limit} tokens; asked were {prompt_tokens} of the messages{asked}",
        "messages",
        "context_length_exceeded",
    )


def no_route() -> Refusal:
    """Refuse a path that does not exist: 404."""
    message = "there is no such route; there are POST /v1/chat/completions and GET /v1/models"
    return Refusal(404, _INVALID, "unknown_url", message)


def method_not_allowed(allowed: str) -> Refusal:
    """Refuse a method: 405."""
    return Refusal(405, _INVALID, "method_not_allowed", f"this route takes {allowed} only")


def media_type(message: str) -> Refusal:
    """Refuse the form of the body: 415."""
    return Refusal(415, _INVALID, "unsupported_media_type", message)


def transport(status: int, code: str, message: str) -> Refusal:
    """Refuse bytes that are no request that this server reads."""
    return Refusal(status, _INVALID, code, message)


def engine_unavailable() -> Refusal:
    """No engine answers: 503."""
    message = "the engine is not available"
    return Refusal(503, _SERVER, "engine_unavailable", message, retry_after_seconds=1)


def engine_timeout() -> Refusal:
    """The engine was too slow: 504."""
    return Refusal(504, _SERVER, "engine_timeout", "the engine did not answer in time")


def engine_refused() -> Refusal:
    """The engine calls the request invalid: 400."""
    return invalid("the engine refuses this request", None, "engine_refused")


def engine_failed() -> Refusal:
    """The engine broke: 500."""
    return Refusal(500, _SERVER, "engine_failed", "the engine failed while it answered")


def internal() -> Refusal:
    """We broke: 500."""
    return Refusal(500, _SERVER, "internal_error", "the frontend failed")
