"""What could an inner gateway do that somebody has taken over? A test double that lies to egress.

It is the real agent of the inner gateway with the real keys: it gets the same policy, signs with
the real grant key and goes to the real egress. Before it signs, it lies in the way that a file
names, read anew for each request:

    truth    no lie
    label    the text is called harmless, whatever it says
    app      the grant says `branch-faq`, whoever asks
    target   the grant is for a public endpoint that policy does not permit to the app
    body     the grant is for the hash of another body, a harmless one

Its own records say what it says, so they prove nothing; those of egress do.

Usage: lying_agent.py FILE [words of `demarc agent`]
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from demarc.api.v1alpha1.common import Scope
from demarc.cli import processes
from demarc.gateway import agent
from demarc.gateway.inner import Asked, Inner, Question, Taken
from demarc.policy.decision import Findings
from demarc.policy.epoch import Endpoint, Epoch
from demarc.policy.grant import Grant

LENIENT_APP = "branch-faq"
HARMLESS = b'{"model":"auto","messages":[{"role":"user","content":"When do you open?"}]}'


class Lie(StrEnum):
    """In which way it lies."""

    TRUTH = "truth"
    LABEL = "label"
    APP = "app"
    TARGET = "target"
    BODY = "body"


class LyingInner(Inner):
    """Decides as the honest one does, over facts that it has falsified."""

    def __init__(self, file: Path, **honest: Any) -> None:
        super().__init__(**honest)
        self._file = file

    @property
    def _lie(self) -> Lie:
        return Lie(self._file.read_text("utf-8").strip())

    def _take(self, asked: Asked, view: Epoch, now: Any) -> Taken:
        taken = super()._take(_falsified(asked, view, self._lie), view, now)
        if self._lie is Lie.TARGET:
            return replace(taken, outcome=_forbidden(view, taken.permitted))
        return taken

    def _grant(
        self, question: Question, asked: Asked, epoch: Epoch, taken: Taken, endpoint: Endpoint
    ) -> Grant:
        falsified = _falsified(asked, epoch, self._lie)
        granted = super()._grant(question, falsified, epoch, taken, endpoint)
        if self._lie is Lie.BODY:
            return replace(granted, body_sha256=hashlib.sha256(HARMLESS).hexdigest())
        return granted


def _falsified(asked: Asked, epoch: Epoch, lie: Lie) -> Asked:
    match lie:
        case Lie.LABEL | Lie.BODY:
            return replace(asked, request=replace(asked.request, findings=Findings(), raise_to=1))
        case Lie.APP:
            other = next(each for each in epoch.api_keys.values() if each.app == LENIENT_APP)
            return replace(asked, caller=other, request=replace(asked.request, caller=other))
        case Lie.TRUTH | Lie.TARGET:
            return asked


def _forbidden(epoch: Epoch, permitted: tuple[str, ...]) -> Endpoint:
    return next(
        endpoint
        for endpoint in epoch.endpoints
        if endpoint.scope is Scope.PUBLIC and endpoint.name not in permitted
    )


def main() -> None:
    """Become the agent, with the liar where the honest decision service is made."""
    file, *words = sys.argv[1:]
    agent.Inner = partial(LyingInner, Path(file))  # type: ignore[assignment,attr-defined]  # a double
    processes.agent(words)


if __name__ == "__main__":
    main()
