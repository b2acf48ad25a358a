"""How are the processes of pods put together? Agent and frontend, from their environment."""

from __future__ import annotations

import asyncio
import gc
import secrets
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

from demarc import settings
from demarc.app import clock, packs
from demarc.frontend import server
from demarc.frontend.options import FrontendOptions
from demarc.gateway import agent
from demarc.gateway.options import AgentOptions, OptionsError, Ports
from demarc.kube import connection
from demarc.kube.kube_cluster import KubeCluster
from demarc.xds.view import Role

__all__ = ["FrontendOptions", "PodError", "run_agent", "run_frontend"]


_COLLECT_AFTER = (20_000, 20, 100)
"""New objects after which the youngest are looked at, then how many such looks to the next age."""


class PodError(Exception):
    """The process cannot start with this environment; one line that says what is missing."""


def run_frontend(options: FrontendOptions) -> None:
    """Serve until SIGTERM, then drain; a second one ends the drain."""
    uvloop.run(_until_told(server.serve(options, now=clock.now)))


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """Cancel the work at SIGTERM or SIGINT; that is how it learns of the stop."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def run_agent(role: str, *, home: str, site: str, client_port: int) -> None:
    """Serve until SIGTERM, then drain; a second one ends the drain.

    Raises:
        PodError: a mount, an address or the way to the API is missing.
    """
    try:
        pod = settings.read_pod()
    except KeyError as error:
        raise PodError(f"{error.args[0]} is not set: a pod template sets it") from error
    try:
        options = AgentOptions(
            role=Role(role),
            home=home,
            site=site,
            pod_name=pod.pod_name,
            pod_ip=pod.pod_ip,
            run=_needed(pod.run, "DEMARC_RUN"),
            record=_needed(pod.record, "DEMARC_RECORD"),
            tls=_needed(pod.tls, "DEMARC_TLS"),
            trust=_needed(pod.trust, "DEMARC_TRUST"),
            client_tls=pod.client_tls,
            grant_key=pod.grant_key,
            client_port=client_port,
            rehearsal_recording=pod.rehearsal_recording,
        )
        reach = _connection()
    except (OptionsError, connection.ConnectionConfigError) as error:
        raise PodError(str(error)) from error
    uvloop.run(_until_told(_agent(options, reach)))


async def _agent(options: AgentOptions, reach: connection.Connection) -> None:
    detectors = None if options.role is Role.EDGE else packs.load()
    async with KubeCluster(reach) as cluster:
        _collect_less()
        await agent.serve(
            options,
            Ports(
                cluster=cluster,
                clock=clock.now,
                monotonic=clock.monotonic,
                new_id=clock.new_id,
                new_key=secrets.token_bytes,
                detectors=detectors,
            ),
        )


def _collect_less() -> None:
    """Let the garbage collector pass over what was loaded, and look at the rest more seldom.

    A decision leaves hardly a cycle behind; searching for them took a sixth of the agent's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def _connection() -> connection.Connection:
    """A kubeconfig where one is named, else the pod's own ServiceAccount."""
    if (named := settings.kubeconfig()) is not None:
        return connection.from_file(named)
    return connection.in_cluster(settings.pod_environment())


def _needed(path: Path | None, name: str) -> Path:
    if path is None:
        raise PodError(f"{name} is not set: a pod template sets it")
    return path
