"""What stands beside what? Bare Envoy and Demarc's inner gateway, in front of one upstream.

Both sides are the same Envoy with the product's listener TLS, upstream mutual TLS, limits and
arguments. Bare has a router and nothing else. Demarc is what a pod runs: an agent process with its
own copy of the policy, Envoy over the files that it writes, durable records, access log, ledger.

Proxies and agent are pinned to one core, load and upstream to another.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demarc import settings
from demarc.api.cluster import CONFIG_MAP, ENDPOINT_SLICE
from demarc.app import packs
from demarc.local.api import Access, ReadApi
from demarc.planning import names, pods
from demarc.planning.settings import PlanSettings
from demarc.policy import signature
from demarc.policy.document import Document
from demarc.policy.epoch import Epoch
from demarc.xds import translation
from demarc.xds import view as views
from demarc.xds.settings import GatewaySettings
from demarc.xds.view import Role
from support import agents, builders, cluster, envoy
from support.agents import HOME, Clock, Issuer
from support.cluster import MemoryCluster

HERE = Path(__file__).parent
NETWORKS = {HOME: "127.96.0.0/17", agents.FAR: "127.96.128.0/17"}
BARE, INNER, UPSTREAM = "127.96.1.1", "127.96.2.1", "127.96.3.1"
ENDPOINT = agents.NEAR_ENDPOINT
_DEADLINE = 30.0
_TOKEN = "bench"  # noqa: S105  # of a server on loopback that lives for minutes


class WorldError(Exception):
    """Something does not start; the text says what."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Where programs run; one core for all when the machine has no second."""

    proxy: int
    load: int

    @classmethod
    def choose(cls) -> Cores:
        """The first two that this process may use."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[1] if len(usable) > 1 else usable[0])


@dataclass(frozen=True, slots=True)
class Side:
    """One gateway as the load sees it.

    Attributes:
        name: `bare` or `demarc`.
        address, port: of its listener.
        pids: what its processor time is the sum of.
    """

    name: str
    address: str
    port: int
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class World:
    """Everything that runs.

    Attributes:
        authority: file with the certificate of the authority.
        log: what the agent has printed.
    """

    bare: Side
    demarc: Side
    cores: Cores
    authority: Path
    log: Path


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Run what is started in between on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass
class Programs:
    """The processes that were started; all are ended at the end."""

    stack: ExitStack

    def start(
        self,
        arguments: Sequence[str],
        *,
        core: int,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start one on a core; what it prints goes to a file."""
        output = self.stack.enter_context(log.open("wb"))
        with pinned(core):
            process = subprocess.Popen(  # noqa: S603  # our own programs
                list(arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=None if environment is None else dict(environment),
            )
        self.stack.callback(_end, process)
        return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def issuer() -> Issuer:
    """Keys of an operator that lives as long as this run."""
    return Issuer(
        Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate(), Clock(), packs.load()
    )


def document(by: Issuer) -> Document:
    """The design's sample on addresses of its own, and an API key for its app at the floor 3."""
    items: list[dict[str, Any]] = json.loads(json.dumps(agents.sources()))
    for item in items:
        if item["kind"] == "Site":
            item["spec"]["network"]["cidrs"] = [NETWORKS[item["metadata"]["name"]]]
    return by.document(items)


@asynccontextmanager
async def running(folder: Path, cores: Cores) -> AsyncIterator[World]:
    """Start everything and wait until both sides answer; end everything.

    Raises:
        WorldError: Envoy is missing, or something does not start.
    """
    binary = settings.read().envoy
    if not binary.exists():
        raise WorldError("Envoy is missing: run `make tools`")
    signs, store = issuer(), MemoryCluster()
    made = document(signs)
    epoch = builders.compiled(made)
    authority = envoy.Names()
    site = f"spiffe://demarc/{HOME}"
    folders = {
        name: authority.folder(folder / "tls" / name, f"{site}/{uri}")
        for name, uri in (
            ("inner", "inner"),
            ("client", "gateway"),
            ("near", "models/glm-4-air"),
        )
    }
    ports = {host: _free_port(host) for host in (BARE, INNER, UPSTREAM)}
    (folder / "run").mkdir()
    with ExitStack() as stack:
        programs = Programs(stack)
        _start_upstream(programs, folder, folders["near"], ports[UPSTREAM], cores)
        bare = _start_bare(
            programs, binary, folder, _gateway(folder / "bare", BARE, ports[BARE], folders),
            epoch, ports[UPSTREAM], cores,
        )
        await _publish(store, signs, made, epoch, ports[UPSTREAM])
        api = ReadApi(
            store, {_TOKEN: Access(kinds=frozenset({CONFIG_MAP, ENDPOINT_SLICE}))}.get
        )
        async with api.serving("127.0.0.1") as url:
            _lay_out(folder, signs, url)
            agent = _start_agent(programs, folder, folders, ports[INNER], cores)
            await _until(lambda: (folder / "inner" / "rds.json").exists(), folder / "agent.log")
            proxy = programs.start(
                _envoy(binary, folder / "inner"), core=cores.proxy, log=folder / "inner.log"
            )
            found = World(
                Side("bare", BARE, ports[BARE], (bare.pid,)),
                Side("demarc", INNER, ports[INNER], (proxy.pid, agent.pid)),
                cores,
                folders["inner"] / "ca.crt",
                folder / "agent.log",
            )
            for side in (found.bare, found.demarc):
                await _answers(side, found.authority, folder)
            yield found


def request(body: bytes) -> bytes:
    """A client's whole request."""
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\n"
        b"content-type: application/json\r\nuser-agent: OpenAI/Python 3.57.0\r\n"
        b"accept: application/json\r\naccept-encoding: gzip, deflate\r\n"
        b"authorization: Bearer " + agents.COPILOT_KEY.encode() + b"\r\n"
        b"content-length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )


def _start_upstream(
    programs: Programs, folder: Path, tls: Path, port: int, cores: Cores
) -> None:
    programs.start(
        (sys.executable, str(HERE / "upstream.py"), UPSTREAM, str(port), str(tls)),
        core=cores.load,
        log=folder / "upstream.log",
    )


def _start_bare(
    programs: Programs,
    binary: Path,
    folder: Path,
    gateway: GatewaySettings,
    epoch: Epoch,
    port: int,
    cores: Cores,
) -> subprocess.Popen[bytes]:
    for name, text in bare_files(epoch, gateway, port).items():
        (Path(gateway.run) / name).write_text(text, "utf-8")
    return programs.start(
        _envoy(binary, Path(gateway.run)), core=cores.proxy, log=folder / "bare.log"
    )


def _start_agent(
    programs: Programs, folder: Path, folders: Mapping[str, Path], port: int, cores: Cores
) -> subprocess.Popen[bytes]:
    values = {
        "POD_IP": INNER,
        "POD_NAME": "demarc-inner-0",
        "POD_NAMESPACE": names.SYSTEM_NAMESPACE,
        "DEMARC_RUN": str(folder / "inner"),
        "DEMARC_RECORD": str(folder / "record"),
        "DEMARC_TLS": str(folders["inner"]),
        "DEMARC_CLIENT_TLS": str(folders["client"]),
        "DEMARC_GRANT_KEY": str(folder / "grant"),
        "DEMARC_TRUST": str(folder / "trust"),
        "KUBECONFIG": str(folder / "kubeconfig"),
    }
    return programs.start(
        (
            *(sys.executable, "-m", "demarc", "agent", "--role=inner"),
            *(f"--home={HOME}", f"--site={HOME}", f"--client-port={port}"),
        ),
        core=cores.proxy,
        log=folder / "agent.log",
        environment={**os.environ, **values},
    )


def bare_files(epoch: Epoch, gateway: GatewaySettings, port: int) -> Mapping[str, str]:
    """The product's files for the inner gateway, less everything that decides or writes."""
    view = views.of_epoch(Role.INNER, epoch)
    files = dict(translation.translate(view, {ENDPOINT: ((UPSTREAM, port),)}, gateway))
    found = json.loads(files[translation.LDS])
    manager = found["resources"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    for name in ("early_header_mutation_extensions", "local_reply_config", "access_log", "rds"):
        del manager[name]
    manager["http_filters"] = manager["http_filters"][-1:]
    manager["route_config"] = {
        "name": "bare",
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": ENDPOINT, "timeout": "600s"}}
                ],
            }
        ],
    }
    files[translation.LDS] = json.dumps(found)
    return files


