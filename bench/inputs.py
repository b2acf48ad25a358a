"""What do both gateways read? The policy, certificates and files, as the product makes them.

Bare gets the product's own files for the inner gateway, less everything that decides or writes: the
same listener TLS, upstream mutual TLS, limits and arguments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bodies import PATH
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demarc.app import packs
from demarc.planning import names, pods
from demarc.planning.settings import PlanSettings
from demarc.policy import signature
from demarc.policy.document import Document
from demarc.policy.epoch import Epoch
from demarc.xds import translation
from demarc.xds import view as views
from demarc.xds.settings import GatewaySettings
from demarc.xds.view import Role
from support import agents, cluster, envoy
from support.agents import HOME, Clock, Issuer
from support.cluster import MemoryCluster

NETWORKS = {HOME: "127.96.0.0/17", agents.FAR: "127.96.128.0/17"}
BARE, INNER, UPSTREAM = "127.96.1.1", "127.96.2.1", "127.96.3.1"
ENDPOINT = agents.NEAR_ENDPOINT
TOKEN = "bench"  # of a server on loopback that lives for minutes


def issuer() -> Issuer:
    """Keys of an operator that lives as long as this run."""
    return Issuer(Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate(), Clock(), packs.load())


def document(by: Issuer) -> Document:
    """The design's sample on addresses of its own, and an API key for its app at the floor 3."""
    items: list[dict[str, Any]] = json.loads(json.dumps(agents.sources()))
    for item in items:
        if item["kind"] == "Site":
            item["spec"]["network"]["cidrs"] = [NETWORKS[item["metadata"]["name"]]]
    return by.document(items)


def request(body: bytes) -> bytes:
    """A client's whole request."""
    return (
        b"POST " + PATH.encode() + b" HTTP/1.1\r\nhost: gateway\r\n"
        b"content-type: application/json\r\nuser-agent: OpenAI/Python 3.57.0\r\n"
        b"accept: application/json\r\naccept-encoding: gzip, deflate\r\n"
        b"authorization: Bearer " + agents.COPILOT_KEY.encode() + b"\r\n"
        b"content-length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )


def certificates(folder: Path) -> Mapping[str, Path]:
    """Folders with the certificates of the gateway, of its client listener and of the upstream."""
    authority = envoy.Names()
    return {
        name: authority.folder(folder / name, f"spiffe://demarc/{HOME}/{path}")
        for name, path in (
            ("inner", "inner"),
            ("client", "gateway"),
            ("upstream", "models/glm-4-air"),
        )
    }


def bare_files(epoch: Epoch, gateway: GatewaySettings, port: int) -> Mapping[str, str]:
    """The product's files for the inner gateway, less everything that decides or writes."""
    view = views.of_epoch(Role.INNER, epoch)
    files = dict(translation.translate(view, {ENDPOINT: ((UPSTREAM, port),)}, gateway))
    found = json.loads(files[translation.LDS])
    manager = found["resources"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    for name in ("early_header_mutation_extensions", "local_reply_config", "access_log", "rds"):
        del manager[name]
    manager["http_filters"] = manager["http_filters"][-1:]
    manager["route_config"] = {
        "name": "bare",
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": ENDPOINT, "timeout": "600s"}}
                ],
            }
        ],
    }
    files[translation.LDS] = json.dumps(found)
    return files


def gateway(run: Path, port: int, tls: Mapping[str, Path]) -> GatewaySettings:
    """The values of the bare gateway, with the certificates of the inner one."""
    return GatewaySettings(
        node="bare",
        address=BARE,
        run=str(run),
        tls=str(tls["inner"]),
        client_tls=str(tls["client"]),
        port=port,
    )


def envoy_command(binary: Path, run: Path) -> tuple[str, ...]:
    """Envoy as a pod runs it."""
    planned = pods.envoy_container(PlanSettings(home=HOME), port=8443, mounts={})["args"]
    return (str(binary), *(item.replace("$(DEMARC_RUN)", str(run)) for item in planned))


def lay_out(folder: Path, signs: Issuer, url: str) -> None:
    """What is mounted into the agent's container."""
    for name in ("inner", "record", "grant", "trust"):
        (folder / name).mkdir()
    (folder / "trust" / "trust.json").write_text(signs.trust, "utf-8")
    (folder / "grant" / "grant.key").write_bytes(signature.private_pem(signs.grant_key))
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {"server": url}}],
        "users": [{"name": "bench", "user": {"token": TOKEN}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
    }
    (folder / "kubeconfig").write_text(json.dumps(kubeconfig), "utf-8")


async def publish(
    store: MemoryCluster, signs: Issuer, made: Document, epoch: Epoch, port: int
) -> None:
    """The operator's part."""
    for name in (names.SYSTEM_NAMESPACE, names.EGRESS_NAMESPACE, "models"):
        await store.apply(cluster.namespace(name), manager="bench")
    for name, data in (
        (names.EPOCH, signs.epoch_data(made)),
        (names.HEARTBEAT, signs.heartbeat_data(epoch)),
    ):
        manifest = cluster.config_map(names.SYSTEM_NAMESPACE, name, data)
        await store.apply(manifest, manager="bench")
    service = names.engine("glm-4-air", HOME)
    where = agents.endpoint_slice("models", service, (UPSTREAM, port))
    await store.apply(where, manager="bench")
