"""Does a container start with the program, environment and folder that a cluster would give it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.local import launch, pods
from demarc.local.images import Image, ImageTable
from demarc.local.launch import Launch, Place, Waiting
from demarc.local.pod_volumes import Sources
from demarc.local.pods import PodPlan

TABLE = ImageTable(
    (
        Image(
            "img",
            {"run": ("/bin/run",)},
            paths={"/app/llmapi": "/simulator"},
            environment={"FROM_IMAGE": "1", "BOTH": "image"},
        ),
    )
)
SOURCES = Sources(
    config_maps={"cm": {"a": b"1", "b": b"2"}}, secrets={"sec": {"key": b"s3cret", "raw": b"\xff"}}
)


def start(
    env: Sequence[Mapping[str, Any]] = (),
    args: Sequence[str] = (),
    added: Mapping[str, str] | None = None,
    kubeconfig: str = "",
    **fields: Any,
) -> Launch | Waiting:
    """Plan the one container of a pod that mounts `data` at /data and `deep` at /data/deep."""
    container = {
        "name": "main",
        "image": "img",
        "command": ["run"],
        "args": list(args),
        "env": list(env),
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "deep", "mountPath": "/data/deep", "subPath": "sub"},
        ],
        **fields,
    }
    pod = {
        "metadata": {"name": "p-0", "namespace": "models", "uid": "u1", "labels": {"app": "glm"}},
        "spec": {
            "nodeName": "n1",
            "containers": [container],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "deep", "emptyDir": {}}],
        },
        "status": {"podIP": "127.1.0.2", "hostIP": "127.1.0.1"},
    }
    plan = pods.parse(pod)
    assert isinstance(plan, PodPlan), plan
    place = Place(
        folders={"data": "/state/$x/data", "deep": "/state/deep"},
        home="/home",
        workload="glm",
        added=added or {},
        kubeconfig=kubeconfig,
    )
    return launch.plan(plan.containers[0], pod, SOURCES, place, TABLE)


def variables(*env: Mapping[str, Any], **fields: Any) -> Mapping[str, str]:
    found = start(env, **fields)
    assert isinstance(found, Launch), found
    return found.environment


def ref(**source: Any) -> dict[str, Any]:
    return {"name": "X", "valueFrom": source}


@pytest.mark.parametrize(
    "value,want",
    [
        ("/data", "/state/$x/data"),
        ("/data/model", "/state/$x/data/model"),
        ("/data/$(NAME)/x", "/state/$x/data/glm/x"),
        ("/data/deep/file", "/state/deep/sub/file"),
        ("/database", "/database"),
        ("file:/data", "file:/data"),
        ("/app/llmapi/tensorrt_llm", "/simulator/tensorrt_llm"),
        ("$(NAME)", "glm"),
        ("$$(NAME)", "$(NAME)"),
        ("$(MISSING)", "$(MISSING)"),
        ("$NAME", "$NAME"),
        ("$(", "$("),
    ],
)
def test_a_value_is_rewritten_and_expanded(value: str, want: str) -> None:
    env = variables({"name": "NAME", "value": "glm"}, {"name": "X", "value": value})

    assert want == env["X"]


@pytest.mark.parametrize(
    "source,want",
    [
        ({"fieldRef": {"fieldPath": "metadata.name"}}, "p-0"),
        ({"fieldRef": {"fieldPath": "metadata.namespace"}}, "models"),
        ({"fieldRef": {"fieldPath": "metadata.uid"}}, "u1"),
        ({"fieldRef": {"fieldPath": "metadata.labels['app']"}}, "glm"),
        ({"fieldRef": {"fieldPath": "spec.nodeName"}}, "n1"),
        ({"fieldRef": {"fieldPath": "spec.serviceAccountName"}}, "default"),
        ({"fieldRef": {"fieldPath": "status.podIP"}}, "127.1.0.2"),
        ({"fieldRef": {"fieldPath": "status.hostIP"}}, "127.1.0.1"),
        ({"configMapKeyRef": {"name": "cm", "key": "a"}}, "1"),
        ({"secretKeyRef": {"name": "sec", "key": "key"}}, "s3cret"),
        ({"secretKeyRef": {"name": "sec", "key": "raw"}}, "\udcff"),
    ],
)
def test_a_reference_has_the_value_of_its_source(source: Mapping[str, Any], want: str) -> None:
    assert want == variables(ref(**source))["X"]


@pytest.mark.parametrize(
    "source,want",
    [
        ({"configMapKeyRef": {"name": "no", "key": "a"}}, "ConfigMap `no` is not there"),
        ({"secretKeyRef": {"name": "sec", "key": "no"}}, "Secret `sec` has no key `no`"),
        (
            {"fieldRef": {"fieldPath": "status.phase"}},
            "the downward API has no field `status.phase`",
        ),
    ],
)
def test_a_missing_source_makes_the_container_wait(source: Mapping[str, Any], want: str) -> None:
    assert Waiting("CreateContainerConfigError", want) == start([ref(**source)])


def test_an_optional_source_may_be_missing() -> None:
    optional = {"configMapKeyRef": {"name": "no", "key": "a", "optional": True}}

    assert "X" not in variables(ref(**optional))


def test_all_keys_of_a_source_become_variables() -> None:
    env = variables(envFrom=[{"prefix": "P_", "configMapRef": {"name": "cm"}}])

    assert ("1", "2") == (env["P_a"], env["P_b"])
    assert Waiting("CreateContainerConfigError", "Secret `no` is not there") == start(
        envFrom=[{"secretRef": {"name": "no"}}]
    )


def test_arguments_are_expanded_and_not_rewritten() -> None:
    env = [{"name": "DATA", "value": "/data"}]
    found = start(env, ["--from=$(DATA)/x", "--raw=/data", "$$(DATA)"])

    assert isinstance(found, Launch)
    assert ("/bin/run", "--from=/state/$x/data/x", "--raw=/data", "$(DATA)") == found.argv


def test_what_the_pod_says_wins_over_the_image_and_what_is_added_over_both() -> None:
    env = variables(
        {"name": "BOTH", "value": "pod"}, added={"EXTRA": "1"}, kubeconfig="/cred/kubeconfig"
    )

    assert {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/home",
        "LANG": "C.UTF-8",
        "HOSTNAME": "p-0",
        "FROM_IMAGE": "1",
        "BOTH": "pod",
        "KUBECONFIG": "/cred/kubeconfig",
        "EXTRA": "1",
        "DEMARC_POD": "u1",
        "DEMARC_CONTAINER": "main",
    } == env


@pytest.mark.parametrize(
    "folder,want", [("", "/home"), ("/data/x", "/state/$x/data/x"), ("/app/llmapi", "/simulator")]
)
def test_the_working_folder_is_a_folder_of_this_machine(folder: str, want: str) -> None:
    found = start(workingDir=folder)

    assert isinstance(found, Launch)
    assert want == found.folder


def test_a_working_folder_that_is_not_here_makes_the_container_wait() -> None:
    found = start(workingDir="/workspace")

    assert isinstance(found, Waiting)
    assert "workingDir `/workspace`" in found.message


@given(st.text(alphabet="$()Ab", max_size=12))
def test_without_a_known_variable_only_the_escape_is_undone(text: str) -> None:
    """`$$` is the one thing that expansion may change when no name fits."""
    expanded = launch.expand(text, {})

    assert text.replace("$$", "$") == expanded or "$$(" in text or "$(" in text
    assert "$" in expanded or "$" not in text
