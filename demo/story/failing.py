"""Acts 4 and 5: one side is killed, then the other. Nothing sensitive ever falls back outside."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from story import asking
from story.asking import Answer
from story.bank import PRIVATE, PUBLIC
from story.serving import Scene, expect_answered, expect_not_recorded
from story.stage import until

_ROUNDS = 4
_PAUSE_SECONDS = 0.5
_BACK_SECONDS = 120
_ASK_AGAIN_SECONDS = 1.0


def public_killed(scene: Scene) -> None:
    """Without the public site, ordinary questions are served inside."""
    scene.stage.say(f"SIGKILL to every process of every pod at {PUBLIC}, again when restarted")
    answers: list[list[Answer]] = []
    with scene.bank.killing(lambda pod: bool(pod["site"] == PUBLIC)) as killed:
        for _ in range(_ROUNDS):
            answers.append(scene.desk.ask_patiently(asking.ordinary()))
            time.sleep(_PAUSE_SECONDS)
    scene.stage.say(f"killed: {_counted(killed)}")
    every = [answer for tries in answers for answer in tries]
    scene.stage.table(asking.HEAD, asking.rows(every))
    scene.stage.expect(
        all(a.status == 200 or (a.status == 503 and a.retry_after) for a in every),  # noqa: PLR2004
        "each answer is 200, or 503 with Retry-After for the one that found out; clients ask again",
    )
    expect_answered(scene, [tries[-1] for tries in answers], PRIVATE)
    _comes_back(scene, asking.ordinary, PUBLIC)


def private_killed(scene: Scene) -> None:
    """Without private engines, sensitive questions get 503 with the reason; others go on."""
    scene.stage.say(f"SIGKILL to Triton and frontend of every engine at {PRIVATE}, again and again")
    ordinary: list[list[Answer]] = []
    sensitive: list[Answer] = []
    with scene.bank.killing(_is_private_engine) as killed:
        # the request that finds out is one of them, and must not leak either
        sensitive.append(scene.desk.ask(asking.with_card()))
        for _ in range(_ROUNDS):
            ordinary.append(scene.desk.ask_patiently(asking.ordinary()))
            sensitive.append(scene.desk.ask(asking.with_card(separator=" ")))
            sensitive.append(scene.desk.ask(asking.ordinary("copilot")))
            time.sleep(_PAUSE_SECONDS)
    scene.stage.say(f"killed: {_counted(killed)}")
    every = [answer for tries in ordinary for answer in tries]
    scene.stage.table(asking.HEAD, asking.rows([*every, *sensitive[:5]]))
    expect_answered(scene, [tries[-1] for tries in ordinary], PUBLIC)
    scene.stage.expect(
        all(a.status == 503 and a.code == "no_capacity" for a in sensitive),  # noqa: PLR2004
        f"each of {len(sensitive)} sensitive ones is refused: 503 no_capacity",
    )
    scene.stage.expect(
        all(a.retry_after.isdigit() and a.text for a in sensitive),
        "each refusal has Retry-After and a reason that a person can read",
    )
    expect_not_recorded(scene, [answer.question for answer in sensitive])
    _comes_back(scene, asking.with_card, PRIVATE)


def _is_private_engine(pod: Mapping[str, Any]) -> bool:
    return bool(pod["site"] == PRIVATE and pod["role"] == "engine")


def _comes_back(scene: Scene, question: Any, site: str) -> None:
    """Nobody repairs anything; one question a second, until that site answers."""

    def answered() -> bool:
        time.sleep(_ASK_AGAIN_SECONDS)
        answer = scene.desk.ask(question())
        return answer.status == 200 and answer.site == site  # noqa: PLR2004

    seconds = until(answered, seconds=_BACK_SECONDS, what=f"answer from {site} again")
    scene.stage.expect(True, f"{site} came back by itself after {seconds:.1f} s")


def _counted(killed: list[str]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in sorted(Counter(killed).items()))
