"""What serves? A ModelDeployment: one model, placed on one or more sites."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from demarc.api.schema import (
    ApiModel,
    DnsLabel,
    Length,
    MapList,
    ObjectName,
    Rule,
    SetList,
    integer,
)
from demarc.api.v1alpha1.common import Capability, Conditions, Money, Object

MODEL_NAME = r"^[A-Za-z0-9]([-A-Za-z0-9._/:]*[A-Za-z0-9])?$"
SOURCE = r"^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[A-Za-z0-9_][-A-Za-z0-9._]*)+$"
DIGEST = r"^sha256:[0-9a-f]{64}$"
IMAGE = r"^[A-Za-z0-9][-A-Za-z0-9._:/]*(@sha256:[0-9a-f]{64})?$"
ModelName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128, pattern=MODEL_NAME),
]


class Precision(StrEnum):
    """Number format of the checkpoint's weights.

    Source: TensorRT-LLM `docs/source/features/quantization.md`.
    """

    FP8 = "FP8"
    NVFP4 = "NVFP4"
    MXFP4 = "MXFP4"
    BF16 = "BF16"
    FP16 = "FP16"
    W4A16_AWQ = "W4A16AWQ"
    W4A8_AWQ = "W4A8AWQ"
    W4A16_GPTQ = "W4A16GPTQ"


class ModelSource(ApiModel):
    """Which weights are served, and under which name."""

    source: Annotated[
        str,
        StringConstraints(
            min_length=8,
            max_length=512,
            pattern=SOURCE,
        ),
    ]
    """pvc://CLAIM/PATH: a folder in a PersistentVolumeClaim of the deployment's namespace."""
    digest: Annotated[str, StringConstraints(pattern=DIGEST), Length(71, 71)]
    """SHA-256 over the sorted sha256sum lines of the folder; checked before the engine starts."""
    served_name: ModelName
    """Name under which the engine's frontend serves the model."""


class Offers(ApiModel):
    """What a request may ask of the model."""

    capabilities: Annotated[tuple[Capability, ...], Field(min_length=1, max_length=16), SetList()]
    """Capabilities that requests may need."""
    context_tokens: Annotated[int, integer(16, 100_000_000)]
    """Prompt and answer together, in tokens."""


class KvCache(ApiModel):
    """How the engine keeps attention keys and values."""

    dtype: Literal["Auto", "FP8"] | None = None
    """Number format; absent: Auto."""
    free_memory_percent: Annotated[int, integer(1, 99)] | None = None
    """Share of the memory left after the weights, in percent; absent: 90."""
    block_reuse: Literal["Enabled", "Disabled"] | None = None
    """Whether equal prefixes share blocks; absent: Disabled."""


class Parallelism(ApiModel):
    """How many GPUs one replica spans."""

    tensor: Annotated[int, integer(1, 64)]
    """Tensor parallel size."""
    pipeline: Annotated[int, integer(1, 64)]
    """Pipeline parallel size."""


class EngineLimits(ApiModel):
    """What the engine accepts at once."""

    max_batch_size: Annotated[int, integer(1, 4096)]
    """Requests in one batch."""
    max_sequence_tokens: Annotated[int, integer(16, 100_000_000)]
    """Tokens of one sequence, prompt and answer."""
    max_batch_tokens: Annotated[int, integer(16, 100_000_000)]
    """Tokens that one step computes."""


class Engine(ApiModel):
    """How the model is run: TensorRT-LLM behind Triton Inference Server."""

    mode: Literal["LLMAPI", "Engine"]
    """LLMAPI loads the checkpoint; Engine is the legacy path of TensorRT-LLM 1.2 and older."""
    image: Annotated[
        str,
        StringConstraints(
            min_length=1,
            max_length=512,
            pattern=IMAGE,
        ),
    ]
    """Container image of Triton with TensorRT-LLM."""
    precision: Precision
    """Format of the checkpoint's weights: verified, not assumed."""
    kv_cache: KvCache | None = None
    """Attention cache."""
    parallelism: Parallelism
    """GPUs of one replica."""
    limits: EngineLimits
    """What the engine accepts at once."""

    @property
    def gpus(self) -> int:
        """GPUs of one replica: tensor times pipeline."""
        return self.parallelism.tensor * self.parallelism.pipeline


