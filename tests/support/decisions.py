"""How is a golden case of decisions read, tried and written down?

The objects of a case are those of the design's sample with `change` laid over them: an object is
found by kind, namespace and name; mappings merge; lists of objects with a `name` or `site` merge
by it; everything else is replaced, an empty list too; null takes away. `remove` takes objects away.

    before    what was accepted earlier, as `change` and `remove`; widenings are computed against it
    requests  by name: what is asked, and by whom
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from demarc.api.v1alpha1.common import Capability, Category
from demarc.policy import eligibility, explanation, label, validation, widening
from demarc.policy.decision import Finding, Findings, Health, Needs, Request
from demarc.policy.document import Document
from demarc.policy.epoch import ClientIdentity, Epoch, EpochNumber
from demarc.policy.validation import Judged
from support import builders


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Found(_Strict):
    """One finding of a detector."""

    detector: str
    level: int
    categories: tuple[Category, ...] = ()
    count: int = 1


class Asked(_Strict):
    """One request; a chat of a hundred tokens by branch-faq unless it says otherwise."""

    tenant: str = "retail"
    app: str = "branch-faq"
    client: str = "faq-key"
    credential: str = "secret:retail/faq-key/token"
    model: str = "auto"
    capabilities: tuple[Capability, ...] = (Capability.CHAT,)
    promptTokens: int = 100  # noqa: N815  # as YAML has it
    maxTokens: int | None = None  # noqa: N815
    findings: tuple[Found, ...] = ()
    failure: str = ""
    level: int = 1
    now: datetime | None = None
    closed: str = ""
    down: tuple[str, ...] = ()

    def request(self) -> Request:
        """As policy sees it."""
        return Request(
            caller=ClientIdentity(self.tenant, self.app, self.client, self.credential),
            model=self.model,
            needs=Needs(frozenset(self.capabilities), self.promptTokens, self.maxTokens),
            findings=Findings(
                tuple(
                    Finding(each.detector, each.level, each.categories, each.count)
                    for each in self.findings
                ),
                self.failure,
            ),
            raise_to=self.level,
        )


class Objects(_Strict):
    """A state of the cluster, as differences to the sample."""

    change: tuple[dict[str, Any], ...] = ()
    remove: tuple[str, ...] = ()
    keys: dict[str, str] = Field(default_factory=dict)
    """Secrets beside the sample's: credential -> the key itself; empty text: no such Secret."""
    packs: tuple[str, ...] = ("cn-financial", "secrets")

    def manifests(self) -> tuple[Mapping[str, Any], ...]:
        """The objects, sorted by address."""
        found = {_address(each): each for each in builders.sample()}
        for change in self.change:
            found[_address(change)] = merged(found.get(_address(change), {}), change)
        for address in self.remove:
            del found[address]
        return tuple(found[address] for address in sorted(found))

    def credentials(self) -> Mapping[str, str]:
        """What stands behind each credential that exists."""
        known = dict(builders.CREDENTIALS)
        for credential, key in self.keys.items():
            known.pop(credential, None)
            if key:
                is_key = credential.startswith("secret:")
                known[credential] = sha256(key.encode()).hexdigest() if is_key else key
        return known


class DecisionCase(Objects):
    """A whole input file."""

    about: str
    now: datetime = builders.NOW
    before: Objects | None = None
    requests: dict[str, Asked] = Field(default_factory=dict)


def outcome(given: Any) -> dict[str, Any]:
    """Everything that a case shows; only what is not the same everywhere.

    Raises:
        pydantic.ValidationError: the input has a key that nobody reads.
    """
    case = DecisionCase.model_validate(given)
    before = _document(case.before, None, case.now) if case.before else None
    judged = _judged(case, before[0] if before else None, case.now)
    document = _signed(judged, EpochNumber(1, 2), case.now)
    epoch = builders.compiled(document)
    written: dict[str, Any] = {
        "objects": [
            line for verdict in judged.verdicts.values() if (line := _verdict(verdict)) is not None
        ],
        "public": judged.public + (f": {judged.public_reason}" if judged.public_reason else ""),
        "decisions": {
            name: _decision(asked, epoch, case.now) for name, asked in case.requests.items()
        },
    }
    if before is not None:
        written["widenings"] = [
            {"sentence": each.sentence, "example": dict(each.request)}
            for each in widening.widening(before[1], epoch, case.now)
        ]
    if never := eligibility.never_eligible(epoch, case.now):
        written["neverEligible"] = sorted(never)
    return {key: value for key, value in written.items() if value or key == "widenings"}


