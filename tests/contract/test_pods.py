"""Does a node run pods as Kubernetes would? Real processes, real probes, real ends."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import stat
import sys
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from demarc.api.cluster import (
    CONFIG_MAP,
    DEPLOYMENT,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
    ClusterError,
    Manifest,
    Ref,
)
from demarc.kube import connection
from demarc.kube.kube_cluster import KubeCluster
from demarc.local.node import LocalNode
from demarc.local.state import StateError
from support import pods
from support.pods import (
    NAMESPACE,
    PORT,
    container,
    deployment,
    http_probe,
    local_node,
    pod_spec,
    script,
    service,
    stateful_set,
)

pytestmark = pytest.mark.timeout(60)

GPU = {
    "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
}


def _notes_volume() -> dict[str, Any]:
    return {"name": "notes", "persistentVolumeClaim": {"claimName": "notes"}}


def _noting(name: str, port: int, **fields: Any) -> dict[str, Any]:
    """A server that notes its start and its end."""
    return container(
        name,
        args=[str(port), f"note={name}"],
        env=[{"name": "NOTES", "value": "/notes"}],
        volumeMounts=[{"name": "notes", "mountPath": "/notes"}],
        **fields,
    )


async def _pod_gone(node: LocalNode, name: str) -> None:
    await pods.until(
        node, POD, lambda items: None if any(p["metadata"]["name"] == name for p in items) else True
    )


async def test_init_containers_run_in_order_before_the_others(tmp_path: Path) -> None:
    write = "import os; open(os.environ['SHARED'] + '/order', 'a').write(os.environ['WORD'])"
    mount = [{"name": "shared", "mountPath": "/shared"}]
    shared = {"name": "SHARED", "value": "/shared"}

    def init(word: str) -> dict[str, Any]:
        return script(
            word, write, env=[shared, {"name": "WORD", "value": word}], volumeMounts=mount
        )

    spec = pod_spec(
        container(env=[shared], volumeMounts=mount, readinessProbe=http_probe()),
        initContainers=[init("one"), init("two"), init("three")],
        volumes=[{"name": "shared", "emptyDir": {}}],
    )
    async with local_node(tmp_path) as node:
        await pods.apply(node, deployment("a", spec))
        (pod,) = await pods.until_ready(node)

        assert (200, "onetwothree") == await pods.get(pod, "/file/SHARED/order")


async def test_a_failing_init_container_is_tried_again_and_holds_back_the_others(
    tmp_path: Path,
) -> None:
    spec = pod_spec(container(), initContainers=[script("check", "raise SystemExit(3)")])
    async with local_node(tmp_path) as node:
        await pods.apply(node, deployment("a", spec))

        def crashing(items: Sequence[Manifest]) -> Manifest | None:
            reasons = [pods.waiting(pod, "check").get("reason") for pod in items]
            return items[0] if reasons == ["CrashLoopBackOff"] else None

        pod = await pods.until(node, POD, crashing)

        assert pods.container_status(pod, "check")["lastState"]["terminated"]["exitCode"] == 3
        assert "running" not in pods.container_status(pod, "server")["state"]
        assert pods.condition(pod, "Initialized") == "False"


async def test_a_sidecar_holds_back_what_follows_until_its_startup_probe_passes(
    tmp_path: Path,
) -> None:
    sidecar = container(
        "agent",
        args=["8001", "fail=ready"],
        restartPolicy="Always",
        startupProbe=http_probe(port=8001, failureThreshold=60),
    )
    async with local_node(tmp_path) as node:
        await pods.apply(node, deployment("a", pod_spec(container(), initContainers=[sidecar])))

        def failed_once(items: Sequence[Manifest]) -> Manifest | None:
            return next((item for item in items if "Startup probe" in item["message"]), None)

        await pods.until(node, pods.EVENT, failed_once)
        (pod,) = (await node.list(POD, namespace=NAMESPACE)).items

        assert "running" in pods.container_status(pod, "agent")["state"]
        assert "running" not in pods.container_status(pod, "server")["state"]

        await pods.get(pod, "/mend/ready", 8001)
        (pod,) = await pods.until_ready(node)

        assert "running" in pods.container_status(pod, "server")["state"]


async def test_readiness_decides_whether_an_address_is_served(tmp_path: Path) -> None:
    async with local_node(tmp_path) as node:
        spec = pod_spec(container(readinessProbe=http_probe()))
        await pods.apply(node, service("a"), deployment("a", spec))
        (pod,) = await pods.until_ready(node)
        address = pod["status"]["podIP"]

        def is_ready(*wanted: bool) -> Any:
            return lambda rows: tuple(row["conditions"]["ready"] for row in rows) == wanted

        (row,) = await pods.until_endpoints(node, "a", is_ready(True))

        assert [address] == row["addresses"]

        await pods.get(pod, "/fail/ready")
        await pods.until_endpoints(node, "a", is_ready(False))
        await pods.get(pod, "/mend/ready")
        await pods.until_endpoints(node, "a", is_ready(True))
        slices = (await node.list(pods.ENDPOINT_SLICE, namespace=NAMESPACE)).items

        assert [{"name": "http", "port": PORT, "protocol": "TCP"}] == slices[0]["ports"]


async def test_readiness_is_seen_when_it_comes_and_not_a_period_later(tmp_path: Path) -> None:
    """The first attempt comes before the server listens; the second one would be in an hour."""
    async with local_node(tmp_path) as node:
        probe = http_probe(periodSeconds=3600)
        await pods.apply(node, deployment("a", pod_spec(container(readinessProbe=probe))))

        assert 1 == len(await pods.until_ready(node))


async def test_a_failing_liveness_probe_restarts_the_container(tmp_path: Path) -> None:
    async with local_node(tmp_path) as node:
        spec = pod_spec(container(livenessProbe=http_probe("/live"), readinessProbe=http_probe()))
        await pods.apply(node, deployment("a", spec))
        (pod,) = await pods.until_ready(node)
        await pods.get(pod, "/fail/live")

        def restarted(items: Sequence[Manifest]) -> Manifest | None:
            done = [p for p in items if pods.container_status(p, "server").get("restartCount") == 1]
            return next(iter(pods.ready_pods(done)), None)

        again = await pods.until(node, POD, restarted)

        assert pod["metadata"]["uid"] == again["metadata"]["uid"]
        assert any("failed its liveness probe" in text for _, text in await pods.events(node))


async def test_a_killed_container_comes_back_and_waits_the_second_time(tmp_path: Path) -> None:
    async with local_node(tmp_path) as node:
        await pods.apply(node, deployment("a", pod_spec(container(readinessProbe=http_probe()))))
        await pods.until_ready(node)

        def ready_after(restarts: int) -> Any:
            def holds(items: Sequence[Manifest]) -> bool | None:
                (pod,) = items
                count = pods.container_status(pod, "server").get("restartCount")
                return True if count == restarts and pods.ready_pods(items) else None

            return holds

        def backing_off(items: Sequence[Manifest]) -> Mapping[str, Any] | None:
            return pods.waiting(items[0], "server") or None

        os.kill(node.pods()[0].containers[0].pid, signal.SIGKILL)
        await pods.until(node, POD, ready_after(1))
        os.kill(node.pods()[0].containers[0].pid, signal.SIGKILL)
        reason = await pods.until(
            node,
            POD,
            lambda items: (
                found
                if (found := backing_off(items)) and found["reason"] == "CrashLoopBackOff"
                else None
            ),
        )
        await pods.until(node, POD, ready_after(2))
        (pod,) = (await node.list(POD, namespace=NAMESPACE)).items

        assert "back-off 0.2s restarting failed container server" == reason["message"]
        assert pods.container_status(pod, "server")["lastState"]["terminated"]["exitCode"] == 137


async def test_a_changed_config_map_is_seen_by_the_running_process(tmp_path: Path) -> None:
    def config(value: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"namespace": NAMESPACE, "name": "settings"},
            "data": {"key": value},
        }

    spec = pod_spec(
        container(
            env=[{"name": "CONFIG", "value": "/etc/config"}],
            volumeMounts=[{"name": "config", "mountPath": "/etc/config"}],
            readinessProbe=http_probe(),
        ),
        volumes=[{"name": "config", "configMap": {"name": "settings"}}],
    )
    async with local_node(tmp_path) as node:
        await pods.apply(node, deployment("a", spec))

        def held_back(items: Sequence[Manifest]) -> str | None:
            return next(iter(pods.waiting(p, "server").get("message") for p in items), None)

        missing = await pods.until(node, POD, held_back)

        assert "ConfigMap `settings` is not there" == missing

        await pods.apply(node, config("old"))
        (pod,) = await pods.until_ready(node)

        assert (200, "old") == await pods.get(pod, "/file/CONFIG/key")

        await pods.apply(node, config("new"))

        async def new() -> bool | None:
            return True if await pods.get(pod, "/file/CONFIG/key") == (200, "new") else None

        await pods.eventually(new)


async def test_secrets_are_for_the_user_alone(tmp_path: Path) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": NAMESPACE, "name": "tls"},
        "stringData": {"tls.key": "key"},
    }
    spec = pod_spec(
        container(
            env=[
                {"name": "TLS", "value": "/tls"},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "tls", "key": "tls.key"}}},
            ],
            volumeMounts=[{"name": "tls", "mountPath": "/tls"}],
            readinessProbe=http_probe(),
        ),
        volumes=[{"name": "tls", "secret": {"secretName": "tls", "defaultMode": 0o444}}],
    )
    async with local_node(tmp_path) as node:
        await pods.apply(node, secret, deployment("a", spec))
        (pod,) = await pods.until_ready(node)
        _, folder = await pods.get(pod, "/env/TLS")

        assert (200, "key") == await pods.get(pod, "/env/KEY")
        assert (0o700, 0o400) == (_mode(folder), _mode(f"{folder}/tls.key"))


def _mode(path: str) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


async def test_a_new_template_replaces_pods_one_by_one(tmp_path: Path) -> None:
    """With maxUnavailable 1 and no surge, one of two pods always serves."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}

    def version(text: str) -> dict[str, Any]:
        env = [{"name": "VERSION", "value": text}]
        spec = pod_spec(container(env=env, readinessProbe=http_probe()))
        return deployment("a", spec, replicas=2, strategy=strategy)

    async with local_node(tmp_path) as node:
        await pods.apply(node, version("one"))
        old = {pod["metadata"]["name"] for pod in await pods.until_ready(node, 2)}
        least, most = 2, 0

        def replaced(items: Sequence[Manifest]) -> list[Manifest] | None:
            nonlocal least, most
            staying = [p for p in items if "deletionTimestamp" not in p["metadata"]]
            least = min(least, len(pods.ready_pods(staying)))
            most = max(most, len(staying))
            good = pods.ready_pods(staying)
            done = len(good) == len(items) == 2
            return good if done and not {p["metadata"]["name"] for p in good} & old else None

        await pods.apply(node, version("two"))
        new = await pods.until(node, POD, replaced)

        def settled(items: Sequence[Manifest]) -> Mapping[str, Any] | None:
            status: Mapping[str, Any] = items[0]["status"]
            return status if status["updatedReplicas"] == status["readyReplicas"] == 2 else None

        status = await pods.until(node, DEPLOYMENT, settled)

        assert [(200, "two")] * 2 == [await pods.get(pod, "/env/VERSION") for pod in new]
        assert (1, 2) == (least, most)
        assert (2, 2, 2) == tuple(
            status[name] for name in ("observedGeneration", "readyReplicas", "availableReplicas")
        )


