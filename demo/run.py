"""Do the four promises hold on this machine? The story in seven acts; status 0 if every act held.

1 serving      one folder of YAML becomes two sites that serve
2 cheap        an ordinary question goes to the cheap public model
3 private      a card number stays inside
4 public dead  the ordinary question is served inside
5 private dead the sensitive question is refused, with the reason
6 accounting   every decision is explained, every token is booked
7 lies         an inner gateway that lies is stopped by egress

Only what a user has is used: `demarc` commands, run.json, HTTPS, files. Ctrl-C stops everything.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from story import accounting, failing, lying, serving
from story.asking import Desk
from story.bank import Bank
from story.serving import Scene
from story.stage import Stage, StoryError

ROOT = Path(__file__).parents[1]
FOLDER = Path("examples/bank")
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Act:
    """One act on a running bank."""

    title: str
    purpose: str
    play: Callable[[Scene], None]


SERVING = (
    "One folder of YAML serves",
    "Two sites, three models and the policies of three tenants are applied.",
)
HONEST = (
    Act(
        "An ordinary question takes the cheap public model",
        "The app branch-faq is registered as harmless. The public side records what it receives.",
        serving.cheap,
    ),
    Act(
        "A card number stays inside",
        "The same app, now with a card number; and copilot, which nobody registered.",
        serving.private,
    ),
    Act(
        "The public site is killed",
        "Ordinary questions are served inside.",
        failing.public_killed,
    ),
    Act(
        "The private engines are killed",
        "Ordinary questions go on outside. Sensitive ones are refused: nothing falls back.",
        failing.private_killed,
    ),
    Act(
        "Every decision is explained, every token booked",
        "From the records of the inner gateway and its ledger.",
        accounting.explain,
    ),
)
LYING = (
    "An inner gateway that lies is stopped by egress",
    """\
A second start: the inner agent is exchanged for a test double, demo/doubles/lying_agent.py.
It holds the real keys and lies to egress in one way after the other.""",
)
TITLES = (SERVING[0], *(act.title for act in HONEST), LYING[0])

ONE_MACHINE = """\
What one machine does not show
  A network boundary. Both sites are processes of one user on loopback. That the inner gateway has
  no route out, and that only egress reaches the other site, is said by NetworkPolicies, which the
  operator applies in a cluster; here nothing enforces them.
  GPUs and models. Triton is real; behind it a simulator stands in TensorRT-LLM's place.
  The recording exists in a rehearsal only: it is what the public side received.
"""

GO_ON = """\
Go on
  make up                   the same bank until `make down`; it prints the gateway and credentials
  .venv/bin/demarc get      what runs; then: usage, explain, describe, token, --help

  curl --cacert .demarc/ca.crt https://127.244.0.3:8443/v1/chat/completions \\
    -H "Authorization: Bearer $(cat .demarc/credentials/retail.branch-faq.faq-key)" \\
    -H 'content-type: application/json' \\
    -d '{"model": "auto", "messages": [{"role": "user", "content": "When do you open?"}]}'
"""


def main() -> int:
    """Play all acts; the exit status."""
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stage = Stage()
    folder = Path(tempfile.mkdtemp(prefix="demarc-demo-"))
    try:
        _first_bank(stage, folder)
        if stage.outcomes[0].held:
            _second_bank(stage, folder)
    except KeyboardInterrupt:
        stage.say(f"\ninterrupted; everything is stopped; state and logs are kept: {folder}")
        return INTERRUPTED
    held = _conclude(stage)
    if held:
        shutil.rmtree(folder)
        return 0
    stage.say(f"state and logs are kept: {folder}", style="red")
    return 1


def _first_bank(stage: Stage, folder: Path) -> None:
    """Acts 1 to 6."""
    with _stopping(stage, Bank(FOLDER, folder / "bank")) as bank:
        if not stage.act(*SERVING, partial(serving.apply, stage, bank)):
            return
        with contextlib.closing(Desk(bank.run)) as desk:
            scene = Scene(stage, bank, desk)
            for act in HONEST:
                stage.act(act.title, act.purpose, partial(act.play, scene))


def _second_bank(stage: Stage, folder: Path) -> None:
    """Act 7."""

    def play() -> None:
        lying.start(stage, bank)
        with contextlib.closing(Desk(bank.run)) as desk:
            lying.lies(Scene(stage, bank, desk))

    with _stopping(stage, lying.with_liar(FOLDER, folder / "liar")) as bank:
        stage.act(*LYING, play)


@contextlib.contextmanager
def _stopping(stage: Stage, bank: Bank) -> Iterator[Bank]:
    """Stop a bank at the end, whatever happens; a second Ctrl-C does not prevent it."""
    try:
        yield bank
    finally:
        handlers = [(n, signal.signal(n, signal.SIG_IGN)) for n in (signal.SIGINT, signal.SIGTERM)]
        try:
            seconds = bank.stop()
            if seconds:
                stage.say(f"$ demarc down: stopped in {seconds:.1f} s, nothing is left\n")
        except StoryError as error:
            stage.fault(str(error))
        for number, handler in handlers:
            signal.signal(number, handler)


def _conclude(stage: Stage) -> bool:
    """The table of acts, what was not shown, how to go on; whether everything held."""
    ended = {outcome.title: outcome for outcome in stage.outcomes}
    rows = list[tuple[str, ...]]()
    for number, title in enumerate(TITLES, 1):
        outcome = ended.get(title)
        word = "not reached" if outcome is None else "held" if outcome.held else "NOT held"
        seconds = f"{outcome.seconds:.1f}" if outcome else "-"
        rows.append((str(number), title, word, seconds, outcome.why if outcome else ""))
    stage.table(("ACT", "TITLE", "", "SECONDS", "WHY NOT"), rows)
    held = not stage.faults and all(row[2] == "held" for row in rows)
    stage.say(
        "every act held\n" if held else "NOT every act held\n", style="green" if held else "red"
    )
    stage.say(ONE_MACHINE)
    if held:
        stage.say(GO_ON)
    return held


if __name__ == "__main__":
    sys.exit(main())
