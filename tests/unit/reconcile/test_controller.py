"""Does a change wake what it concerns, once, and does a fault of one key leave the others alone?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import pytest

from demarc.api.cluster import CONFIG_MAP, MODEL_DEPLOYMENT, SERVICE, Cluster, Listing, Ref
from demarc.planning import names
from demarc.reconcile.controller import Controller, Queue
from demarc.reconcile.keys import EPOCH, Key
from support import reconciling
from support.cluster import MemoryCluster
from support.reconciling import World

A, B = Key("Site", "", "a"), Key("Site", "", "b")


async def test_a_key_waits_once_and_the_epoch_goes_first() -> None:
    """A storm of events would run one key again and again, before what it is planned from."""
    queue = Queue()
    for key in (A, B, A, EPOCH, A):
        queue.add(key)

    assert [await queue.take() for _ in range(3)] == [EPOCH, A, B]


async def test_a_key_that_is_woken_while_it_runs_runs_again_afterwards() -> None:
    """A change during a run would be lost, or two runs of one key would overlap."""
    queue = Queue()
    queue.add(A)
    assert await queue.take() == A
    queue.add(A)
    queue.add(B)
    assert await queue.take() == B
    queue.done(A)

    assert await queue.take() == A


@asynccontextmanager
async def controlled(world: World) -> AsyncIterator[Controller]:
    """A controller that runs while the context lasts."""
    controller = Controller(world.reconciler, world.home)
    task = asyncio.get_running_loop().create_task(controller.run())
    try:
        yield controller
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(world: World, ref: Ref, *, there: bool, cluster: Cluster | None = None) -> None:
    """Wait for an object to appear or to go."""
    where = cluster or world.home
    async with asyncio.timeout(8):
        seen = (await where.list(ref.kind)).resource_version
        if ((await where.get(ref)) is not None) is there:
            return
        async with aclosing(where.watch(ref.kind, since=seen)) as changes:
            async for _ in changes:
                if ((await where.get(ref)) is not None) is there:
                    return


async def test_objects_come_to_life_without_being_asked_for() -> None:
    """Nothing would happen until the resync."""
    world = await reconciling.start([*reconciling.sample(), *reconciling.credentials()])
    flash = Ref(SERVICE, "models", names.engine("glm-4-flash", "cloud-sg"))
    async with controlled(world):
        await until(world, flash, there=True, cluster=world.cloud)
        await world.home.delete(Ref(MODEL_DEPLOYMENT, "models", "glm-4-flash"))
        await until(world, flash, there=False, cluster=world.cloud)


async def test_a_foreign_deletion_is_healed() -> None:
    """A child that somebody deletes would stay away until the resync."""
    world = await reconciling.start([*reconciling.sample(), *reconciling.credentials()])
    air = Ref(CONFIG_MAP, "models", names.engine("glm-4-air", "shanghai-dc"))
    async with controlled(world):
        await until(world, air, there=True)
        await world.home.delete(air)
        await until(world, air, there=True)


async def test_a_site_that_fails_does_not_hold_the_others() -> None:
    """One broken cluster would stop all of them."""
    world = await reconciling.start([*reconciling.sample(), *reconciling.credentials()])
    world.clusters.fault = "the cluster hangs up"
    async with controlled(world):
        await until(
            world,
            Ref(CONFIG_MAP, "models", names.engine("glm-4-air", "shanghai-dc")),
            there=True,
        )


async def test_a_foreign_label_cannot_stop_the_controller() -> None:
    """Whoever may write a label on a ConfigMap would stop every change of policy."""
    world = await reconciling.start([*reconciling.sample(), *reconciling.credentials()])
    for name, labels in (
        ("half", {names.OWNER_KIND: "ModelDeployment"}),
        ("odd", {names.OWNER_KIND: "Nonsense", names.OWNER_NAME: "x"}),
    ):
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "retail", "labels": labels},
        }
        await reconciling.apply(world.home, manifest)
    air = Ref(CONFIG_MAP, "models", names.engine("glm-4-air", "shanghai-dc"))
    async with controlled(world):
        await until(world, air, there=True)
        await world.home.delete(air)
        await until(world, air, there=True)


class Nonsense(MemoryCluster):
    """A cluster whose answers nobody can read."""

    async def list(self, *_: Any, **__: Any) -> Listing:
        raise KeyError("metadata")


async def test_a_far_cluster_that_answers_nonsense_stops_nothing_at_home() -> None:
    """A public site's API server could end the operator, and with it every tightening."""
    world = await reconciling.start([*reconciling.sample(), *reconciling.credentials()])
    world.clusters.others["cloud-sg"] = Nonsense(clock=world.clock)
    air = Ref(CONFIG_MAP, "models", names.engine("glm-4-air", "shanghai-dc"))
    async with controlled(world) as controller:
        controller.watch_cluster("cloud-sg", world.clusters.others["cloud-sg"])
        await until(world, air, there=True)
        with pytest.raises(KeyError):
            await world.run("Site", "cloud-sg")
        await world.home.delete(air)
        await until(world, air, there=True)
