"""Act 7: an inner gateway that somebody has taken over lies, and egress stops it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from story import asking
from story.asking import Answer, Question
from story.bank import PRIVATE, PUBLIC, Bank
from story.serving import Scene, expect_answered, expect_not_recorded, expect_recorded
from story.stage import Stage, until

_READY_SECONDS = 240
_DOUBLE = Path(__file__).parents[1] / "doubles" / "lying_agent.py"

LIES: Mapping[str, tuple[str, Callable[[], Question]]] = {
    "label": ("calls a card number harmless", asking.with_card),
    "app": ("says branch-faq where copilot asks", lambda: asking.ordinary("copilot")),
    "target": ("grants an endpoint that the app may not use", asking.ordinary),
    "body": ("signs for another, harmless body", asking.with_card),
}
"""Lie -> what the double does, and which question it is told about."""


def with_liar(folder: Path, state: Path) -> Bank:
    """A bank whose inner gateway has the double in its agent's place."""
    file = _lie_file(state)
    words = (sys.executable, str(_DOUBLE), str(file))
    agent = ("--role", "inner", "--home", PRIVATE, "--site", PRIVATE)
    return Bank(
        folder, state, ("--substitute", f"demarc-inner/agent={shlex.join((*words, *agent))}")
    )


def start(stage: Stage, bank: Bank) -> None:
    """Start it with the double telling the truth."""
    _lie_file(bank.state).write_text("truth", "utf-8")
    stage.say(f"$ {shlex.join(('demarc', *bank.command[1:]))}")
    bank.start()
    seconds = until(lambda: bank.is_ready, seconds=_READY_SECONDS, what="second start")
    stage.say(f"ready after {seconds:.1f} s: the same bank, one program exchanged")


def lies(scene: Scene) -> None:
    """Each lie in turn; before and after, the truth passes."""
    told: list[tuple[str, Answer]] = []
    before, after = asking.ordinary(), asking.ordinary()
    told.append(("truth", _ask(scene, "truth", before)))
    told += [(lie, _ask(scene, lie, ask())) for lie, (_, ask) in LIES.items()]
    told.append(("truth", _ask(scene, "truth", after)))
    scene.stage.table(
        ("LIE", *asking.HEAD),
        [(lie, *row) for lie, answer in told for row in asking.rows([answer])],
    )
    expect_answered(scene, [told[0][1], told[-1][1]], PUBLIC)
    for question in (before, after):
        expect_recorded(scene, question, "control, without a lie: ")
    for lie, answer in told[1:-1]:
        scene.stage.expect(
            answer.status in {403, 503} and answer.code.startswith("egress_"),
            f"{lie}: it {LIES[lie][0]}; egress must refuse. It says: {answer.text}",
        )
    expect_not_recorded(scene, [answer.question for _, answer in told[1:-1]])


def _ask(scene: Scene, lie: str, question: Question) -> Answer:
    _lie_file(scene.bank.state).write_text(lie, "utf-8")
    return scene.desk.ask(question)


def _lie_file(state: Path) -> Path:
    return state.with_name("lie.txt")
