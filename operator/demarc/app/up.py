"""How does a folder of YAML come to life on one machine? `demarc up`, from objects to an answer.

1 read the folder, lay its networks on loopback
2 start the home cluster, apply the objects, make the keys
3 start the controller; it starts remote clusters, plans, applies and publishes
4 wait until everything is ready, write run.json, and keep it true
5 follow the folder: an edit is live in under a second, a bad one changes nothing
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

from demarc.api import manifests
from demarc.api.cluster import (
    CONFIG_MAP,
    DEMARC_KINDS,
    MODEL_DEPLOYMENT,
    NAMESPACE,
    SECRET,
    SERVICE_ACCOUNT,
    SITE,
    Cluster,
    ClusterError,
    Manifest,
    Ref,
)
from demarc.api.load import CoreObject, Loaded
from demarc.api.problem import Problem
from demarc.api.v1alpha1 import RoutingPolicy, Site
from demarc.app import clock, folder, offline, packs, run_file
from demarc.app.credentials import TOKEN_SECONDS, Caller, Credentials
from demarc.app.folder import Fingerprint, Folder, FolderError
from demarc.app.local_clusters import CLI_ACCOUNT, LocalClusters, LocalOptions
from demarc.app.notes import Notes
from demarc.app.run_file import AppEntry, ContainerEntry, PodEntry, RunFile, SiteEntry
from demarc.engines.agents import AgentFleet
from demarc.local import rehearsal
from demarc.local.node import LocalNode
from demarc.local.node_settings import PodRow
from demarc.local.pod_fields import NOT_ENFORCED_LOCALLY
from demarc.planning import names
from demarc.planning.objects import HOME
from demarc.planning.settings import PlanSettings
from demarc.policy import document
from demarc.reconcile import keyring
from demarc.reconcile.context import Ports
from demarc.reconcile.controller import Controller
from demarc.reconcile.publication import Compiled
from demarc.reconcile.run import Reconciler
from demarc.settings import Settings

MANAGER = "demarc-up"
"""Field manager of the objects of the folder."""
_FOLLOW_SECONDS = 0.05
_STATUS_SECONDS = 0.25
_AGAIN_SECONDS = 1.0
_TOKEN_RENEWAL = timedelta(hours=6)
_GATEWAY_NAMES = 30
"""Addresses of the system node that the gateway's certificate names."""


class UpError(Exception):
    """It cannot start; one line that says what to do."""


