"""Does the planned engine pod come up on one machine, with the real Triton and the simulator?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from demarc import settings
from demarc.api.cluster import DEPLOYMENT, Ref
from demarc.local import images
from demarc.local.images import ImageTable
from demarc.local.simulator import folder
from support import engines, pods
from support.pods import NAMESPACE, local_node

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

_PLAN = Path(__file__).parents[1] / "golden" / "planning" / "01-design-sample.out.yaml"


def _engine() -> dict[str, Any]:
    """The planned Deployment with the engine alone: the rest has its own suites."""
    planned = yaml.safe_load(_PLAN.read_text("utf-8"))["objects"]
    found: dict[str, Any] = next(
        item
        for item in planned
        if item["kind"] == "Deployment" and item["metadata"]["namespace"] == NAMESPACE
    )
    pod = found["spec"]["template"]["spec"]
    pod["initContainers"] = [c for c in pod["initContainers"] if c["name"] == "repository"]
    pod["containers"] = [c for c in pod["containers"] if c["name"] == "triton"]
    pod["volumes"] = [volume for volume in pod["volumes"] if "secret" not in volume]
    pod["nodeSelector"] = dict(pods.GPUS.labels)
    pod["tolerations"] = [{"operator": "Exists"}]
    pod["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    found["spec"]["replicas"] = 1
    found.pop("cluster")
    return found


def _rendered(name: str) -> dict[str, Any]:
    planned = yaml.safe_load(_PLAN.read_text("utf-8"))["objects"]
    found: dict[str, Any] = next(
        item for item in planned if item["kind"] == "ConfigMap" and item["metadata"]["name"] == name
    )
    found.pop("cluster")
    return found


async def test_the_planned_engine_pod_serves_and_leaves_no_stub_behind(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    folder.make(volume / "glm-4.5-air", name="glm-4.5-air")
    tools = settings.read()
    table = ImageTable(
        images.known(
            tools=str(tools.tools),
            triton=str(tools.triton),
            python=sys.executable,
            llmapi=str(engines.TEMPLATE),
        )
    )
    engine = _engine()
    claim = next(
        item["persistentVolumeClaim"]["claimName"]
        for item in engine["spec"]["template"]["spec"]["volumes"]
        if item["name"] == "model"
    )
    state = tmp_path / "state"
    async with local_node(state, table=table, volumes={claim: volume}) as node:
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"namespace": NAMESPACE, "name": engine["metadata"]["name"]},
        }
        await pods.apply(node, account, _rendered(engine["metadata"]["name"]), engine)
        (pod,) = await pods.until_ready(node)
        status, _ = await pods.get(pod, "/v2/models/tensorrt_llm/ready")

        assert 200 == status
        assert len(pods.processes_of(str(state))) >= 3  # keeper, Triton, its Python stub

        await node.delete(Ref(DEPLOYMENT, NAMESPACE, engine["metadata"]["name"]))
        await pods.until_no_pods(node)

        assert 1 == len(pods.processes_of(str(state)))  # the keeper
