"""Operations asks the command line what runs, where a request went and why, and what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from e2e.support.bank import FAQ, INSIDE, OUTSIDE, Bank
from e2e.support.marks import Marks

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def read(bank: Bank, *words: str) -> Any:
    return json.loads(bank.demarc(*words).stdout)


def test_every_object_is_in_force(bank: Bank) -> None:
    """What `kubectl get` would show: accepted, programmed and ready, for the current generation."""
    listed = read(bank, "get", "-o", "json")

    kinds = [item["kind"] for item in listed["items"]]
    assert {"ModelDeployment": 3, "RoutingPolicy": 4, "DataResidency": 1, "Site": 2} == {
        kind: kinds.count(kind) for kind in kinds
    }
    for item in listed["items"]:
        conditions = {row["type"]: row for row in item["status"]["conditions"]}
        assert {"Accepted", "Programmed", "Ready"} <= set(conditions)
        for row in conditions.values():
            assert item["metadata"]["generation"] == row["observedGeneration"]
        assert "True" == conditions["Accepted"]["status"]
        assert "True" == conditions["Programmed"]["status"]


def test_a_model_says_where_it_serves(bank: Bank) -> None:
    """One short YAML makes a model serve, and the URL is in its status."""
    (model,) = [
        item
        for item in read(bank, "get", "dmd", "-n", "models", "-o", "json")["items"]
        if item["metadata"]["name"] == "glm-4-9b"
    ]

    assert bank.run["gateway"] == model["status"]["url"]
    assert {INSIDE, OUTSIDE} == {row["site"] for row in model["status"]["placements"]}
    assert all(row["readyReplicas"] == 1 for row in model["status"]["placements"])


def test_tables_have_the_columns_of_kubectl(bank: Bank) -> None:
    """People look at columns; programs use -o json."""
    output = bank.demarc("get", "dmd").stdout.splitlines()
    described = bank.demarc("describe", "dmd", "models/glm-4-air").stdout

    assert ["NAMESPACE", "NAME"] == output[0].split()[:2]
    assert 3 == len(output) - 1
    assert "kind: ModelDeployment" in described
    assert "Ready" in described


def test_a_past_request_is_explained_by_its_id(bank: Bank, marks: Marks) -> None:
    """The header of the answer is all that a user can quote in a ticket."""
    outside = bank.chat(f"good morning {marks.word()}")
    inside = bank.chat(f"good morning {marks.card()}")

    ordinary = read(bank, "explain", outside.decision, "-o", "json")
    sensitive = read(bank, "explain", inside.decision, "-o", "json")
    text = bank.demarc("explain", inside.decision).stdout

    (first,), (second,) = ordinary, sensitive
    assert f"models/glm-4-flash@{OUTSIDE}" == first["decision"]["chosen"]["endpoint"]
    assert 1 == first["decision"]["label"]["level"]
    assert f"models/glm-4-air@{INSIDE}" == second["decision"]["chosen"]["endpoint"]
    assert 3 == second["decision"]["label"]["level"]
    assert "PAN" in second["decision"]["label"]["categories"]
    removed = {row["endpoint"]: row for row in second["decision"]["removed"]}
    assert "E1" == removed[f"models/glm-4-flash@{OUTSIDE}"]["layer"]
    assert "cn-financial/bank-card" in text
    assert "level 3" in text


def test_a_refused_request_is_explained_too(bank: Bank) -> None:
    """A refusal without a reason in the record is one that nobody can appeal."""
    answer = bank.chat("hello", model="none")

    text = bank.demarc("explain", answer.decision).stdout

    assert 404 == answer.status
    assert "model_not_found" in text
    assert "retail/branch-faq" in text


def test_a_request_is_explained_before_it_is_sent(bank: Bank, marks: Marks, tmp_path: Path) -> None:
    """The answer of `explain` is the answer of the gateway, because it is the same function."""
    messages = [{"role": "user", "content": f"card {marks.card()}"}]
    body: dict[str, Any] = {"model": "auto", "messages": messages}
    file = tmp_path / "request.json"
    file.write_text(json.dumps(body))

    said = read(bank, "explain", "--as", FAQ, str(file), "-o", "json")
    answer = bank.chat(**body)

    assert f"models/glm-4-air@{answer.site}" == said["chosen"]
    assert "3" == said["label"]["level"]


def test_an_unknown_id_is_said_to_be_unknown(bank: Bank) -> None:
    """An empty answer would read as `nothing happened`."""
    done = bank.demarc("explain", "0" * 32, check=False)

    assert 2 == done.returncode
    assert "no record has decision" in done.stderr


def test_a_good_folder_is_valid(bank: Bank) -> None:
    """The check before an apply; it also shows what the folder lets out."""
    done = bank.demarc("validate", str(bank.folder))

    assert 0 == done.returncode
    assert "What these objects let out" in done.stdout


def test_all_problems_of_a_folder_are_told_at_once(bank: Bank, tmp_path: Path) -> None:
    """One problem a run makes an afternoon of ten typing errors."""
    good = (bank.folder / "40-retail.yaml").read_text("utf-8")
    (tmp_path / "10-sites.yaml").write_text((bank.folder / "10-sites.yaml").read_text("utf-8"))
    (tmp_path / "20-models.yaml").write_text(
        (bank.folder / "20-models.yaml")
        .read_text("utf-8")
        .replace("precision: FP8", "precision: FP7")
        .replace("allowedTenants:", "allowedTenents:")
    )
    (tmp_path / "40-retail.yaml").write_text(good.replace("order: Cheapest", "order: Dearest"))
    (tmp_path / "50-broken.yaml").write_text("kind: [\n")

    done = bank.demarc("validate", str(tmp_path), check=False)
    as_json = bank.demarc("validate", "-o", "json", str(tmp_path), check=False)

    problems = json.loads(as_json.stdout)["problems"]
    assert 2 == done.returncode
    assert 2 == as_json.returncode
    assert {"20-models.yaml", "40-retail.yaml", "50-broken.yaml"} == {
        Path(problem["file"]).name for problem in problems
    }
    assert 3 == len([problem for problem in problems if "allowedTenents" in str(problem)])
    assert 3 == len([problem for problem in problems if "FP7" in str(problem)])
    for problem in problems:
        assert f"{Path(problem['file']).name}" in done.stderr
        assert problem["message"]


def test_a_folder_that_is_not_there_is_said_in_one_line(bank: Bank, tmp_path: Path) -> None:
    """A traceback is no message."""
    done = bank.demarc("validate", str(tmp_path / "none"), check=False)

    assert 2 == done.returncode
    assert 1 == len(done.stderr.splitlines())


def test_a_second_up_on_the_same_state_is_refused(bank: Bank) -> None:
    """Two operators on one state would sign two policies."""
    done = bank.demarc("up", str(bank.folder), "--detach", check=False)

    assert 2 == done.returncode
    assert "belongs to a running" in done.stderr
    assert bank.chat("hello").status == 200


def test_run_json_says_what_runs(bank: Bank) -> None:
    """Programs read it: every gateway and engine with its processes, and nothing secret."""
    run = bank.run
    text = json.dumps(run)

    assert run["ready"]
    assert {INSIDE: "Private", OUTSIDE: "Public"} == {
        site["name"]: site["scope"] for site in run["sites"]
    }
    assert ["edge", "egress", "inner"] == sorted(
        pod.role for pod in bank.pods() if pod.role != "engine"
    )
    assert 4 == len(bank.pods("engine"))
    for pod in bank.pods():
        assert pod.pids
        assert all(Path(f"/proc/{pid}").exists() for pid in pod.pids.values())
    for row in run["apps"]:
        assert Path(row["credentials"]).read_text("utf-8") not in text