async def test_recreate_starts_nothing_while_an_old_pod_is_there(tmp_path: Path) -> None:
    def version(text: str) -> dict[str, Any]:
        spec = pod_spec(container(env=[{"name": "V", "value": text}], readinessProbe=http_probe()))
        return deployment("a", spec, strategy={"type": "Recreate"})

    async with local_node(tmp_path) as node:
        await pods.apply(node, version("one"))
        (old,) = await pods.until_ready(node)
        most = 0

        def replaced(items: Sequence[Manifest]) -> bool | None:
            nonlocal most
            most = max(most, len(items))
            good = pods.ready_pods(items)
            return True if good and good[0]["metadata"]["uid"] != old["metadata"]["uid"] else None

        await pods.apply(node, version("two"))
        await pods.until(node, POD, replaced)

        assert 1 == most


async def test_a_scale_down_takes_pods_away(tmp_path: Path) -> None:
    async with local_node(tmp_path) as node:
        spec = pod_spec(container(readinessProbe=http_probe()))
        await pods.apply(node, deployment("a", spec, replicas=3))
        await pods.until_ready(node, 3)
        await pods.apply(node, deployment("a", spec, replicas=1))

        assert 1 == len(await pods.until_ready(node, 1))


async def test_a_deleted_parent_takes_its_pods_and_their_processes_along(tmp_path: Path) -> None:
    async with local_node(tmp_path) as node:
        spec = pod_spec(container(readinessProbe=http_probe()))
        await pods.apply(node, service("a"), deployment("a", spec, replicas=2))
        (pod, _) = await pods.until_ready(node, 2)
        pids = [row.containers[0].pid for row in node.pods()]
        forked = int((await pods.get(pod, "/fork"))[1])
        await node.delete(Ref(DEPLOYMENT, NAMESPACE, "a"))
        await node.delete(Ref(SERVICE, NAMESPACE, "a"))
        await pods.until_no_pods(node)

        async def gone() -> bool | None:
            return True if not node.pods() else None

        await pods.eventually(gone)

        assert [False] * 3 == [pods.is_alive(pid) for pid in (*pids, forked)]
        assert () == (await node.list(pods.ENDPOINT_SLICE, namespace=NAMESPACE)).items
        assert [] == list((tmp_path / "pods").iterdir())


