"""What does Envoy have in use? Its files, written in the one right order, and what it says of them.

INVARIANT: a file is written beside its place and renamed, so Envoy reads whole files only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import structlog

from demarc.engines.envoy import Applied
from demarc.xds import translation
from demarc.xds.clusters import Addresses
from demarc.xds.settings import GatewaySettings
from demarc.xds.translation import Files
from demarc.xds.view import View

log = structlog.get_logger()


class Dataplane:
    """The files of one Envoy."""

    def __init__(self, folder: Path, settings: GatewaySettings) -> None:
        """Read what an earlier run of the agent left, so that only changes are written."""
        self._folder = folder
        self._settings = settings
        self._files: dict[str, str] = {}
        for path in folder.glob("*.json"):
            try:
                self._files[path.name] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue  # it is written anew
        self._wanted: Files = {}

    def draw(self, view: View, addresses: Addresses) -> bool:
        """Write what has changed; whether anything has.

        Raises:
            OSError: a file cannot be written; what was written before it is in use.
        """
        wanted = translation.translate(view, addresses, self._settings)
        writes = translation.changes(self._old(), wanted)
        for write in writes:
            beside = self._folder / f".{write.name}.new"
            beside.write_text(write.text, encoding="utf-8")
            beside.replace(self._folder / write.name)
            self._files[write.name] = write.text
        self._wanted = wanted
        return bool(writes)

    def addresses(self) -> Addresses:
        """The addresses in the files as they are: what was known before the cluster was asked."""
        try:
            resources = json.loads(self._files.get(translation.CDS, ""))["resources"]
            return {
                str(item["name"]): tuple(
                    (str(at["address"]), int(at["port_value"]))
                    for group in item["load_assignment"]["endpoints"]
                    for host in group.get("lb_endpoints", ())
                    for at in (host["endpoint"]["address"]["socket_address"],)
                )
                for item in resources
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}

    def differences(self, applied: Applied) -> tuple[str, ...]:
        """What Envoy does not have in use as it was written: sorted, empty when all is in use.

        Envoy takes the version of a clusters file only with a cluster that it adds or removes: one
        that never had a cluster says no version, and then it uses a file without clusters.
        """
        if not self._wanted:
            return ("nothing was written yet",)
        found = [
            f"{file} is not in use"
            for file, version in (
                (translation.CDS, applied.cds),
                (translation.LDS, applied.lds),
                (translation.RDS, applied.rds),
            )
            if translation.version(self._wanted[file]) != version
        ]
        if not applied.cds and not json.loads(self._wanted[translation.CDS])["resources"]:
            found.remove(f"{translation.CDS} is not in use")
        found += [f"{name} was rejected: {why}" for name, why in applied.errors.items()]
        return tuple(sorted(found))

    def _old(self) -> Mapping[str, str]:
        """The files of an earlier run; one that is no discovery file counts as absent."""
        kept: dict[str, str] = {}
        for name, text in self._files.items():
            if name in {translation.CDS, translation.LDS, translation.RDS}:
                try:
                    translation.version(text)
                except ValueError:
                    continue
            kept[name] = text
        return kept
