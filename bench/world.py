"""What stands beside what? Bare Envoy and Demarc's inner gateway, in front of one upstream.

Both sides are the same Envoy with the product's listener TLS, upstream mutual TLS, limits and
arguments. Bare has a router and nothing else. Demarc is what a pod runs: an agent process with its
own copy of the policy, Envoy over the files that it writes, durable records, access log, ledger.

Proxies and agent are pinned to one core, load and upstream to another.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import inputs
from inputs import BARE, INNER, UPSTREAM

from demarc import settings
from demarc.api.cluster import CONFIG_MAP, ENDPOINT_SLICE
from demarc.local.api import Access, ReadApi
from demarc.planning import names
from demarc.policy.epoch import Epoch
from support import builders
from support.agents import HOME
from support.cluster import MemoryCluster

_UPSTREAM = Path(__file__).with_name("upstream.py")
_DEADLINE = 30.0
_HELLO = b'{"model":"auto","messages":[{"role":"user","content":"hello"}]}'


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
        proxy, agent: process ids; bare has no agent, 0.
    """

    name: str
    address: str
    port: int
    proxy: int
    agent: int = 0


@dataclass(frozen=True, slots=True)
class Programs:
    """The processes that were started; what they print goes to files; all are ended at the end.

    Attributes:
        tls: folders with certificates.
        ports: by address.
    """

    stack: ExitStack
    folder: Path
    envoy: Path
    cores: Cores
    tls: Mapping[str, Path]
    ports: Mapping[str, int]

    def start_upstream(self) -> None:
        """The server behind both gateways."""
        port, folder = str(self.ports[UPSTREAM]), str(self.tls["upstream"])
        command = (sys.executable, str(_UPSTREAM), UPSTREAM, port, folder)
        self._start("upstream", command, self.cores.load)

    def start_bare(self, epoch: Epoch) -> int:
        """Envoy with a router; its process id."""
        run = self.folder / "bare"
        run.mkdir()
        gateway = inputs.gateway(run, self.ports[BARE], self.tls)
        for name, text in inputs.bare_files(epoch, gateway, self.ports[UPSTREAM]).items():
            (run / name).write_text(text, "utf-8")
        return self._start("bare", inputs.envoy_command(self.envoy, run), self.cores.proxy)

    def start_agent(self) -> int:
        """The inner agent as its pod starts it; its process id."""
        mounts = {
            "DEMARC_RUN": self.folder / "inner",
            "DEMARC_RECORD": self.folder / "record",
            "DEMARC_TLS": self.tls["inner"],
            "DEMARC_CLIENT_TLS": self.tls["client"],
            "DEMARC_GRANT_KEY": self.folder / "grant",
            "DEMARC_TRUST": self.folder / "trust",
            "KUBECONFIG": self.folder / "kubeconfig",
        }
        values = {
            "POD_IP": INNER,
            "POD_NAME": "demarc-inner-0",
            "POD_NAMESPACE": names.SYSTEM_NAMESPACE,
            **{name: str(path) for name, path in mounts.items()},
        }
        command = (
            *(sys.executable, "-m", "demarc", "agent", "--role=inner"),
            *(f"--home={HOME}", f"--site={HOME}", f"--client-port={self.ports[INNER]}"),
        )
        return self._start("agent", command, self.cores.proxy, {**os.environ, **values})

    def start_inner(self) -> int:
        """Envoy over the agent's files; its process id."""
        command = inputs.envoy_command(self.envoy, self.folder / "inner")
        return self._start("inner", command, self.cores.proxy)

    def logs(self) -> str:
        """The last that each has printed."""
        return "\n".join(
            f"{path.name}: {path.read_text('utf-8', 'replace')[-2000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def _start(
        self,
        name: str,
        command: Sequence[str],
        core: int,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        output = self.stack.enter_context((self.folder / f"{name}.log").open("wb"))
        with pinned(core):
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=None if environment is None else dict(environment),
            )
        self.stack.callback(_end, process)
        return process.pid


@dataclass(frozen=True, slots=True)
class World:
    """Everything that runs.

    Attributes:
        authority: file with the certificate of the authority.
        programs: what was started.
    """

    bare: Side
    demarc: Side
    cores: Cores
    authority: Path
    programs: Programs


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Run this process, and what is started in between, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@asynccontextmanager
async def running(folder: Path, cores: Cores) -> AsyncIterator[World]:
    """Start everything and wait until both sides answer; end everything.

    Raises:
        WorldError: Envoy is missing, or something does not start.
    """
    binary = settings.read().envoy
    if not binary.exists():
        raise WorldError("Envoy is missing: run `make tools`")
    signs, store = inputs.issuer(), MemoryCluster()
    made = inputs.document(signs)
    epoch = builders.compiled(made)
    tls = inputs.certificates(folder / "tls")
    ports = {host: _free_port(host) for host in (BARE, INNER, UPSTREAM)}
    known = {inputs.TOKEN: Access(kinds=frozenset({CONFIG_MAP, ENDPOINT_SLICE}))}
    with ExitStack() as stack:
        programs = Programs(stack, folder, binary, cores, tls, ports)
        programs.start_upstream()
        bare = programs.start_bare(epoch)
        await inputs.publish(store, signs, made, epoch, ports[UPSTREAM])
        async with ReadApi(store, known.get).serving("127.0.0.1") as url:
            inputs.lay_out(folder, signs, url)
            agent = programs.start_agent()
            await _until((folder / "inner" / "rds.json").exists, programs)
            inner = programs.start_inner()
            authority = tls["inner"] / "ca.crt"
            found = World(
                Side("bare", BARE, ports[BARE], bare),
                Side("demarc", INNER, ports[INNER], inner, agent),
                cores,
                authority,
                programs,
            )
            for side in (found.bare, found.demarc):
                await _answers(side, authority, programs)
            yield found


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _answers(side: Side, authority: Path, programs: Programs) -> None:
    """Wait until a gateway answers with 200."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(authority)
    for _ in range(int(_DEADLINE / 0.1)):
        if (await _said(side, context)).startswith(b"HTTP/1.1 200 "):
            return
        await asyncio.sleep(0.1)
    raise WorldError(f"{side.name} does not answer\n{programs.logs()}")


async def _said(side: Side, context: ssl.SSLContext) -> bytes:
    """The first line of an answer; empty without one."""
    try:
        async with asyncio.timeout(_DEADLINE):
            reader, writer = await asyncio.open_connection(
                side.address, side.port, ssl=context, server_hostname="gateway"
            )
            try:
                writer.write(inputs.request(_HELLO))
                return await reader.readline()
            finally:
                writer.transport.abort()
    except OSError:  # a time-out is one
        return b""


async def _until(condition: Callable[[], bool], programs: Programs) -> None:
    for _ in range(int(_DEADLINE / 0.05)):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise WorldError(f"the agent writes no files for Envoy\n{programs.logs()}")


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        found: int = probe.getsockname()[1]
        return found