async def test_a_pod_that_ignores_sigterm_is_killed_after_its_grace_period(tmp_path: Path) -> None:
    stubborn = container(args=[str(PORT), "stubborn"], readinessProbe=http_probe())
    async with local_node(tmp_path) as node:
        await pods.apply(node, deployment("a", pod_spec(stubborn, terminationGracePeriodSeconds=1)))
        await pods.until_ready(node)
        (row,) = node.pods()
        await node.delete(Ref(POD, NAMESPACE, row.name))

        def ending(items: Sequence[Manifest]) -> bool | None:
            old = [p for p in items if p["metadata"]["name"] == row.name]
            return True if old and "deletionTimestamp" in old[0]["metadata"] else None

        await pods.until(node, POD, ending)
        await _pod_gone(node, row.name)

        assert not pods.is_alive(row.containers[0].pid)


async def test_sidecars_start_before_the_main_container_and_end_after_it(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    sidecar = _noting("sidecar", 8001, restartPolicy="Always", startupProbe=http_probe(port=8001))
    main = _noting(
        "main",
        PORT,
        readinessProbe=http_probe(),
        lifecycle={
            "preStop": {
                "exec": {"command": ["sh", "-c", 'echo "hook" >> "$NOTES/notes"']},
            }
        },
    )
    spec = pod_spec(main, initContainers=[sidecar], volumes=[_notes_volume()])
    async with local_node(tmp_path / "state", volumes={"notes": notes}) as node:
        await pods.apply(node, deployment("a", spec))
        await pods.until_ready(node)

    lines = (notes / "notes").read_text().split("\n")

    assert ["sidecar started", "main started", "hook", "main ended", "sidecar ended", ""] == lines


async def test_gpus_are_counted_and_a_waiting_pod_takes_the_freed_one(tmp_path: Path) -> None:
    gpu = container(resources={"limits": {"nvidia.com/gpu": "2"}}, readinessProbe=http_probe())
    async with local_node(tmp_path) as node:
        await pods.apply(node, deployment("a", pod_spec(gpu, **GPU)))
        (pod,) = await pods.until_ready(node)
        await pods.apply(node, deployment("b", pod_spec(gpu, **GPU)))

        def unschedulable(items: Sequence[Manifest]) -> str | None:
            messages = [pods.condition(item, "PodScheduled", "message") for item in items]
            return next(filter(None, messages), None)

        message = await pods.until(node, POD, unschedulable)

        assert IPv4Address(pod["status"]["podIP"]) in IPv4Network(pods.GPU_BLOCK)
        assert (
            "0/2 nodes are available: 1 Insufficient nvidia.com/gpu,"
            " 1 node(s) didn't match Pod's node affinity/selector." == message
        )

        await node.delete(Ref(DEPLOYMENT, NAMESPACE, "a"))
        (other,) = await pods.until_ready(node)

        assert other["metadata"]["name"].startswith("b-")


async def test_a_field_that_the_node_does_not_know_fails_the_pod_and_names_the_field(
    tmp_path: Path,
) -> None:
    spec = pod_spec(container(livenessProbe={"grpc": {"port": 1}}), hostNetwork=True)
    async with local_node(tmp_path) as node:
        await pods.apply(node, deployment("a", spec))

        def failed(items: Sequence[Manifest]) -> Manifest | None:
            return next((p for p in items if p.get("status", {}).get("phase") == "Failed"), None)

        pod = await pods.until(node, POD, failed)

        assert (
            "field `spec.containers[server].livenessProbe.grpc` is not known on this machine;"
            " field `spec.hostNetwork` is not known on this machine" == pod["status"]["message"]
        )
        assert 1 == len((await node.list(POD, namespace=NAMESPACE)).items)
        assert () == node.pods()


async def test_an_image_without_a_program_waits_and_names_image_and_command(
    tmp_path: Path,
) -> None:
    async with local_node(tmp_path) as node:
        unknown = container(image="registry.test/other:2", command=["serve"])
        await pods.apply(node, deployment("a", pod_spec(unknown)))

        def stopped(items: Sequence[Manifest]) -> Mapping[str, Any] | None:
            found = [pods.waiting(p, "server") for p in items]
            return found[0] if found and "Image" in found[0].get("reason", "") else None

        state = await pods.until(node, POD, stopped)

        assert {
            "reason": "ImageNotAvailableLocally",
            "message": "no program on this machine stands for image `registry.test/other:2`"
            " (command `serve`)",
        } == state


async def test_a_claim_without_a_folder_keeps_the_pod_pending_and_says_how_to_give_one(
    tmp_path: Path,
) -> None:
    spec = pod_spec(
        container(volumeMounts=[{"name": "notes", "mountPath": "/notes"}]),
        volumes=[_notes_volume()],
    )
    async with local_node(tmp_path) as node:
        await pods.apply(node, deployment("a", spec))

        def pending(items: Sequence[Manifest]) -> str | None:
            messages = [pods.condition(item, "PodScheduled", "message") for item in items]
            return next(filter(None, messages), None)

        assert (
            'persistentvolumeclaim "notes" not found: give it a folder with --volume notes=DIR'
            == await pods.until(node, POD, pending)
        )


async def test_a_stateful_set_keeps_names_addresses_and_volumes(tmp_path: Path) -> None:
    write = "open(__import__('os').environ['DATA'] + '/runs', 'a').write('x')"
    mount = [{"name": "data", "mountPath": "/data"}]
    env = [{"name": "DATA", "value": "/data"}]

    def version(text: str) -> dict[str, Any]:
        spec = pod_spec(
            container(
                env=[*env, {"name": "V", "value": text}],
                volumeMounts=mount,
                readinessProbe=http_probe(),
            ),
            initContainers=[script("write", write, env=env, volumeMounts=mount)],
        )
        claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
        return stateful_set("s", spec, replicas=2, volumeClaimTemplates=[claim])

    async with local_node(tmp_path) as node:
        await pods.apply(node, version("one"))
        before = _addresses(await pods.until_ready(node, 2))
        await pods.apply(node, version("two"))

        def updated(items: Sequence[Manifest]) -> Mapping[str, Any] | None:
            status: Mapping[str, Any] = items[0]["status"]
            same = status.get("currentRevision") == status.get("updateRevision")
            return status if same and status.get("observedGeneration") == 2 else None

        status = await pods.until(node, STATEFUL_SET, updated)
        after = await pods.until_ready(node, 2)
        claims = (await node.list(PERSISTENT_VOLUME_CLAIM, namespace=NAMESPACE)).items

        assert ["s-0", "s-1"] == sorted(before)
        assert before == _addresses(after)
        assert [(200, "xx")] * 2 == [await pods.get(p, "/file/DATA/runs") for p in after]
        assert ["data-s-0", "data-s-1"] == [item["metadata"]["name"] for item in claims]
        assert (2, 2, 2) == (
            status["replicas"],
            status["readyReplicas"],
            status["updatedReplicas"],
        )


def _addresses(items: Sequence[Manifest]) -> Mapping[str, str]:
    return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in items}


