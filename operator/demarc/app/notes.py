"""What should a person hear about the objects? One line for what is refused, lame or in vain.

Only conditions of the current generation speak. A line is told when it is new, or once what does
not serve has stayed so for some looks: pods come and go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from demarc.api import manifests
from demarc.api.cluster import MODEL_DEPLOYMENT, Manifest

_LASTING = frozenset(
    {
        "DigestMismatch",
        "EngineFailed",
        "ImageUnavailable",
        "PrecisionMismatch",
        "SiteUnreachable",
        "Unschedulable",
        "VolumeNotFound",
    }
)
"""Reasons of Programmed and Ready that somebody has to do something about."""
_LOOKS = 8


class Notes:
    """Which lines are new since the last look."""

    def __init__(self) -> None:
        self._told = dict[str, str]()
        self._looks = dict[str, int]()

    def look(self, items: Iterable[Manifest]) -> Sequence[str]:
        """The lines to be told now, sorted by object."""
        now = notes(items)
        self._looks = {key: self._looks.get(key, 0) + 1 for key in now}
        lines = list[str]()
        for key, (line, lasting) in sorted(now.items()):
            if self._told.get(key) != line and (not lasting or self._looks[key] > _LOOKS):
                self._told[key] = line
                lines.append(line)
        for key in sorted(self._told.keys() - now.keys()):
            del self._told[key]
            lines.append(f"{key.partition(' ')[0]}: no longer so")
        return lines


def notes(items: Iterable[Manifest]) -> Mapping[str, tuple[str, bool]]:
    """What is to be said, by object and kind of matter; whether it must last to be told."""
    found = dict[str, tuple[str, bool]]()
    for item in items:
        name = str(manifests.ref_of(item))
        status: Mapping[str, Any] = item.get("status") or {}
        generation = item["metadata"].get("generation")
        conditions = {
            each["type"]: each
            for each in status.get("conditions") or ()
            if each.get("observedGeneration") == generation
        }
        accepted = conditions.get("Accepted", {"status": "True", "reason": "Accepted"})
        if accepted["status"] != "True":
            line = f"{name} is refused: {accepted['reason']}: {accepted['message']}"
            found[f"{name} accepted"] = (line, False)
            continue
        if accepted["reason"] != "Accepted":
            line = f"{name}: {accepted['reason']}: {accepted['message']}"
            found[f"{name} accepted"] = (line, False)
        for row in status.get("placements") or () if "Programmed" in conditions else ():
            if row.get("pool") is None:
                line = f"{name} does not run on {row['site']}: {row['reason']}: {row['message']}"
                found[f"{name} {row['site']}"] = (line, False)
        last = conditions.get("Ready" if item["kind"] == MODEL_DEPLOYMENT.name else "Programmed")
        if last is not None and last["status"] != "True" and last["reason"] in _LASTING:
            line = f"{name} does not serve: {last['reason']}: {last['message']}"
            found[f"{name} ready"] = (line, True)
    return found
