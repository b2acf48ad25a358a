"""Can one machine run every pod that planning renders? All fields of all golden plans are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from demarc.local import images, pods, workloads
from demarc.local.images import ImageTable, Program
from demarc.local.pods import PodPlan

_PLANS = Path(__file__).parents[2] / "golden" / "planning"
_TABLE = ImageTable(images.known(tools="/tools", python="python", llmapi="/simulator"))


def _workloads() -> Iterator[dict[str, Any]]:
    for path in sorted(_PLANS.glob("*.out.yaml")):
        for item in yaml.safe_load(path.read_text("utf-8")).get("objects") or ():
            if item["kind"] in {"Deployment", "StatefulSet"}:
                yield item


@pytest.mark.parametrize("workload", tuple(_workloads()), ids=lambda item: item["metadata"]["name"])
def test_a_planned_workload_runs_here(workload: dict[str, Any]) -> None:
    """A new field in a plan needs a place in the node, or in its list of what has no effect."""
    spec = workload["spec"]
    claims = [
        {"name": item["metadata"]["name"], "emptyDir": {}}
        for item in spec.get("volumeClaimTemplates") or ()
    ]
    template = spec["template"]["spec"]
    pod = {
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {**template, "volumes": [*(template.get("volumes") or ()), *claims]},
    }
    plan = pods.parse(pod)

    assert isinstance(plan, PodPlan), plan
    assert () == workloads.unknown_fields(workload)
    for container in plan.containers:
        found = images.find(
            _TABLE,
            workload=workload["metadata"]["name"],
            container=container.name,
            image=container.image,
            command=container.command,
            args=container.args,
        )

        assert isinstance(found, Program), found


def test_there_are_plans_to_look_at() -> None:
    assert len(list(_workloads())) > 3
