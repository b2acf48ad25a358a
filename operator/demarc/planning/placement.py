"""On which site and pool does each placement run, and if not, why?

Every listed placement is wanted. A rejected one runs nothing and never affects the others. The
reasons are tried in one order: the site, then the law, then the hardware.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal

from demarc.api.reasons import PlacementReason
from demarc.api.v1alpha1.model_deployment import Engine, ModelDeployment, Placement, Precision
from demarc.api.v1alpha1.site import GpuPool, Site
from demarc.planning.objects import HOME


@dataclass(frozen=True, slots=True)
class Placed:
    """A placement that runs: site, pool, replicas, and the pools that were passed over."""

    site: Site
    pool: GpuPool
    replicas: int
    passed_over: tuple[str, ...] = ()

    @property
    def is_home(self) -> bool:
        """Whether it runs in the operator's own cluster."""
        return self.site.spec.connection.type == "InCluster"

    @property
    def cluster(self) -> str:
        """The cluster of its objects: `HOME` or the site's name."""
        return HOME if self.is_home else self.site.metadata.name


@dataclass(frozen=True, slots=True)
class Rejected:
    """A placement that runs nothing, with a reason and one sentence."""

    site: str
    reason: PlacementReason
    message: str


_NEEDS: Mapping[Precision, tuple[int, ...]] = {
    Precision.NVFP4: (100, 103, 120, 121),
    Precision.MXFP4: (100, 103, 120, 121),
    Precision.FP8: (89, 90, 100, 103, 120, 121),
    Precision.W4A8_AWQ: (89, 90),
    Precision.W4A16_AWQ: (80, 86, 89, 90),
    Precision.W4A16_GPTQ: (80, 86, 89, 90),
}
"""Compute capabilities (x10) that run a checkpoint format; formats that are not listed run on all.

Source: TensorRT-LLM `docs/source/features/quantization.md`.
"""

_CAPABILITY: tuple[tuple[str, int], ...] = (
    ("A100", 80),
    ("A800", 80),
    ("A30", 80),
    ("A10", 86),
    ("A40", 86),
    ("L40S", 89),
    ("L40", 89),
    ("L20", 89),
    ("L4", 89),
    ("H100", 90),
    ("H200", 90),
    ("H800", 90),
    ("H20", 90),
    ("GH200", 90),
    ("B200", 100),
    ("GB200", 100),
    ("B300", 103),
    ("GB300", 103),
)
"""Product names and compute capabilities (x10): https://developer.nvidia.com/cuda-gpus"""


def place(
    model: ModelDeployment,
    sites: Mapping[str, Site],
    *,
    barred: Collection[str],
) -> tuple[Placed | Rejected, ...]:
    """One outcome for each placement, in the written order.

    Args:
        model: an accepted ModelDeployment.
        sites: accepted Sites by name.
        barred: names of endpoints that no label of any allowed tenant can reach.
    """
    return tuple(_place(model, placement, sites, barred) for placement in model.spec.placements)


def _place(
    model: ModelDeployment,
    placement: Placement,
    sites: Mapping[str, Site],
    barred: Collection[str],
) -> Placed | Rejected:
    name = placement.site
    site = sites.get(name)
    if site is None:
        return Rejected(
            name,
            PlacementReason.SITE_NOT_FOUND,
            f"No accepted Site has the name `{name}`",
        )
    if f"{model.metadata.namespace}/{model.metadata.name}@{name}" in barred:
        return Rejected(
            name,
            PlacementReason.NEVER_ELIGIBLE,
            f"No request of any allowed tenant may reach site `{name}`: its clearance and the "
            "residency rules remove it for every label that their apps can have",
        )
    engine = model.spec.engine
    if engine is None or site.spec.connection.type == "Provider":
        return Rejected(
            name,
            PlacementReason.NOT_SUPPORTED_YET,
            f"Placements on providers, as `{name}`, are not supported yet",
        )
    if placement.pool is not None:
        named = tuple(pool for pool in site.spec.pools if pool.name == placement.pool)
        if not named:
            have = ", ".join(f"`{pool.name}`" for pool in site.spec.pools) or "none"
            return Rejected(
                name,
                PlacementReason.POOL_NOT_FOUND,
                f"Site `{name}` has no pool `{placement.pool}`; it has: {have}",
            )
        candidates = named
    else:
        candidates = tuple(sorted(site.spec.pools, key=_cost))
    return _fit(site, placement, model, engine, candidates)


def _fit(
    site: Site,
    placement: Placement,
    model: ModelDeployment,
    engine: Engine,
    candidates: tuple[GpuPool, ...],
) -> Placed | Rejected:
    passed_over = list[str]()
    for pool in candidates:
        problem = misfit(pool, engine)
        if problem is None:
            return Placed(site, pool, _replicas(model, placement, site), tuple(passed_over))
        passed_over.append(f"{pool.name}: {problem}")
    tried = "; ".join(passed_over) or "the site has no GPU pool"
    return Rejected(
        placement.site,
        PlacementReason.NO_POOL_FITS,
        f"No pool of site `{placement.site}` fits: {tried}",
    )


def misfit(pool: GpuPool, engine: Engine) -> str | None:
    """Why one replica cannot run on a node of this pool; None when it can."""
    if engine.gpus > pool.gpus_per_node:
        return f"one replica needs {engine.gpus} GPUs, a node has {pool.gpus_per_node}"
    capability = compute_capability(pool.product)
    wanted = _NEEDS.get(engine.precision)
    if capability is not None and wanted is not None and capability not in wanted:
        return f"{pool.product} does not run {engine.precision.value} checkpoints"
    return None


def compute_capability(product: str) -> int | None:
    """Compute capability (x10) of a GPU product label; None when the product is not known."""
    words = product.upper().replace("_", "-").split("-")
    return next((number for name, number in _CAPABILITY if name in words), None)


def _cost(pool: GpuPool) -> tuple[bool, Decimal, str]:
    price = pool.cost_per_gpu_hour
    return (price is None, Decimal(price.amount) if price else Decimal(0), pool.name)


def _replicas(model: ModelDeployment, placement: Placement, site: Site) -> int:
    wanted = model.spec.replicas if site.spec.connection.type == "InCluster" else placement.replicas
    return 1 if wanted is None else wanted
