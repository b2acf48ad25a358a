"""How do tests run real agents? All three tiers with a real Envoy each, over clusters in memory.

The policy is the design's sample, moved to loopback: the home site is `shanghai-dc` with the
networks 127.64.0.0/17, the remote site `cloud-sg` with 127.64.128.0/17. Frontends are small servers
that report usage in the trailer and keep what they were sent.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demarc.api.cluster import CONFIG_MAP, Listing, Ref, TransientError, WatchEvent
from demarc.gateway import agent
from demarc.gateway.options import AgentOptions, Ports, Times
from demarc.gateway.understanding import Outcome, Understanding, Understood
from demarc.gateway.wire import Exchange
from demarc.planning import names
from demarc.policy import detection, document, extract, heartbeat, signature
from demarc.policy.decision import Findings
from demarc.policy.detection import Detectors
from demarc.policy.document import Document
from demarc.policy.epoch import Epoch, EpochNumber, GrantKey
from demarc.policy.heartbeat import Heartbeat
from demarc.xds.view import Role
from support import builders, cluster, envoy, envoy_chain, wire
from support.cluster import MemoryCluster
from support.envoy_chain import free_port, until
from support.wire import Message, Server

HOME = "shanghai-dc"
FAR = "cloud-sg"
NETWORKS = {HOME: "127.64.0.0/17", FAR: "127.64.128.0/17"}
NEAR_ENDPOINT = f"models/glm-4-air@{HOME}"
FAR_ENDPOINT = f"models/glm-4-flash@{FAR}"
COPILOT_KEY = "copilot-key-of-the-test"
TOKEN = "token-of-the-agents"
PACKS = Path(__file__).parents[2] / "policies"
HOSTS = {
    "inner": "127.64.1.1",
    "egress": "127.64.2.1",
    "near": "127.64.10.1",
    "edge": "127.64.129.1",
    "far": "127.64.130.1",
}
ORDINARY = "How do I open an account?"
CARD = "My card is 4111 1111 1111 1111, please help."


def packs() -> Detectors:
    """The shipped packs."""
    texts = {path.parent.name: path.read_text("utf-8") for path in PACKS.glob("*/pack.yaml")}
    return detection.load_packs(texts)


def sources() -> list[Mapping[str, Any]]:
    """The sample on loopback, and a second API key for the app without a registration."""
    found = []
    for manifest in builders.sample():
        item = json.loads(json.dumps(manifest))
        if item["kind"] == "Site":
            item["spec"]["network"]["cidrs"] = [NETWORKS[item["metadata"]["name"]]]
        if item["kind"] == "RoutingPolicy":
            reference = {"name": "copilot-key", "key": "token"}
            item["spec"]["clients"].append(
                {"name": "copilot-key", "app": "copilot", "apiKeySecretRef": reference}
            )
        found.append(item)
    return found


@dataclass
class Clock:
    """The wall clock and the monotonic one, which a test can move apart."""

    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Issuer:
    """The operator's part: it signs, numbers and publishes."""

    key: Ed25519PrivateKey
    grant_key: Ed25519PrivateKey
    clock: Clock
    detectors: Detectors
    counter: int = 0

    @property
    def trust(self) -> str:
        """trust.json."""
        return signature.render_trust({"k1": signature.public_bytes(self.key)})

    def document(
        self, items: Iterable[Mapping[str, Any]] | None = None, **options: Any
    ) -> Document:
        """The next epoch's document; options as in `builders.document_of`."""
        self.counter += 1
        credentials = {
            **builders.CREDENTIALS,
            "secret:retail/copilot-key/token": sha256(COPILOT_KEY.encode()).hexdigest(),
        }
        inner = f"spiffe://demarc/{HOME}/inner"
        grant_key = GrantKey("g1", inner, signature.public_bytes(self.grant_key))
        values = {
            "number": EpochNumber(1, self.counter),
            "issued_at": self.clock.now(),
            "credentials": credentials,
            "grant_keys": (grant_key,),
            "packs": dict(self.detectors.hashes),
            **options,
        }
        return builders.document_of(sources() if items is None else items, **values)

    def epoch_data(self, value: Document) -> dict[str, str]:
        """What the ConfigMap of the epoch holds."""
        content = document.canonical(value)
        signed = document.sign(content, self.key, "k1")
        return {"epoch.json": content.decode(), "signature.json": json.dumps(signed.to_json())}

    def heartbeat_data(self, epoch: Epoch) -> dict[str, str]:
        """What the ConfigMap of the heartbeat holds."""
        beat = Heartbeat(epoch.hash, self.clock.now())
        return {"heartbeat": heartbeat.sign(beat, self.key, "k1")}

    def extract_data(self, epoch: Epoch) -> dict[str, str]:
        """What the ConfigMap of the edge holds."""
        return {"extract": extract.sign(extract.extract(epoch, FAR), self.key, "k1")}


