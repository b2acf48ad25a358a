"""What would this folder mean? Verdicts, epoch, plans and explanations without any cluster."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from demarc.api.cluster import SECRET, SERVICE_ACCOUNT, Manifest, Ref
from demarc.api.load import CoreObject, Loaded
from demarc.api.v1alpha1 import ModelDeployment, Resource, Site
from demarc.planning import engine, gateways, placement
from demarc.planning.objects import Planned, PlannedObjects
from demarc.planning.placement import Placed, Rejected
from demarc.planning.settings import PlanSettings
from demarc.policy import detection, eligibility, explanation, parsing, validation, widening
from demarc.policy.decision import Health, Request
from demarc.policy.detection import Detectors
from demarc.policy.epoch import ClientIdentity, Epoch
from demarc.policy.explanation import Explanation
from demarc.policy.refusal import Refusal
from demarc.policy.validation import Verdict
from demarc.policy.widening import Widening

CHAT_PATH = "/v1/chat/completions"
DEFAULT_HOME = "home"


@dataclass(frozen=True, slots=True)
class Offline:
    """A folder, judged and compiled; nothing is signed."""

    resources: tuple[Resource, ...]
    accepted: tuple[Resource, ...]
    verdicts: Mapping[Ref, Verdict]
    epoch: Epoch
    home: str
    widenings: tuple[Widening, ...]


class CallerError(Exception):
    """The caller that a request is explained for does not exist; the text says who does."""


def home_of(objects: tuple[Loaded, ...]) -> str:
    """Name of the InCluster site of a folder; the first by name when there are several."""
    names = sorted(
        item.metadata.name
        for item in objects
        if isinstance(item, Site) and item.spec.connection.type == "InCluster"
    )
    return names[0] if names else DEFAULT_HOME


def compile_folder(objects: tuple[Loaded, ...], detectors: Detectors, now: datetime) -> Offline:
    """Judge and compile the objects of a folder as the operator would."""
    resources = tuple(item for item in objects if not isinstance(item, CoreObject))
    home = home_of(objects)
    credentials = dict(_credentials(objects))
    judged = validation.judge(
        [_manifest(resource) for resource in resources],
        previous=None,
        credentials=credentials,
        packs=detectors.hashes,
        home=home,
        now=now,
    )
    chosen = tuple(
        resource
        for resource in resources
        if any(
            verdict.accepted
            for ref, verdict in judged.verdicts.items()
            if (ref.kind.name, ref.namespace, ref.name)
            == (resource.kind, resource.metadata.namespace or "", resource.metadata.name)
        )
    )
    epoch = validation.trial(chosen, credentials, now)
    if judged.public == "Closed":
        epoch = epoch.closed(judged.public_reason)
    return Offline(
        resources, chosen, judged.verdicts, epoch, home, widening.widening(None, epoch, now)
    )


def placements(
    offline: Offline, now: datetime
) -> Iterator[tuple[ModelDeployment, Placed | Rejected]]:
    """Where each accepted ModelDeployment would run, and why not elsewhere."""
    sites = {item.metadata.name: item for item in offline.accepted if isinstance(item, Site)}
    barred = eligibility.never_eligible(offline.epoch, now)
    for model in offline.accepted:
        if isinstance(model, ModelDeployment):
            for outcome in placement.place(model, sites, barred=barred):
                yield model, outcome


def plan(offline: Offline, settings: PlanSettings, now: datetime) -> tuple[Planned, ...]:
    """Every object that the operator would apply, but Secrets: those hold keys."""
    remote = tuple(
        item
        for item in offline.accepted
        if isinstance(item, Site) and item.spec.connection.type == "RemoteCluster"
    )
    whole = gateways.plan_home(settings, remote)
    for site in remote:
        whole += gateways.plan_edge(site, settings)
    for model, outcome in placements(offline, now):
        if isinstance(outcome, Placed):
            whole += engine.plan(model, outcome, settings)
    return _once(whole)


def _once(plan: PlannedObjects) -> tuple[Planned, ...]:
    seen = set[str]()
    found = list[Planned]()
    for item in plan.objects:
        text = item.cluster + json.dumps(item.manifest, sort_keys=True)
        if text not in seen:
            seen.add(text)
            found.append(item)
    return tuple(found)


def caller(epoch: Epoch, tenant: str, app: str, client: str) -> ClientIdentity:
    """A declared client of an app; the first by name when none is named.

    Raises:
        CallerError: there is none.
    """
    identities = sorted(
        {*epoch.api_keys.values(), *epoch.service_accounts.values()},
        key=lambda identity: (identity.tenant, identity.app, identity.client),
    )
    for identity in identities:
        if (identity.tenant, identity.app) == (tenant, app) and client in {"", identity.client}:
            return identity
    known = sorted({f"{identity.tenant}/{identity.app}" for identity in identities})
    raise CallerError(
        f"no client proves app `{tenant}/{app}`"
        + (f" as `{client}`" if client else "")
        + f": apps with a client are {', '.join(known) or 'none'}"
    )


def explain(
    body: bytes,
    *,
    caller: ClientIdentity,
    level: str,
    epoch: Epoch,
    detectors: Detectors,
    health: Mapping[str, Health],
    now: datetime,
) -> Explanation | Refusal:
    """What the gateway would answer to a body, and why; the same functions, no socket."""
    headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
    if level:
        headers.append(("demarc-level", level))
    parsed = parsing.parse(body, method="POST", path=CHAT_PATH, headers=headers)
    match parsed:
        case Refusal():
            return parsed
        case parsing.ListModels():
            raise AssertionError("a POST lists no models")
        case parsing.ParsedRequest():
            request = Request(
                caller,
                parsed.model,
                parsed.needs,
                detection.scan(parsed.texts, detectors),
                parsed.raise_to,
            )
            return explanation.explain(request, epoch, now, health)


def all_up(epoch: Epoch) -> Mapping[str, Health]:
    """Every endpoint taken as up: what policy alone would choose."""
    return {endpoint.name: Health(up=True) for endpoint in epoch.endpoints}


def _manifest(resource: Resource) -> Manifest:
    dumped = resource.dump()
    metadata: dict[str, Any] = {**dumped["metadata"], "generation": 1}
    metadata["uid"] = metadata.get("uid") or f"{resource.kind}/{resource.key}"
    return {**dumped, "metadata": metadata}


def _credentials(objects: tuple[Loaded, ...]) -> Iterator[tuple[str, str]]:
    for item in objects:
        if not isinstance(item, CoreObject):
            continue
        metadata = item.manifest["metadata"]
        address = f"{metadata.get('namespace', 'default')}/{metadata['name']}"
        if item.kind == SERVICE_ACCOUNT:
            yield f"serviceaccount:{address}", f"ServiceAccount/{address}"
        if item.kind == SECRET:
            data = {
                key: base64.b64decode(value)
                for key, value in (item.manifest.get("data") or {}).items()
            }
            for key, text in (item.manifest.get("stringData") or {}).items():
                data[key] = str(text).encode()
            for key, value in data.items():
                yield f"secret:{address}/{key}", hashlib.sha256(value.strip()).hexdigest()
