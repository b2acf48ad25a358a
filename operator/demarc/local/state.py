"""What does a node keep on the disk? Its state folder: objects, pods, volumes, logs, key.

    lock            held while the node runs: one node for a folder
    objects/        one JSON file for each object, written beside and renamed
    token.key       signs ServiceAccount tokens
    addresses.json  pod -> loopback address
    pods/ volumes/ logs/

RULES
- Everything is for the user alone.
- Events are not kept, nor nodes: those are told anew at each start.
- emptyDirs lie on a short path, because a socket's path may have 107 bytes; they go when the node
  stops.
Source: https://man7.org/linux/man-pages/man7/unix.7.html
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from demarc.api.cluster import EVENT, NODE, Change, Manifest, WatchEvent
from demarc.local import volumes

_NOT_KEPT: Final = frozenset({EVENT.name, NODE.name})
_SHORT: Final = 40  # bytes of a folder under which a pod's sockets have short enough paths
_LOG_FILES: Final = 200


class StateError(Exception):
    """The state folder cannot be used; the text says why and what helps."""


class State:
    """The state folder of one node, locked while it is open."""

    def __init__(self, folder: Path, *, short: Path) -> None:
        """Lock the folder.

        Args:
            folder: made if it is not there.
            short: where a folder for sockets may lie if the state's own path is too long: `/tmp`.

        Raises:
            StateError: another node has it, or it belongs to another user.
        """
        volumes.make_folder(folder)
        folder.chmod(0o700)  # it may have been made by somebody with wider ideas
        self.folder = folder.resolve()
        self.pods = self.folder / "pods"
        self.logs = self.folder / "logs"
        self._objects = self.folder / "objects"
        for path in (self.pods, self.logs, self._objects):
            volumes.make_folder(path)
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise StateError(
                f"`{self.folder}` is in use by another node: stop that one first"
            ) from error
        self.short = self._short(short)

    @property
    def marker(self) -> str:
        """What the environment of each process says about its node."""
        return str(self.folder)

    def close(self) -> None:
        """Remove what lives only as long as the node, and unlock."""
        self.clear_empty_folders()
        with contextlib.suppress(OSError):
            self.short.rmdir()
        os.close(self._lock)

    def clear_empty_folders(self) -> None:
        """Remove all emptyDirs."""
        for path in self.short.iterdir():
            volumes.remove(path)

    def _short(self, parent: Path) -> Path:
        own = self.folder / "e"
        digest = hashlib.sha256(self.marker.encode()).hexdigest()[:8]
        # Triton's stub reads its paths as ASCII
        fits = len(os.fsencode(own)) <= _SHORT and str(own).isascii()
        path = own if fits else parent / f"dm-{digest}"
        volumes.make_folder(path)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise StateError(f"`{path}` belongs to another user: remove it")
        path.chmod(0o700)
        return path

    # objects

    def load(self) -> tuple[Manifest, ...]:
        """The objects of the run before, in the order of their last changes.

        Raises:
            StateError: a file cannot be understood.
        """
        found: list[Manifest] = []
        for path in self._objects.rglob("*.json"):
            try:
                found.append(json.loads(path.read_bytes()))
            except ValueError as error:
                raise StateError(f"`{path}` is no object: remove the file") from error
        return tuple(sorted(found, key=lambda item: int(item["metadata"]["resourceVersion"])))

    def keep(self, event: WatchEvent) -> None:
        """Write one change; `OSError` if that fails."""
        manifest = event.object
        if manifest["kind"] in _NOT_KEPT:
            return
        path = self._path(manifest)
        if event.change is Change.DELETED:
            path.unlink(missing_ok=True)
            return
        volumes.make_folder(path.parent)
        volumes.write_file(path, json.dumps(manifest).encode())

    def _path(self, manifest: Manifest) -> Path:
        metadata: Mapping[str, Any] = manifest["metadata"]
        kind = f"{manifest['kind']}.{str(manifest['apiVersion']).replace('/', '_')}"
        namespace = str(metadata.get("namespace") or "_")
        # a Role's name may hold what a file name may not
        name = str(metadata["name"]).replace("%", "%25").replace(":", "%3a")
        return self._objects / kind / namespace / f"{name}.json"

    def token_key(self) -> ec.EllipticCurvePrivateKey:
        """The key that signs tokens; made at the first call."""
        path = self.folder / "token.key"
        if path.exists():
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return key
            raise StateError(f"`{path}` is no EC key: remove the file")
        made = ec.generate_private_key(ec.SECP256R1())
        pem = made.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        volumes.write_file(path, pem)
        return made

    def addresses(self) -> Mapping[str, str]:
        """Pod -> address of the run before, the latest last."""
        path = self.folder / "addresses.json"
        if not path.exists():
            return {}
        try:
            found: Mapping[str, str] = json.loads(path.read_bytes())
        except ValueError:
            return {}  # it only saves a change of addresses
        return found

    def keep_addresses(self, addresses: Mapping[str, str]) -> None:
        """Write pod -> address."""
        volumes.write_file(self.folder / "addresses.json", json.dumps(dict(addresses)).encode())

    # pods

    def pod_folder(self, uid: str) -> Path:
        """A pod's own folder."""
        return self.pods / uid

    def empty_folder(self, uid: str) -> Path:
        """Where a pod's emptyDirs lie: a short path."""
        return self.short / hashlib.sha256(uid.encode()).hexdigest()[:8]

    def claim_folder(self, namespace: str, claim: str) -> Path:
        """The folder of a claim that this node provides."""
        return self.folder / "volumes" / namespace / claim

    def log_file(self, namespace: str, pod: str, container: str) -> Path:
        """Where a container's output goes."""
        return self.logs / f"{namespace}_{pod}_{container}.log"

    def remove_pod(self, uid: str) -> None:
        """Remove a pod's folders; its logs stay."""
        volumes.remove(self.pod_folder(uid))
        volumes.remove(self.empty_folder(uid))

    def bound_logs(self, in_use: Iterable[Path]) -> None:
        """Keep the logs of pods that are there, and the newest of those that are gone."""
        kept = set(in_use)
        gone = [path for path in self.logs.iterdir() if path not in kept]
        gone.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in gone[_LOG_FILES:]:
            path.unlink(missing_ok=True)


def claim_block(block: str) -> socket.socket:
    """Hold a block of addresses for as long as the socket is open.

    Raises:
        StateError: another node of this machine has it.
    """
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        held.bind(f"\0demarc-block-{block}")  # an abstract name: it goes with its holder
    except OSError as error:
        held.close()
        raise StateError(
            f"`{block}` is in use by another node: stop it, or change network.cidrs"
        ) from error
    return held


def listeners(block: str) -> tuple[str, ...]:
    """`address:port` of everything that listens in a /24 of loopback now, sorted.

    Source: https://docs.kernel.org/networking/proc_net_tcp.html
    """
    first = [int(part) for part in block.partition("/")[0].split(".")[:3]]
    found: set[str] = set()
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        fields = line.split()
        address, port = fields[1].split(":")
        octets = list(reversed(bytes.fromhex(address)))
        if fields[3] == "0A" and octets[:3] == first:
            found.add(f"{'.'.join(map(str, octets))}:{int(port, 16)}")
    return tuple(sorted(found))
