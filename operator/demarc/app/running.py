"""What does a running Demarc say of itself? Read through its Kubernetes API and its files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from demarc.api.cluster import (
    CONFIG_MAP,
    MODEL_DEPLOYMENT,
    Cluster,
    ClusterError,
    Kind,
    Manifest,
    Ref,
)
from demarc.app import run_file
from demarc.audit.record import Record
from demarc.kube import connection
from demarc.kube.kube_cluster import KubeCluster
from demarc.ledger import records, usage
from demarc.ledger.usage import Sum
from demarc.planning import names
from demarc.policy import compilation, document, signature
from demarc.policy.decision import Health
from demarc.policy.epoch import Epoch
from demarc.reconcile.world import AUDIENCE

_Value = TypeVar("_Value")


class RunningError(Exception):
    """Nothing runs there, or it does not answer; one line that says what to do."""


class Running:
    """One running Demarc, found by the state folder of its `demarc up`."""

    def __init__(self, state: Path) -> None:
        """Read `run.json`.

        Raises:
            RunningError: no `demarc up` runs with this state.
        """
        run = run_file.read(state)
        if run is None:
            raise RunningError(
                f"no `demarc up` runs with state `{state}`: start one, or name its --state"
            )
        self.run: Mapping[str, Any] = run

    def list(self, kind: Kind, namespace: str) -> tuple[Manifest, ...]:
        """All objects of a kind, in one namespace or in all."""

        async def ask(cluster: Cluster) -> tuple[Manifest, ...]:
            return (await cluster.list(kind, namespace=namespace)).items

        return self._ask(ask)

    def get(self, ref: Ref) -> Manifest | None:
        """One object; None if there is none."""

        async def ask(cluster: Cluster) -> Manifest | None:
            return await cluster.get(ref)

        return self._ask(ask)

    def token(self, namespace: str, account: str, seconds: int) -> str:
        """A ServiceAccount token for the gateway."""

        async def ask(cluster: Cluster) -> str:
            return await cluster.issue_token(namespace, account, audience=AUDIENCE, seconds=seconds)

        return self._ask(ask)

    def epoch(self) -> Epoch:
        """The epoch in force, verified with the installed trust bundle.

        Raises:
            RunningError: there is none, or nobody trusted signed it.
        """
        namespace = names.SYSTEM_NAMESPACE
        published = self.get(Ref(CONFIG_MAP, namespace, names.EPOCH))
        trusted = self.get(Ref(CONFIG_MAP, namespace, names.TRUST))
        try:
            data = (published or {})["data"]
            content = data["epoch.json"].encode()
            trust = signature.parse_trust((trusted or {})["data"]["trust.json"])
            signed = signature.parse_signature(data["signature.json"])
            read = document.verify(content, signed, trust)
        except (KeyError, document.EpochError, signature.SignatureError) as error:
            raise RunningError(f"no epoch can be believed: {error}") from error
        return compilation.compile_epoch(read, hash=document.hash(content))

    def health(self, epoch: Epoch) -> Mapping[str, Health]:
        """Which endpoints have a ready replica, as the statuses say."""
        ready = set[str]()
        for item in self.list(MODEL_DEPLOYMENT, ""):
            metadata = item["metadata"]
            for row in (item.get("status") or {}).get("placements") or ():
                if row.get("readyReplicas", 0) > 0:
                    ready.add(f"{metadata['namespace']}/{metadata['name']}@{row['site']}")
        return {endpoint.name: Health(up=endpoint.name in ready) for endpoint in epoch.endpoints}

    def decisions(self, decision_id: str) -> tuple[Record, ...]:
        """All records of one request, oldest first."""
        try:
            return records.find(Path(self.run["record"]) / "records", decision_id)
        except OSError as error:
            raise RunningError(f"the records cannot be read: {error.strerror}") from error

    def usage(self, by: tuple[str, ...], tenant: str | None) -> tuple[Sum, ...]:
        """Tokens and cost by groups."""
        try:
            return usage.summary(Path(self.run["ledger"]), by=by, tenant=tenant)
        except usage.LedgerError as error:
            raise RunningError(str(error)) from error

    def _ask(self, question: Callable[[Cluster], Awaitable[_Value]]) -> _Value:
        async def run() -> _Value:
            reach = connection.from_file(Path(self.run["kubeconfig"]))
            async with KubeCluster(reach) as cluster:
                return await question(cluster)

        try:
            return asyncio.run(run())
        except (ClusterError, connection.ConnectionConfigError) as error:
            raise RunningError(str(error)) from error
