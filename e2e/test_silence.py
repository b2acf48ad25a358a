"""Somebody reads every file and every page of a running Demarc, and learns no word of a prompt.

Prompts are marked with words that stand nowhere else. Only the public site's recording, which
rehearses what an outsider sees, may hold them, and there they prove that the search finds them.
"""

from __future__ import annotations

import json
import urllib.request
from http.client import HTTPException
from pathlib import Path

import pytest
from e2e.support import scan
from e2e.support.bank import AML, COPILOT, FAQ, OUTSIDE, Bank
from e2e.support.marks import Marks
from e2e.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask_everything(bank: Bank, word: str, card: str) -> None:
    """Requests of every sort, each with the word and the card: served, refused, broken off."""
    text = f"{word} {card} 客户{word}"
    messages = [{"role": "user", "content": text}]
    for app in (FAQ, COPILOT, AML):
        assert 200 == bank.chat(f"say: {text}", app=app).status
        assert 200 == bank.chat(f"say: {text}", app=app, stream=True).status
    bank.chat(text, model=word)
    bank.chat(text, temperature=99)
    bank.chat(text, max_tokens=10_000_000)
    bank.chat(text, **{word: card})
    bank.chat(text, user=word, metadata={word: card}, stop=[word])
    bank.chat(text, messages=[{"role": word, "content": text}])
    bank.chat(text, messages=[{"role": "user", "content": text, word: card}])
    bank.chat(text, tools=[{"type": "function", "function": {"name": word, "description": card}}])
    bank.chat(text, tools=[{"type": word}])
    bank.send(f'{{"model":"auto","messages":"{text}",'.encode())
    bank.send(json.dumps({"model": "auto", "messages": messages}).encode() + b"{}")
    bank.send(json.dumps({"model": "auto", "messages": messages}).encode(), app="")
    bank.send(
        json.dumps({"model": "auto", "messages": messages}).encode(),
        more=(("content-encoding", "gzip"),),
    )
    bank.send(
        json.dumps({"model": "auto", "messages": messages}).encode(), more=(("demarc-level", word),)
    )
    client = bank.openai(COPILOT)
    stream = client.chat.completions.create(
        model="auto",
        messages=[{"role": "user", "content": "say:" + f" {word}" * 2000}],
        max_tokens=4000,
        stream=True,
    )
    next(iter(stream))
    stream.close()


def pages(bank: Bank) -> dict[str, str]:
    """What every process says to whoever scrapes it."""
    found = dict[str, str]()
    for pod in bank.pods():
        for port in (8081, 8002) if pod.role == "engine" else (8081,):
            for path in ("/metrics", "/status", "/readyz"):
                url = f"http://{pod.address}:{port}{path}"
                try:
                    with _OPENER.open(url, timeout=30) as answer:
                        found[url] = answer.read().decode()
                except (OSError, HTTPException):
                    continue  # not every process has every page
    return found


def test_no_file_and_no_page_holds_a_word_of_a_prompt_or_an_answer(
    bank: Bank, marks: Marks
) -> None:
    """A log line, a record, a label or an error text that quotes a prompt is a copy of it."""
    ordinary, word, card = marks.word(), marks.word(), marks.card()
    assert OUTSIDE == bank.chat(f"say: {ordinary}").site
    ask_everything(bank, word, card)
    # what is asked last is in the ledger when everything before it is written
    last = bank.chat("say: fence", app=COPILOT)
    until(lambda: last.decision in bank.demarc("explain", last.decision).stdout, "the last record")

    recording = bank.recording.path
    control = scan.find(bank.state, (ordinary,))
    found = scan.find(bank.state, (word, card, f"客户{word}"))
    said = {
        url for url, page in pages(bank).items() if word in page or card in page or ordinary in page
    }

    assert {recording} == set(control)
    assert "plain" in control[recording]
    assert any(form.startswith("base64") for form in control[recording])
    assert {} == found
    assert set() == said
    assert len(pages(bank)) >= len(bank.pods())


def test_no_log_and_no_record_holds_a_credential(bank: Bank) -> None:
    """A key in a log is a key of everybody who reads logs."""
    apps = (FAQ, COPILOT, AML)
    for app in apps:
        bank.chat("hello", app=app)
    keys = [bank.credential(app) for app in apps]

    holding = {
        path.relative_to(bank.state).parts
        for path in scan.find(bank.state, keys)
        if path.parent != bank.state / "credentials"
    }

    # the cluster's own store of Secrets, as etcd would hold it
    assert {("objects", "Secret.v1")} == {parts[2:4] for parts in holding}, holding
    for parts in holding:
        assert 0 == bank.state.joinpath(*parts).stat().st_mode & 0o077


def test_the_list_of_processes_shows_no_credential(bank: Bank) -> None:
    """Every user of a machine can read the command lines of all."""
    keys = [bank.credential(app).encode() for app in (FAQ, COPILOT, AML)]

    for pod in bank.pods():
        for pid in pod.pids.values():
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            assert not any(key in words for key in keys)
