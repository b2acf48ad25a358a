"""Does a Service lead to the pods that it selects, and to no other?"""

from __future__ import annotations

from typing import Any

from demarc.local import endpoint_slices


def service(selector: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "https", "port": 443, "targetPort": "web"}]
    return {
        "metadata": {"namespace": "n", "name": "s", "uid": "u", "labels": {"team": "a"}},
        "spec": {
            "selector": {"app": "x"} if selector is None else selector,
            "ports": ports,
            **spec,
        },
    }


def pod(name: str, *, ready: bool = True, ending: bool = False, **fields: Any) -> dict[str, Any]:
    port = fields.pop("port", 8443)
    return {
        "metadata": {
            "namespace": "n",
            "name": name,
            "uid": f"uid-{name}",
            "labels": fields.pop("labels", {"app": "x", "more": "y"}),
            **({"deletionTimestamp": "now"} if ending else {}),
        },
        "spec": {
            "nodeName": "node",
            "containers": [{"ports": [{"name": "web", "containerPort": port}]}],
        },
        "status": {
            "podIP": f"127.1.0.{name}",
            "conditions": [{"type": "Ready", "status": str(ready)}],
            **fields,
        },
    }


def conditions(*pods: dict[str, Any], **spec: Any) -> dict[str, tuple[bool, bool, bool]]:
    return {
        row["addresses"][0]: (
            row["conditions"]["ready"],
            row["conditions"]["serving"],
            row["conditions"]["terminating"],
        )
        for item in endpoint_slices.render(service(**spec), pods)
        for row in item["endpoints"]
    }


def test_conditions_say_what_may_be_sent_where() -> None:
    found = conditions(
        pod("2"),
        pod("3", ready=False),
        pod("4", ending=True),
        pod("5", labels={"app": "other"}),
        pod("6", podIP=""),
        pod("7", phase="Failed"),
    )

    assert {
        "127.1.0.2": (True, True, False),
        "127.1.0.3": (False, False, False),
        "127.1.0.4": (False, True, True),
    } == found


def test_unready_addresses_can_be_published() -> None:
    found = conditions(pod("3", ready=False), publishNotReadyAddresses=True)

    assert {"127.1.0.3": (True, True, False)} == found


def test_a_service_without_a_selector_is_somebody_elses() -> None:
    assert () == endpoint_slices.render(service({}), [pod("2")])


def test_a_service_without_pods_has_an_empty_slice() -> None:
    (found,) = endpoint_slices.render(service(), [])

    assert [] == found["endpoints"]


def test_pods_with_other_ports_stand_in_a_slice_of_their_own() -> None:
    found = endpoint_slices.render(service(), [pod("2"), pod("3", port=9443), pod("4")])

    assert [
        ([8443], ["127.1.0.2", "127.1.0.4"]),
        ([9443], ["127.1.0.3"]),
    ] == [
        (
            [port["port"] for port in item["ports"]],
            [row["addresses"][0] for row in item["endpoints"]],
        )
        for item in found
    ]
    assert 2 == len({item["metadata"]["name"] for item in found})


def test_a_slice_names_its_service_and_belongs_to_it() -> None:
    (found,) = endpoint_slices.render(service(clusterIP="None"), [pod("2")])

    assert {
        "team": "a",
        "kubernetes.io/service-name": "s",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "service.kubernetes.io/headless": "",
    } == found["metadata"]["labels"]
    assert ["u"] == [ref["uid"] for ref in found["metadata"]["ownerReferences"]]
    assert ("127.1.0.2",) == endpoint_slices.addresses((found,))
