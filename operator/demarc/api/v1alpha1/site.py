"""Where can engines run? A Site: this cluster, another cluster, or a provider.

INVARIANT: nothing here says "private". Scope is derived from the kind of connection.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from demarc.api.schema import (
    ApiModel,
    AtomicList,
    DnsLabel,
    DnsSubdomain,
    Jurisdiction,
    LabelKey,
    LabelValue,
    Length,
    MapList,
    MemoryQuantity,
    Rule,
    SetList,
    integer,
)
from demarc.api.v1alpha1.common import Conditions, Money, Object, Scope, SecretKeyRef, Toleration

CIDR = (
    r"^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}"
    r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])/(3[0-2]|[12][0-9]|[89])$"
)
"""IPv4 with a prefix of 8 to 32 bits: a site is a part of the world, and never all of it."""

PRODUCT = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
RESOURCE = r"^[-a-z0-9.]+/[-A-Za-z0-9_.]+$"

Cidr = Annotated[str, StringConstraints(pattern=CIDR), Length(9, 18)]
JurisdictionSet = Annotated[tuple[Jurisdiction, ...], Field(min_length=1, max_length=64), SetList()]


class RemoteCluster(ApiModel):
    """Another Kubernetes cluster, reached by its API."""

    kubeconfig_secret_ref: SecretKeyRef
    """Secret in the operator's namespace whose key holds a kubeconfig."""


class Provider(ApiModel):
    """An external provider of models."""

    host: DnsSubdomain
    """Host name of the provider's OpenAI-compatible API."""
    api_key_secret_ref: SecretKeyRef
    """Secret in the operator's namespace whose key holds the provider's API key."""


class Connection(ApiModel):
    """How the site is reached: `type` and the member of that name."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.remoteCluster) == (self.type == 'RemoteCluster')",
            "remoteCluster is set if and only if type is RemoteCluster",
            lambda self: (self.remote_cluster is not None) == (self.type == "RemoteCluster"),
        ),
        Rule(
            "has(self.provider) == (self.type == 'Provider')",
            "provider is set if and only if type is Provider",
            lambda self: (self.provider is not None) == (self.type == "Provider"),
        ),
    )

    type: Literal["InCluster", "RemoteCluster", "Provider"]
    """InCluster is this cluster and Private; RemoteCluster and Provider are Public."""
    remote_cluster: RemoteCluster | None = None
    """Set when type is RemoteCluster."""
    provider: Provider | None = None
    """Set when type is Provider."""


def _unknown_alone(field: Literal["processing", "storage", "control"]) -> Rule:
    def holds(jurisdictions: Any) -> bool:
        values: tuple[str, ...] = getattr(jurisdictions, field)
        return "Unknown" not in values or len(values) == 1

    return Rule(
        f"!('Unknown' in self.{field}) || size(self.{field}) == 1",
        f"`Unknown` must stand alone in {field}: it is the worst value, whatever else is known",
        holds,
        at=(field,),
        remedy="remove `Unknown`, or everything else",
    )


class Jurisdictions(ApiModel):
    """Whose law reaches the site, in three senses. `Unknown` is a value, and the worst."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        _unknown_alone("processing"),
        _unknown_alone("storage"),
        _unknown_alone("control"),
    )

    processing: JurisdictionSet
    """Where prompts are computed on."""
    storage: JurisdictionSet
    """Where prompts, answers or copies of them may rest."""
    control: JurisdictionSet
    """Who can compel the operator of the site."""


def _is_network(cidr: str) -> bool:
    try:
        IPv4Network(cidr)
    except ValueError:
        return False
    return True


