"""Does a run leave the clusters as the objects say, and say so?"""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest

from demarc.api.cluster import (
    CONFIG_MAP,
    DATA_RESIDENCY,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    MODEL_DEPLOYMENT,
    NAMESPACE,
    ROUTING_POLICY,
    SECRET,
    SITE,
    STATEFUL_SET,
    Ref,
)
from demarc.planning import names
from demarc.policy.epoch import EpochNumber
from demarc.reconcile.keys import EPOCH
from demarc.reconcile.publication import EpochRefusedError
from support import reconciling
from support.reconciling import World

AIR = Ref(DEPLOYMENT, "models", names.engine("glm-4-air", "shanghai-dc"))
FLASH = Ref(DEPLOYMENT, "models", names.engine("glm-4-flash", "cloud-sg"))


async def settled() -> World:
    """The sample with its credentials, reconciled until nothing is left to do."""
    world = await reconciling.start([*reconciling.sample(), *reconciling.credentials()])
    await world.settle()
    await world.settle()
    return world


def changed(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """An object of the sample with other fields in its spec."""
    found = next(
        item
        for item in reconciling.sample()
        if item["kind"] == kind and item["metadata"]["name"] == name
    )
    other = copy.deepcopy(found)
    other["spec"].update(spec)
    return other


async def test_each_placement_runs_in_the_cluster_of_its_site() -> None:
    """A public engine would run at home, or a private one outside."""
    world = await settled()

    assert await world.home.get(AIR) is not None
    assert await world.home.get(FLASH) is None
    assert await world.cloud.get(FLASH) is not None
    assert await world.cloud.get(AIR) is None


async def test_gateways_stand_where_their_tier_is() -> None:
    """Without a gateway no request is answered; with egress outside, everything may leave."""
    world = await settled()

    assert await world.home.get(Ref(STATEFUL_SET, "demarc-system", "demarc-inner")) is not None
    assert await world.home.get(Ref(DEPLOYMENT, "demarc-egress", "demarc-egress")) is not None
    assert await world.cloud.get(Ref(DEPLOYMENT, "demarc-system", "demarc-edge")) is not None
    assert await world.home.get(Ref(DEPLOYMENT, "demarc-system", "demarc-edge")) is None


async def test_a_second_run_writes_nothing() -> None:
    """At rest the operator would load the API server, and fight others for fields."""
    world = await settled()
    before = world.versions()

    await world.settle()

    assert before == world.versions()


async def test_private_keys_of_the_operator_stay_at_home() -> None:
    """A public site would hold what signs epochs or certificates."""
    world = await settled()
    found = {item["metadata"]["name"] for item in (await world.cloud.list(SECRET)).items}

    assert found == {names.tls_secret("demarc-edge"), names.tls_secret(FLASH.name)}


async def test_a_deleted_deployment_is_pruned_everywhere() -> None:
    """Engines would run on without an owner, and hold GPUs."""
    world = await settled()
    await world.home.delete(Ref(MODEL_DEPLOYMENT, "models", "glm-4-flash"))

    await world.settle()
    await world.run("ModelDeployment", "glm-4-flash", "models")

    assert await world.cloud.get(FLASH) is None
    assert await world.home.get(AIR) is not None


async def test_a_placement_that_is_taken_away_is_pruned() -> None:
    """The site would go on serving a model that nobody wants there."""
    world = await settled()
    both = [{"site": "shanghai-dc", "pool": "h100"}, {"site": "cloud-sg", "replicas": 1}]
    await reconciling.apply(world.home, changed("ModelDeployment", "glm-4-air", placements=both))
    await world.settle()
    outside = Ref(DEPLOYMENT, "models", names.engine("glm-4-air", "cloud-sg"))
    assert await world.cloud.get(outside) is not None

    await reconciling.apply(world.home, changed("ModelDeployment", "glm-4-air"))
    await world.settle()

    assert await world.cloud.get(outside) is None


async def test_an_object_of_somebody_else_is_neither_taken_nor_pruned() -> None:
    """The operator would destroy what a person made under the same name."""
    world = await reconciling.start([*reconciling.sample(), *reconciling.credentials()])
    foreign = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": "models", "name": AIR.name, "labels": {"mine": "yes"}},
        "data": {"mine": "yes"},
    }
    await world.home.apply(foreign, manager="person")

    await world.settle()

    found = await world.home.get(Ref(CONFIG_MAP, "models", AIR.name))
    assert found is not None
    assert found["data"] == {"mine": "yes"}
    conditions = await world.conditions(MODEL_DEPLOYMENT, "glm-4-air", "models")
    assert conditions["Programmed"] == "False/ApplyFailed"