async def test_a_disk_that_refuses_keeps_no_process_from_running(tmp_path: Path) -> None:
    """The node cannot write what it sees; it goes on, and writes it when that works again."""
    async with local_node(tmp_path) as node:
        await pods.apply(node, deployment("a", pod_spec(container(readinessProbe=http_probe()))))
        await pods.until_ready(node)
        (row,) = node.pods()
        files = tmp_path / "objects" / "Pod.v1"
        files.rename(tmp_path / "aside")
        files.touch()
        os.kill(row.containers[0].pid, signal.SIGKILL)

        async def restarted() -> bool | None:
            (now,) = node.pods()
            return True if now.ready and now.containers[0].restarts else None

        await pods.eventually(restarted)
        (stored,) = (await node.list(POD, namespace=NAMESPACE)).items

        assert 0 == pods.container_status(stored, "server")["restartCount"]

        files.unlink()
        (tmp_path / "aside").rename(files)

        def told(items: Sequence[Manifest]) -> bool | None:
            count = pods.container_status(items[0], "server").get("restartCount")
            return True if count and pods.ready_pods(items) else None

        await pods.until(node, POD, told)


async def test_a_manifest_that_makes_no_sense_hurts_nothing_else(tmp_path: Path) -> None:
    spec = pod_spec(container(readinessProbe=http_probe()))
    resources = {"limits": {"nvidia.com/gpu": "some"}}
    async with local_node(tmp_path) as node:
        await pods.apply(
            node,
            deployment("replicas", spec, replicas="many"),
            deployment("probe", pod_spec(container(readinessProbe={"httpGet": {}}))),
            deployment("amount", pod_spec(container(resources=resources))),
            deployment("good", spec),
        )

        def good(items: Sequence[Manifest]) -> Manifest | None:
            return next(iter(pods.ready_pods(items)), None)

        pod = await pods.until(node, POD, good)
        broken = await pods.until(
            node,
            DEPLOYMENT,
            lambda items: next(
                (item for item in items if pods.condition(item, "ReplicaFailure")), None
            ),
        )

        assert "good" == pod["metadata"]["labels"]["app"]
        assert "replicas" == broken["metadata"]["name"]
        assert "Malformed" == pods.condition(broken, "ReplicaFailure", "reason")


