"""Is a pod template read whole, and refused whole when a part of it cannot be honoured?"""

from __future__ import annotations

from typing import Any

import pytest

from demarc.api.cluster import CONFIG_MAP, SECRET
from demarc.local import pod_fields, pods
from demarc.local.pods import Execute, HttpGet, Pause, PodPlan, Probe, Refusal, Role, TcpConnect


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    main = [dict(item) for item in containers or ({"name": "main", "image": "img"},)]
    return {
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"containers": main, **spec},
    }


def parsed(*containers: dict[str, Any], **spec: Any) -> PodPlan:
    found = pods.parse(pod(*containers, **spec))
    assert isinstance(found, PodPlan), found
    return found


def main(**fields: Any) -> dict[str, Any]:
    return {"name": "main", "image": "img", **fields}


def test_defaults_are_those_of_kubernetes() -> None:
    plan = parsed()

    assert ("Always", 30, "default", None) == (
        plan.restart_policy,
        plan.grace,
        plan.service_account,
        plan.automount,
    )


def test_roles_follow_from_the_place_and_the_restart_policy() -> None:
    plan = parsed(
        initContainers=[
            {"name": "first", "image": "img"},
            {"name": "agent", "image": "img", "restartPolicy": "Always"},
        ]
    )

    assert [("first", Role.INIT), ("agent", Role.SIDECAR), ("main", Role.MAIN)] == [
        (item.name, item.role) for item in plan.containers
    ]


@pytest.mark.parametrize(
    "probe,want",
    [
        (
            {"httpGet": {"path": "/x", "port": "web", "scheme": "HTTPS", "host": "h"}},
            Probe(HttpGet(8443, "/x", "h", tls=True)),
        ),
        (
            {"httpGet": {"port": 80, "httpHeaders": [{"name": "A", "value": "b"}]}},
            Probe(HttpGet(80, headers=(("A", "b"),))),
        ),
        ({"tcpSocket": {"port": 1}, "periodSeconds": 2}, Probe(TcpConnect(1), period=2)),
        (
            {
                "exec": {"command": ["a", "b"]},
                "initialDelaySeconds": 1,
                "timeoutSeconds": 2,
                "successThreshold": 3,
                "failureThreshold": 4,
                "terminationGracePeriodSeconds": 5,
            },
            Probe(Execute(("a", "b")), 1, 10, 2, 3, 4, 5),
        ),
    ],
)
def test_probes_are_read(probe: dict[str, Any], want: Probe) -> None:
    ports = [{"name": "web", "containerPort": 8443}]
    plan = parsed(main(ports=ports, livenessProbe=probe))

    assert want == plan.containers[0].liveness


@pytest.mark.parametrize(
    "hook,want",
    [
        ({"sleep": {"seconds": 2}}, Pause(2)),
        ({"exec": {"command": ["x"]}}, Execute(("x",))),
        ({"httpGet": {"port": 1}}, HttpGet(1)),
    ],
)
def test_hooks_are_read(hook: dict[str, Any], want: object) -> None:
    assert want == parsed(main(lifecycle={"preStop": hook})).containers[0].pre_stop


@pytest.mark.parametrize(
    "found,want",
    [
        (pod(hostNetwork=True), "field `spec.hostNetwork` is not known"),
        (pod(main(stdin=True)), "field `spec.containers[main].stdin` is not known"),
        (
            pod(main(livenessProbe={"grpc": {"port": 1}})),
            "field `spec.containers[main].livenessProbe.grpc` is not known",
        ),
        (
            pod(main(env=[{"name": "A", "valueFrom": {"resourceFieldRef": {}}}])),
            "field `spec.containers[main].env[A].valueFrom.resourceFieldRef` is not known",
        ),
        (
            pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
            "field `spec.volumes[v].hostPath` is not known",
        ),
        (pod(volumes=[{"name": "v"}]), "volume `v` has no source"),
        (pod(containers="x"), "field `spec.containers` is not known"),
        (
            pod(initContainers=[{"name": "i", "image": "x", "restartPolicy": "Never"}]),
            "init container `i`: restartPolicy `Never` is not `Always`",
        ),
        (
            pod(main(readinessProbe={"httpGet": {"port": "web"}})),
            "container `main`: readinessProbe: the container has no port `web`",
        ),
        (pod(main(startupProbe={})), "container `main`: startupProbe has no httpGet"),
        (
            pod(main(lifecycle={"preStop": {}}, volumeMounts=[{"name": "v", "mountPath": "/v"}])),
            "container `main` mounts `v`, which is no volume of the pod",
        ),
    ],
)
def test_what_cannot_be_honoured_refuses_the_pod(found: dict[str, Any], want: str) -> None:
    refusal = pods.parse(found)

    assert isinstance(refusal, Refusal)
    assert refusal.message.startswith(want)


def test_a_field_without_a_value_is_absent() -> None:
    assert () == pod_fields.unknown({"containers": None, "volumes": None})


def test_what_is_not_enforced_is_known() -> None:
    """Security settings stand in the list of what has no effect; they do not fail the pod."""
    plan = parsed(
        main(
            securityContext={"runAsUser": 1},
            resources={"limits": {"cpu": "1"}},
            imagePullPolicy="Always",
            terminationMessagePath="/x",
        ),
        securityContext={"fsGroup": 1},
        priorityClassName="high",
    )

    assert 1 == len(plan.containers)
    assert all(pod_fields.NOT_ENFORCED_LOCALLY.values())


def test_references_are_everything_that_a_pod_reads() -> None:
    plan = parsed(
        main(
            env=[
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c1", "key": "k"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s1", "key": "k"}}},
                {"name": "C", "value": "x"},
            ],
            envFrom=[{"configMapRef": {"name": "c2"}}, {"secretRef": {"name": "s2"}}],
        ),
        volumes=[
            {"name": "v1", "configMap": {"name": "c3"}},
            {"name": "v2", "secret": {"secretName": "s3"}},
            {"name": "v3", "projected": {"sources": [{"secret": {"name": "s4"}}]}},
            {"name": "v4", "emptyDir": {}},
        ],
    )

    assert {(CONFIG_MAP, f"c{n}") for n in (1, 2, 3)} | {
        (SECRET, f"s{n}") for n in (1, 2, 3, 4)
    } == pods.references(plan)
