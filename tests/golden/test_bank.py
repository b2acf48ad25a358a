"""Does the example bank do what its README says?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from demarc.api import load
from demarc.api.load import CoreObject
from demarc.api.reasons import AcceptedReason
from demarc.api.v1alpha1 import ModelDeployment, Resource
from demarc.api.v1alpha1.common import Capability, Category
from demarc.engines.model_folder import read_digest
from demarc.local.simulator import folder
from demarc.policy import choice, permission, validation
from demarc.policy.decision import Eligible, Finding, Findings, Health, Needs, Request
from demarc.policy.epoch import Endpoint, Epoch

BANK = Path(__file__).parents[2] / "examples" / "bank"
NOW = datetime(2026, 12, 1, tzinfo=UTC)
HOME = "shanghai-dc"
CARD = Finding("cn-financial/bank-card", 3, (Category.PAN,), 1)
SECRET = Finding("secrets/api-key", 1, (Category.SECRET,), 1)

AIR = "models/glm-4-air@shanghai-dc"
FLASH = "models/glm-4-flash@cloud-sg"
SMALL_INSIDE = "models/glm-4-9b@shanghai-dc"
SMALL_OUTSIDE = "models/glm-4-9b@cloud-sg"

CASES: Mapping[str, tuple[str, str, tuple[Finding, ...], set[str], str]] = {
    "copilot": ("retail/copilot-key", "auto", (), {AIR}, AIR),
    "branch-faq": ("retail/faq-key", "auto", (), {AIR, FLASH}, FLASH),
    "branch-faq with a card": ("retail/faq-key", "auto", (CARD,), {AIR}, AIR),
    "branch-faq with a secret": ("retail/faq-key", "auto", (SECRET,), {AIR}, AIR),
    "marketing": (
        "retail/marketing-key",
        "draft",
        (),
        {SMALL_INSIDE, SMALL_OUTSIDE, FLASH},
        SMALL_INSIDE,
    ),
    "credit-review": ("risk/credit-review-key", "auto", (), {AIR, SMALL_INSIDE}, AIR),
    "aml-triage": ("risk/aml-triage-key", "auto", (CARD,), {AIR, SMALL_INSIDE}, AIR),
    "assistant": ("hr/assistant-key", "auto", (), {AIR}, AIR),
}


@pytest.fixture(scope="module")
def bank() -> tuple[load.Loaded, ...]:
    """Everything in the folder."""
    loaded, problems = load.load_all(
        {path.name: path.read_text("utf-8") for path in sorted(BANK.glob("*.yaml"))}
    )
    assert () == problems
    return loaded


@pytest.fixture(scope="module")
def epoch(bank: tuple[load.Loaded, ...]) -> Epoch:
    """What the bank's objects compile to."""
    return validation.trial(_resources(bank), _credentials(bank), NOW)


def test_every_object_is_accepted_without_a_warning(bank: tuple[load.Loaded, ...]) -> None:
    """The example shows something that has no effect."""
    judged = validation.judge(
        [resource.dump() for resource in _resources(bank)],
        previous=None,
        credentials=_credentials(bank),
        packs={"cn-financial": "0", "secrets": "0"},
        home=HOME,
        now=NOW,
    )

    assert {AcceptedReason.ACCEPTED} == {each.reason for each in judged.verdicts.values()}
    assert "Open" == judged.public


@pytest.mark.parametrize("case", CASES)
def test_an_app_reaches_what_the_readme_says(epoch: Epoch, case: str) -> None:
    """A sentence of the README is wrong."""
    secret, model, found, want_reached, want_taken = CASES[case]
    caller = next(
        each for each in epoch.api_keys.values() if each.credential == f"secret:{secret}/token"
    )
    needs = Needs(frozenset({Capability.CHAT}), 100, 200)
    request = Request(caller, model, needs, Findings(found))
    eligible = permission.permit(request, epoch, NOW)

    assert isinstance(eligible, Eligible)
    up = {each.name: Health(up=True) for each in epoch.endpoints}
    taken = choice.choose(eligible, up, epoch.apps[caller.tenant, caller.app], needs)
    assert isinstance(taken, Endpoint)
    assert (want_reached, want_taken) == ({each.name for each in eligible.endpoints}, taken.name)


def test_the_digests_are_those_of_the_simulator(
    bank: tuple[load.Loaded, ...], tmp_path: Path
) -> None:
    """`make up` would show DigestMismatch. Put the digests that this prints into 20-models.yaml."""
    models = [each.spec.model for each in bank if isinstance(each, ModelDeployment)]
    found = dict[str, str]()
    for model in models:
        name = model.source.rpartition("/")[2]
        folder.make(tmp_path / name, name=name)
        found[model.source] = read_digest(tmp_path / name)

    assert {model.source: model.digest for model in models} == found


def _resources(bank: tuple[load.Loaded, ...]) -> tuple[Resource, ...]:
    return tuple(each for each in bank if not isinstance(each, CoreObject))


def _credentials(bank: tuple[load.Loaded, ...]) -> Mapping[str, str]:
    found = dict[str, str]()
    for each in bank:
        if not isinstance(each, CoreObject):
            continue
        manifest: Mapping[str, Any] = each.manifest
        for key, value in manifest.get("stringData", {}).items():
            found[f"secret:{each.key}/{key}"] = hashlib.sha256(value.encode()).hexdigest()
        if each.kind.name == "ServiceAccount":
            found[f"serviceaccount:{each.key}"] = "uid"
    return found