@dataclass
class Tier:
    """One agent and its Envoy."""

    options: AgentOptions
    ports: Ports
    process: envoy.Envoy
    running: asyncio.Task[None] | None = None
    agent: agent.Agent | None = None
    child: asyncio.subprocess.Process | None = None

    async def start_agent(self) -> None:
        """Start the agent and wait until Envoy could start."""
        self.agent = agent.Agent(self.options, self.ports)
        self.running = asyncio.create_task(agent.run(self.agent))

        async def drawn() -> bool:
            assert self.running is not None
            if self.running.done():
                self.running.result()
            return (self.options.run / "rds.json").exists()

        await until(drawn)

    async def stop_agent(self) -> None:
        """Stop the agent as a signal would."""
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)
            self.running = None

    async def start_process(self, server: str) -> None:
        """Start the agent as the process that a pod runs, over a cluster's read API."""
        options = self.options
        kubeconfig = options.run.parent / f"{options.role.value}.kubeconfig"
        kubeconfig.write_text(
            json.dumps(
                {
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [{"name": "c", "cluster": {"server": server}}],
                    "users": [{"name": "u", "user": {"token": TOKEN}}],
                }
            )
        )
        mounts = {
            "DEMARC_RUN": options.run,
            "DEMARC_RECORD": options.record,
            "DEMARC_TLS": options.tls,
            "DEMARC_CLIENT_TLS": options.client_tls,
            "DEMARC_GRANT_KEY": options.grant_key,
            "DEMARC_TRUST": options.trust,
            "KUBECONFIG": kubeconfig,
        }
        environment = {
            **os.environ,
            "POD_IP": options.pod_ip,
            "POD_NAME": options.pod_name,
            "POD_NAMESPACE": names.SYSTEM_NAMESPACE,
            **{name: str(path) for name, path in mounts.items() if path},
        }
        with (options.run.parent / f"{options.role.value}-agent.log").open("ab") as log:
            self.child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "demarc",
                "agent",
                f"--role={options.role.value}",
                f"--home={options.home}",
                f"--site={options.site}",
                f"--client-port={options.client_port}",
                env=environment,
                stderr=log,
            )

        async def drawn() -> bool:
            assert self.child is not None
            assert self.child.returncode is None, "the agent ended"
            try:
                return (await self.probe("/startz")).status == 200
            except ConnectionError:
                return False

        await until(drawn, seconds=20)

    async def kill_process(self) -> None:
        """End the process whatever became of the test."""
        if self.child is not None and self.child.returncode is None:
            self.child.kill()
            await self.child.wait()

    async def probe(self, path: str) -> Message:
        """Ask the agent's health port."""
        host, port = self.options.pod_ip, self.options.health_port
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(wire.request(path, method="GET"))
            found = await wire.read(reader)
            assert found is not None
            return found
        finally:
            writer.transport.abort()

    async def ready(self) -> None:
        """Wait until the agent says that it is ready."""

        async def is_ready() -> bool:
            if self.running is not None and self.running.done():
                self.running.result()
            try:
                return (await self.probe("/readyz")).status == 200
            except ConnectionError:
                return False

        try:
            await until(is_ready)
        except TimeoutError:
            said = (await self.probe("/readyz")).body
            raise AssertionError(f"{said!r} {self.process.messages}") from None

    async def metric(self, name: str) -> float:
        """The sum of all series of a metric."""
        lines = (await self.probe("/metrics")).body.decode().splitlines()
        found = [line for line in lines if line.startswith((f"{name}{{", f"{name} "))]
        return sum(float(line.rpartition(" ")[2]) for line in found)