async def test_a_refused_change_keeps_what_was_accepted() -> None:
    """A typing error in a policy would take a bank's models away, or open a way out."""
    world = await settled()
    epoch = world.published[-1].epoch
    await world.home.apply(
        {
            **changed("RoutingPolicy", "chat"),
            "spec": {**changed("RoutingPolicy", "chat")["spec"], "premit": []},
        },
        manager="user",
    )

    await world.settle()

    conditions = await world.conditions(ROUTING_POLICY, "chat", "retail")
    assert conditions["Accepted"] == "False/Invalid"
    assert world.published[-1].epoch.apps.keys() == epoch.apps.keys()


async def test_an_object_that_never_was_accepted_says_so_in_every_condition() -> None:
    """Its status would claim that something earlier is in force, or say nothing of Ready."""
    world = await settled()
    engine = changed("ModelDeployment", "glm-4-air")["spec"]["engine"]
    wrong = {
        SITE: {**changed("Site", "shanghai-dc"), "metadata": {"name": "new"}},
        DATA_RESIDENCY: {
            **changed("DataResidency", "cn-bank", detectors=["nope"]),
            "metadata": {"name": "new"},
        },
        MODEL_DEPLOYMENT: {
            **changed("ModelDeployment", "glm-4-air", engine={**engine, "mode": "Engine"}),
            "metadata": {"name": "new", "namespace": "models"},
        },
    }
    for manifest in wrong.values():
        await world.home.apply(manifest, manager="user")

    await world.settle()

    for kind, manifest in wrong.items():
        namespace = manifest["metadata"].get("namespace", "")
        conditions = await world.conditions(kind, "new", namespace)
        assert conditions["Programmed"] == "False/NotAccepted"
        assert conditions["Ready"] == "False/NotProgrammed"
        found = await world.home.get(Ref(kind, namespace, "new"))
        assert found is not None
        assert "no earlier one is in force" in found["status"]["conditions"][1]["message"]


async def test_a_policy_is_programmed_when_every_agent_runs_its_epoch() -> None:
    """`kubectl wait` would return before the policy is in force."""
    world = await settled()
    assert (await world.conditions(ROUTING_POLICY, "chat", "retail"))[
        "Programmed"
    ] == "False/AgentsBehind"

    world.fleet.number = world.published[-1].epoch.number
    outcome = await world.run("RoutingPolicy", "chat", "retail")

    assert (await world.conditions(ROUTING_POLICY, "chat", "retail"))[
        "Programmed"
    ] == "True/Programmed"
    assert not outcome.look_again


async def test_an_agent_behind_is_looked_at_again() -> None:
    """A policy would stay `AgentsBehind` until the next resync."""
    world = await settled()
    world.fleet.number = EpochNumber(1, 0)

    assert (await world.run("DataResidency", "cn-bank")).look_again


async def test_an_unreachable_site_loses_nothing() -> None:
    """A cut link would stop engines that serve, or be told as Ready."""
    world = await settled()
    world.clusters.cut = "no route to host"

    await world.settle()

    assert await world.cloud.get(FLASH) is not None
    assert (await world.conditions(SITE, "cloud-sg"))["Programmed"] == "False/SiteUnreachable"
    world.clusters.cut = ""
    await world.settle()
    assert (await world.conditions(SITE, "cloud-sg"))["Programmed"] == "True/Programmed"


async def test_a_deleted_site_leaves_remote_objects_where_they_are() -> None:
    """A deleted Site object would stop everything that runs there."""
    world = await settled()
    await world.home.delete(Ref(SITE, "", "cloud-sg"))

    await world.settle()
    await world.run("Site", "cloud-sg")

    assert await world.cloud.get(Ref(DEPLOYMENT, "demarc-system", "demarc-edge")) is not None
    link = Ref(ENDPOINT_SLICE, "demarc-egress", names.edge_service("cloud-sg"))
    assert await world.home.get(link) is None


async def test_certificates_are_replaced_before_they_end() -> None:
    """Gateways would stop trusting each other a month after the start."""
    world = await settled()
    ref = Ref(SECRET, "demarc-system", names.tls_secret("demarc-inner"))
    before = await world.home.get(ref)
    world.clock.advance(timedelta(days=21))

    await world.settle()

    after = await world.home.get(ref)
    assert before is not None
    assert after is not None
    assert before["data"]["tls.crt"] != after["data"]["tls.crt"]
    assert before["data"]["ca.crt"] == after["data"]["ca.crt"]


async def test_a_new_reconciler_goes_on_where_the_last_one_ended() -> None:
    """A restart would publish a new epoch, replace keys, or lose the count."""
    world = await settled()
    number = world.published[-1].epoch.number
    before = world.versions()
    again = await reconciling.restart(world)

    await again.settle()

    assert before == again.versions()
    assert [] == again.published
    assert number == (await again.epoch_number())


async def test_namespaces_of_others_are_left_as_they_are() -> None:
    """The operator would own fields of namespaces that it did not make."""
    world = await settled()
    found = await world.home.get(Ref(NAMESPACE, "", "models"))

    assert found is not None
    managers = {entry["manager"] for entry in found["metadata"]["managedFields"]}
    assert names.MANAGER not in managers


