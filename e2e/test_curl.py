"""An operator checks the gateway with curl, with what `demarc up` printed and nothing else."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from e2e.support.bank import COPILOT, FAQ, INSIDE, OUTSIDE, Bank

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def curl(bank: Bank, path: str, *words: str, app: str = FAQ) -> subprocess.CompletedProcess[str]:
    """Run curl with the bank's authority and an app's credential."""
    return subprocess.run(
        [
            "curl",
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--cacert",
            str(bank.run["ca"]),
            "--header",
            f"Authorization: Bearer {bank.credential(app)}",
            *words,
            str(bank.run["gateway"]) + path,
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_line_that_up_prints_lists_models(bank: Bank) -> None:
    """The first line that a user copies must work as it stands."""
    (line,) = re.findall(r"^try: (curl .*)$", bank.log(), re.MULTILINE)

    done = subprocess.run(
        ["/bin/sh", "-c", f"{line} --silent --fail"], capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stderr
    assert "auto" in {model["id"] for model in json.loads(done.stdout)["data"]}


@pytest.mark.parametrize("app, site", [(FAQ, OUTSIDE), (COPILOT, INSIDE)])
def test_a_question_is_answered_with_its_place(bank: Bank, app: str, site: str) -> None:
    """The place of an answer stands in a header, for people who debug with curl."""
    body = '{"model": "auto", "messages": [{"role": "user", "content": "say: good morning"}]}'

    done = curl(
        bank, "/chat/completions", "-i", "-H", "content-type: application/json", "-d", body, app=app
    )

    head, _, content = done.stdout.partition("\n\n")
    assert "HTTP/1.1 200 OK" == head.splitlines()[0]
    assert f"x-demarc-site: {site}" in head.splitlines()
    assert "good morning" == json.loads(content)["choices"][0]["message"]["content"]


def test_a_stream_ends_with_done(bank: Bank) -> None:
    """Clients wait for `data: [DONE]`, and a chunked answer must end."""
    body = {
        "model": "auto",
        "stream": True,
        "messages": [{"role": "user", "content": "say: a b c d e f"}],
    }

    done = curl(
        bank,
        "/chat/completions",
        "--no-buffer",
        "-H",
        "content-type: application/json",
        "-d",
        json.dumps(body),
    )

    events = [
        line.removeprefix("data: ")
        for line in done.stdout.splitlines()
        if line.startswith("data: ")
    ]
    assert "[DONE]" == events[-1]
    said = "".join(
        json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:-1]
    )
    assert "a b c d e f" == said


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_clients_of_either_version_of_http_are_served(bank: Bank, version: str) -> None:
    """A client that prefers HTTP/2 agrees on HTTP/1.1 in the TLS handshake and notices nothing."""
    done = curl(bank, "/models", version, "--write-out", "\n%{http_code} %{ssl_verify_result}")

    assert "200 0" == done.stdout.splitlines()[-1], done.stderr


def test_a_client_that_does_not_know_the_authority_does_not_connect(bank: Bank) -> None:
    """A certificate that anybody accepts is one that anybody can stand in for."""
    done = subprocess.run(
        ["curl", "--silent", "--max-time", "60", f"{bank.run['gateway']}/models"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 60 == done.returncode  # curl: the peer's certificate cannot be authenticated


def test_plain_http_is_not_served(bank: Bank) -> None:
    """A credential that is sent in clear has been given away."""
    plain = str(bank.run["gateway"]).replace("https", "http", 1)
    done = subprocess.run(
        ["curl", "--silent", "--max-time", "60", "--write-out", "%{http_code}", f"{plain}/models"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert "000" == done.stdout


def test_credential_files_are_for_their_owner_alone(bank: Bank) -> None:
    """Other users of the machine must not find the keys of every app."""
    files = [Path(row["credentials"]) for row in bank.run["apps"]]

    assert 7 == len(files)
    assert {"0o600"} == {oct(file.stat().st_mode & 0o777) for file in files}
    assert {"0o700"} == {oct(file.parent.stat().st_mode & 0o777) for file in files}
    assert shlex.quote(bank.credential(FAQ)) == bank.credential(FAQ)  # nothing but the credential
