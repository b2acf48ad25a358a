"""Somebody saves a file of the folder: the gateway does what it says, or nothing if it is bad.

Every story puts the folder back and waits until the old policy is in force again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.support.bank import COPILOT, FAQ, INSIDE, OUTSIDE, Bank
from e2e.support.waiting import until

from demarc.api.cluster import ROUTING_POLICY
from demarc.app.running import Running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def served(bank: Bank, site: str, *, app: str = FAQ, model: str = "auto") -> bool:
    answer = bank.chat("good morning", app=app, model=model)
    assert (200, site) == (answer.status, answer.site), answer.body
    return True


def said(bank: Bank, text: str, *, since: int) -> bool:
    return text in bank.log()[since:]


@pytest.fixture(autouse=True)
def _put_back(bank: Bank) -> Iterator[None]:
    """The folder as it was, in force."""
    before = bank.texts()
    yield
    bank.put_back(before)
    assert served(bank, OUTSIDE)
    assert served(bank, INSIDE, app=COPILOT)


def counter(bank: Bank) -> tuple[int, ...]:
    return tuple(int(part) for part in str(bank.run["epoch"]).split("."))


def test_a_registration_that_is_taken_back_keeps_the_app_inside(bank: Bank) -> None:
    """The officer saves the file and must be able to rely on it, without a restart."""
    before, since = counter(bank), len(bank.log())

    bank.edit("30-residency.yaml", "floor: 1", "floor: 3")
    until(lambda: served(bank, INSIDE), "branch-faq is served inside")

    until(lambda: counter(bank) > before, "run.json names the new epoch")
    until(lambda: said(bank, "applied", since=since), "up says that it applied the folder")


def test_what_newly_leaves_is_shown_with_an_example(bank: Bank) -> None:
    """A widening that nobody sees is found by the regulator."""
    bank.edit("30-residency.yaml", "floor: 1", "floor: 3")
    until(lambda: served(bank, INSIDE), "branch-faq is served inside")
    since = len(bank.log())

    bank.edit("30-residency.yaml", "floor: 3", "floor: 1")
    until(lambda: served(bank, OUTSIDE), "branch-faq is served outside")

    log = bank.log()[since:]
    assert "widening: app `retail/branch-faq` at level 1" in log
    assert "for example tenant: retail, app: branch-faq" in log


def test_a_key_that_is_changed_opens_nothing_more(bank: Bank) -> None:
    """A stolen key is changed in the folder and dead at once; its files follow."""
    old = bank.credential(COPILOT, client="copilot-key")

    bank.edit("40-retail.yaml", old, "dmk_example_retail_copilot_changed")
    until(
        lambda: bank.credential(COPILOT, client="copilot-key") != old,
        "the file has the new key",
    )

    def refused() -> bool:
        answer = bank.send(b"", app="", method="GET", path="/v1/models", more=bearer(old))
        return answer.status == 401

    until(refused, "the old key is refused")
    until(lambda: served(bank, INSIDE, app=COPILOT), "the new key is served")


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)


def test_a_new_app_is_served_as_soon_as_it_is_declared(bank: Bank) -> None:
    """A tenant adds a key and a client to its own file, and needs nobody else."""
    bank.edit(
        "40-retail.yaml",
        "  - {name: faq-key, app: branch-faq,",
        "  - {name: teller-key, app: teller, apiKeySecretRef: {name: teller-key, key: token}}\n"
        "  - {name: faq-key, app: branch-faq,",
    )
    bank.write(
        "41-teller.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: teller-key, namespace: retail}\n"
        "stringData: {token: dmk_example_retail_teller_0a1b2c3d4e}\n",
    )

    def listed() -> bool:
        return any(row["app"] == "teller" for row in bank.run["apps"])

    until(listed, "run.json lists the app")
    until(lambda: served(bank, INSIDE, app="retail/teller"), "the new app is served")


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("kind: DataResidency", "kind: [", "30-residency.yaml"),
        ("registrations:", "registratoins:", "registratoins"),
        ("floor: 1", "floor: one", "floor"),
        ("origins: [CN]", "origins: [XX, YY, zz1]", "origins"),
    ],
    ids=["no YAML", "a misspelt field", "a wrong type", "an unknown country"],
)
def test_a_file_that_cannot_be_accepted_leaves_the_running_policy(
    bank: Bank, old: str, new: str, says: str
) -> None:
    """A typing error must neither open nor close anything; it is told, and the old policy stays."""
    before, since = counter(bank), len(bank.log())

    bank.edit("30-residency.yaml", old, new)
    until(lambda: said(bank, "the running policy stays", since=since), "up refuses the change")

    assert says in bank.log()[since:]
    assert served(bank, OUTSIDE)
    assert served(bank, INSIDE, app=COPILOT)
    assert before == counter(bank)


def test_a_policy_that_contradicts_its_own_checks_is_refused(bank: Bank) -> None:
    """`checks` are a tenant's own tests; an object that fails them must not come into force."""
    before = counter(bank)

    bank.edit(
        "40-retail.yaml",
        "request: {app: branch-faq, level: 3, categories: [PAN]}, neverReaches: [Public]",
        "request: {app: branch-faq, level: 1}, neverReaches: [Public]",
    )

    def refused() -> bool:
        (policy,) = [
            item
            for item in Running(bank.state).list(ROUTING_POLICY, "retail")
            if item["metadata"]["name"] == "chat"
        ]
        (accepted,) = [row for row in policy["status"]["conditions"] if row["type"] == "Accepted"]
        return accepted["status"] == "False" and "cards-stay" in accepted["message"]

    until(refused, "the status says which check failed")
    assert served(bank, OUTSIDE)
    assert before <= counter(bank)


def test_a_folder_that_is_gone_for_a_moment_changes_nothing(bank: Bank) -> None:
    """An editor, a checkout or a sync replaces folders; nothing may be deleted for that."""
    since, beside = len(bank.log()), bank.folder.with_name("moved")

    bank.folder.rename(beside)
    until(lambda: said(bank, "the running policy stays", since=since), "up says that it is gone")
    answered = bank.chat("good morning").site
    beside.rename(bank.folder)

    assert OUTSIDE == answered
    assert served(bank, OUTSIDE)


def test_an_object_that_is_deleted_is_gone(bank: Bank) -> None:
    """A model or an app that is taken out of the folder must not go on being served."""
    file = bank.folder / "60-hr.yaml"
    key = bank.credential("hr/assistant")
    text = file.read_text("utf-8")
    assert served(bank, INSIDE, app="hr/assistant")

    file.unlink()

    def refused() -> bool:
        answer = bank.send(b"", app="", method="GET", path="/v1/models", more=bearer(key))
        return answer.status == 401

    until(refused, "the app of the deleted policy is refused")
    bank.write(Path(file).name, text)
    until(lambda: served(bank, INSIDE, app="hr/assistant"), "the app is served again")
