"""When does a new epoch come into force? Compile, sign, publish: the only way policy changes.

INVARIANT: an epoch is published only if its content differs from the last one, and its counter is
one more. What cannot be compiled is not published: the last good epoch stays.
INVARIANT: no number is signed twice with different content, and none below what agents run, as far
as this operator can know: agents would refuse it, and go on with an older policy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from demarc.api.cluster import Cluster, Manifest
from demarc.planning import names
from demarc.planning.report import AgentReport
from demarc.policy import compilation, document, extract, heartbeat, validation, widening
from demarc.policy.document import Document
from demarc.policy.epoch import Epoch, EpochNumber
from demarc.policy.heartbeat import Heartbeat
from demarc.policy.validation import Judged
from demarc.policy.widening import Widening
from demarc.reconcile.keyring import Keyring
from demarc.reconcile.world import Published, World

MAX_AGE_SECONDS = 900
"""How long Public stays open without a heartbeat: 15 minutes."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """The policy in force: verdicts, epoch, and what the last change newly lets out."""

    judged: Judged
    epoch: Epoch
    content: bytes
    is_new: bool
    widenings: tuple[Widening, ...]


def compile_world(
    world: World, *, keys: Keyring, packs: Mapping[str, str], home: str, now: datetime
) -> Compiled:
    """What the world's objects mean, and whether it differs from what is published."""
    last = world.published
    judged = validation.judge(
        world.manifests,
        previous=last.document if last else None,
        credentials=world.credentials,
        packs=packs,
        home=home,
        now=now,
    )
    number = last.document.number if last else EpochNumber(1, 0)
    proposed = Document(
        number=number,
        issued_at=last.document.issued_at if last else now,
        max_age_seconds=MAX_AGE_SECONDS,
        home=home,
        sources=judged.sources,
        credentials=judged.credentials,
        token_issuer=world.token_issuer,
        grant_keys=(keys.grant,),
        packs=packs,
        public=judged.public,
        public_reason=judged.public_reason,
    )
    content = document.canonical(proposed)
    if last is not None and document.hash(content) == last.hash:
        epoch = compilation.compile_epoch(proposed, hash=last.hash)
        return Compiled(judged, epoch, content, is_new=False, widenings=())
    following = replace(
        proposed, number=EpochNumber(number.term, number.counter + 1), issued_at=now
    )
    content = document.canonical(following)
    epoch = compilation.compile_epoch(following, hash=document.hash(content))
    before = compilation.compile_epoch(last.document, hash=last.hash) if last else None
    return Compiled(
        judged, epoch, content, is_new=True, widenings=widening.widening(before, epoch, now)
    )


class EpochRefusedError(Exception):
    """The operator does not sign: agents run a newer epoch than it knows of."""


def newest(published: Published | None, known: Compiled | None) -> Published | None:
    """What a new epoch follows: what the cluster holds, or what this operator knows to be newer."""
    if known is None:
        return published
    if published is not None and (
        published.document.number > known.epoch.number or published.hash == known.epoch.hash
    ):
        return published
    return Published(document.parse(known.content), known.epoch.hash)


def refuse_below(reports: Iterable[AgentReport], number: EpochNumber) -> None:
    """Return only if agents would take an epoch with this number.

    Raises:
        EpochRefusedError: one of them runs it, or a later one.
    """
    running = max((report.number for report in reports if report.number), default=None)
    if running is not None and running >= number:
        raise EpochRefusedError(
            f"epoch {number} is not signed: agents run {running}, which ConfigMap `{names.EPOCH}` "
            "does not hold: put it back from `policy.json` on a record volume of an inner gateway"
        )


async def publish(cluster: Cluster, compiled: Compiled, keys: Keyring) -> None:
    """Lay the signed epoch where agents watch for it."""
    signed = document.sign(compiled.content, keys.epoch.key, keys.epoch.key_id)
    data = {
        "epoch.json": compiled.content.decode(),
        "signature.json": json.dumps(signed.to_json(), sort_keys=True),
    }
    await cluster.apply(_config_map(names.EPOCH, data), manager=names.MANAGER)


async def publish_heartbeat(
    cluster: Cluster, epoch: Epoch, keys: Keyring, *, now: datetime
) -> None:
    """Say that this epoch is still the one."""
    text = heartbeat.sign(Heartbeat(epoch.hash, now), keys.epoch.key, keys.epoch.key_id)
    await cluster.apply(_config_map(names.HEARTBEAT, {"heartbeat": text}), manager=names.MANAGER)


def extract_for(epoch: Epoch, site: str, keys: Keyring) -> Manifest:
    """What the edge of a site obeys, signed, as a ConfigMap of its own cluster."""
    text = extract.sign(extract.extract(epoch, site), keys.epoch.key, keys.epoch.key_id)
    return _config_map(names.EXTRACT, {"extract": text})


def _config_map(name: str, data: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": names.SYSTEM_NAMESPACE,
            "labels": {names.MANAGED_BY: names.MANAGER},
        },
        "data": dict(data),
    }