class Price(ApiModel):
    """Price per million tokens."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.input.currency == self.output.currency",
            "input and output must have one currency",
            lambda self: self.input.currency == self.output.currency,
        ),
    )

    input: Money
    """Per million prompt tokens."""
    output: Money
    """Per million answer tokens."""


class Placement(ApiModel):
    """One site that the deployment is wanted on."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.providerModel) || !has(self.pool)",
            "pool and providerModel exclude each other: a provider has no GPU pools",
            lambda self: self.provider_model is None or self.pool is None,
            at=("pool",),
        ),
        Rule(
            "!has(self.providerModel) || !has(self.replicas)",
            "replicas and providerModel exclude each other: a provider scales by itself",
            lambda self: self.provider_model is None or self.replicas is None,
            at=("replicas",),
        ),
    )

    site: ObjectName
    """Name of the Site."""
    pool: DnsLabel | None = None
    """GPU pool of that site; absent: the cheapest that fits."""
    replicas: Annotated[int, integer(0, 1000)] | None = None
    """Replicas there; only for sites other than InCluster, which take spec.replicas."""
    provider_model: ModelName | None = None
    """The provider's name for the model; only for Provider sites."""
    price: Price | None = None
    """Price at this site; absent: spec.price."""


class ModelDeploymentSpec(ApiModel):
    """What the platform team wants served."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.engine)"
            " || self.engine.limits.maxSequenceTokens >= self.offers.contextTokens",
            "engine.limits.maxSequenceTokens must be at least offers.contextTokens",
            lambda self: (
                self.engine is None
                or self.engine.limits.max_sequence_tokens >= self.offers.context_tokens
            ),
            at=("engine", "limits", "maxSequenceTokens"),
        ),
        Rule(
            "has(self.engine) || self.placements.all(p, has(p.providerModel))",
            "engine may be absent only if every placement has a providerModel",
            lambda self: (
                self.engine is not None
                or all(placement.provider_model is not None for placement in self.placements)
            ),
            remedy="add engine, or providerModel to each placement on a Provider site",
        ),
    )

    model: ModelSource
    """Which weights, and under which name."""
    offers: Offers
    """What requests may ask."""
    engine: Engine | None = None
    """How it is run; may be absent when every placement is a Provider."""
    replicas: Annotated[int, integer(0, 1000)] | None = None
    """Replicas of the InCluster placement; belongs to users and autoscalers; absent: 1."""
    placements: Annotated[
        tuple[Placement, ...], Field(min_length=1, max_length=64), MapList(("site",))
    ]
    """Sites it is wanted on; each is wanted."""
    allowed_tenants: Annotated[tuple[DnsLabel, ...], Field(max_length=1024), SetList()] | None = (
        None
    )
    """Namespaces whose RoutingPolicies may name it; absent: only its own."""
    price: Price | None = None
    """Price at every site that states none; absent: unknown, and taken last."""


class PlacementStatus(ApiModel):
    """What became of one placement."""

    site: ObjectName
    """Name of the Site."""
    pool: str | None = Field(default=None, max_length=63)
    """The pool that was chosen."""
    reason: Annotated[str, StringConstraints(min_length=1, max_length=63)]
    """A documented code: Placed, or why it was rejected."""
    message: Annotated[str, StringConstraints(max_length=1024)] = ""
    """One sentence for people, with a reason for each rejected pool."""
    replicas: Annotated[int, Field(ge=0)] = 0
    """Replicas wanted."""
    ready_replicas: Annotated[int, Field(ge=0)] = 0
    """Replicas of the current template that are ready."""


class ModelDeploymentStatus(ApiModel):
    """What the operator did for a ModelDeployment."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation that this status speaks of."""
    url: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Where clients reach the models: the gateway's OpenAI-compatible base URL."""
    replicas: Annotated[int, Field(ge=0)] = 0
    """Replicas of the InCluster placement, for the scale subresource."""
    selector: Annotated[str, StringConstraints(max_length=1024)] = ""
    """Label selector of the InCluster pods, for the scale subresource."""
    sites: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Sites of all placements, in their order, for example shanghai-dc,cloud-sg."""
    serving: Annotated[str, StringConstraints(max_length=32)] | None = None
    """Ready replicas of those wanted, over all placements, for example 2/3."""
    placements: Annotated[
        tuple[PlacementStatus, ...], Field(max_length=64), MapList(("site",))
    ] = ()
    """What became of each placement."""
    conditions: Conditions = ()
    """Accepted, Programmed, Ready."""


class ModelDeployment(Object):
    """One model, placed on one or more sites."""

    kind: Literal["ModelDeployment"]
    """Always ModelDeployment."""
    spec: ModelDeploymentSpec
    """What is wanted."""
    status: ModelDeploymentStatus | None = None
    """What the operator did."""