async def test_residency_is_told_with_its_epoch() -> None:
    """Compliance could not tell which epoch first held a rule."""
    world = await settled()
    found = await world.home.get(Ref(DATA_RESIDENCY, "", "cn-bank"))

    assert found is not None
    assert found["status"]["epoch"] == "1.1"
    assert found["status"]["rules"] == 1


async def test_what_an_earlier_object_of_the_same_name_left_is_pruned() -> None:
    """An object that is deleted and made anew while the operator is down would leave engines."""
    world = await settled()
    both = [{"site": "shanghai-dc", "pool": "h100"}, {"site": "cloud-sg", "replicas": 1}]
    await reconciling.apply(world.home, changed("ModelDeployment", "glm-4-air", placements=both))
    await world.settle()
    await world.home.delete(Ref(MODEL_DEPLOYMENT, "models", "glm-4-air"))
    await reconciling.apply(world.home, changed("ModelDeployment", "glm-4-air"))

    await world.settle()

    outside = Ref(DEPLOYMENT, "models", names.engine("glm-4-air", "cloud-sg"))
    assert await world.cloud.get(outside) is None
    assert await world.home.get(AIR) is not None


PUBLISHED = Ref(CONFIG_MAP, names.SYSTEM_NAMESPACE, names.EPOCH)


async def test_a_deleted_epoch_is_published_again_as_it_was() -> None:
    """A new first epoch would be refused by every agent, and nothing be tightened any more."""
    world = await settled()
    before = await world.home.get(PUBLISHED)
    assert before is not None
    await world.home.delete(PUBLISHED)
    await world.settle()

    after = await world.home.get(PUBLISHED)
    assert after is not None
    assert before["data"] == after["data"]


async def test_an_epoch_that_was_put_back_is_followed_by_no_second_one_of_its_number() -> None:
    """Two contents would be signed under one number, and agents refuse the second."""
    world = await settled()
    old = await world.home.get(PUBLISHED)
    assert old is not None
    await reconciling.apply(world.home, changed("RoutingPolicy", "chat", order="Listed"))
    await world.settle()
    assert EpochNumber(1, 2) == await world.epoch_number()
    await world.home.apply(
        {key: old[key] for key in ("apiVersion", "kind", "data")}
        | {"metadata": {"name": names.EPOCH, "namespace": names.SYSTEM_NAMESPACE}},
        manager=names.MANAGER,
    )
    assert EpochNumber(1, 1) == await world.epoch_number()
    await world.settle()
    assert EpochNumber(1, 2) == await world.epoch_number()
    await reconciling.apply(world.home, changed("RoutingPolicy", "chat", order="Cheapest"))
    await world.settle()

    assert EpochNumber(1, 3) == await world.epoch_number()


async def test_a_new_operator_signs_nothing_below_what_agents_run() -> None:
    """After a restored etcd agents would refuse every epoch up to the one they run."""
    world = await settled()
    await world.home.delete(PUBLISHED)
    other = await reconciling.restart(world)
    other.fleet.number = EpochNumber(1, 7)

    with pytest.raises(EpochRefusedError, match=r"agents run 1\.7"):
        await other.reconciler.run(EPOCH)
    assert await other.home.get(PUBLISHED) is None


async def test_the_first_epoch_is_signed_before_any_agent_runs_one() -> None:
    """A new installation would never start."""
    world = await reconciling.start([*reconciling.sample(), *reconciling.credentials()])
    await world.settle()

    assert EpochNumber(1, 1) == await world.epoch_number()


async def test_a_far_cluster_leads_nowhere_but_into_its_own_networks() -> None:
    """A Service at home would lead to whatever address a public site's API server says."""
    world = await settled()
    said = ["10.244.0.9", "169.254.169.254", "10.245.0.9", "nonsense", 7]
    edge = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "edge-x",
            "namespace": names.SYSTEM_NAMESPACE,
            "labels": {"kubernetes.io/service-name": names.EDGE},
        },
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": said, "conditions": {"ready": True}},
            {"conditions": {"ready": True}},
        ],
    }
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n", "labels": {"nvidia.com/gpu.product": "NVIDIA-L40S"}},
        "status": {"allocatable": {"nvidia.com/gpu": "a few"}},
    }
    await world.cloud.apply(edge, manager="somebody")
    await world.cloud.apply(node, manager="somebody")
    await world.run("Site", "cloud-sg")

    link = await world.home.get(
        Ref(ENDPOINT_SLICE, names.EGRESS_NAMESPACE, names.edge_service("cloud-sg"))
    )
    assert link is not None
    assert [["10.245.0.9"]] == [endpoint["addresses"] for endpoint in link["endpoints"]]
