"""Can a person read why a request goes where it goes?"""

from __future__ import annotations

import json

from demarc.policy import explanation
from demarc.policy.decision import Health
from support import builders
from support.builders import NOW

EPOCH = builders.sample_epoch()
UP = {each.name: Health(up=True) for each in EPOCH.endpoints}


def test_a_table_says_what_was_chosen_and_what_removed_the_others() -> None:
    """A line of `demarc explain` is missing or says something else."""
    copilot = explanation.explain(builders.request(builders.COPILOT), EPOCH, NOW, UP)
    faq = explanation.explain(builders.request(), EPOCH, NOW, {FLASH: Health(up=False)})

    assert (
        ("->", AIR, "Private", "yes", "0.0015036 USD", f"permitted by {CHAT} permit/inside"),
        ("", FLASH, "Public", "", "", "E1: level 3 is above its clearance 2"),
    ) == explanation.table(copilot)
    assert (
        ("1", FLASH, "Public", "no", "0.0000612 USD", f"permitted by {CHAT} permit/faq-outside"),
        ("2", AIR, "Private", "unknown", "0.0015036 USD", f"permitted by {CHAT} permit/inside"),
    ) == explanation.table(faq)
    assert "no_capacity" == faq.outcome
    assert len(explanation.TABLE_HEAD) == len(explanation.table(faq)[0])


def test_a_removal_names_its_object() -> None:
    """The object that removed an endpoint is not in the table."""
    manifests = builders.sample()
    manifests[3]["spec"]["allowedTenants"] = []
    manifests[3]["spec"].pop("price")
    epoch = builders.epoch_of(manifests)
    found = explanation.explain(builders.request(), epoch, NOW, UP)

    assert explanation.table(found)[-1][-1] == (
        "E3: the deployment does not allow tenant `retail` (ModelDeployment/models/glm-4-flash)"
    )


def test_json_is_plain() -> None:
    """An explanation cannot be written as JSON or read back the same."""
    for asked in (builders.request(), builders.request(model="gpt-4")):
        value = explanation.to_json(explanation.explain(asked, EPOCH, NOW, UP))

        assert value == json.loads(json.dumps(value))
    assert "model_not_found" == value["outcome"]


AIR, FLASH = (each.name for each in EPOCH.endpoints)
CHAT = "RoutingPolicy/retail/chat"
