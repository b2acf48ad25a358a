"""What does a request ask for, and is it well formed? Strictly, before anything else looks at it.

The order: path, method, headers, bytes, fields. What is not understood is refused with an
OpenAI-style error that repeats nothing of the request.

INVARIANT: `parse` is total; it never raises, whatever the bytes are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from demarc.api.v1alpha1.common import Capability
from demarc.policy import fields, messages, strict_json, texts
from demarc.policy.decision import Needs
from demarc.policy.label import TOP
from demarc.policy.messages import Conversation
from demarc.policy.refusal import Refusal, refuse
from demarc.policy.strict_json import Json
from demarc.policy.texts import Texts, Tree

CHAT_PATH = "/v1/chat/completions"
MODELS_PATH = "/v1/models"
ROUTES: Mapping[str, str] = {CHAT_PATH: "POST", MODELS_PATH: "GET"}
"""Every path there is, and its one method."""

BYTES_PER_TOKEN = 3
"""Estimate of design.md section 4: ceil(UTF-8 bytes / 3)."""
MAX_MODEL_NAME = 128

_SINGLE_HEADERS = frozenset(
    {
        "api-key",
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        "demarc-level",
        "x-api-key",
    }
)
"""Headers that two readers would take differently when they stand there twice."""
_LEVELS: Mapping[str, int] = {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "TOP": TOP}
_JSON_TYPE = re.compile(r'application/json(?:[ \t]*;[ \t]*charset=("?)utf-8\1)?', re.IGNORECASE)
_STRANGE_PATH = re.compile(r"//|/\.{1,2}(?:/|$)|[^!$&'()*+,\-./0-9:=@A-Z_a-z~]")


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A chat completion.

    Attributes:
        model: as asked; at most 128 characters. It is the client's text until it is found.
        stream: whether the answer is to be streamed.
        include_usage: whether the client wants the usage chunk of a stream.
        needs: what an endpoint must be able to do.
        texts: every string, key and number; prints as `[redacted]`.
        raise_to: level of the `demarc-level` header, 1 when absent.
    """

    model: str = field(repr=False)
    stream: bool
    include_usage: bool
    needs: Needs
    texts: Texts
    raise_to: int = 1


@dataclass(frozen=True, slots=True)
class ListModels:
    """`GET /v1/models`: the names that the caller's app may ask for."""


def parse(
    body: bytes, *, method: str, path: str, headers: Iterable[tuple[str, str]]
) -> ParsedRequest | ListModels | Refusal:
    """Read one request.

    Args:
        body: the bytes as they will travel on.
        method: as sent, for example `POST`.
        path: the path with its query, as sent.
        headers: every header line, names in any case, duplicates included.
    """
    refused = _route(method, path)
    if refused is not None:
        return refused
    single = _headers(headers, len(body))
    if isinstance(single, Refusal):
        return single
    if path == MODELS_PATH:
        if body:
            return refuse("unexpected_body", "a GET request has no body")
        return ListModels()
    if not _JSON_TYPE.fullmatch(single.get("content-type", "").strip(" \t")):
        return refuse(
            "unsupported_media_type",
            "the content type must be application/json in UTF-8",
            param="content-type",
        )
    document = strict_json.read(body)
    if isinstance(document, Refusal):
        return document
    return _chat(document, len(body), _LEVELS.get(single.get("demarc-level", "1"), TOP))


def _route(method: str, path: str) -> Refusal | None:
    if path in ROUTES:
        if method == ROUTES[path]:
            return None
        return refuse(
            "method_not_allowed",
            f"this path takes {ROUTES[path]} only",
            status=405,
            headers=(("allow", ROUTES[path]),),
        )
    if "?" in path:
        return refuse("query_not_allowed", "a query is refused: send everything in the body")
    if _STRANGE_PATH.search(path) or not path.startswith("/"):
        return refuse(
            "invalid_path", "the path has escapes, dot segments, empty segments or odd characters"
        )
    known = " and ".join(f"{verb} {known_path}" for known_path, verb in ROUTES.items())
    return refuse("unknown_url", f"this path does not exist: there are {known}", status=404)


def _headers(headers: Iterable[tuple[str, str]], length: int) -> dict[str, str] | Refusal:
    """The headers that may stand there once, by lower-case name."""
    lines = [(name.lower(), value) for name, value in headers]
    seen = Counter(name for name, _ in lines if name in _SINGLE_HEADERS)
    twice = sorted(name for name, count in seen.items() if count > 1)
    if twice:
        return refuse("duplicate_header", f"`{twice[0]}` is sent twice", param=twice[0])
    if ("x-envoy-auth-partial-body", "true") in lines:
        return refuse("request_too_large", "the body did not arrive whole", status=413)
    single = {name: value for name, value in lines if name in _SINGLE_HEADERS}
    if "content-encoding" in single:
        return refuse(
            "unsupported_encoding",
            "an encoded body is refused: send it as it is",
            param="content-encoding",
        )
    stated = single.get("content-length", str(length))
    if stated != str(length):
        return refuse("invalid_header", "the body is not as long as stated", param="content-length")
    if single.get("demarc-level", "1") not in _LEVELS:
        return refuse(
            "invalid_header", "`demarc-level` must be one of 1 to 5 or TOP", param="demarc-level"
        )
    return single


def _chat(document: Json, length: int, raise_to: int) -> ParsedRequest | Refusal:
    value = document.value
    if not isinstance(value, dict):
        return refuse("invalid_json", "the body must be a JSON object")
    refused = fields.check(value)
    if refused is not None:
        return refused
    for name in ("model", "messages"):
        if value.get(name) is None:
            return refuse("missing_required_parameter", f"`{name}` is required", param=name)
    model = value["model"]
    if not isinstance(model, str) or not 1 <= len(model) <= MAX_MODEL_NAME:
        return refuse(
            "invalid_value",
            f"`model` must be a name of 1 to {MAX_MODEL_NAME} characters",
            param="model",
        )
    conversation = messages.read(value["messages"])
    if isinstance(conversation, Refusal):
        return conversation
    stream = value.get("stream") is True
    options = value.get("stream_options")
    if options is not None and not stream:
        return refuse(
            "invalid_value", "`stream_options` needs `stream` true", param="stream_options"
        )
    limits = (value.get("max_completion_tokens"), value.get("max_tokens"))
    asked = {limit for limit in limits if isinstance(limit, int)}
    if len(asked) > 1:
        return refuse(
            "invalid_value",
            "`max_completion_tokens` and `max_tokens` differ: send one of them",
            param="max_completion_tokens",
        )
    uses_tools = (
        conversation.uses_tools
        or bool(value.get("tools"))
        or value.get("tool_choice") not in (None, "none")
    )
    return ParsedRequest(
        model=model,
        stream=stream,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        needs=Needs(
            capabilities=frozenset(
                {Capability.CHAT, Capability.TOOLS} if uses_tools else {Capability.CHAT}
            ),
            prompt_tokens=-(-length // BYTES_PER_TOKEN),
            max_tokens=max(asked, default=None),
            stream=stream,
        ),
        texts=Texts(
            document.tree.parts, _runs(document.tree, model, conversation), document.tree.pairs
        ),
        raise_to=raise_to,
    )


def _runs(tree: Tree, model: str, conversation: Conversation) -> tuple[tuple[str, ...], ...]:
    """What a reader could join: the model's name stands between other things and joins nothing."""
    return texts.runs(
        (
            conversation.contents,
            *conversation.by_role.values(),
            *tree.arrays,
            tree.keys,
            (value for value in tree.values if value != model),
            (part for part in tree.parts if part != model),
        )
    )