async def test_a_pod_reads_the_api_as_its_account_and_no_secret(tmp_path: Path) -> None:
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"namespace": NAMESPACE, "name": "agent"},
    }
    token = {"serviceAccountToken": {"audience": "demarc", "path": "token"}}
    spec = pod_spec(
        container(
            env=[{"name": "TOKEN", "value": "/token"}],
            volumeMounts=[{"name": "token", "mountPath": "/token"}],
            readinessProbe=http_probe(),
        ),
        serviceAccountName="agent",
        automountServiceAccountToken=True,
        volumes=[{"name": "token", "projected": {"sources": [token]}}],
    )
    async with local_node(tmp_path) as node:
        await pods.apply(node, account, deployment("a", spec))
        (pod,) = await pods.until_ready(node)
        config = Path((await pods.get(pod, "/env/KUBECONFIG"))[1])
        _, jwt = await pods.get(pod, "/file/TOKEN/token")
        async with KubeCluster(connection.from_file(config)) as reader:
            slices = await reader.list(pods.ENDPOINT_SLICE)
            with pytest.raises(ClusterError, match="secrets"):
                await reader.list(SECRET)

        claims = json.loads(_decode(jwt.split(".")[1]))

        assert () == slices.items
        assert ["demarc"] == claims["aud"]
        assert f"system:serviceaccount:{NAMESPACE}:agent" == claims["sub"]


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def test_a_stopped_node_leaves_no_process_and_runs_its_pods_again(tmp_path: Path) -> None:
    spec = pod_spec(container(readinessProbe=http_probe()))
    async with local_node(tmp_path) as node:
        await pods.apply(node, service("a"), deployment("a", spec, replicas=2))
        before = await pods.until_ready(node, 2)
        await pods.get(before[0], "/fork")

    assert [] == pods.processes_of(str(tmp_path))

    async with local_node(tmp_path) as node:
        again = await pods.until_ready(node, 2)

        assert [p["metadata"]["uid"] for p in before] == [p["metadata"]["uid"] for p in again]
        assert [p["status"]["podIP"] for p in before] == [p["status"]["podIP"] for p in again]