class ProblemsError(UpError):
    """The folder has problems."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("the folder has problems")
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What the user chose.

    Attributes:
        path: folder of YAML.
        state: folder for everything that must survive.
        port: of the client listener.
        volumes: claim name -> folder, over those beside the objects.
        substitutes: (workload, container) -> argv: doubles for tests.
    """

    path: Path
    state: Path
    settings: Settings
    port: int
    volumes: Mapping[str, Path]
    substitutes: Mapping[tuple[str, str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Say:
    """How progress reaches people.

    Attributes:
        line: prints one line.
        waiting: what is not ready yet; called when it changes.
    """

    line: Callable[[str], None]
    waiting: Callable[[Sequence[str]], None]


@dataclass(slots=True)
class _Seen:
    """What the last looks found."""

    renewed: datetime
    notes: Notes = field(default_factory=Notes)
    ready: bool = False
    written: RunFile | None = None
    missing: tuple[str, ...] | None = None


class Up:
    """One `demarc up`."""

    def __init__(self, options: UpOptions, say: Say) -> None:
        self._options = options
        self._say = say
        self._applied = dict[Ref, Manifest]()
        self._folder: Folder | None = None
        self._compiled: Compiled | None = None
        self._number = ("", "")
        self._home = offline.DEFAULT_HOME
        self._credentials = Credentials(options.state / "credentials")
        self._apps: Mapping[Caller, Path] = {}
        self._trouble = ""

    async def run(self, ready: Callable[[RunFile], None]) -> None:
        """Run until cancelled; `ready` is called once, when everything is.

        Raises:
            UpError: it cannot start.
            FolderError: the folder cannot be read.
        """
        seen = self._fingerprint()
        read = self._read()
        self._folder = read
        self._home = offline.home_of(read.objects)
        state = self._options.state
        state.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            clusters = LocalClusters(self._local_options(), stack)
            sites = _sites(read.objects)
            home = await clusters.start_home(
                self._home, [s for s in sites if s.spec.connection.type == "InCluster"]
            )
            await self._install(home)
            await self._apply_folder(home, read)
            keys = await keyring.load(home, home=self._home, now=clock.now())
            run_file.replace(state / "ca.crt", keys.authority.certificate.decode())
            fleet = AgentFleet(home)
            stack.push_async_callback(fleet.close)
            reconciler = Reconciler(
                Ports(
                    clusters=clusters,
                    fleet=fleet,
                    settings=self._plan_settings(home),
                    packs=packs.load().hashes,
                    url=lambda: self._url(home),
                    clock=clock.now,
                    changed=self._changed,
                ),
                keys,
            )
            controller = Controller(reconciler, home)
            async with asyncio.TaskGroup() as group:
                group.create_task(controller.run())
                group.create_task(self._follow(home, seen))
                group.create_task(self._keep_run_file(clusters, home, ready))

    # -- starting ----------------------------------------------------------------------------

    def _read(self) -> Folder:
        read = folder.read(self._options.path)
        if read.problems:
            raise ProblemsError(read.problems)
        return read

    def _local_options(self) -> LocalOptions:
        path = self._options.path
        beside = path if path.is_dir() else path.parent
        return LocalOptions(
            state=self._options.state,
            settings=self._options.settings,
            volumes=folder.volumes(beside, self._options.volumes),
            substitutes=self._options.substitutes,
            python=sys.executable,
            simulator=Path(str(resources.files("demarc"))) / "local" / "simulator" / "llmapi",
        )

    def _plan_settings(self, home: LocalNode) -> PlanSettings:
        host = home.api_url.removeprefix("http://").partition(":")[0]
        network = host.rpartition(".")[0]
        return PlanSettings(
            home=self._home,
            client_port=self._options.port,
            client_names=tuple(f"{network}.{last}" for last in range(1, _GATEWAY_NAMES)),
            startup_seconds=600,
        )

    async def _install(self, home: LocalNode) -> None:
        """What an installer makes: namespaces, and the account of the CLI."""
        for name in (names.SYSTEM_NAMESPACE, names.EGRESS_NAMESPACE):
            await home.apply(
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
                manager=MANAGER,
            )
        await home.apply(
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": CLI_ACCOUNT[1], "namespace": CLI_ACCOUNT[0]},
            },
            manager=MANAGER,
        )
        await self._write_kubeconfig(home)

    async def _write_kubeconfig(self, home: LocalNode) -> None:
        issuer = (await home.token_keys())["issuer"]
        token = await home.issue_token(*CLI_ACCOUNT, audience=issuer, seconds=TOKEN_SECONDS)
        run_file.replace(
            self._options.state / "kubeconfig",
            _kubeconfig(home.api_url, token),
            mode=0o600,
        )

    # -- the folder --------------------------------------------------------------------------

    async def _apply_folder(self, home: Cluster, read: Folder) -> None:
        """Make the cluster hold what the folder says, and no more of what it once said.

        The clusters' own objects of an earlier run count as said: a restart forgets nothing.
        """
        wanted = {manifests.ref_of(item): item for item in _manifests(read.objects)}
        before = dict(self._applied) or await self._applied_earlier(home)
        for ref in _namespaces(wanted):
            if ref not in wanted and await home.get(ref) is None:
                await home.apply(
                    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ref.name}},
                    manager=MANAGER,
                )
        for ref, manifest in wanted.items():
            await home.apply(manifest, manager=MANAGER)
            self._applied[ref] = manifest
        in_use = {*_namespaces(wanted)}
        for ref in before:
            if ref not in wanted and ref not in in_use:
                await home.delete(ref)
                self._applied.pop(ref, None)

    async def _applied_earlier(self, home: Cluster) -> dict[Ref, Manifest]:
        """What a folder once said, a key that was taken away while nothing ran included."""
        found = dict[Ref, Manifest]()
        for kind in (*DEMARC_KINDS, SECRET, SERVICE_ACCOUNT):
            for item in (await home.list(kind)).items:
                ref = manifests.ref_of(item)
                managers = {e.get("manager") for e in item["metadata"].get("managedFields") or ()}
                if MANAGER in managers and (ref.namespace, ref.name) != CLI_ACCOUNT:
                    found[ref] = item
        return found

    async def _follow(self, home: Cluster, seen: Fingerprint) -> None:
        """Apply what changes after `seen`, once it has come to rest."""
        rest = folder.Rest(seen)
        while True:
            await asyncio.sleep(_FOLLOW_SECONDS)
            if rest.look(self._fingerprint()) and not await self._reread(home):
                await asyncio.sleep(_AGAIN_SECONDS)
                rest.forget()

    def _fingerprint(self) -> Fingerprint:
        """Of the folder; empty when there is none to be read."""
        try:
            return folder.fingerprint(self._options.path)
        except FolderError:
            return ()

    async def _reread(self, home: Cluster) -> bool:
        """Apply what the folder says now; false if the cluster did not take all of it."""
        try:
            before = self._fingerprint()
            read = folder.read(self._options.path)
            if self._fingerprint() != before:
                return True  # it is being written: it comes to rest again
            if read.problems:
                for problem in read.problems:
                    self._say.line(str(problem))
                self._say.line("the change is refused, the running policy stays")
                return True
            if offline.home_of(read.objects) != self._home:
                self._say.line("the InCluster site has another name: stop and start `demarc up`")
                return True
            await self._apply_folder(home, read)
        except (FolderError, rehearsal.RehearsalError) as error:
            self._say.line(f"{error}: the running policy stays")
            return True
        except ClusterError as error:
            line = f"not all of the change is applied: {error}: trying again"
            if line != self._trouble:
                self._say.line(line)
            self._trouble = line
            return False
        self._trouble = ""
        self._folder = read
        self._say.line(f"applied {self._options.path}")
        return True

    def _changed(self, compiled: Compiled) -> None:
        first = self._compiled is None
        self._compiled = compiled
        self._say.line(f"epoch {compiled.epoch.number} is published")
        if compiled.judged.public == "Closed":
            self._say.line(f"public is closed: {compiled.judged.public_reason}")
        if not first or compiled.widenings:
            for widening in compiled.widenings:
                self._say.line(f"widening: {widening.sentence}")
                self._say.line(f"  for example {_example(widening.request)}")

    def _objects(self) -> tuple[Loaded, ...]:
        return self._folder.objects if self._folder else ()

    # -- readiness and run.json --------------------------------------------------------------

    async def _keep_run_file(
        self, clusters: LocalClusters, home: LocalNode, ready: Callable[[RunFile], None]
    ) -> None:
        """Look at everything again and again; a full disk only makes run.json old."""
        seen = _Seen(renewed=clock.now())
        told = ""
        while True:
            trouble = ""
            try:
                await self._look(clusters, home, seen, ready)
            except (OSError, ClusterError) as error:
                trouble = f"run.json cannot be kept up to date: {error}"
            if trouble and trouble != told:
                self._say.line(trouble)
            told = trouble
            await asyncio.sleep(_STATUS_SECONDS)

    async def _look(
        self,
        clusters: LocalClusters,
        home: LocalNode,
        seen: _Seen,
        ready: Callable[[RunFile], None],
    ) -> None:
        items = [item for kind in DEMARC_KINDS for item in (await home.list(kind)).items]
        for line in seen.notes.look(items):
            self._say.line(line)
        missing = tuple(self._missing(clusters, items))
        policies = [each for each in self._objects() if isinstance(each, RoutingPolicy)]
        self._apps = await self._credentials.write(home, policies)
        if clock.now() - seen.renewed > _TOKEN_RENEWAL:
            self._credentials.renew()
            await self._write_kubeconfig(home)
            seen.renewed = clock.now()
        run = await self._run_file(clusters, home, ready=seen.ready or not missing)
        if run != seen.written:
            run_file.write(self._options.state, run)
            seen.written = run
        if missing != seen.missing and not seen.ready:
            self._say.waiting(missing)
            seen.missing = missing
        if not missing and not seen.ready:
            seen.ready = True
            ready(run)

    def _missing(self, clusters: LocalClusters, items: Sequence[Manifest]) -> list[str]:
        """What is not ready yet, one short text each.

        A refused object is not waited for: it is told, and does not get ready by itself.
        """
        missing = list[str]()
        for item in items:
            name = str(manifests.ref_of(item))
            conditions = {
                condition["type"]: condition
                for condition in (item.get("status") or {}).get("conditions") or ()
            }
            accepted = conditions.get("Accepted")
            if accepted is not None and accepted["status"] == "False":
                continue
            wanted = "Ready" if item["kind"] == MODEL_DEPLOYMENT.name else "Programmed"
            fresh = item["metadata"].get("generation") == (conditions.get(wanted) or {}).get(
                "observedGeneration"
            )
            if not fresh or conditions[wanted]["status"] != "True":
                reason = (conditions.get(wanted) or {}).get("reason", "Pending")
                if reason in _FINAL_REASONS:
                    continue
                missing.append(f"{name} {reason}")
        for name, node in clusters.nodes().items():
            ready = {row.component for row in node.pods() if row.ready}
            for role in ("inner", "egress") if name == HOME else ("edge",):
                if role not in ready:
                    missing.append(f"gateway {role}" + ("" if name == HOME else f" of {name}"))
        return sorted(missing)

    async def _run_file(self, clusters: LocalClusters, home: LocalNode, *, ready: bool) -> RunFile:
        state = self._options.state.resolve()
        record = clusters.volume(
            self._home, names.SYSTEM_NAMESPACE, f"record-{names.INNER}-0"
        ).resolve()
        sites = list[SiteEntry]()
        for item in (await home.list(SITE)).items:
            name = item["metadata"]["name"]
            remote = name in clusters.nodes()
            sites.append(
                SiteEntry(
                    name,
                    "Private" if _is_home(item) else "Public",
                    str(clusters.folder(name if remote else self._home).resolve()),
                    str(clusters.recording(name).resolve()) if remote else "",
                )
            )
        pods = tuple(
            _pod_entry(self._home if name == HOME else name, row)
            for name, node in sorted(clusters.nodes().items())
            for row in node.pods()
        )
        return RunFile(
            pid=os.getpid(),
            folder=str(self._options.path.resolve()),
            state=str(state),
            ready=ready,
            gateway=self._url(home),
            ca=str(state / "ca.crt"),
            kubeconfig=str(state / "kubeconfig"),
            record=str(record),
            ledger=str(record / "ledger.sqlite"),
            epoch=await self._published(home),
            apps=tuple(
                AppEntry(tenant, app, client, str(path.resolve()))
                for (tenant, app, client), path in sorted(self._apps.items())
            ),
            sites=tuple(sites),
            pods=pods,
            not_enforced=dict(NOT_ENFORCED_LOCALLY),
        )

    async def _published(self, home: Cluster) -> str:
        """Number of the epoch that agents are given, also of one that an earlier run published."""
        found = await home.get(Ref(CONFIG_MAP, names.SYSTEM_NAMESPACE, names.EPOCH))
        if found is None:
            return ""
        version, number = self._number
        if version != found["metadata"]["resourceVersion"]:
            number = str(document.parse(found["data"]["epoch.json"].encode()).number)
            self._number = (found["metadata"]["resourceVersion"], number)
        return number

    def _url(self, home: LocalNode) -> str:
        for row in home.pods():
            if row.component == "inner" and row.address:
                return f"https://{row.address}:{self._options.port}/v1"
        return ""


