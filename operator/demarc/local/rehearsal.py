"""How does a bank's network fit on one machine? Pod networks move to loopback, octet by octet.

A site's network 10.244.0.0/16 is rehearsed at 127.244.0.0/16: the first octet becomes 127, the
rest stays, so that the objects of a real installation work as they are written. Each node has a
/24 of its site's networks; the first one is the system node, where gateways run.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from demarc.api.v1alpha1 import Site
from demarc.api.v1alpha1.site import GpuPool
from demarc.local.scheduler import NodeDescription, Taint

_NODE_PREFIX: Final = 24
_LOOPBACK: Final = ipaddress.IPv4Network("127.0.0.0/8")
DEFAULT_NETWORK: Final = "127.100.0.0/16"
"""Pod network of a cluster that no site describes."""


class RehearsalError(Exception):
    """A site's network cannot be laid on loopback; the text names the site and the remedy."""


def on_loopback(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A Site manifest with its networks moved to loopback; other fields stay.

    Raises:
        RehearsalError: a network is wider than a /8.
    """
    spec = dict(manifest["spec"])
    network = dict(spec["network"])
    network["cidrs"] = [
        str(_moved(cidr, str(manifest["metadata"]["name"]))) for cidr in network["cidrs"]
    ]
    spec["network"] = network
    return {**manifest, "spec": spec}


def nodes_of(name: str, sites: Sequence[Site]) -> tuple[NodeDescription, ...]:
    """The simulated nodes of a cluster: a system node, and the GPU nodes of its sites.

    Args:
        name: of the cluster; part of the system node's name.
        sites: the Sites of that cluster, with their networks on loopback.

    Raises:
        RehearsalError: the networks hold too few /24 for the system node and one node per pool.
    """
    blocks = _blocks(sites)
    first = next(blocks, None)
    if first is None:
        raise RehearsalError(
            f"the networks of `{name}` hold no /24: give network.cidrs a /16 to rehearse it"
        )
    found = [NodeDescription(f"{name}-system", first)]
    pools = [(site, pool) for site in sites for pool in site.spec.pools]
    wanted = max((pool.nodes for _, pool in pools), default=0)
    for index in range(wanted):
        for site, pool in pools:
            if index >= pool.nodes:
                continue
            block = next(blocks, None)
            if block is None:
                if index == 0:
                    raise RehearsalError(
                        f"the networks of `{site.metadata.name}` hold too few /24 for a node of "
                        f"pool `{pool.name}`: give network.cidrs a /16 to rehearse it"
                    )
                return tuple(found)
            found.append(_gpu_node(site, pool, index, block))
    return tuple(found)


def _gpu_node(site: Site, pool: GpuPool, index: int, block: str) -> NodeDescription:
    labels = {
        **(pool.node_selector or {}),
        "nvidia.com/gpu.product": pool.product,
        "nvidia.com/gpu.count": str(pool.gpus_per_node),
    }
    taints = tuple(
        Taint(toleration.key, toleration.value or "", toleration.effect or "NoSchedule")
        for toleration in pool.tolerations or ()
        if toleration.key is not None
    )
    return NodeDescription(
        f"{site.metadata.name}-{pool.name}-{index}",
        block,
        labels,
        taints,
        {pool.resource_name: pool.gpus_per_node},
    )


def _blocks(sites: Sequence[Site]) -> Iterator[str]:
    cidrs = sorted({cidr for site in sites for cidr in site.spec.network.cidrs})
    for cidr in cidrs or [DEFAULT_NETWORK]:
        network = ipaddress.IPv4Network(cidr, strict=False)
        if network.prefixlen <= _NODE_PREFIX:
            yield from (str(block) for block in network.subnets(new_prefix=_NODE_PREFIX))


def _moved(cidr: str, site: str) -> ipaddress.IPv4Network:
    network = ipaddress.IPv4Network(cidr, strict=False)
    if network.prefixlen < _LOOPBACK.prefixlen:
        raise RehearsalError(
            f"Site `{site}`: network {cidr} is wider than a /8 and cannot be rehearsed on loopback"
        )
    rest = int(network.network_address) & int(_LOOPBACK.hostmask)
    return ipaddress.IPv4Network((int(_LOOPBACK.network_address) | rest, network.prefixlen))