async def test_a_started_node_counts_on_where_no_reader_has_been(tmp_path: Path) -> None:
    """The last changes may be unkept: a reader who saw them must be told to list again."""
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": NAMESPACE, "name": "c"},
    }
    async with local_node(tmp_path) as node:
        for _ in range(50):
            await pods.apply(node, config)
            await node.delete(Ref(CONFIG_MAP, NAMESPACE, "c"))
        seen = int((await node.list(POD)).resource_version)
    async with local_node(tmp_path) as node:
        assert int((await node.list(POD)).resource_version) > seen


async def test_a_killed_node_leaves_no_process_and_the_next_one_starts(tmp_path: Path) -> None:
    program = Path(pods.__file__).with_name("node_program.py")
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(program), str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    async with asyncio.timeout(pods.LIMIT):
        line = await child.stdout.readline()

    assert b"ready\n" == line
    assert 3 <= len(pods.processes_of(str(tmp_path)))  # keeper, server, its fork

    child.kill()
    await child.wait()
    await pods.until_no_process(str(tmp_path))
    async with local_node(tmp_path) as node:
        assert 1 == len(await pods.until_ready(node))


async def test_a_node_killed_with_its_keeper_takes_its_programs_along(tmp_path: Path) -> None:
    """Only what left its program's family is still there, and the next node ends it."""
    program = Path(pods.__file__).with_name("node_program.py")
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(program), str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    async with asyncio.timeout(pods.LIMIT):
        await child.stdout.readline()
    family = {pid: _parent(pid) for pid in pods.processes_of(str(tmp_path))}
    (keeper,) = [pid for pid, parent in family.items() if parent == child.pid]
    (server,) = [pid for pid, parent in family.items() if parent == keeper]
    child.send_signal(signal.SIGSTOP)  # so that it cannot see its keeper go
    os.kill(keeper, signal.SIGKILL)

    async def gone() -> bool | None:
        return None if pods.is_alive(server) else True

    await pods.eventually(gone)

    assert [server] != pods.processes_of(str(tmp_path))  # its fork

    child.kill()
    await child.wait()
    before = pods.processes_of(str(tmp_path))
    async with local_node(tmp_path):
        assert 1 == len(before)
        assert not pods.is_alive(before[0])