def _gateway(
    run: Path, address: str, port: int, folders: Mapping[str, Path]
) -> GatewaySettings:
    run.mkdir()
    return GatewaySettings(
        node="bare",
        address=address,
        run=str(run),
        tls=str(folders["inner"]),
        client_tls=str(folders["client"]),
        port=port,
    )


def _envoy(binary: Path, run: Path) -> tuple[str, ...]:
    """Envoy as a pod runs it."""
    planned = pods.envoy_container(PlanSettings(home=HOME), port=8443, mounts={})["args"]
    return (str(binary), *(item.replace("$(DEMARC_RUN)", str(run)) for item in planned))


def _lay_out(folder: Path, signs: Issuer, url: str) -> None:
    """What is mounted into the agent's container."""
    for name in ("inner", "record", "grant", "trust"):
        (folder / name).mkdir()
    (folder / "trust" / "trust.json").write_text(signs.trust, "utf-8")
    (folder / "grant" / "grant.key").write_bytes(signature.private_pem(signs.grant_key))
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {"server": url}}],
        "users": [{"name": "bench", "user": {"token": _TOKEN}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
    }
    (folder / "kubeconfig").write_text(json.dumps(kubeconfig), "utf-8")


async def _publish(
    store: MemoryCluster, signs: Issuer, made: Document, epoch: Epoch, port: int
) -> None:
    """The operator's part."""
    for name in (names.SYSTEM_NAMESPACE, names.EGRESS_NAMESPACE, "models"):
        await store.apply(cluster.namespace(name), manager="bench")
    for name, data in (
        (names.EPOCH, signs.epoch_data(made)),
        (names.HEARTBEAT, signs.heartbeat_data(epoch)),
    ):
        manifest = cluster.config_map(names.SYSTEM_NAMESPACE, name, data)
        await store.apply(manifest, manager="bench")
    service = names.engine("glm-4-air", HOME)
    where = agents.endpoint_slice("models", service, (UPSTREAM, port))
    await store.apply(where, manager="bench")


async def _answers(side: Side, authority: Path, folder: Path) -> None:
    """Wait until a gateway answers with 200."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(authority)
    body = b'{"model":"auto","messages":[{"role":"user","content":"hello"}]}'
    said = b""

    async def once() -> bool:
        nonlocal said
        try:
            reader, writer = await asyncio.open_connection(
                side.address, side.port, ssl=context, server_hostname="gateway"
            )
        except OSError:
            return False
        try:
            writer.write(request(body))
            said = await reader.readline()
            return said.startswith(b"HTTP/1.1 200 ")
        finally:
            writer.transport.abort()

    try:
        async with asyncio.timeout(_DEADLINE):
            while not await once():
                await asyncio.sleep(0.1)
    except TimeoutError:
        logs = "\n".join(
            f"{path.name}: {path.read_text('utf-8')[-2000:]}" for path in folder.glob("*.log")
        )
        raise WorldError(f"{side.name} says {said!r}\n{logs}") from None


async def _until(condition: Any, log: Path) -> None:
    try:
        async with asyncio.timeout(_DEADLINE):
            while not condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise WorldError(log.read_text("utf-8")[-2000:]) from None


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        found: int = probe.getsockname()[1]
        return found
