"""Act 6: what was decided and why, who used what, and that no text lies around."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from story import recording
from story.asking import Answer
from story.serving import Scene
from story.stage import until

_BOOKED_SECONDS = 10
_BY = "tenant,model,site"


def explain(scene: Scene) -> None:
    """Explain the last decisions, then add up."""
    answers = scene.desk.answers
    kept = _last(answers, "card number", 200)
    refused = _last(answers, "card number, grouped", 503)
    outside = _last(answers, "ordinary", 200)
    for title, answer in (("kept inside", kept), ("refused", refused), ("outside", outside)):
        scene.stage.say(f"$ demarc explain {answer.decision}     # {title}")
        text = scene.bank.demarc("explain", answer.decision)
        scene.stage.say(text)
        scene.stage.expect(
            answer.decision in text and "level" in text,
            f"the decision about it is on record with its label ({title})",
        )
    scene.stage.say(f"$ demarc usage --by {_BY}")
    _expect_booked(scene)
    scene.stage.say(scene.bank.demarc("usage", "--by", _BY))
    _expect_no_text(scene)


def _last(answers: list[Answer], kind: str, status: int) -> Answer:
    found = [a for a in answers if a.question.kind == kind and a.status == status and a.decision]
    return found[-1]


def _expect_booked(scene: Scene) -> None:
    """The ledger holds each answer that a client got, with the tokens that the client was told."""
    told: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for answer in scene.desk.answers:
        if answer.status == 200:  # noqa: PLR2004
            sums = told[answer.site]
            sums[0] += 1
            sums[1] += answer.tokens_in
            sums[2] += answer.tokens_out

    def booked() -> dict[str, list[int]]:
        rows = json.loads(scene.bank.demarc("usage", "--by", _BY, "-o", "json"))
        return {row["site"]: [row["requests"], row["tokensIn"], row["tokensOut"]] for row in rows}

    until(
        lambda: sum(row[0] for row in booked().values()) >= sum(row[0] for row in told.values()),
        seconds=_BOOKED_SECONDS,
        what="complete ledger",
    )
    found = booked()
    scene.stage.expect(
        found == dict(told),
        "requests and tokens, in and out, are those that the clients were told, site by site"
        + ("" if found == dict(told) else f": told {dict(told)}, booked {found}"),
    )
    costs = json.loads(scene.bank.demarc("usage", "--by", _BY, "-o", "json"))
    scene.stage.expect(
        all(row["costs"] and not row["unpriced"] for row in costs), "each of them has a cost"
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
