"""How is one agent put together, started and stopped?

1 files      what an earlier run stored: policy, records, Envoy's files                       I/O
2 draw       Envoy's files, so that Envoy can start                                           I/O
3 listen     decisions on a Unix socket, probes and metrics on the pod's address              I/O
4 watch      policy, addresses, Envoy's health, Envoy's log, the age of the policy            I/O
5 stop       take no question, finish what is asked, book what is logged, close               I/O

INVARIANT: a decision sees a new policy before Envoy does, and an endpoint is named only once Envoy
has it: `availability` calls down what Envoy has not shown.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from demarc.api import cluster as kinds
from demarc.api.cluster import Manifest
from demarc.engines.envoy import EnvoyAdmin
from demarc.gateway import addresses, tailing, watching, wire
from demarc.gateway.availability import FarSides
from demarc.gateway.counting import Metrics
from demarc.gateway.dataplane import Dataplane
from demarc.gateway.edge import Edge
from demarc.gateway.egress import Egress
from demarc.gateway.envoy_watch import EnvoyWatch
from demarc.gateway.facts import Recent
from demarc.gateway.granting import Grants
from demarc.gateway.inner import Inner
from demarc.gateway.keeping import EpochKeeper, ExtractKeeper, TrustFile
from demarc.gateway.options import AgentOptions, OptionsError, Ports
from demarc.gateway.probing import Probes, Status
from demarc.gateway.recording import Recorder
from demarc.gateway.replays import Replays
from demarc.gateway.sealing import BodyMac
from demarc.gateway.tailing import Tailer
from demarc.gateway.understanding import Understanding
from demarc.ledger.disk import FolderDisk
from demarc.ledger.records import RecordLog
from demarc.ledger.usage import UsageLedger
from demarc.planning import names
from demarc.policy.epoch import Epoch
from demarc.xds import view as views
from demarc.xds.access_log import AccessLine
from demarc.xds.settings import GatewaySettings
from demarc.xds.view import Role, View

RECORDS = "records"
MAC_KEYS = "mac"
LEDGER = "ledger.sqlite"
_AGE_SECONDS = 1.0
_TOGETHER_SECONDS = 0.01

log = structlog.get_logger()


async def serve(options: AgentOptions, ports: Ports) -> None:
    """Run one agent until it is cancelled.

    Raises:
        OptionsError: something that it needs is missing.
        OSError: an address or a folder cannot be used.
    """
    await run(Agent(options, ports))


async def run(agent: Agent) -> None:
    """Run a new agent until it is cancelled; as `serve`."""
    await agent.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            for task in agent.tasks():
                tasks.create_task(task)
    finally:
        await agent.stop()


class Agent:
    """One agent; all its state lives in one event loop."""

    def __init__(self, options: AgentOptions, ports: Ports) -> None:
        """Read what an earlier run stored; nothing listens yet."""
        self._options = options
        self._ports = ports
        self._metrics = Metrics()
        self._trust = TrustFile(options.trust)
        self._settings = _settings(options)
        self._dataplane = Dataplane(options.run, self._settings)
        self._admin = EnvoyAdmin(self._settings.admin_socket)
        self._slices: tuple[Manifest, ...] | None = None
        self._redraw = asyncio.Event()
        self._drawn = False
        self._failed = False
        self._far = FarSides()
        self._envoy = EnvoyWatch(
            self._admin,
            self._dataplane,
            policy=self._chosen_by if options.role is Role.INNER else None,
            far=self._far,
            monotonic=ports.monotonic,
            metrics=self._metrics,
            times=options.times,
        )
        (options.record / RECORDS).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._disk = FolderDisk(options.record / RECORDS)
        self._records = RecordLog(self._disk, gateway=options.pod_name, now=ports.clock)
        self._recorder = Recorder(
            self._records,
            clock=ports.clock,
            monotonic=ports.monotonic,
            metrics=self._metrics,
            patience=options.times.record,
            retry=options.times.retry,
        )
        self._recent = Recent(options.record / RECORDS)
        self._mac = BodyMac(options.record / MAC_KEYS, ports.new_key)
        self._understanding: Understanding | None = None
        self._epochs: EpochKeeper | None = None
        self._extracts: ExtractKeeper | None = None
        self._ledger = UsageLedger(options.record / LEDGER) if options.role is Role.INNER else None
        self._server = wire.Server(self._build())
        self._health = wire.Server(
            Probes(self.status, lambda: self._drawn, self._missing, self._metrics).serve
        )
        self._tailer = Tailer(
            options.run / "access.jsonl",
            ledger=self._ledger,
            recent=self._recent if self._ledger else None,
            reopen=self._admin.reopen_logs,
            heard=self._heard,
            metrics=self._metrics,
            most_bytes=options.log_bytes,
            seconds=options.times.tail,
        )

    async def start(self) -> None:
        """Steps 1 to 3."""
        self._records.start()
        self._draw()
        await self._server.listen_unix(self._settings.decide_socket)
        await self._health.listen(self._options.pod_ip, self._options.health_port)
        log.info("agent_started", role=self._options.role.value, site=self._options.site)

    def tasks(self) -> tuple[Any, ...]:
        """Step 4, as coroutines that run until they are cancelled."""
        follow = partial(
            watching.follow,
            self._ports.cluster,
            retry=self._options.times.retry,
            metrics=self._metrics,
        )
        return (
            follow(kinds.CONFIG_MAP, self._published, namespace=names.SYSTEM_NAMESPACE),
            follow(kinds.ENDPOINT_SLICE, self._moved),
            self._recorder.watch(),
            self._tailer.watch(),
            self._envoy.watch(),
            self._watch_age(),
            self._keep_drawing(),
        )

    async def stop(self) -> None:
        """Step 5."""
        await self._server.close(self._options.times.drain)
        await self._tailer.finish(self._options.times.drain)
        if self._understanding is not None:
            self._understanding.close()
        await asyncio.to_thread(self._records.close)
        self._disk.close()
        if self._ledger is not None:
            self._ledger.close()
        await self._health.close(0)
        await self._admin.close()
        log.info("agent_stopped")

    # policy

    def _build(self) -> wire.Handler:
        """The decision service of the role, over the policy that it keeps."""
        options, ports = self._options, self._ports
        inner_name = views.gateway_name(options.home, Role.INNER.value)
        if options.role is Role.EDGE:
            extracts = self._extracts = ExtractKeeper(
                options.record, self._trust, site=options.site, metrics=self._metrics
            )
            recording = options.rehearsal_recording
            return Edge(
                extract=lambda: extracts.latest,
                recorder=self._recorder,
                replays=Replays(),
                mac=self._mac,
                inner_name=inner_name,
                rehearse=partial(_rehearse, recording) if recording else None,
                clock=ports.clock,
                monotonic=ports.monotonic,
                new_id=ports.new_id,
                metrics=self._metrics,
            ).serve
        if ports.detectors is None:
            raise OptionsError(f"an {options.role.value} agent needs detector packs")
        self._understanding = Understanding(ports.detectors)
        epochs = self._epochs = EpochKeeper(
            options.record,
            self._trust,
            clock=ports.clock,
            monotonic=ports.monotonic,
            packs=ports.detectors.hashes,
            metrics=self._metrics,
        )
        if options.role is Role.EGRESS:
            return Egress(
                policy=lambda: epochs.latest,
                understanding=self._understanding,
                recorder=self._recorder,
                replays=Replays(),
                mac=self._mac,
                inner_name=inner_name,
                clock=ports.clock,
                monotonic=ports.monotonic,
                new_id=ports.new_id,
                metrics=self._metrics,
            ).serve
        assert options.grant_key is not None
        return Inner(
            policy=lambda: epochs.latest,
            seen=lambda: self._envoy.seen,
            far=self._far,
            understanding=self._understanding,
            recorder=self._recorder,
            recent=self._recent,
            mac=self._mac,
            grants=Grants(options.grant_key, inner_name),
            clock=ports.clock,
            monotonic=ports.monotonic,
            new_id=ports.new_id,
            metrics=self._metrics,
        ).serve

    def _published(self, state: watching.State) -> None:
        """ConfigMaps have changed."""

        def data(name: str) -> Mapping[str, str]:
            manifest = state.get((names.SYSTEM_NAMESPACE, name)) or {}
            found = manifest.get("data")
            return found if isinstance(found, Mapping) else {}

        changed = False
        if self._extracts is not None and data(names.EXTRACT):
            changed = self._extracts.offer(data(names.EXTRACT))
        if self._epochs is not None:
            if data(names.EPOCH):
                changed = self._epochs.offer_epoch(data(names.EPOCH))
            if data(names.HEARTBEAT):
                changed = self._epochs.offer_heartbeat(data(names.HEARTBEAT)) or changed
        if changed:
            self._changed()

    def _changed(self) -> None:
        """Another policy is in force: what was seen is judged by it before Envoy's files move."""
        self._envoy.judge()
        self._redraw.set()

    def _chosen_by(self) -> Epoch | None:
        policy = self._epochs.latest if self._epochs is not None else None
        return policy.view if policy is not None else None

    async def _watch_age(self) -> None:
        while True:
            await asyncio.sleep(_AGE_SECONDS)
            if self._epochs is not None and self._epochs.tick():
                self._changed()

    def status(self) -> Status:
        """Which policy is in force here."""
        if self._extracts is not None and self._extracts.latest is not None:
            extract = self._extracts.latest
            return Status(self._options.role, extract.number, extract.epoch_hash)
        if self._epochs is not None and self._epochs.latest is not None:
            epoch = self._epochs.latest.epoch
            return Status(self._options.role, epoch.number, epoch.hash)
        return Status(self._options.role)

    # Envoy

    def _moved(self, state: watching.State) -> None:
        """EndpointSlices have changed."""
        self._slices = tuple(state.values())
        self._redraw.set()

    def _draw(self) -> None:
        """Write what Envoy should have now; a failure is tried again."""
        try:
            view, sources = self._view()
            # Until the cluster has answered once, an earlier run's addresses stay in use.
            found = (
                addresses.bounded(self._dataplane.addresses(), sources)
                if self._slices is None
                else addresses.find(self._slices, sources)
            )
            self._metrics.set("demarc_addresses_refused", found.refused)
            if self._dataplane.draw(view, found.addresses):
                log.info("drawn", version=view.version, clusters=len(found.addresses))
                self._envoy.drawn()
            self._drawn = True
        except Exception as error:  # noqa: BLE001  # what Envoy has stays; decisions go on
            log.error("drawing_failed", error=type(error).__name__)
            self._failed = True

    def _view(self) -> tuple[View, Mapping[str, addresses.Source]]:
        options = self._options
        if self._extracts is not None and self._extracts.latest is not None:
            view = views.of_extract(self._extracts.latest)
            return view, addresses.sources_of_edge(view)
        if self._epochs is not None and self._epochs.latest is not None:
            epoch = self._epochs.latest.view
            view = views.of_epoch(options.role, epoch)
            return view, addresses.sources_of_epoch(view, epoch)
        caller = {Role.INNER: "", Role.EGRESS: Role.INNER.value, Role.EDGE: Role.EGRESS.value}
        peer = caller[options.role]
        name = views.gateway_name(options.home, peer) if peer else ""
        return View(options.role, options.site, name, "none", ()), {}

    async def _keep_drawing(self) -> None:
        while True:
            await self._redraw.wait()
            self._redraw.clear()
            self._failed = False
            self._draw()
            if self._failed:
                self._redraw.set()
            # Several changes that come at once are drawn once.
            await asyncio.sleep(self._options.times.retry if self._failed else _TOGETHER_SECONDS)

    def _heard(self, lines: tuple[AccessLine, ...]) -> None:
        """Lines of Envoy's log: how far sides answered, and whether to look at Envoy at once."""
        now = self._ports.monotonic()
        for verdict in tailing.verdicts(lines):
            if not verdict.failed:
                if self._far.answered(verdict.endpoint):
                    log.info("endpoint_up", endpoint=verdict.endpoint)
            elif self._far.failed(verdict.endpoint, now):
                log.warning("endpoint_down", endpoint=verdict.endpoint)
        if any(line.flags for line in lines):
            self._envoy.look_now()

    def _missing(self) -> str:
        """What is not ready; empty when all is."""
        if self.status().number is None:
            return "no policy is loaded"
        if not self._envoy.in_use:
            return "envoy does not use the files as they were written"
        return ""


def _settings(options: AgentOptions) -> GatewaySettings:
    inner = options.role is Role.INNER
    return GatewaySettings(
        node=options.pod_name,
        address=options.pod_ip,
        run=str(options.run),
        tls=str(options.tls),
        client_tls=str(options.client_tls) if options.client_tls else "",
        port=options.client_port if inner else options.gateway_port,
        limits=options.limits,
    )


def _rehearse(recording: Path, body: bytes) -> None:
    """Append what was sent to the recording of a rehearsal on one machine."""
    entry = {
        "at": "edge",
        "text": body.decode("utf-8", "replace"),
        "base64": base64.b64encode(body).decode(),
    }
    data = (json.dumps(entry, ensure_ascii=False) + "\n").encode()
    descriptor = os.open(recording, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
