"""Are the files that Envoy reads those that a reviewer has read?

`NAME.in.yaml` says which gateway of the design's sample is meant; `NAME.FILE.out.yaml` is that
file. With DEMARC_GOLDEN=write the expectations are written anew, to be read before they are
committed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from demarc.policy import extract
from demarc.xds import linting, resources, translation, view
from demarc.xds.settings import GatewaySettings
from demarc.xds.view import Role, View
from support import builders

FOLDER = Path(__file__).with_name("xds")
KEYS = {"role", "public", "site", "addresses", "settings"}
CASES = sorted(path.name.removesuffix(".in.yaml") for path in FOLDER.glob("*.in.yaml"))


def read(name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((FOLDER / f"{name}.in.yaml").read_text("utf-8"))
    assert set(found) <= KEYS, f"{name} holds {sorted(set(found) - KEYS)}"
    return found


def seen_by(case: Mapping[str, Any]) -> View:
    epoch = builders.sample_epoch(public=case["public"])
    role = Role(case["role"])
    if role is Role.EDGE:
        return view.of_extract(extract.extract(epoch, case["site"]))
    return view.of_epoch(role, epoch)


@pytest.mark.parametrize("name", CASES)
def test_the_files_are_as_expected(name: str) -> None:
    """The data plane changes without anybody having read how."""
    case = read(name)
    addresses = {
        cluster: tuple((host, int(port)) for host, port in (item.rsplit(":", 1) for item in found))
        for cluster, found in case["addresses"].items()
    }
    settings = GatewaySettings(**case["settings"])
    seen = seen_by(case)

    files = translation.translate(seen, addresses, settings)

    assert () == linting.lint(resources.read_files(files), seen, settings)
    for file, text in files.items():
        actual = json.loads(text)
        actual.pop("version_info", None)
        want = FOLDER / f"{name}.{file.removesuffix('.json')}.out.yaml"
        if os.environ.get("DEMARC_GOLDEN") == "write":
            dumped = yaml.safe_dump(actual, sort_keys=True, width=120)
            want.write_text(dumped, "utf-8")
        assert yaml.safe_load(want.read_text("utf-8")) == actual


def test_every_expectation_has_a_case() -> None:
    """A file is left over."""
    cases = {path.name.split(".")[0] for path in FOLDER.glob("*.out.yaml")}

    assert cases <= set(CASES)
