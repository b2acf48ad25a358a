"""How are the processes of pods put together? Agent and frontend, from their environment."""

from __future__ import annotations

import asyncio
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
    async with KubeCluster(reach) as cluster:
        await agent.serve(
            options,
            Ports(
                cluster=cluster,
                clock=clock.now,
                monotonic=clock.monotonic,
                new_id=clock.new_id,
                new_key=secrets.token_bytes,
                detectors=None if options.role is Role.EDGE else packs.load(),
            ),
        )


def _connection() -> connection.Connection:
    """A kubeconfig where one is named, else the pod's own ServiceAccount."""
    if (named := settings.kubeconfig()) is not None:
        return connection.from_file(named)
    return connection.in_cluster(settings.pod_environment())


def _needed(path: Path | None, name: str) -> Path:
    if path is None:
        raise PodError(f"{name} is not set: a pod template sets it")
    return path
