"""Do the commands that need no running Demarc answer as their help says?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from demarc.cli import main

BANK = Path(__file__).parents[3] / "examples" / "bank"
ORDINARY = {"model": "auto", "messages": [{"role": "user", "content": "When do you open?"}]}
CARD = {"model": "auto", "messages": [{"role": "user", "content": "card 4111 1111 1111 1111"}]}


def run(*words: str) -> Result:
    """Run a command of demarc."""
    return CliRunner().invoke(main, words)


def folder(path: Path, *objects: dict[str, object]) -> Path:
    """A folder with these objects."""
    (path / "objects.yaml").write_text(yaml.safe_dump_all(objects), "utf-8")
    return path


def request(path: Path, body: object) -> str:
    """A file with a request."""
    file = path / "request.json"
    file.write_text(json.dumps(body), "utf-8")
    return str(file)


def test_the_sample_bank_is_valid() -> None:
    """A newcomer's first command would fail."""
    result = run("validate", str(BANK))

    assert result.exit_code == 0
    assert "False" not in result.stdout


def test_every_problem_of_a_folder_is_told_at_once(tmp_path: Path) -> None:
    """A user would repair one problem at a time."""
    site = {
        "apiVersion": "demarc.dev/v1alpha1",
        "kind": "Site",
        "metadata": {"name": "a"},
        "spec": {"connection": {"type": "InClustr"}, "jurisdictions": {"processing": ["CN"]}},
    }

    result = run("validate", str(folder(tmp_path, site)))

    assert result.exit_code == 2
    for part in ("connection.type", "InCluster", "jurisdictions.storage", "network"):
        assert part in result.stderr


def test_validate_speaks_json(tmp_path: Path) -> None:
    """A pipeline could not read the answer."""
    document = json.loads(run("validate", str(BANK), "-o", "json").stdout)

    assert document["valid"] is True
    assert {row["reason"] for row in document["placements"]} == {"Placed"}
    assert document["widenings"]


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """A user would read a traceback."""
    result = run("validate", str(tmp_path / "absent"))

    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_what_is_rendered_is_yaml_without_secrets() -> None:
    """Keys would be printed, or `kubectl apply` could not read it."""
    result = run("render", str(BANK))
    kinds = {item["kind"] for item in yaml.safe_load_all(result.stdout)}

    assert result.exit_code == 0
    assert "Secret" not in kinds
    assert {"Deployment", "StatefulSet", "NetworkPolicy", "ConfigMap"} <= kinds


def test_an_ordinary_question_is_explained(tmp_path: Path) -> None:
    """The cheapest endpoint would not be named as the choice."""
    result = run(
        "explain",
        request(tmp_path, ORDINARY),
        "--as",
        "retail/branch-faq",
        "--dir",
        str(BANK),
        "-o",
        "json",
    )

    assert json.loads(result.stdout)["chosen"] == "models/glm-4-flash@cloud-sg"


def test_a_sensitive_question_is_explained(tmp_path: Path) -> None:
    """It would not be told what kept the request inside."""
    result = run(
        "explain", request(tmp_path, CARD), "--as", "retail/branch-faq", "--dir", str(BANK)
    )

    assert result.exit_code == 0
    assert "models/glm-4-air@shanghai-dc" in result.stdout
    assert "E1" in result.stdout
    assert "4111" not in result.stdout


@pytest.mark.parametrize(
    "words, want",
    [
        (("--as", "retail/nobody"), "retail/branch-faq"),
        (("--as", "retail"), "--as TENANT/APP"),
        ((), "--as TENANT/APP"),
    ],
)
def test_a_caller_that_is_not_known_is_told_who_is(
    tmp_path: Path, words: tuple[str, ...], want: str
) -> None:
    """A user would guess."""
    result = run("explain", request(tmp_path, ORDINARY), *words, "--dir", str(BANK))

    assert result.exit_code == 2
    assert want in result.stderr


def test_a_command_without_a_running_demarc_says_so(tmp_path: Path) -> None:
    """A user would read a traceback."""
    result = run("get", "--state", str(tmp_path))

    assert result.exit_code == 1
    assert "demarc up" in result.stderr


def test_every_command_has_an_example() -> None:
    """`--help` would not show how a command is used."""
    for name, command in main.commands.items():
        text = run(name, "--help").stdout
        assert "Example" in text or hasattr(command, "commands"), name


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete(shell: str) -> None:
    """Completion would be promised and missing."""
    assert "_DEMARC_COMPLETE" in run("completion", shell).stdout


def test_the_simulator_replaces_no_model_of_somebody_else(tmp_path: Path) -> None:
    """The tokenizer of a real checkpoint would be overwritten."""
    (tmp_path / "tokenizer.json").write_text("mine")

    result = run("model", "simulate", str(tmp_path), "--name", "tiny")

    assert result.exit_code == 2
    assert "name a new folder" in result.stderr
    assert (tmp_path / "tokenizer.json").read_text() == "mine"
    assert run("model", "simulate", str(tmp_path / "tokenizer.json"), "--name", "x").exit_code == 2


def test_a_model_folder_is_made_and_verified(tmp_path: Path) -> None:
    """A digest that one command prints would be refused by the other."""
    path = str(tmp_path / "tiny")
    digest = run("model", "simulate", path, "--name", "tiny").stdout.strip()
    verify = ("model", "verify", path, "--precision", "FP8", "--digest")

    assert digest == run("model", "digest", path).stdout.strip()
    assert run(*verify, digest).exit_code == 0
    assert run(*verify, "sha256:" + "0" * 64).exit_code == 3
    assert run("model", "verify", path, "--digest", digest, "--precision", "BF16").exit_code == 4
    assert (
        run("model", "verify", path + "x", "--digest", digest, "--precision", "FP8").exit_code == 5
    )
