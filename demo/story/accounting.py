"""Act 6: what was decided and why, who used what, and that no text lies around."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from story import asking, recording
from story.asking import Answer
from story.serving import Scene
from story.stage import StoryError, until

_BOOKED_SECONDS = 10
_BY = "tenant,model,site"
_SERVED, _UNAVAILABLE = 200, 503


@dataclass(frozen=True, slots=True)
class Told:
    """What clients were told by one site: answers, their tokens, and refusals from there."""

    answers: int
    tokens_in: int
    tokens_out: int
    refusals: int


def explain(scene: Scene) -> None:
    """Explain three decisions, add up, and look for text where none may be."""
    for title, answer in (
        ("kept inside", _last(scene, asking.CARD, _SERVED)),
        ("refused", _last(scene, f"{asking.CARD}, blanks", _UNAVAILABLE)),
        ("let out", _last(scene, asking.ORDINARY, _SERVED)),
    ):
        scene.stage.say(f"$ demarc explain {answer.decision}     # {title}")
        text = scene.bank.demarc("explain", answer.decision)
        scene.stage.say(text.rstrip())
        scene.stage.expect(
            answer.decision in text and "level" in text, f"it is on record with its label: {title}"
        )
    _expect_booked(scene)
    scene.stage.say(f"$ demarc usage --by {_BY}")
    scene.stage.say(scene.bank.demarc("usage", "--by", _BY).rstrip())
    _expect_no_text(scene)


def _last(scene: Scene, kind: str, status: int) -> Answer:
    for answer in reversed(scene.desk.answers):
        if (answer.question.kind, answer.status) == (kind, status) and answer.decision:
            return answer
    raise StoryError(f"no {kind} question was answered with {status}, so none is explained")


def _expect_booked(scene: Scene) -> None:
    """The ledger holds each answer that clients got, with the tokens that they were told.

    A request that reached a remote site and broke off there is booked with an estimate: then the
    sums of that site are a little higher, by no more rows than clients got refusals from it.
    """
    sites = sorted({a.site for a in scene.desk.answers if a.status == _SERVED})
    told = {site: _told(scene.desk.answers, site) for site in sites}

    found: dict[str, Any] = {}

    def is_whole() -> bool:
        rows = json.loads(scene.bank.demarc("usage", "--by", "site", "-o", "json"))
        found.update({row["site"]: row for row in rows})
        return all(
            site in found and found[site]["states"].get("reported", 0) == told[site].answers
            for site in sites
        )

    until(is_whole, seconds=_BOOKED_SECONDS, what="ledger that holds every answer")
    for site in sites:
        row, want = found[site], told[site]
        estimates = row["requests"] - want.answers
        sums = f"{row['tokensIn']} in, {row['tokensOut']} out"
        text = f"{site}: {want.answers} answers and the tokens that clients were told ({sums})"
        exact = (row["tokensIn"], row["tokensOut"]) == (want.tokens_in, want.tokens_out)
        if estimates:
            text += f", and {estimates} estimated for {want.refusals} that broke off there"
            exact = row["tokensIn"] > want.tokens_in and estimates <= want.refusals
        scene.stage.expect(exact, f"the ledger has for {text}")
    scene.stage.expect(
        all(row["costs"] and not row["unpriced"] for row in found.values()), "each has a cost"
    )


def _told(answers: list[Answer], site: str) -> Told:
    served = [a for a in answers if (a.site, a.status) == (site, _SERVED)]
    return Told(
        answers=len(served),
        tokens_in=sum(a.tokens_in for a in served),
        tokens_out=sum(a.tokens_out for a in served),
        refusals=sum((a.site, a.status) == (site, _UNAVAILABLE) for a in answers),
    )


def _expect_no_text(scene: Scene) -> None:
    """Logs, records, ledger and objects hold no text of a question or an answer."""
    markers = {marker for answer in scene.desk.answers for marker in answer.question.markers}
    spilled = recording.spilled(
        Path(scene.bank.run["state"]), markers, except_for=(scene.bank.recording,)
    )
    scene.stage.expect(
        not spilled,
        f"no text of {len(scene.desk.answers)} questions is in any file of either side "
        "(logs, records, ledger, objects) but the recording"
        + (f": found in {', '.join(spilled)}" if spilled else ""),
    )
