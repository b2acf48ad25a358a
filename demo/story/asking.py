"""Who asks, and what? Clients of the OpenAI API with the credentials that run.json names.

Each question carries words that nobody has said before, so no earlier recording holds them.
"""

from __future__ import annotations

import secrets
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

ORDINARY, CARD = "ordinary", "card number"
"""Kinds of questions."""

_TIMEOUT_SECONDS = 20
_PATIENCE_SECONDS = 20
_MAX_WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks.

    Attributes:
        app: who asks.
        kind: for people: what sort of question it is.
        text: all of it.
        markers: parts that must be found where it went, and must not be found elsewhere.
        echo: a marker that the engine repeats.
    """

    app: str
    kind: str
    text: str
    markers: tuple[str, ...]
    echo: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: 0 when nothing did.
        site: where the engine stands; empty when none was asked.
        code: of the error, `no_capacity` for example.
        text: the answer, or the error's sentence.
    """

    question: Question
    status: int
    site: str
    decision: str
    code: str
    text: str
    retry_after: str
    tokens_in: int
    tokens_out: int
    seconds: float

    @property
    def is_echoed(self) -> bool:
        """Whether the engine saw the question: it repeats the question's own word."""
        return self.question.echo in self.text


def ordinary(app: str = "branch-faq") -> Question:
    """A question that may go anywhere, if the app may."""
    word, echo = _word(), _word()
    text = f"When does the branch at {word} street open on Saturdays? say:{echo}"
    return Question(app, ORDINARY, text, (word, echo), echo)


def with_card(app: str = "branch-faq", *, separator: str = "") -> Question:
    """A question with a card number that nobody has, its groups of four separated or not."""
    before, after, echo = _word(), _word(), _word()
    card = _card()
    shown = separator.join(card[i : i + 4] for i in range(0, len(card), 4))
    kind = {"": CARD, " ": f"{CARD}, blanks", "-": f"{CARD}, dashes"}[separator]
    text = f"{before}: my card {shown} was charged twice in {after}. say:{echo}"
    return Question(app, kind, text, (before, after, echo, card), echo)


class Desk:
    """Where clients ask; it remembers every answer."""

    def __init__(self, run: Mapping[str, Any]) -> None:
        """Use the gateway of a run.json."""
        context = ssl.create_default_context(cafile=run["ca"])
        self._client = httpx.Client(
            base_url=run["gateway"], verify=context, trust_env=False, timeout=_TIMEOUT_SECONDS
        )
        self._credentials = {row["app"]: row["credentials"] for row in reversed(run["apps"])}
        self.answers: list[Answer] = []

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, question: Question) -> Answer:
        """Ask once."""
        began = time.monotonic()
        answer = self._read(question, self._send(question), began)
        self.answers.append(answer)
        return answer

    def ask_patiently(self, question: Question) -> list[Answer]:
        """Ask as the OpenAI SDKs do: a 503 is asked again after what `Retry-After` says."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        answers = [self.ask(question)]
        while answers[-1].status in {0, 503} and time.monotonic() < deadline:
            wait = answers[-1].retry_after
            time.sleep(min(float(wait) if wait.isdigit() else 1.0, _MAX_WAIT_SECONDS))
            answers.append(self.ask(question))
        return answers

    def body(self, question: Question) -> dict[str, Any]:
        """The request of a question, as JSON."""
        return {"model": "auto", "messages": [{"role": "user", "content": question.text}]}

    def _send(self, question: Question) -> httpx.Response | None:
        with open(self._credentials[question.app], encoding="utf-8") as file:  # noqa: PTH123
            credential = file.read()
        try:
            return self._client.post(
                "/chat/completions",
                json=self.body(question),
                headers={"authorization": f"Bearer {credential}"},
            )
        except httpx.TransportError:
            return None

    def _read(self, question: Question, response: httpx.Response | None, began: float) -> Answer:
        seconds = time.monotonic() - began
        if response is None:
            return Answer(question, 0, "", "", "", "no answer", "", 0, 0, seconds)
        try:
            found = response.json()
            is_answer = response.status_code == httpx.codes.OK
            text = found["choices"][0]["message"]["content"] if is_answer else ""
            error = {} if is_answer else found["error"]
        except (ValueError, LookupError, TypeError):
            found, error, text = {}, {}, f"not in OpenAI's form: {response.text[:80]}"
        usage = found.get("usage") or {}
        return Answer(
            question=question,
            status=response.status_code,
            site=response.headers.get("x-demarc-site", ""),
            decision=response.headers.get("x-demarc-decision", ""),
            code=error.get("code") or "",
            text=text or error.get("message") or "",
            retry_after=response.headers.get("retry-after", ""),
            tokens_in=usage.get("prompt_tokens", 0),
            tokens_out=usage.get("completion_tokens", 0),
            seconds=seconds,
        )


HEAD = ("APP", "QUESTION", "STATUS", "SITE", "SECONDS", "ANSWER OR REASON")


def rows(answers: Sequence[Answer]) -> list[tuple[str, ...]]:
    """Answers as rows of a table with `HEAD`."""
    return [
        (
            answer.question.app,
            answer.question.kind,
            f"{answer.status} {answer.code}".rstrip(),
            answer.site or "-",
            f"{answer.seconds:.2f}",
            answer.text,
        )
        for answer in answers
    ]


def _word() -> str:
    """A word of fourteen letters that nobody has said before; no detector takes it for a secret."""
    pairs = (secrets.choice("bdfgklmnprstvz") + secrets.choice("aeiou") for _ in range(7))
    return "".join(pairs)


def _card() -> str:
    """Sixteen digits that pass the check of card numbers (Luhn)."""
    digits = [4] + [secrets.randbelow(10) for _ in range(14)]
    doubled = [d if i % 2 else (2 * d - 9 if d > 4 else 2 * d) for i, d in enumerate(digits)]  # noqa: PLR2004
    return "".join(map(str, [*digits, -sum(doubled) % 10]))
