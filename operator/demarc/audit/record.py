"""What does a record say? One decision or one note, as deterministic JSON.

Rules:
    The bytes are RFC 8785: the fields of each class stand in the order of their JSON names, maps
    are built in that order, and there are no floats.
    A record holds kinds, counts, names and ids; never text of a prompt or an answer, and never a
    name that a caller invented.
    A new field is a new version: readers refuse what they do not know.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

API_VERSION = "demarc.dev/record/v1"


class _Part(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A part of a record."""


class Body(_Part, frozen=True):
    """The request body without its content.

    Attributes:
        bytes: length.
        mac: HMAC-SHA-256 over the body in lower-case hex; empty when the body was not looked at.
        mac_key: id of its key; the key is held apart from the records.
    """

    bytes: int
    mac: str
    mac_key: str


class Caller(_Part, frozen=True):
    """Who asked, as the credential proved it."""

    app: str
    client: str
    credential: str
    tenant: str


class Price(_Part, frozen=True):
    """Exact price per million tokens at the time of the decision."""

    currency: str
    input: str
    output: str


class Chosen(_Part, frozen=True):
    """The endpoint that was taken; `price` None: unknown."""

    endpoint: str
    price: Price | None
    scope: str
    site: str


class Epoch(_Part, frozen=True):
    """The policy that decided."""

    hash: str
    number: str


class Operand(_Part, frozen=True):
    """Who raised the label, and to what."""

    categories: tuple[str, ...]
    count: int
    level: int
    source: str


class Label(_Part, frozen=True):
    """The label of the request and how it came to be."""

    categories: tuple[str, ...]
    level: int
    origins: tuple[str, ...]
    provenance: tuple[Operand, ...]


class Needs(_Part, frozen=True):
    """What the request needed of a model."""

    capabilities: tuple[str, ...]
    max_tokens: int | None
    prompt_tokens: int
    stream: bool


class Removed(_Part, frozen=True):
    """The first layer and object that removed an endpoint."""

    by: str
    endpoint: str
    layer: str


class Granted(_Part, frozen=True):
    """The inner gateway's statement that a later tier saw."""

    epoch_hash: str
    gateway: str


class Decision(_Part, frozen=True):
    """One decision of one gateway.

    Attributes:
        attempt: 1 for the first decision about a request.
        caller: None when nobody was proved.
        chosen: None when the request was refused.
        epoch: None when no epoch was loaded.
        granted: at egress and edge, when the grant could be trusted.
        health: endpoint -> whether it took requests, for each endpoint that was permitted.
        id: the decision's id; the tiers of one request share it.
        label: None when the request was refused before labelling.
        model: as asked, when the app has such a model; else empty.
        public: empty, or why Public was closed.
        reason: code of the refusal; empty for an allow.
        status: HTTP status answered; 200 for an allow.
    """

    attempt: int
    body: Body
    caller: Caller | None
    chosen: Chosen | None
    epoch: Epoch | None
    granted: Granted | None
    health: dict[str, bool]
    id: str
    label: Label | None
    model: str
    needs: Needs | None
    outcome: Literal["Allow", "Deny"]
    public: str
    reason: str
    removed: tuple[Removed, ...]
    role: str
    status: int


class Gap(_Part, frozen=True):
    """Decisions that were answered while nothing could be recorded.

    Attributes:
        allowed, denied: how many; every allow among them is of a Private endpoint.
        since: when it began.
        superseded: ids of decisions whose record was written late, after they had been answered
            by a second, Private-only decision.
    """

    allowed: int
    denied: int
    since: str
    superseded: tuple[str, ...]


class Note(_Part, frozen=True):
    """What happened to the log itself.

    Attributes:
        gap: for `Gap`.
        number: for `Segment`: number of the segment that begins; for `Truncated`: bytes cut off;
            else 0.
        type: `Segment` begins a file, `Truncated` an unfinished record was cut off at start,
            `Gap` nothing could be recorded for a time, `Refusals` so many more refusals of unknown
            callers in the last second.
    """

    gap: Gap | None
    number: int
    type: Literal["Segment", "Truncated", "Gap", "Refusals"]


class Record(_Part, frozen=True):
    """One entry of the log: a decision or a note, and its place in the chain.

    Attributes:
        at: RFC 3339 in UTC with microseconds.
        gateway: name of the pod that wrote it.
        prev: SHA-256 of the bytes of the record before, lower-case hex; `GENESIS` for the first.
        seq: 1, 2, 3, ...
    """

    api_version: str
    at: str
    decision: Decision | UnsetType = UNSET
    gateway: str = ""
    note: Note | UnsetType = UNSET
    prev: str = ""
    seq: int = 0


class RecordError(Exception):
    """The bytes are no record of this version."""


_DECODER = msgspec.json.Decoder(Record)
_ENCODER = msgspec.json.Encoder()


def encode(entry: Decision | Note, *, at: str, gateway: str, prev: str, seq: int) -> bytes:
    """The canonical bytes of one record; `at` as in `Record.at`."""
    return _ENCODER.encode(
        Record(
            api_version=API_VERSION,
            at=at,
            decision=entry if isinstance(entry, Decision) else UNSET,
            gateway=gateway,
            note=entry if isinstance(entry, Note) else UNSET,
            prev=prev,
            seq=seq,
        )
    )


def decode(data: bytes) -> Record:
    """The record in these bytes, if they are exactly what `encode` writes.

    Raises:
        RecordError: they are not.
    """
    try:
        found = _DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RecordError("the bytes are no record of this version") from error
    if found.api_version != API_VERSION:
        raise RecordError(f"the record has another version than `{API_VERSION}`")
    if (found.decision is UNSET) == (found.note is UNSET):
        raise RecordError("a record holds either a decision or a note")
    if _ENCODER.encode(found) != data:
        raise RecordError("the record is not in canonical form")
    return found


def schema() -> dict[str, object]:
    """The published JSON schema of a record."""
    return msgspec.json.schema(Record)
