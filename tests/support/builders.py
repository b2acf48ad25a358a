"""How does a test say what it needs? Whole values, and arguments for what matters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import yaml

from demarc.api.v1alpha1.common import Capability
from demarc.policy import compilation, document
from demarc.policy.decision import Findings, Needs, Request
from demarc.policy.document import Document
from demarc.policy.epoch import ClientIdentity, Epoch, EpochNumber, GrantKey, TokenIssuer

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
FAQ_KEY = "faq-key-of-the-sample"
PACKS: Mapping[str, str] = {"cn-financial": "1" * 64, "secrets": "2" * 64}
CREDENTIALS: Mapping[str, str] = {
    "secret:retail/faq-key/token": sha256(FAQ_KEY.encode()).hexdigest(),
    "serviceaccount:retail/copilot": "uid-of-copilot",
}
"""What the Secrets and ServiceAccounts of the sample hold."""

COPILOT = ClientIdentity("retail", "copilot", "copilot-sa", "serviceaccount:retail/copilot")
FIRST = EpochNumber(1, 1)
NOTHING_FOUND = Findings()
BRANCH_FAQ = ClientIdentity("retail", "branch-faq", "faq-key", "secret:retail/faq-key/token")


def sample() -> tuple[Mapping[str, Any], ...]:
    """The manifests of the design's sample; each call makes new ones."""
    text = Path(__file__).with_name("sample.yaml").read_text(encoding="utf-8")
    return tuple(yaml.safe_load_all(text))


def document_of(
    sources: Iterable[Mapping[str, Any]],
    *,
    number: EpochNumber = FIRST,
    issued_at: datetime = NOW,
    home: str = "shanghai-dc",
    credentials: Mapping[str, str] = CREDENTIALS,
    token_issuer: TokenIssuer | None = None,
    grant_keys: tuple[GrantKey, ...] = (),
    packs: Mapping[str, str] = PACKS,
    public: Literal["Open", "Closed"] = "Open",
    public_reason: str = "",
) -> Document:
    """A document of sources that are taken as accepted; they are not judged."""
    return Document(
        number=number,
        issued_at=issued_at,
        max_age_seconds=900,
        home=home,
        sources=tuple(sources),
        credentials=credentials,
        token_issuer=token_issuer,
        grant_keys=grant_keys,
        packs=packs,
        public=public,
        public_reason=public_reason,
    )


def compiled(value: Document) -> Epoch:
    """The epoch of a document, with its true hash."""
    return compilation.compile_epoch(value, hash=document.hash(document.canonical(value)))


def epoch_of(sources: Iterable[Mapping[str, Any]], **options: Any) -> Epoch:
    """The epoch of sources that are taken as accepted; options as in `document_of`."""
    return compiled(document_of(sources, **options))


def sample_epoch(**options: Any) -> Epoch:
    """The epoch of the design's sample."""
    return epoch_of(sample(), **options)


def needs(
    *capabilities: Capability, prompt_tokens: int = 100, max_tokens: int | None = None
) -> Needs:
    """What a request needs: chat of a hundred tokens."""
    return Needs(frozenset({Capability.CHAT, *capabilities}), prompt_tokens, max_tokens)


def request(
    caller: ClientIdentity = BRANCH_FAQ,
    *,
    model: str = "auto",
    asks: Needs | None = None,
    findings: Findings = NOTHING_FOUND,
    raise_to: int = 1,
) -> Request:
    """A request of branch-faq that no detector has anything to say about."""
    return Request(caller, model, asks or needs(), findings, raise_to)
