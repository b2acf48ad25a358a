"""How does a test get a real Kubernetes API? etcd and kube-apiserver as plain processes.

The two listen on loopback alone, on free ports, with a certificate authority of their own, and end
with the test session: on its normal end, on its failure, and (by the kernel) on its death.
INVARIANT: without the binaries a test fails with the command that builds them; it never skips.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demarc.api.cluster import KINDS, LEASE, Kind
from demarc.kube import connection
from demarc.kube.kube_cluster import KubeCluster
from demarc.kube.transport import Transport
from support.pki import Authority, new_key, private_key_pem, public_key_pem

KUBERNETES = "1.36.3"
ETCD = "3.6.16"
UNCACHED = LEASE
"""The one kind whose watches the server answers from etcd itself, so that they can be too old."""
ISSUER = "https://kubernetes.default.svc.cluster.local"
LOOPBACK = "127.0.0.1"
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1  # prctl(2)


class ApiServerError(Exception):
    """The test's API server did not start; the text says what repairs it."""


@dataclass(frozen=True, slots=True)
class ApiServer:
    """A running API server.

    Attributes:
        kubeconfig: what reaches it as a cluster administrator.
        etcd: the base URL of its store.
    """

    kubeconfig: Mapping[str, Any]
    etcd: str

    def cluster(self, *, kinds: Sequence[Kind] = KINDS) -> KubeCluster:
        """A client of it, to be used with `async with`."""
        return KubeCluster(connection.from_kubeconfig(self.kubeconfig), kinds=kinds)

    async def document(self, path: str) -> dict[str, Any]:
        """What the server gives at a path, as JSON."""
        reader = Transport(connection.from_kubeconfig(self.kubeconfig), timeout_seconds=30)
        try:
            found: dict[str, Any] = json.loads((await reader.call("GET", path)).body)
        finally:
            await reader.close()
        return found

    def forget_history(self) -> None:
        """Make every watch of `UNCACHED` that starts before now too old."""
        url = f"{self.etcd}/v3/kv"
        revision = _post(f"{url}/range", {"key": "AA=="})["header"]["revision"]
        _post(f"{url}/compaction", {"revision": revision, "physical": True})


def binaries() -> tuple[Path, Path]:
    """The paths of etcd and kube-apiserver; `ApiServerError` if one is missing."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    tools = Path(os.environ.get("DEMARC_TOOLS") or Path(cache) / "demarc" / "tools")
    etcd = tools / f"etcd-{ETCD}" / "etcd"
    server = tools / f"kubernetes-{KUBERNETES}" / "kube-apiserver"
    missing = [str(path) for path in (etcd, server) if not path.is_file()]
    if missing:
        raise ApiServerError(f"no {' and no '.join(missing)}: run `make kube`")
    return etcd, server


@contextmanager
def running_api_server(folder: Path) -> Iterator[ApiServer]:
    """An API server whose files and logs are in `folder`, from ready to ended."""
    etcd, server = binaries()
    authority = Authority()
    admin = authority.client("admin", "system:masters")
    etcd_port, peer_port, port = _free_ports(3)
    with ExitStack() as processes:
        processes.enter_context(
            _running(
                folder / "etcd.log",
                str(etcd),
                f"--data-dir={folder / 'etcd'}",
                f"--listen-client-urls=http://{LOOPBACK}:{etcd_port}",
                f"--advertise-client-urls=http://{LOOPBACK}:{etcd_port}",
                f"--listen-peer-urls=http://{LOOPBACK}:{peer_port}",
                f"--initial-advertise-peer-urls=http://{LOOPBACK}:{peer_port}",
                f"--initial-cluster=default=http://{LOOPBACK}:{peer_port}",
                "--unsafe-no-fsync",
            )
        )
        process = processes.enter_context(
            _running(
                folder / "kube-apiserver.log",
                str(server),
                f"--etcd-servers=http://{LOOPBACK}:{etcd_port}",
                f"--bind-address={LOOPBACK}",
                f"--secure-port={port}",
                # Nothing publishes this address, and a loopback address would be refused.
                "--advertise-address=192.0.2.1",
                "--endpoint-reconciler-type=none",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--authorization-mode=RBAC",
                # No controller makes the `default` ServiceAccount that this plugin asks for.
                "--disable-admission-plugins=ServiceAccount",
                f"--service-account-issuer={ISSUER}",
                f"--watch-cache-sizes={UNCACHED.plural}.{UNCACHED.group}#0",
                *_identity_flags(folder, authority),
            )
        )
        kubeconfig = _kubeconfig(port, authority.certificate, admin.certificate, admin.key)
        _wait_until_ready(folder, port, process)
        yield ApiServer(kubeconfig=kubeconfig, etcd=f"http://{LOOPBACK}:{etcd_port}")


def _identity_flags(folder: Path, authority: Authority) -> tuple[str, ...]:
    admin = authority.client("admin", "system:masters")
    serving = authority.server("kube-apiserver", LOOPBACK)
    signing_key = new_key()
    files = {
        "ca.crt": authority.certificate,
        "admin.crt": admin.certificate,
        "admin.key": admin.key,
        "serving.crt": serving.certificate,
        "serving.key": serving.key,
        "sa.key": private_key_pem(signing_key),
        "sa.pub": public_key_pem(signing_key),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return (
        f"--client-ca-file={folder / 'ca.crt'}",
        f"--tls-cert-file={folder / 'serving.crt'}",
        f"--tls-private-key-file={folder / 'serving.key'}",
        f"--service-account-signing-key-file={folder / 'sa.key'}",
        f"--service-account-key-file={folder / 'sa.pub'}",
        f"--cert-dir={folder}",
    )


def _kubeconfig(port: int, authority: bytes, certificate: bytes, key: bytes) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "clusters": [
            {
                "name": "test",
                "cluster": {
                    "server": f"https://{LOOPBACK}:{port}",
                    "certificate-authority-data": base64.b64encode(authority).decode(),
                },
            }
        ],
        "users": [
            {
                "name": "admin",
                "user": {
                    "client-certificate-data": base64.b64encode(certificate).decode(),
                    "client-key-data": base64.b64encode(key).decode(),
                },
            }
        ],
    }


@contextmanager
def _running(log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    libc = ctypes.CDLL(None, use_errno=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            # The child ends with this process, even when that is killed.
            preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(folder: Path, port: int, process: subprocess.Popen[bytes]) -> None:
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    context.load_cert_chain(folder / "admin.crt", folder / "admin.key")
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            tail = (folder / "kube-apiserver.log").read_text(errors="replace")[-2000:]
            raise ApiServerError(f"kube-apiserver ended with {process.returncode}: {tail}")
        try:
            with opener.open(f"https://{LOOPBACK}:{port}/readyz", timeout=2) as answer:
                if answer.read() == b"ok":
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise ApiServerError(f"kube-apiserver was not ready after {_START_SECONDS:.0f} s")


def _post(url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, data=json.dumps(body).encode(), method="POST")
    with opener.open(request, timeout=10) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def _free_ports(count: int) -> list[int]:
    with ExitStack() as sockets:
        held = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for item in held:
            item.bind((LOOPBACK, 0))
        return [item.getsockname()[1] for item in held]
