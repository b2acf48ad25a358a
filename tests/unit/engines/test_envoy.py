"""Is Envoy's own word read as it was meant, and anything else refused?"""

from __future__ import annotations

from typing import Any

import pytest

from demarc.engines import envoy
from demarc.engines.envoy import Applied, EnvoyError, Host

TYPE = "type.googleapis.com/envoy.admin.v3."
SOCKET = {"socket_address": {"address": "10.1.0.1", "port_value": 8443}}


def status(**health: Any) -> dict[str, Any]:
    stats = [
        {"name": "cx_connect_fail", "value": "3"},
        {"name": "rq_error", "value": "2"},
        {"type": "GAUGE", "name": "rq_active", "value": "1"},
        {"name": "rq_success"},
    ]
    return {"address": SOCKET, "stats": stats, "health_status": health}


def hosts_of(*statuses: dict[str, Any]) -> tuple[Host, ...]:
    return envoy.hosts({"cluster_statuses": [{"name": "c", "host_statuses": statuses}]})["c"]


def test_counters_and_address_of_a_replica_are_read() -> None:
    """A replica that fails looks like one that works."""
    (found,) = hosts_of(status(eds_health_status="HEALTHY"))

    assert (
        Host("10.1.0.1:8443", healthy=True, ejected=False, active=1, failures=3, answered_5xx=2)
        == found
    )


@pytest.mark.parametrize(
    "health, want",
    [
        ({"eds_health_status": "HEALTHY"}, (True, False)),
        ({"eds_health_status": "HEALTHY", "failed_outlier_check": True}, (False, True)),
        ({"eds_health_status": "HEALTHY", "failed_active_health_check": True}, (False, False)),
        ({"eds_health_status": "UNHEALTHY"}, (False, False)),
        ({"eds_health_status": "DRAINING"}, (False, False)),
        ({}, (True, False)),
    ],
)
def test_only_a_replica_without_a_failure_is_healthy(
    health: dict[str, Any], want: tuple[bool, bool]
) -> None:
    """A replica that Envoy does not use counts as up."""
    (found,) = hosts_of(status(**health))

    assert want == (found.healthy, found.ejected)


def test_a_socket_is_an_address_and_a_cluster_can_be_empty() -> None:
    """The agent's own cluster, or one without replicas, breaks the whole list."""
    found = envoy.hosts(
        {
            "cluster_statuses": [
                {"name": "agent", "host_statuses": [{"address": {"pipe": {"path": "/run/x"}}}]},
                {"name": "empty"},
            ]
        }
    )

    assert ("/run/x", ()) == (found["agent"][0].address, found["empty"])
    assert {} == envoy.hosts({})


@pytest.mark.parametrize(
    "answer",
    [
        {"cluster_statuses": [{}]},
        {"cluster_statuses": 1},
        {"cluster_statuses": [{"name": "c", "host_statuses": [{"address": {}}]}]},
        {"cluster_statuses": [{"name": "c", "host_statuses": [1]}]},
    ],
)
def test_another_form_of_the_list_is_refused(answer: dict[str, Any]) -> None:
    """A form that nobody knows is read as health."""
    with pytest.raises(EnvoyError, match="unknown form"):
        envoy.hosts(answer)


def test_versions_clusters_and_rejections_are_read() -> None:
    """An endpoint is named before Envoy has it, or a rejected file counts as used."""
    dump = {
        "configs": [
            {
                "@type": f"{TYPE}ClustersConfigDump",
                "version_info": "c2",
                "dynamic_active_clusters": [
                    {"version_info": "c1", "cluster": {"name": "a"}},
                    {"cluster": {"name": "b"}, "error_state": {"details": "bad"}},
                ],
                "dynamic_warming_clusters": [{"cluster": {"name": "w"}, "error_state": {"x": 1}}],
            },
            {
                "@type": f"{TYPE}ListenersConfigDump",
                "version_info": "l1",
                "dynamic_listeners": [
                    {"name": "demarc", "active_state": {}},
                    {"error_state": {"details": "worse"}},
                ],
            },
            {
                "@type": f"{TYPE}RoutesConfigDump",
                "dynamic_route_configs": [{"version_info": "r1", "route_config": {"name": "x"}}],
            },
        ]
    }

    want = Applied(
        cds="c2",
        lds="l1",
        rds="r1",
        clusters=frozenset({"a", "b"}),
        errors={"b": "bad", "w": "rejected", "listener": "worse"},
    )
    assert want == envoy.applied(dump)


def test_before_the_first_listener_nothing_is_applied() -> None:
    """A gateway that serves nobody counts as ready."""
    listeners = {
        "@type": f"{TYPE}ListenersConfigDump",
        "version_info": "l1",
        "dynamic_listeners": [{"name": "demarc", "warming_state": {}}],
    }

    want = Applied(cds="", lds="", rds="", clusters=frozenset(), errors={})
    assert want == envoy.applied({"configs": [listeners]})


@pytest.mark.parametrize(
    "configs",
    [
        [{}],
        [1],
        [{"@type": f"{TYPE}ClustersConfigDump", "dynamic_active_clusters": [{}]}],
        [{"@type": f"{TYPE}ListenersConfigDump", "dynamic_listeners": 1}],
    ],
)
def test_another_form_of_the_dump_is_refused(configs: list[Any]) -> None:
    """A form that nobody knows is read as an applied configuration."""
    with pytest.raises(EnvoyError, match="unknown form"):
        envoy.applied({"configs": configs})
