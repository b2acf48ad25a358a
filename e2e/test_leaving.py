"""An outsider with the public site's recording finds ordinary questions, and nothing sensitive."""

from __future__ import annotations

import pytest
from e2e.support import disguises
from e2e.support.bank import COPILOT, FAQ, INSIDE, OUTSIDE, Bank
from e2e.support.disguises import DISGUISES
from e2e.support.marks import Marks

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def test_an_ordinary_question_is_read_outside_as_it_was_sent(bank: Bank, marks: Marks) -> None:
    """Without this control an empty recording would pass for proof that nothing leaves."""
    since, word = bank.recording.end(), marks.word()

    answer = bank.chat(f"when does the branch open, {word}?")

    assert (200, OUTSIDE) == (answer.status, answer.site)
    (edge,) = bank.recording.holding(word, since=since, at="edge")
    (engine,) = bank.recording.holding(word, since=since, at="engine")
    assert word in edge.line
    assert f"when does the branch open, {word}?" in edge.text
    assert f"when does the branch open, {word}?" in engine.text


def test_the_same_question_with_a_card_number_stays_inside(bank: Bank, marks: Marks) -> None:
    """The promise of the product: the same app, the same model, one number more."""
    since, word, card = bank.recording.end(), marks.word(), marks.card()

    answer = bank.chat(f"when does the branch open, {word}? my card is {card}")

    assert (200, INSIDE) == (answer.status, answer.site)
    assert () == bank.recording.holding(word, since=since)
    assert () == bank.recording.holding(card, since=since)


def test_an_app_without_a_registration_sends_nothing_outside(bank: Bank, marks: Marks) -> None:
    """Whatever it asks: without a dated statement of compliance the floor is 3."""
    since, word = bank.recording.end(), marks.word()

    answer = bank.chat(f"good morning {word}", app=COPILOT)

    assert (200, INSIDE) == (answer.status, answer.site)
    assert () == bank.recording.holding(word, since=since)


@pytest.mark.parametrize("level", ["3", "5", "TOP"])
def test_a_caller_can_keep_its_own_question_inside(bank: Bank, marks: Marks, level: str) -> None:
    """`demarc-level` is all that a caller may say about its request, and it only raises."""
    since, word = bank.recording.end(), marks.word()
    fields = b'{"model":"auto","max_tokens":4,"messages":[{"role":"user","content":"%s"}]}'

    answer = bank.send(fields % word.encode(), more=(("demarc-level", level),))

    # TOP and 5 are cleared nowhere but in the vault, which is the private site here
    assert (200, INSIDE) == (answer.status, answer.site)
    assert () == bank.recording.holding(word, since=since)


def test_a_level_of_the_caller_never_lowers(bank: Bank, marks: Marks) -> None:
    """A caller that says 1 does not talk its way past what the detectors found."""
    since, word, card = bank.recording.end(), marks.word(), marks.card()
    fields = b'{"model":"auto","max_tokens":4,"messages":[{"role":"user","content":"%s %s"}]}'

    answer = bank.send(fields % (word.encode(), card.encode()), more=(("demarc-level", "1"),))

    assert (200, INSIDE) == (answer.status, answer.site)
    assert () == bank.recording.holding(word, since=since)


@pytest.mark.parametrize("name", DISGUISES)
def test_a_disguised_number_of_a_card_stays_inside(bank: Bank, marks: Marks, name: str) -> None:
    """A number that a person outside could read back is a number that has left.

    The control is the same disguise around sixteen digits that are no card: they leave, and the
    search finds them, so it would have found the card.
    """
    since = bank.recording.end()
    word, card, harmless = marks.word(), marks.card(), marks.harmless()
    control = marks.word()

    hidden = bank.chat(**DISGUISES[name](card, word))
    shown = bank.chat(**DISGUISES[name](harmless, control))

    assert (200, OUTSIDE) == (shown.status, shown.site)
    assert bank.recording.holding(control, since=since, at="edge")
    assert bank.recording.holding(harmless, since=since, at="edge")
    assert (200, INSIDE) == (hidden.status, hidden.site)
    assert () == bank.recording.holding(word, since=since)
    assert () == bank.recording.holding(card, since=since)


@pytest.mark.parametrize("name", ["plain", "full width", "messages", "tool arguments", "base64"])
def test_a_disguised_number_of_a_person_stays_inside(bank: Bank, marks: Marks, name: str) -> None:
    """Identity numbers have other digits, lengths and checks than cards."""
    since, word, number = bank.recording.end(), marks.word(), marks.resident()

    answer = bank.chat(**DISGUISES[name](number, word))

    assert (200, INSIDE) == (answer.status, answer.site)
    assert () == bank.recording.holding(word, since=since)
    assert () == bank.recording.holding(number[:-1], since=since)


@pytest.mark.parametrize(
    "secret",
    [
        "-----BEGIN RSA PRIVATE KEY-----",
        "the password is: Tr0ub4dor&3xyz",
        "AKIAQ3EGRCVZ5ZJN2XPL",
        "客户的征信报告显示逾期,身份证在附件",
        "可疑交易报告:客户账户已冻结",
    ],
    ids=["private key", "password", "cloud key", "credit report", "suspicious transaction"],
)
def test_secrets_and_protected_records_stay_inside(bank: Bank, marks: Marks, secret: str) -> None:
    """Not every secret is a number."""
    since, word = bank.recording.end(), marks.word()

    answer = bank.chat(f"{secret} {word}")

    assert (200, INSIDE) == (answer.status, answer.site)
    assert () == bank.recording.holding(word, since=since)


def test_a_model_that_is_only_outside_refuses_what_is_sensitive(bank: Bank, marks: Marks) -> None:
    """Nothing falls back: with no endpoint that may see it there is a refusal, and its reason."""
    since, word, card = bank.recording.end(), marks.word(), marks.card()
    bank_only_outside = "draft"  # its private endpoint has no tools; its public one does
    tools = disguises.DISGUISES["tool description"](card, word)

    answer = bank.chat(app="retail/marketing", model=bank_only_outside, **tools)

    assert answer.status in {400, 403}
    assert answer.error["code"] in {"policy_denied", "unsupported_capability"}
    assert () == bank.recording.holding(word, since=since)
    assert () == bank.recording.holding(card, since=since)


def test_what_is_denied_says_why_and_repeats_nothing(bank: Bank, marks: Marks) -> None:
    """A refusal that quotes the request carries it into every log between here and the caller."""
    word, card = marks.word(), marks.card()

    answer = bank.chat(f"{word} {card}", app=FAQ, model=word)

    assert 404 == answer.status
    assert "model_not_found" == answer.error["code"]
    assert word.encode() not in answer.body
    assert card.encode() not in answer.body