def merged(base: Any, change: Any) -> Any:
    """`base` with `change` laid over it; neither is written to."""
    if isinstance(base, Mapping) and isinstance(change, Mapping):
        both = {**base, **change}
        return {
            key: merged(base[key], value) if key in base and key in change else value
            for key, value in both.items()
            if value is not None
        }
    if isinstance(base, list) and isinstance(change, list) and _keyed([*base, *change]) and change:
        rows = {_key(row): row for row in base}
        for row in change:
            rows[_key(row)] = merged(rows.get(_key(row), {}), row)
        return list(rows.values())
    return change


def _keyed(rows: list[Any]) -> bool:
    return all(isinstance(row, Mapping) and _key(row) is not None for row in rows) and {
        "namespace"
    }.isdisjoint(key for row in rows for key in row)


def _key(row: Mapping[str, Any]) -> str | None:
    found = row.get("name", row.get("site"))
    return found if isinstance(found, str) else None


def _address(manifest: Mapping[str, Any]) -> str:
    meta = manifest["metadata"]
    parts = (manifest["kind"], meta.get("namespace"), meta["name"])
    return "/".join(part for part in parts if part)


def _judged(objects: Objects, previous: Document | None, now: datetime) -> Judged:
    return validation.judge(
        objects.manifests(),
        previous=previous,
        credentials=objects.credentials(),
        packs={name: builders.PACKS.get(name, "3" * 64) for name in objects.packs},
        home="shanghai-dc",
        now=now,
    )


def _signed(judged: Judged, number: EpochNumber, now: datetime) -> Document:
    return builders.document_of(
        judged.sources,
        number=number,
        issued_at=now,
        credentials=judged.credentials,
        public=judged.public,
        public_reason=judged.public_reason,
    )


def _document(objects: Objects, previous: Document | None, now: datetime) -> tuple[Document, Epoch]:
    document = _signed(_judged(objects, previous, now), EpochNumber(1, 1), now)
    return document, builders.compiled(document)


def _verdict(verdict: validation.Verdict) -> str | None:
    if verdict.accepted and not verdict.message:
        return None
    word = "accepted" if verdict.accepted else "refused"
    force = "nothing" if verdict.in_force is None else f"generation {verdict.in_force}"
    kept = "" if verdict.accepted else f", {force} in force"
    return f"{verdict.ref} {word} as {verdict.reason}{kept}: {verdict.message}"


def _decision(asked: Asked, epoch: Epoch, now: datetime) -> dict[str, Any]:
    view = epoch.closed(asked.closed) if asked.closed else epoch
    health = {each.name: Health(each.name not in asked.down) for each in view.endpoints}
    found = explanation.explain(asked.request(), view, asked.now or now, health)
    written: dict[str, Any] = {
        "label": label.describe(found.judgement.label),
        "origins": ", ".join(sorted(found.judgement.label.origins)),
        "because": [
            f"{each.source}: {label.level_name(each.level)}"
            + (f" with {', '.join(sorted(each.categories))}" if each.categories else "")
            for each in found.judgement.provenance
        ],
        "outcome": found.outcome,
        "detail": found.detail,
        "chosen": found.chosen.name if found.chosen else "",
        "eligible": [
            f"{row.endpoint.name} {row.cost or 'price unknown'} ({_row(row.permit)})"
            for row in found.rows
            if row.removal is None
        ],
        "removed": [
            f"{removed.endpoint} {removed.layer}: {removed.detail}"
            + (f" ({removed.source})" if removed.source else "")
            for row in found.rows
            if (removed := row.removal) is not None
        ],
    }
    return {key: value for key, value in written.items() if value}


def _row(permit: Any) -> str:
    return permit.row if permit else ""
