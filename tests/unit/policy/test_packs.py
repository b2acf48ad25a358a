"""Every shipped pack finds what its test data says, with all shipped packs loaded."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from demarc.policy import detection, packs
from demarc.policy.detection import Detectors
from demarc.policy.texts import Texts

FOLDER = Path(__file__).parents[3] / "policies"
PACKS = {path.parent.name: path.read_text("utf-8") for path in sorted(FOLDER.glob("*/pack.yaml"))}
CASES = [
    pytest.param(case, id=f"{path.parts[-3]}: {case['name']}")
    for path in sorted(FOLDER.glob("*/testdata/*.yaml"))
    for case in yaml.safe_load(path.read_text("utf-8"))
]


@pytest.fixture(scope="module")
def detectors() -> Detectors:
    return detection.load_packs(PACKS)


@pytest.mark.parametrize("case", CASES)
def test_a_pack_finds_what_its_test_data_says(case: dict[str, Any], detectors: Detectors) -> None:
    assert {"name", "say", "want"} == case.keys()
    said = case["say"]
    texts = Texts([said]) if isinstance(said, str) else Texts(said, (tuple(said),))
    findings = detection.scan(texts, detectors)

    assert "" == findings.failure
    assert case["want"] == [finding.detector for finding in findings.findings]


def test_every_rule_has_a_case_that_finds_it() -> None:
    rules = {
        f"{name}/{rule.name}"
        for name, text in PACKS.items()
        for rule in packs.read(name, text).rules
    }
    wanted = {detector for case in CASES for detector in case.values[0]["want"]}

    assert rules == wanted


def test_every_pack_has_harmless_cases() -> None:
    assert all((FOLDER / name / "testdata" / "harmless.yaml").is_file() for name in PACKS)
