"""How does a cluster without an API server keep its objects? In memory, with the API's semantics.

INVARIANT: one counter numbers all changes; an object carries the number of its last one.
INVARIANT: the journal hears of a change before anyone else; what it refuses has not happened.
INVARIANT: nobody outside holds a stored object: whatever comes in or goes out is a copy.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from demarc.api import cluster, manifests
from demarc.api.cluster import (
    KINDS,
    Change,
    ConflictError,
    GoneError,
    InvalidError,
    Kind,
    Listing,
    Manifest,
    NotFoundError,
    Ref,
    TransientError,
    WatchEvent,
)
from demarc.local import merge, object_life, object_rules, server_side_apply
from demarc.local.field_set import FieldsError
from demarc.local.merge_schema import UNKNOWN, Place
from demarc.local.server_side_apply import Manager
from demarc.local.tokens import ServiceAccount, TokenSigner

Journal: TypeAlias = Callable[[WatchEvent], None]
"""Hears of each change before it is made; an `OSError` keeps it from being made."""

_INITIAL_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_SHORTEST_TOKEN_SECONDS = 600
_LONGEST_TOKEN_SECONDS = 2**32
_LONGEST_MANAGER = 128


class Store:
    """Objects of one cluster in memory: an adapter of `Cluster`.

    It belongs to one event loop; a call is done when it returns, also for the objects that it
    removes along with another.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime],
        ids: Callable[[], str],
        signer: TokenSigner,
        places: Mapping[Kind, Place],
        kinds: Sequence[Kind] = KINDS,
        history: int = 4096,
        journal: Journal | None = None,
    ) -> None:
        """Start with the namespaces that every cluster has; the journal does not hear of them.

        Args:
            clock: the time, with a time zone.
            ids: makes a new unique id at each call.
            signer: signs ServiceAccount tokens.
            places: the merge rules of each kind, `merge_schema.of_every_kind()`.
            kinds: the kinds that exist.
            history: how many changes a watch may be behind.
            journal: hears of each change before it is made.
        """
        self._clock = clock
        self._ids = ids
        self._signer = signer
        self._places = places
        self._kinds = tuple(kinds)
        self._journal = journal
        self._objects: dict[Ref, dict[str, Any]] = {}
        self._version = 0
        self._forgotten = 0  # the highest version that no watch can start before any more
        self._history: deque[tuple[int, Ref, WatchEvent]] = deque()
        self._history_length = history
        self._changed = asyncio.Event()
        for name in _INITIAL_NAMESPACES:
            self._start_with({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self._forgotten = self._version

    def load(self, objects: Iterable[Manifest]) -> None:
        """Take over objects of an earlier run as they are; neither journal nor watches hear of it.

        A watch that began before is too old afterwards.
        """
        for manifest in objects:
            ref = manifests.ref_of(manifest, self._kinds)
            self._objects[ref] = _copy(manifest)
            self._version = max(self._version, int(manifest["metadata"]["resourceVersion"]))
        self._history.clear()
        self._forgotten = self._version

    @property
    def version(self) -> str:
        """The `resourceVersion` of the last change."""
        return str(self._version)

    async def get(self, ref: Ref) -> Manifest | None:
        """The object, or None if there is none."""
        self._known(ref.kind)
        found = self._objects.get(ref)
        return None if found is None else _copy(found)

    async def list(
        self, kind: Kind, *, namespace: str = "", labels: Mapping[str, str] | None = None
    ) -> Listing:
        """All objects of a kind, in one namespace or in all, that carry all the labels."""
        self._known(kind)
        wanted = (labels or {}).items()
        items = tuple(
            _copy(manifest)
            for ref, manifest in sorted(self._objects.items())
            if ref.kind == kind
            and namespace in {"", ref.namespace}
            and wanted <= manifest["metadata"].get("labels", {}).items()
        )
        return Listing(items, self.version)

    async def watch(
        self, kind: Kind, *, since: str, namespace: str = ""
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after `since`; without one, what there is first. It ends only when closed."""
        self._known(kind)
        seen = _parse_version(since)
        if seen == 0:
            listing = await self.list(kind, namespace=namespace)
            seen = int(listing.resource_version)
            for item in listing.items:
                yield WatchEvent(Change.ADDED, item)
        while True:
            # Taken before the look: a change made while an event is out wakes the next wait.
            changed = self._changed
            if seen < self._forgotten or seen > self._version:
                raise GoneError(f"version {seen} is too old: list again")
            newer = [entry for entry in self._history if entry[0] > seen]
            for version, ref, event in newer:
                seen = version
                if ref.kind == kind and namespace in {"", ref.namespace}:
                    yield WatchEvent(event.change, _copy(event.object))
            if not newer:
                await changed.wait()

    async def apply(
        self, manifest: Manifest, *, manager: str, force: bool = True, dry_run: bool = False
    ) -> Manifest:
        """Server-side apply by a field manager; fields it no longer sends are removed."""
        ref = manifests.ref_of(manifest, self._kinds)
        wanted = object_life.as_sent(ref.kind, manifest)
        live = self._objects.get(ref)
        self._check_preconditions(ref, wanted["metadata"], live)
        if live is None and ref.namespace:
            self._require_namespace(ref.namespace)
        new = self._applied(ref, live, wanted, _manager(manager), force=force)
        if live is None:
            new["metadata"] |= {"uid": self._ids(), "creationTimestamp": self._now()}
        object_life.complete(ref.kind, new, live)
        object_rules.check(ref, new, live)
        return self._write(ref, new, live, dry_run=dry_run)

    async def apply_status(self, manifest: Manifest, *, manager: str) -> Manifest:
        """Server-side apply of the status subresource only; `NotFoundError` without the object."""
        ref = manifests.ref_of(manifest, self._kinds)
        live = self._objects.get(ref)
        if ref.kind not in object_life.WITH_STATUS or live is None:
            raise NotFoundError(f"there is no `{ref}` with a status")
        wanted = object_life.as_status(manifest)
        self._check_preconditions(ref, manifest["metadata"], live)
        owner = _manager(manager, subresource="status")
        new = self._applied(ref, live, wanted, owner, force=True)
        object_rules.check(ref, new, live)
        return self._write(ref, new, live, dry_run=False)

    async def delete(self, ref: Ref, *, uid: str = "") -> None:
        """Delete, with everything that then has no owner or no namespace any more."""
        self._known(ref.kind)
        live = self._objects.get(ref)
        if live is None:
            return
        if uid and uid != live["metadata"]["uid"]:
            raise ConflictError(f"`{ref}` is not the object that was read: its uid is another")
        self._leave(ref)

    async def issue_token(
        self, namespace: str, service_account: str, *, audience: str, seconds: int
    ) -> str:
        """A ServiceAccount token (a JWT) for an audience, valid for 600 seconds or more."""
        if not _SHORTEST_TOKEN_SECONDS <= seconds <= _LONGEST_TOKEN_SECONDS:
            raise InvalidError(
                f"a token of `{seconds}` seconds: it may be valid for {_SHORTEST_TOKEN_SECONDS}"
                f" to {_LONGEST_TOKEN_SECONDS} seconds"
            )
        ref = Ref(cluster.SERVICE_ACCOUNT, namespace, service_account)
        account = self._objects.get(ref)
        if account is None:
            raise NotFoundError(f"there is no `{ref}`")
        return self._signer.sign(
            ServiceAccount(namespace, service_account, account["metadata"]["uid"]),
            audience=audience,
            lifetime=timedelta(seconds=seconds),
            now=self._clock(),
            jti=self._ids(),
        )

    async def token_keys(self) -> Mapping[str, Any]:
        """`{"issuer": str, "keys": [JWK, ...]}`: what verifies ServiceAccount tokens."""
        return self._signer.keys()

    def _applied(
        self,
        ref: Ref,
        live: Mapping[str, Any] | None,
        wanted: Mapping[str, Any],
        manager: Manager,
        *,
        force: bool,
    ) -> dict[str, Any]:
        """The object after the apply, with its owners and without a new version."""
        place = self._places.get(ref.kind, UNKNOWN)
        try:
            applied = server_side_apply.apply(
                live, wanted, manager=manager, place=place, force=force
            )
        except FieldsError as error:
            raise InvalidError(f"`{ref}` is invalid: {error}") from error
        new = applied.object
        if ref.kind not in cluster.DEMARC_KINDS:
            # Lists at the top stay: `endpoints: []` and `rules: []` are stated by these kinds.
            new |= {
                name: merge.without_empty(new[name], place.child(name))
                for name in ("metadata", "spec", "status")
                if name in new
            }
        before = live["metadata"].get("managedFields", ()) if live is not None else ()
        entries = server_side_apply.managed_fields(applied, before, now=self._now())
        if entries:
            new["metadata"]["managedFields"] = entries
        return new

    def _write(
        self, ref: Ref, new: dict[str, Any], live: dict[str, Any] | None, *, dry_run: bool
    ) -> Manifest:
        if new == live:
            return _copy(new)
        if object_life.is_finished(new):
            if not dry_run:
                self._remove(ref)
            return _copy(new)
        object_life.count_generation(ref.kind, new, live)
        if dry_run:
            return _copy(new)
        change = Change.ADDED if live is None else Change.MODIFIED
        new["metadata"]["resourceVersion"] = str(self._version + 1)
        self._record(ref, WatchEvent(change, new))
        self._objects[ref] = new
        return _copy(new)

    def _leave(self, ref: Ref) -> None:
        """Remove an object, or note that it is to go when finalizers hold it."""
        live = self._objects[ref]
        if not live["metadata"].get("finalizers"):
            self._remove(ref)
            return
        new = _copy(live)
        new["metadata"].setdefault("deletionTimestamp", self._now())
        new["metadata"].setdefault("deletionGracePeriodSeconds", 0)
        self._write(ref, new, live, dry_run=False)

    def _remove(self, ref: Ref) -> None:
        """Remove an object, then what it takes along; the namespace itself goes last."""
        if ref.kind == cluster.NAMESPACE:
            for other in [item for item in self._objects if item.namespace == ref.name]:
                if other in self._objects:
                    self._leave(other)
        gone = _copy(self._objects[ref])
        gone["metadata"]["resourceVersion"] = str(self._version + 1)
        self._record(ref, WatchEvent(Change.DELETED, gone))
        del self._objects[ref]
        for other in object_life.orphans(self._objects, gone["metadata"]["uid"]):
            if other in self._objects:
                self._leave(other)

    def _record(self, ref: Ref, event: WatchEvent) -> None:
        if self._journal is not None:
            try:
                self._journal(WatchEvent(event.change, _copy(event.object)))
            except OSError as error:
                raise TransientError(f"`{ref}` cannot be kept: {error.strerror}") from error
        self._version += 1
        self._history.append((self._version, ref, WatchEvent(event.change, _copy(event.object))))
        while len(self._history) > self._history_length:
            self._forgotten = self._history.popleft()[0]
        self._changed.set()
        self._changed = asyncio.Event()

    def _start_with(self, manifest: dict[str, Any]) -> None:
        ref = manifests.ref_of(manifest, self._kinds)
        object_life.complete(ref.kind, manifest, None)
        self._version += 1
        manifest["metadata"] |= {
            "uid": self._ids(),
            "creationTimestamp": self._now(),
            "resourceVersion": str(self._version),
        }
        self._objects[ref] = manifest

    def _check_preconditions(
        self, ref: Ref, metadata: Mapping[str, Any], live: Mapping[str, Any] | None
    ) -> None:
        """An apply that names a uid or a version means that object in that state."""
        for field in ("uid", "resourceVersion"):
            wanted = metadata.get(field)
            if wanted and (live is None or live["metadata"][field] != wanted):
                raise ConflictError(
                    f"`{ref}` is not the object that was read: its {field} is another"
                )

    def _require_namespace(self, name: str) -> None:
        if Ref(cluster.NAMESPACE, "", name) not in self._objects:
            raise NotFoundError(f"there is no namespace `{name}`")

    def _known(self, kind: Kind) -> None:
        if kind not in self._kinds:
            raise InvalidError(f"there is no kind `{kind.name}` in `{kind.api_version}`")

    def _now(self) -> str:
        return self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _manager(name: str, subresource: str = "") -> Manager:
    if not name or len(name) > _LONGEST_MANAGER or not name.isprintable():
        raise InvalidError(f"`{name}` is no field manager: 1 to {_LONGEST_MANAGER} characters")
    return Manager(name, subresource=subresource)


def _parse_version(since: str) -> int:
    try:
        return int(since or "0")
    except ValueError as error:
        raise InvalidError(f"`{since}` is no resourceVersion") from error


def _copy(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _copy_value(value) for name, value in manifest.items()}


def _copy_value(value: Any) -> Any:
    """A copy of plain JSON, at a tenth of the cost of `copy.deepcopy`: nothing in it is shared."""
    if type(value) is dict:
        return {name: _copy_value(child) for name, child in value.items()}
    if type(value) is list:
        return [_copy_value(item) for item in value]
    if isinstance(value, str | int | float | None):
        return value
    return copy.deepcopy(value)