_FINAL_REASONS = frozenset(
    {
        "PlacementRejected",
        "NotProgrammed",
        "DigestMismatch",
        "PrecisionMismatch",
        "VolumeNotFound",
        "Unschedulable",
        "ImageUnavailable",
        "ScaledToZero",
        "PartlyReady",
    }
)
"""Reasons that waiting alone does not end; they are told and not waited for."""


def _is_home(site: Manifest) -> bool:
    return bool((site["spec"].get("connection") or {}).get("type") == "InCluster")


def _sites(objects: Sequence[Loaded]) -> tuple[Site, ...]:
    return tuple(
        Site.model_validate(rehearsal.on_loopback(item.dump()))
        for item in objects
        if isinstance(item, Site)
    )


def _manifests(objects: Sequence[Loaded]) -> list[Manifest]:
    """What is applied: core objects first, Sites on loopback, no status."""
    core = [item.manifest for item in objects if isinstance(item, CoreObject)]
    ours = list[Manifest]()
    for item in objects:
        if isinstance(item, CoreObject):
            continue
        dumped = item.dump()
        dumped.pop("status", None)
        metadata = {
            key: value for key, value in dumped["metadata"].items() if key not in _SERVER_METADATA
        }
        dumped = {**dumped, "metadata": metadata}
        ours.append(rehearsal.on_loopback(dumped) if isinstance(item, Site) else dumped)
    order = {"Namespace": 0, "ServiceAccount": 1, "Secret": 1}
    return sorted(core, key=lambda item: order.get(item["kind"], 2)) + ours


_SERVER_METADATA = frozenset({"uid", "generation", "deletionTimestamp"})


def _namespaces(refs: Mapping[Ref, Manifest]) -> list[Ref]:
    return sorted({Ref(NAMESPACE, "", ref.namespace) for ref in refs if ref.namespace})


def _pod_entry(site: str, row: PodRow) -> PodEntry:
    containers = tuple(
        ContainerEntry(each.name, each.pid, each.ready, each.restarts, str(each.log))
        for each in row.containers
    )
    return PodEntry(
        site=site,
        namespace=row.namespace,
        name=row.name,
        role=row.component,
        address=row.address,
        ready=row.ready,
        pids=tuple(each.pid for each in containers if each.pid),
        logs=tuple(each.log for each in containers),
        containers=containers,
    )


def _example(request: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in request.items())


def _kubeconfig(server: str, token: str) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "demarc",
            "contexts": [{"name": "demarc", "context": {"cluster": "demarc", "user": "demarc"}}],
            "clusters": [{"name": "demarc", "cluster": {"server": server}}],
            "users": [{"name": "demarc", "user": {"token": token}}],
        },
        indent=2,
    )