class Network(ApiModel):
    """Which addresses belong to the site."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.cidrs.all(c, !isCIDR(c) || cidr(c) == cidr(c).masked())",
            "each of cidrs must be a network, with zeros after its prefix: 10.244.0.0/16,"
            " not 10.244.1.7/16",
            lambda self: all(_is_network(cidr) for cidr in self.cidrs),
            at=("cidrs",),
            culprits=lambda self: (
                ("cidrs", index) for index, cidr in enumerate(self.cidrs) if not _is_network(cidr)
            ),
        ),
    )

    cidrs: Annotated[tuple[Cidr, ...], Field(min_length=1, max_length=32), SetList()]
    """IPv4 networks: of engines (InCluster), of the edge (RemoteCluster); others are dropped."""


class GpuPool(ApiModel):
    """Nodes with one kind of GPU."""

    name: DnsLabel
    """Name of the pool, unique in the site."""
    product: Annotated[
        str,
        StringConstraints(min_length=1, max_length=63, pattern=PRODUCT),
    ]
    """GPU product as GPU feature discovery labels it, for example NVIDIA-H100-80GB-HBM3."""
    resource_name: Annotated[
        str,
        StringConstraints(min_length=3, max_length=253, pattern=RESOURCE),
    ]
    """Extended resource that pods ask for, for example nvidia.com/gpu."""
    memory: MemoryQuantity
    """Memory of one GPU, for example 80Gi."""
    gpus_per_node: Annotated[int, integer(1, 64)]
    """GPUs of one node."""
    nodes: Annotated[int, integer(1, 100000)]
    """Nodes in the pool."""
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=16)] | None = None
    """Labels of the pool's nodes; absent: nvidia.com/gpu.product equals product."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16), AtomicList()] | None = None
    """Tolerations of the pods."""
    cost_per_gpu_hour: Annotated[Money | None, Field(alias="costPerGPUHour")] = None
    """What one GPU costs per hour; the cheapest pool that fits is taken when none is named."""


class SiteSpec(ApiModel):
    """What the platform team says of a site."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.connection.type != 'Provider' || !has(self.gpuPools)",
            "a Provider site has no gpuPools",
            lambda self: self.connection.type != "Provider" or self.gpu_pools is None,
            at=("gpuPools",),
            remedy="remove gpuPools",
        ),
    )

    connection: Connection
    """How the site is reached."""
    jurisdictions: Jurisdictions
    """Whose law reaches it. All three are required."""
    network: Network
    """Which addresses belong to it."""
    gpu_pools: Annotated[tuple[GpuPool, ...], Field(max_length=32), MapList(("name",))] | None = (
        None
    )
    """GPU pools; a Provider has none."""

    @property
    def scope(self) -> Scope:
        """Private for this cluster, Public for everything else."""
        return Scope.PRIVATE if self.connection.type == "InCluster" else Scope.PUBLIC

    @property
    def pools(self) -> tuple[GpuPool, ...]:
        """The GPU pools, none when absent."""
        return self.gpu_pools or ()


class PoolStatus(ApiModel):
    """What was observed of one pool."""

    name: DnsLabel
    """Name of the pool."""
    gpus: Annotated[int, Field(ge=0)]
    """GPUs that nodes offer now."""
    gpus_in_use: Annotated[int, Field(ge=0)]
    """GPUs that pods hold now."""


class SiteStatus(ApiModel):
    """What the operator observed of a site."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation that this status speaks of."""
    scope: Scope | None = None
    """Private or Public, derived from the connection."""
    gpus: Annotated[str, StringConstraints(max_length=32)] | None = None
    """GPUs in use of those observed, over all pools, for example 12/40."""
    pools: Annotated[tuple[PoolStatus, ...], Field(max_length=32), MapList(("name",))] = ()
    """Observed capacity per pool."""
    conditions: Conditions = ()
    """Accepted, Programmed, Ready."""


class Site(Object):
    """A place that runs engines: this cluster, another cluster, an external provider."""

    kind: Literal["Site"]
    """Always Site."""
    spec: SiteSpec
    """What the platform team says of the site."""
    status: SiteStatus | None = None
    """What the operator observed."""
