"""With what does a run work? Ports, keys and the policy in force, and the steps that all share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from demarc.api.cluster import Cluster, Kind, Manifest, Ref
from demarc.api.reasons import AcceptedReason
from demarc.planning import names, report
from demarc.planning.objects import AppliedObjects, PlannedObjects
from demarc.planning.report import Acceptance, Reported
from demarc.planning.settings import PlanSettings
from demarc.policy.validation import Verdict
from demarc.reconcile import application
from demarc.reconcile.current import Current
from demarc.reconcile.keyring import Keyring
from demarc.reconcile.keys import Key
from demarc.reconcile.ports import Clusters, Fleet
from demarc.reconcile.publication import Compiled

log = structlog.get_logger()

_LONGEST_MESSAGE = 4096


@dataclass(frozen=True, slots=True)
class Ports:
    """What a reconciler is given by `app`.

    Attributes:
        url: base URL of the gateway's OpenAI API, for statuses.
        packs: name and content hash of the installed detector packs.
        clock: the wall clock, with a zone.
        changed: told when an epoch was published, with what it newly lets out.
    """

    clusters: Clusters
    fleet: Fleet
    settings: PlanSettings
    packs: Mapping[str, str]
    url: Callable[[], str]
    clock: Callable[[], datetime]
    changed: Callable[[Compiled], None]


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that one run reads, fixed when it begins."""

    ports: Ports
    keys: Keyring
    current: Current

    @property
    def home(self) -> Cluster:
        """The operator's own cluster."""
        return self.ports.clusters.home

    async def apply(self, plan: PlannedObjects, clusters: Mapping[str, Cluster]) -> AppliedObjects:
        """Step 4."""
        return await application.apply(
            plan, clusters, authority=self.keys.authority, now=self.ports.clock()
        )

    async def prune(
        self, key: Key, applied: AppliedObjects, clusters: Mapping[str, Cluster]
    ) -> tuple[Ref, ...]:
        """Step 5: what belongs to the key and was not applied, whatever uid its owner had."""
        owner = {names.OWNER_KIND: key.kind, names.OWNER_NAME: names.label_value(key.name)}
        if key.namespace:
            owner[names.OWNER_NAMESPACE] = key.namespace
        return await application.prune(owner, applied, clusters)

    async def sweep(self, key: Key, clusters: Mapping[str, Cluster]) -> None:
        """Remove what a deleted object left behind."""
        gone = await self.prune(key, AppliedObjects(()), clusters)
        if gone:
            log.info("object_swept", kind=key.kind, name=key.name, pruned=len(gone))

    async def write_status(
        self,
        ref: Ref,
        verdict: Verdict,
        status: Mapping[str, Any],
        reported: Sequence[Reported],
    ) -> None:
        """Step 6. An object that is gone, or was made anew, is left to the run that it wakes."""
        present = await self.home.get(ref)
        if present is None or present["metadata"]["uid"] != verdict.uid:
            return
        previous = (present.get("status") or {}).get("conditions") or ()
        conditions = report.condition_list(
            reported, generation=verdict.generation, previous=previous, now=self.ports.clock()
        )
        await self.home.apply_status(
            {
                **_address(ref.kind, ref),
                "status": {
                    **status,
                    "observedGeneration": verdict.generation,
                    "conditions": conditions,
                },
            },
            manager=names.STATUS_MANAGER,
        )


def acceptance(verdict: Verdict) -> Acceptance:
    """A verdict as the condition `Accepted` tells it."""
    message = verdict.message or (
        "The object is valid" if verdict.reason is AcceptedReason.ACCEPTED else verdict.reason
    )
    replaced = verdict.in_force is not None
    return Acceptance(verdict.accepted, verdict.reason, message[:_LONGEST_MESSAGE], replaced)


def in_namespace(manifest: Manifest, namespace: str) -> Manifest:
    """A manifest in a namespace."""
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}


def log_errors(event: str, name: str, applied: AppliedObjects) -> None:
    """One line for what was not applied."""
    if applied.errors:
        log.warning(event, name=name, errors=applied.errors)


def _address(kind: Kind, ref: Ref) -> dict[str, Any]:
    metadata = {"name": ref.name, **({"namespace": ref.namespace} if ref.namespace else {})}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}