@pytest.mark.parametrize("kind", ["StatefulSet", "Deployment"])
async def test_a_pod_that_is_torn_away_still_holds_what_it_has(tmp_path: Path, kind: str) -> None:
    """Its object is gone, its process is not: name, address and GPUs are not free yet."""
    stubborn = container(args=[str(PORT), "stubborn"], readinessProbe=http_probe())
    gpus = {"resources": {"limits": {"nvidia.com/gpu": "2"}}}
    if kind == "StatefulSet":  # the same name again
        make, spec = stateful_set, pod_spec(stubborn, terminationGracePeriodSeconds=1)
    else:  # the same GPUs again
        spec = pod_spec({**stubborn, **gpus}, terminationGracePeriodSeconds=1, **GPU)
        make = deployment
    async with local_node(tmp_path) as node:
        await pods.apply(node, make("a", spec))
        (pod,) = await pods.until_ready(node)
        (row,) = node.pods()
        ref = Ref(POD, NAMESPACE, row.name)
        bare = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": NAMESPACE, "name": row.name},
        }
        await node.apply(bare, manager="demarc-local-kubelet")  # lets go of the finalizer
        await node.delete(ref)

        assert pods.is_alive(row.containers[0].pid)

        def next_runs(items: Sequence[Manifest]) -> bool | None:
            if not (items and pods.container_status(items[0], "server").get("containerID")):
                return None
            return pods.is_alive(row.containers[0].pid)

        assert not await pods.until(node, POD, next_runs)

        (again,) = await pods.until_ready(node)

        assert again["metadata"]["uid"] != pod["metadata"]["uid"]


