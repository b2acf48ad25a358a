"""What does a caller read when Envoy itself answers? OpenAI-style errors with fixed texts.

A refusal of the agent passes as the agent wrote it. What looks like success but is not an allow
becomes 503, because ext_authz passes any status but 200 on to the caller.

Source of the shape: https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from demarc.xds import headers

Config = Mapping[str, Any]

_AUTHZ_FLAG = "UAEX"
FAR_FLAGS = ("LR", "SI", "UC", "UF", "UH", "UPE", "UR", "URX", "UT")
"""Response flags of an upstream that failed; not overflow (`UO`), which is this gateway's own."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One error that Envoy gives: status, OpenAI error type, code and sentence."""

    status: int
    type: str
    code: str
    message: str

    @property
    def body(self) -> str:
        """The JSON object of the answer."""
        error = {
            "message": self.message,
            "type": self.type,
            "param": None,
            "code": self.code,
        }
        return json.dumps({"error": error}, separators=(", ", ": "))


NO_DECISION = Reply(
    503, "server_error", "no_policy_decision", "No policy decision was made. Try again."
)
REDIRECT = Reply(502, "server_error", "upstream_redirect", "The engine answered with a redirect.")
ODD_STATUS = Reply(
    502, "server_error", "bad_gateway", "The engine's answer has a status that is none."
)
REPLIES = (
    Reply(
        400,
        "invalid_request_error",
        "bad_request",
        "The request is not valid HTTP for this gateway.",
    ),
    Reply(403, "permission_error", "policy_denied", "The request may not go there."),
    Reply(404, "invalid_request_error", "not_found", "There is nothing at this address."),
    Reply(408, "invalid_request_error", "request_timeout", "The request did not arrive in time."),
    Reply(413, "invalid_request_error", "request_too_large", "The request body is too large."),
    Reply(426, "invalid_request_error", "upgrade_required", "This HTTP version is not served."),
    Reply(431, "invalid_request_error", "headers_too_large", "The request headers are too large."),
    Reply(500, "server_error", "internal_error", "The gateway failed."),
    Reply(502, "server_error", "bad_gateway", "The engine's answer cannot be passed on."),
    Reply(503, "server_error", "no_capacity", "No engine can take the request now. Try again."),
    Reply(504, "server_error", "upstream_timeout", "The engine did not answer in time."),
)
"""By status; the answers of the agent are not among them."""


def render(*, far: bool) -> Config:
    """The local reply configuration of a listener; the first mapper that fits is used.

    Args:
        far: mark answers about a failed upstream as the far side's (egress).
    """
    retry = _header("retry-after", "1")
    refused: Config = {"response_flag_filter": {"flags": [_AUTHZ_FLAG]}}
    no_decision: Config = {
        "status_code": NO_DECISION.status,
        "body_format_override": format_of(NO_DECISION),
        "headers_to_add": [retry],
    }
    mappers: list[Config] = [
        # a refusal that must arrive as 503 with its own body
        {"filter": _all(refused, _wish()), "status_code": 503},
        # no answer, an error or a time-out of the agent
        {"filter": _all(refused, _status("GE", 500)), **no_decision},
        # neither an allow nor a refusal
        {"filter": _all(refused, _status("LE", 399)), **no_decision},
        # a refusal passes as the agent wrote it
        {"filter": refused},
    ]
    for reply in REPLIES:
        added = [retry] if reply.status == NO_DECISION.status else []
        mapper: Config = {"body_format_override": format_of(reply)}
        status = _status("EQ", reply.status)
        if far:
            failed: Config = {"response_flag_filter": {"flags": list(FAR_FLAGS)}}
            mark = _header(headers.FAR, "1")
            mappers.append(
                {"filter": _all(failed, status), **mapper, "headers_to_add": [*added, mark]}
            )
        flagged: Config = {"response_flag_filter": {}}
        mappers.append(
            {"filter": _all(flagged, status), **mapper, "headers_to_add": added}
            if added
            else {"filter": status, **mapper}
        )
    # a 503 without a flag is the route for requests that have no decision
    mappers.append({"filter": _status("EQ", NO_DECISION.status), **no_decision})
    return {"mappers": mappers}


def format_of(reply: Reply) -> Config:
    """The body as Envoy's substitution format."""
    return {
        "text_format_source": {"inline_string": reply.body.replace("%", "%%")},
        "content_type": "application/json",
    }


def _header(name: str, value: str) -> Config:
    return {
        "header": {"key": name, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _status(operator: str, value: int) -> Config:
    comparison = {
        "op": operator,
        "value": {"default_value": value, "runtime_key": "demarc.local_reply"},
    }
    return {"status_code_filter": {"comparison": comparison}}


def _all(*filters: Config) -> Config:
    return {"and_filter": {"filters": list(filters)}}


def _wish() -> Config:
    return {
        "metadata_filter": {
            "matcher": {
                "filter": "envoy.filters.http.ext_authz",
                "path": [{"key": headers.STATUS}],
                "value": {"string_match": {"exact": "503"}},
            },
            "match_if_key_not_found": False,
        }
    }
