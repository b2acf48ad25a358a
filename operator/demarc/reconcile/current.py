"""What does the reconciler remember? The policy in force, and since when.

It is a cache of what the cluster holds: a restart loses nothing but the number of the epoch that
first held a generation, which is then told as the one that holds it now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from demarc.api import load, manifests
from demarc.api.cluster import Ref
from demarc.api.v1alpha1 import Resource
from demarc.policy.epoch import EpochNumber
from demarc.policy.validation import Verdict
from demarc.reconcile.publication import Compiled

_Kind = TypeVar("_Kind")


class Current:
    """The policy in force. One writer, the run of the epoch, replaces it whole."""

    def __init__(self, compiled: Compiled, earlier: Current | None) -> None:
        """Remember a compiled policy, and what was known of it before."""
        self.compiled = compiled
        self._resources: Mapping[Ref, Resource] = {
            manifests.ref_of(source): resource
            for source in compiled.judged.sources
            if not isinstance(resource := load.parse(source), tuple)
        }
        known = earlier._since if earlier is not None else {}  # noqa: SLF001  # its own class
        self._since: Mapping[tuple[Ref, str, int], EpochNumber] = {
            identity: known.get(identity, compiled.epoch.number)
            for ref, verdict in compiled.judged.verdicts.items()
            if verdict.in_force is not None
            for identity in ((ref, verdict.uid, verdict.in_force),)
        }

    def verdict(self, ref: Ref) -> Verdict | None:
        """What became of an object's current generation; None: there is no such object."""
        return self.compiled.judged.verdicts.get(ref)

    def resource(self, ref: Ref) -> Resource | None:
        """The generation of an object that is in force; None: none is."""
        return self._resources.get(ref)

    def resources(self, kind: type[_Kind]) -> tuple[_Kind, ...]:
        """Everything of a kind that is in force."""
        return tuple(item for item in self._resources.values() if isinstance(item, kind))

    def since(self, ref: Ref, verdict: Verdict) -> EpochNumber | None:
        """The first epoch that held the current generation; None: none holds it."""
        return self._since.get((ref, verdict.uid, verdict.generation))