async def test_pods_survive_the_end_of_their_keeper_by_being_started_again(tmp_path: Path) -> None:
    async with local_node(tmp_path) as node:
        await pods.apply(node, deployment("a", pod_spec(container(readinessProbe=http_probe()))))
        await pods.until_ready(node)
        (row,) = node.pods()
        keeper = _parent(row.containers[0].pid)
        os.kill(keeper, signal.SIGKILL)

        def restarted(items: Sequence[Manifest]) -> bool | None:
            (pod,) = items
            count = pods.container_status(pod, "server").get("restartCount")
            return True if count and pods.ready_pods(items) else None

        await pods.until(node, POD, restarted)

        assert not pods.is_alive(row.containers[0].pid)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_a_second_node_is_refused_the_folder_and_the_block(tmp_path: Path) -> None:
    async with local_node(tmp_path / "one"):
        with pytest.raises(StateError, match="is in use by another node"):
            async with local_node(tmp_path / "one"):
                raise AssertionError
        with pytest.raises(StateError, match=f"`{pods.BLOCK}` is in use by another node"):
            async with local_node(tmp_path / "two"):
                raise AssertionError


async def test_a_foreign_listener_in_the_block_is_named(tmp_path: Path) -> None:
    address = str(IPv4Network(pods.GPU_BLOCK)[77])
    server = await asyncio.start_server(lambda _reader, _writer: None, address, 8443)
    try:
        with pytest.raises(StateError, match=f"{address}:8443"):
            async with local_node(tmp_path):
                raise AssertionError
    finally:
        server.close()
        await server.wait_closed()


async def test_added_variables_reach_the_named_container_alone(tmp_path: Path) -> None:
    added = {("demarc-*", "server"): {"DEMARC_REHEARSAL_RECORDING": "/here"}}
    async with local_node(tmp_path, added=added) as node:
        spec = pod_spec(container(readinessProbe=http_probe()))
        await pods.apply(node, deployment("demarc-edge", spec), deployment("other", spec))
        found = {
            pod["metadata"]["labels"]["app"]: await pods.get(pod, "/env/DEMARC_REHEARSAL_RECORDING")
            for pod in await pods.until_ready(node, 2)
        }

        assert {"demarc-edge": (200, "/here"), "other": (200, "")} == found


async def test_what_the_account_says_about_credentials_holds(tmp_path: Path) -> None:
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"namespace": NAMESPACE, "name": "engine"},
        "automountServiceAccountToken": False,
    }
    spec = pod_spec(container(readinessProbe=http_probe()), serviceAccountName="engine")
    del spec["automountServiceAccountToken"]
    async with local_node(tmp_path) as node:
        await pods.apply(node, account, deployment("a", spec))
        (pod,) = await pods.until_ready(node)

        assert (200, "") == await pods.get(pod, "/env/KUBECONFIG")
        assert await node.get(Ref(SERVICE_ACCOUNT, NAMESPACE, "default")) is None
        assert await node.get(Ref(CONFIG_MAP, NAMESPACE, "a")) is None