@dataclass
class World:
    """Everything: clusters, issuer, tiers, frontends and a client."""

    home: MemoryCluster
    remote: MemoryCluster
    issuer: Issuer
    tiers: Mapping[str, Tier]
    near: Server
    far: Server
    client: ssl.SSLContext
    addresses: Mapping[str, tuple[str, int]]
    epoch: Epoch | None = None
    recording: Path = Path()
    folders: Mapping[str, Path] = field(default_factory=dict)

    @property
    def inner(self) -> Tier:
        return self.tiers["inner"]

    @property
    def egress(self) -> Tier:
        return self.tiers["egress"]

    @property
    def edge(self) -> Tier:
        return self.tiers["edge"]

    @property
    def running_agent(self) -> agent.Agent:
        """The inner agent itself, for faults that only its inside can have."""
        assert self.inner.agent is not None
        return self.inner.agent

    async def publish(self, value: Document | None = None) -> Epoch:
        """Sign and lay out an epoch, its heartbeat and the extract."""
        found = value or self.issuer.document()
        epoch = builders.compiled(found)
        await self.put(self.home, names.EPOCH, self.issuer.epoch_data(found))
        await self.put(self.home, names.HEARTBEAT, self.issuer.heartbeat_data(epoch))
        await self.put(self.remote, names.EXTRACT, self.issuer.extract_data(epoch))
        self.epoch = epoch
        return epoch

    async def put(self, where: MemoryCluster, name: str, data: Mapping[str, str]) -> None:
        """Lay out a ConfigMap."""
        manifest = cluster.config_map(names.SYSTEM_NAMESPACE, name, data)
        await where.apply(manifest, manager="test")

    async def drop(self, where: MemoryCluster, name: str) -> None:
        """Remove a ConfigMap."""
        await where.delete(Ref(CONFIG_MAP, names.SYSTEM_NAMESPACE, name))

    async def place(
        self, where: MemoryCluster, namespace: str, service: str, *at: tuple[str, int]
    ) -> None:
        """Say at which addresses a Service is ready."""
        await where.apply(endpoint_slice(namespace, service, *at), manager="test")

    async def place_all(self) -> None:
        """Every Service is where its server is."""
        await self.place(
            self.home, "models", names.engine("glm-4-air", HOME), self.addresses["near"]
        )
        await self.place(self.home, names.EGRESS_NAMESPACE, names.EGRESS, self.addresses["egress"])
        await self.place(
            self.home, names.EGRESS_NAMESPACE, names.edge_service(FAR), self.addresses["edge"]
        )
        await self.place(
            self.remote, "models", names.engine("glm-4-flash", FAR), self.addresses["far"]
        )

    async def ask(
        self,
        text: str = ORDINARY,
        *,
        key: str = builders.FAQ_KEY,
        path: str = "/v1/chat/completions",
        headers: wire.Headers = (),
        **more: Any,
    ) -> Message:
        """A client's chat request."""
        body = json.dumps(
            {"model": "auto", "messages": [{"role": "user", "content": text}], **more}
        ).encode()
        lines = (("content-type", "application/json"), *headers)
        if key:
            lines = (("authorization", f"Bearer {key}"), *lines)
        return await self.send(wire.request(path, body=body, headers=lines))

    async def send(self, payload: bytes) -> Message:
        """Bytes of a client."""
        host, port = self.addresses["inner"]
        async with asyncio.timeout(8):
            return await wire.send(host, port, self.client, payload)

    async def answered(self, status: int, text: str = ORDINARY, **options: Any) -> Message:
        """Ask until the status comes; how long new policy or health takes is not the question."""
        found = await self.ask(text, **options)
        async with asyncio.timeout(8):
            while found.status != status:
                await asyncio.sleep(0.05)
                found = await self.ask(text, **options)
        return found

    def rehearsed(self) -> list[str]:
        """What came in at the edge."""
        if not self.recording.exists():
            return []
        lines = [json.loads(line) for line in self.recording.read_text().splitlines()]
        return [base64.b64decode(line["base64"]).decode() for line in lines]


class Unreachable:
    """A cluster whose API does not answer."""

    async def list(self, *_: object, **__: object) -> Listing:
        raise TransientError("the API does not answer")

    async def watch(self, *_: object, **__: object) -> AsyncIterator[WatchEvent]:
        raise TransientError("the API does not answer")
        yield


@dataclass
class Blind:
    """The understanding of an agent that was taken over: it finds nothing in any body."""

    honest: Understanding

    def look(self, exchange: Exchange, path: str, then: Callable[[Outcome], None]) -> None:
        """As the honest one, without findings."""

        def blind(outcome: Outcome) -> None:
            if isinstance(outcome, Understood):
                outcome = Understood(outcome.parsed, Findings())
            then(outcome)

        self.honest.look(exchange, path, blind)


