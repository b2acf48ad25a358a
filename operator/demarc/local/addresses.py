"""Which loopback address does a pod get? One of its node's /24, the same again while it is free.

RULES
- `.1` is the node itself, `.0` and `.255` are left out; pods have `.2` to `.254`.
- A name that had an address gets it again unless another pod holds it; a new name gets the one that
  has been unused for longest, so that late packets to an earlier pod reach nobody new.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

_FIRST = 2
_LAST = 254


class NoAddressError(Exception):
    """All addresses of a block are held."""


def host_of(block: str) -> str:
    """The node's own address.

    Raises:
        ValueError: the block is no /24 of 127.0.0.0/8.
    """
    network = ipaddress.IPv4Network(block)
    if network.prefixlen != 24 or not network.is_loopback:  # noqa: PLR2004  # a /24
        raise ValueError(f"`{block}` is no /24 of 127.0.0.0/8")
    return str(network[1])


def choose(
    block: str, name: str, *, held: Iterable[str], earlier: Mapping[str, str]
) -> tuple[str, Mapping[str, str]]:
    """An address for a pod, and what to pass as `earlier` the next time.

    Args:
        block: of the node.
        name: namespace and name of the pod.
        held: addresses of pods that are there.
        earlier: name -> address, the latest last.

    Raises:
        NoAddressError: none is free.
    """
    network = ipaddress.IPv4Network(block)
    taken = set(held)
    known = earlier.get(name, "")
    if known and known not in taken and ipaddress.IPv4Address(known) in network:
        return known, _latest(earlier, name, known)
    candidates = [str(network[number]) for number in range(_FIRST, _LAST + 1)]
    last_use = {address: index for index, address in enumerate(earlier.values())}
    free = [address for address in candidates if address not in taken]
    if not free:
        raise NoAddressError(f"all {len(candidates)} addresses of `{block}` are held")
    address = min(free, key=lambda item: last_use.get(item, -1))  # stable: the lowest of the unused
    return address, _latest(earlier, name, address)


def _latest(earlier: Mapping[str, str], name: str, address: str) -> Mapping[str, str]:
    # an address that changes hands is forgotten for its earlier name
    kept = {key: value for key, value in earlier.items() if key != name and value != address}
    return {**kept, name: address}
