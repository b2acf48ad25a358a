"""What was planned, and what was applied? Two types, so that a status only speaks of the second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from demarc.api.cluster import Manifest, Ref

HOME = ""
"""The cluster that the operator runs in; other clusters are named by their Site."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One object and the cluster that it belongs to: `HOME` or the name of a remote Site."""

    cluster: str
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """A TLS Secret that must exist: who it names and where it lies.

    Attributes:
        uri: the SPIFFE name, a URI SAN.
        addresses: IP addresses and DNS names, for listeners that clients reach.
        usages: `server`, `client` or both.
    """

    cluster: str
    namespace: str
    secret: str
    uri: str
    labels: Mapping[str, str]
    addresses: tuple[str, ...] = ()
    usages: tuple[str, ...] = ("server", "client")


@dataclass(frozen=True, slots=True)
class PlannedObjects:
    """Everything that one key wants, in the order of application."""

    objects: tuple[Planned, ...]
    certificates: tuple[CertificateRequest, ...] = ()

    def __add__(self, other: PlannedObjects) -> PlannedObjects:
        """Both plans, one after the other."""
        return PlannedObjects(self.objects + other.objects, self.certificates + other.certificates)


@dataclass(frozen=True, slots=True)
class Applied:
    """One object as the cluster gave it back, or the reason why it was not applied."""

    cluster: str
    ref: Ref
    manifest: Manifest | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class AppliedObjects:
    """What became of a plan."""

    objects: tuple[Applied, ...]

    def find(self, cluster: str, ref: Ref) -> Applied | None:
        """The outcome for one object; None when it was not planned."""
        return next((o for o in self.objects if o.cluster == cluster and o.ref == ref), None)

    @property
    def errors(self) -> tuple[str, ...]:
        """One sentence for each object that was not applied, sorted."""
        return tuple(sorted(f"{o.ref}: {o.error}" for o in self.objects if o.error))


def status_of(manifest: Manifest | None) -> Mapping[str, Any]:
    """The status of a manifest, empty when there is none."""
    if manifest is None:
        return {}
    status: Mapping[str, Any] = manifest.get("status") or {}
    return status