def endpoint_slice(namespace: str, service: str, *at: tuple[str, int]) -> dict[str, Any]:
    """Ready addresses of a Service; all have the port of the first."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": service,
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": at[0][1] if at else 8443, "protocol": "TCP"}],
        "endpoints": [{"addresses": [host], "conditions": {"ready": True}} for host, _ in at],
    }


@asynccontextmanager
async def world(
    where: Path,
    *,
    roles: Iterable[str] = ("inner", "egress", "edge"),
    log_bytes: int = 64 * 1024 * 1024,
) -> AsyncIterator[World]:
    """Start everything, publish the sample and wait until each tier is ready."""
    found = await build(where, log_bytes=log_bytes)
    async with AsyncExitStack() as stack:
        for name, server, folder in (("near", found.near, "near"), ("far", found.far, "far")):
            host, port = found.addresses[name]
            await server.listen(host, port, envoy.server_context(found.folders[folder]))
            stack.push_async_callback(server.close)
        await found.place_all()
        await found.publish()
        for role in roles:
            tier = found.tiers[role]
            stack.push_async_callback(tier.stop_agent)
            await tier.start_agent()
            await tier.process.start()
            stack.push_async_callback(tier.process.stop)
        for role in roles:
            await found.tiers[role].ready()
        yield found


async def build(where: Path, *, log_bytes: int) -> World:
    """Everything, not started."""
    binary = envoy.binary()
    assert binary is not None, "Envoy is missing: run `make tools`"
    clock, detectors = Clock(), packs()
    issuer = Issuer(Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate(), clock, detectors)
    authority = envoy.Names()
    uris = {
        "inner": f"spiffe://demarc/{HOME}/inner",
        "egress": f"spiffe://demarc/{HOME}/egress",
        "edge": f"spiffe://demarc/{FAR}/edge",
        "client": f"spiffe://demarc/{HOME}/gateway",
        "near": f"spiffe://demarc/{HOME}/models/glm-4-air",
        "far": f"spiffe://demarc/{FAR}/models/glm-4-flash",
    }
    folders = {name: authority.folder(where / "tls" / name, uri) for name, uri in uris.items()}
    addresses = {name: (host, free_port(host)) for name, host in HOSTS.items()}
    for name in ("trust", "grant"):
        (where / name).mkdir()
    (where / "trust" / "trust.json").write_text(issuer.trust)
    (where / "grant" / "grant.key").write_bytes(signature.private_pem(issuer.grant_key))
    home, remote = MemoryCluster(), MemoryCluster()
    for name in (names.SYSTEM_NAMESPACE, names.EGRESS_NAMESPACE, "models"):
        await home.apply(cluster.namespace(name), manager="test")
        await remote.apply(cluster.namespace(name), manager="test")
    recording = where / "edge.jsonl"

    def tier(role: Role, own: MemoryCluster) -> Tier:
        for name in (f"{role.value}-run", f"{role.value}-record"):
            (where / name).mkdir()
        options = AgentOptions(
            role=role,
            home=HOME,
            site=FAR if role is Role.EDGE else HOME,
            pod_name=f"demarc-{role.value}-0",
            pod_ip=HOSTS[role.value],
            run=where / f"{role.value}-run",
            record=where / f"{role.value}-record",
            tls=folders[role.value],
            trust=where / "trust",
            client_tls=folders["client"] if role is Role.INNER else None,
            grant_key=where / "grant" if role is Role.INNER else None,
            client_port=addresses[role.value][1],
            gateway_port=addresses[role.value][1],
            health_port=free_port(HOSTS[role.value]),
            rehearsal_recording=recording if role is Role.EDGE else None,
            times=Times(retry=0.05),
            log_bytes=log_bytes,
        )
        ports = Ports(
            cluster=own,
            clock=clock.now,
            monotonic=asyncio.get_running_loop().time,
            new_id=lambda: secrets.token_hex(16),
            new_key=secrets.token_bytes,
            detectors=None if role is Role.EDGE else detectors,
        )
        return Tier(options, ports, envoy.Envoy(binary, options.run))

    return World(
        home=home,
        remote=remote,
        issuer=issuer,
        tiers={
            "inner": tier(Role.INNER, home),
            "egress": tier(Role.EGRESS, home),
            "edge": tier(Role.EDGE, remote),
        },
        near=Server(envoy_chain.always(envoy_chain.served())),
        far=Server(envoy_chain.always(envoy_chain.served())),
        client=envoy.client_context(folders["inner"], proves=False),
        addresses=addresses,
        recording=recording,
        folders=folders,
    )
