"""Acts 1 to 3: one folder serves; ordinary questions go to the cheap side, sensitive ones stay."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from story import asking, recording
from story.asking import Answer, Desk, Question
from story.bank import PRIVATE, PUBLIC, Bank
from story.stage import Stage, StoryError, until

_READY_SECONDS = 240
_WATCH_SECONDS = 2.0
_COLUMNS = 7
_ARRIVAL_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Scene:
    """One running bank and where clients ask."""

    stage: Stage
    bank: Bank
    desk: Desk


def apply(stage: Stage, bank: Bank) -> None:
    """Start the bank and show how its columns change until everything is ready."""
    stage.say(f"$ {' '.join(('demarc', *bank.command[1:]))}")
    began = time.monotonic()
    bank.start()
    shown: dict[str, str] = {}
    looked = 0.0
    while not bank.is_ready:
        if time.monotonic() - began > _READY_SECONDS:
            raise StoryError(f"not ready after {_READY_SECONDS} s: see {bank.log}")
        if bank.run and time.monotonic() - looked > _WATCH_SECONDS:
            looked = time.monotonic()
            _show_changes(stage, bank.try_demarc("get", "dmd"), shown, began)
        time.sleep(0.1)
    stage.say(f"ready after {time.monotonic() - began:.1f} s\n\n$ demarc get")
    stage.say(bank.demarc("get"))
    objects = json.loads(bank.demarc("get", "-o", "json"))["items"]
    pending = [
        f"{item['kind']}/{item['metadata']['name']} {kind}"
        for item in objects
        for kind in ("Accepted", "Programmed", "Ready")
        if not _is_true(item, kind)
    ]
    stage.expect(
        bool(objects) and not pending,
        f"all {len(objects)} objects are Accepted, Programmed and Ready"
        + (f"; not: {', '.join(pending)}" if pending else ""),
    )
    serving = sum(pod["role"] == "engine" and pod["ready"] for pod in bank.run["pods"])
    stage.expect(serving == 4, f"{serving} of 4 engines serve: real Triton, simulated model")  # noqa: PLR2004


def _show_changes(stage: Stage, table: str, shown: dict[str, str], began: float) -> None:
    """Print rows of `demarc get` that differ from what was shown; AGE is left out."""
    for line in table.splitlines():
        words = line.split()
        name, row = words[1], line.rpartition(words[-1])[0].rstrip()
        if len(words) >= _COLUMNS and shown.get(name) != row:
            shown[name] = row
            stage.say(f"{time.monotonic() - began:6.1f} s  {row}")


def _is_true(item: dict[str, object], kind: str) -> bool:
    status = item.get("status")
    rows = status.get("conditions", ()) if isinstance(status, dict) else ()
    return any(row["type"] == kind and row["status"] == "True" for row in rows)


def cheap(scene: Scene) -> None:
    """An ordinary question takes the cheapest endpoint, and the public side has it."""
    question = asking.ordinary()
    file = scene.bank.state / "question.json"
    file.write_text(json.dumps(scene.desk.body(question)), "utf-8")
    scene.stage.say("$ demarc explain question.json --as retail/branch-faq")
    scene.stage.say(scene.bank.demarc("explain", str(file), "--as", "retail/branch-faq"))
    file.unlink()
    before = scene.bank.recorded()
    answer = scene.desk.ask(question)
    scene.stage.table(asking.HEAD, asking.rows([answer]))
    scene.stage.expect(
        not any(recording.places(before, marker) for marker in question.markers),
        "its words are new: the recording did not hold them before",
    )
    expect_answered(scene, [answer], PUBLIC)
    expect_recorded(scene, question)


def private(scene: Scene) -> None:
    """What is sensitive stays inside, in every form, while the recording is seen to work."""
    control = [asking.ordinary(), asking.ordinary()]
    sensitive = [
        asking.with_card(),
        asking.with_card(separator=" "),
        asking.with_card(separator="-"),
        asking.ordinary("copilot"),
    ]
    answers = [scene.desk.ask(each) for each in (control[0], *sensitive, control[1])]
    scene.stage.table(asking.HEAD, asking.rows(answers))
    expect_answered(scene, answers[1:-1], PRIVATE)
    expect_answered(scene, [answers[0], answers[-1]], PUBLIC)
    for question in control:
        expect_recorded(scene, question, "control, asked before and after: ")
    expect_not_recorded(scene, sensitive)


def expect_answered(scene: Scene, answers: Sequence[Answer], site: str) -> None:
    """Each was answered there, by an engine that saw the very question."""
    truth = all(a.status == 200 and a.site == site and a.is_echoed for a in answers)  # noqa: PLR2004
    subject = "the answer comes" if len(answers) == 1 else f"{len(answers)} answers come"
    kinds = "; ".join(dict.fromkeys(f"{a.question.app}: {a.question.kind}" for a in answers))
    scene.stage.expect(truth, f"{subject} from {site} with the question's own word in it ({kinds})")


def expect_recorded(scene: Scene, question: Question, why: str = "") -> None:
    """All its markers are found, at the door and at the engine."""

    def arrived() -> bool:
        found = scene.bank.recorded()
        wanted = {"edge", "engine", "undecoded"}
        return all(wanted <= recording.places(found, marker) for marker in question.markers)

    try:
        until(arrived, seconds=_ARRIVAL_SECONDS, what="marker in the recording")
        truth = True
    except StoryError:
        truth = False
    scene.stage.expect(
        truth, f"{why}the public recording holds it at the edge and at the engine ({question.echo})"
    )


def expect_not_recorded(scene: Scene, questions: Sequence[Question]) -> None:
    """No marker is found in any spelling, nor in any other file of the public site."""
    markers = [marker for question in questions for marker in question.markers]
    content = scene.bank.recorded()
    found = [marker for marker in markers if recording.places(content, marker)]
    scene.stage.expect(
        not found,
        f"none of {len(markers)} markers, card numbers among them, is in the recording "
        f"({len(content)} bytes; as it is, JSON and base64 undone, without separators)"
        + (f": {', '.join(found)}" if found else ""),
    )
    folder = next(Path(s["state"]) for s in scene.bank.run["sites"] if s["name"] == PUBLIC)
    spilled = recording.spilled(folder, markers, except_for=(scene.bank.recording,))
    scene.stage.expect(
        not spilled,
        "nor in any other file of the public site"
        + (f": found in {', '.join(spilled)}" if spilled else ""),
    )
