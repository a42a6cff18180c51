"""`status` of an LLMDeployment: small, slow, and derived anew from the cluster at every pass."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xpullm.api.meta import (
    ApiModel,
    ByteCount,
    CatalogueName,
    Condition,
    Count,
    ImageReference,
    LongCount,
    Message,
    SchemaOnly,
    SignedByteCount,
    Timestamp,
    TokenCount,
    Word,
    int_range,
)

HISTORY_LIMIT = 20
Percent = Annotated[int, int_range(0, 100)]
Short = Annotated[str, Field(max_length=256)]


class PlannedArgument(ApiModel):
    """One flag as the engine gets it."""

    name: Annotated[str, Field(max_length=128, min_length=1)]
    """The flag without leading dashes."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """Its value; absent: a bare flag."""


class LedgerStatus(ApiModel):
    """Planned memory of one card, bytes."""

    visible_bytes: ByteCount | None = None
    """VRAM that the engine sees."""
    context_bytes: ByteCount | None = None
    """Driver and runtime context."""
    weights_bytes: ByteCount | None = None
    """Model weights."""
    activation_bytes: ByteCount | None = None
    """Peak of activations."""
    non_torch_bytes: ByteCount | None = None
    """Allocations outside PyTorch's allocator."""
    graph_bytes: ByteCount | None = None
    """Captured graphs."""
    kv_cache_bytes: ByteCount | None = None
    """KV cache."""
    outside_bytes: ByteCount | None = None
    """What is allocated outside the engine's own profile."""
    reserve_bytes: ByteCount | None = None
    """Kept free on purpose."""
    free_bytes: SignedByteCount | None = None
    """What is left; negative: it does not fit."""


class HostMemoryStatus(ApiModel):
    """Planned host memory of one pod, bytes."""

    request_bytes: ByteCount | None = None
    """Memory request."""
    limit_bytes: ByteCount | None = None
    """Memory limit."""
    shm_bytes: ByteCount | None = None
    """Size of /dev/shm."""


class PlanStatus(ApiModel):
    """The plan that the pods run."""

    hash: Word | None = None
    """Identity of the plan; pods are labelled with it."""
    engine: CatalogueName | None = None
    """Engine."""
    engine_version: Word | None = None
    """Version of the engine."""
    image: ImageReference | None = None
    """Image of the engine."""
    gpu: CatalogueName | None = None
    """Card."""
    gpu_count: Count | None = None
    """Cards per replica."""
    quantization: CatalogueName | None = None
    """Quantization of the weights."""
    context_length: Count | None = None
    """Longest request, tokens."""
    concurrency: Count | None = None
    """Sequences at the same time."""
    kv_cache_tokens: TokenCount | None = None
    """Tokens that the KV cache holds."""
    utilization_percent: Percent | None = None
    """Planned use of visible VRAM."""
    arguments: Annotated[
        tuple[PlannedArgument, ...],
        Field(max_length=128, json_schema_extra=SchemaOnly.LIST_ATOMIC),
    ] = ()
    """Every flag, in order, as the engine gets it."""
    memory: LedgerStatus | None = None
    """Planned memory of one card."""
    host_memory: HostMemoryStatus | None = None
    """Planned host memory of one pod."""
    notes: Annotated[
        tuple[Message, ...], Field(max_length=16, json_schema_extra=SchemaOnly.LIST_ATOMIC)
    ] = ()
    """Remarks of the planner, such as a better balanced quantization."""


class PredictionErrors(ApiModel):
    """Measured minus planned, bytes; positive: more was used than planned."""

    weights_bytes: SignedByteCount | None = None
    """Of the weights."""
    activation_bytes: SignedByteCount | None = None
    """Of the activations' peak."""
    non_torch_bytes: SignedByteCount | None = None
    """Of allocations outside PyTorch."""
    kv_cache_bytes: SignedByteCount | None = None
    """Of the KV cache."""
    host_bytes: SignedByteCount | None = None
    """Of host memory's peak against the request."""


class MeasuredStatus(ApiModel):
    """What an engine of this plan printed or used until it was Ready; written once per start."""

    plan_hash: Word | None = None
    """Plan that was measured."""
    weights_bytes: ByteCount | None = None
    """Model weights on one card."""
    activation_bytes: ByteCount | None = None
    """Peak of activations."""
    non_torch_bytes: ByteCount | None = None
    """Allocations outside PyTorch."""
    kv_cache_bytes: ByteCount | None = None
    """KV cache."""
    kv_cache_tokens: TokenCount | None = None
    """Tokens that the KV cache holds."""
    vram_peak_bytes: ByteCount | None = None
    """Highest VRAM use seen, all cards of a replica together."""
    host_peak_bytes: ByteCount | None = None
    """Highest host memory use seen, without page cache that could be given back."""
    start_seconds: Count | None = None
    """From the supervisor's start until Ready, burn-in included; absent: it never was."""
    prediction_errors: PredictionErrors | None = None
    """Measured minus planned."""


class HealingStep(ApiModel):
    """One failure and what was done about it."""

    attempt: Count | None = None
    """Number of the step for this version of the plan-relevant spec."""
    time: Timestamp | None = None
    """When the failed container ended."""
    cause: Word | None = None
    """Cause of the failure."""
    phase: Word | None = None
    """Phase of the engine's life in which it failed."""
    evidence: Message | None = None
    """The decisive line."""
    argument: Short | None = None
    """What was changed: a flag, or a resource of the pod."""
    before: Annotated[Short | None, Field(alias="from")] = None
    """Value before."""
    after: Annotated[Short | None, Field(alias="to")] = None
    """Value after."""
    result: Literal["Pending", "Helped", "NoEffect", "Worse"] | None = None
    """What came of it, judged at the next failure or at health."""
    plan_hash: Word | None = None
    """Plan that failed."""
    node: Short | None = None
    """Node on which it failed."""


class Proposal(ApiModel):
    """A step that was not taken: healing only observes, waits, or may not change this."""

    argument: Short | None = None
    """What would be changed."""
    before: Annotated[Short | None, Field(alias="from")] = None
    """Value now."""
    after: Annotated[Short | None, Field(alias="to")] = None
    """Value proposed."""
    message: Message | None = None
    """The proposal in one sentence."""


class HealingStatus(ApiModel):
    """Failures and steps."""

    attempt: Count | None = None
    """Steps taken for this version of the plan-relevant spec."""
    last_cause: Word | None = None
    """Cause of the newest failure."""
    last_phase: Word | None = None
    """Phase of the newest failure."""
    proposal: Proposal | None = None
    """A step that waits for a person."""
    history: Annotated[
        tuple[HealingStep, ...],
        Field(max_length=HISTORY_LIMIT, json_schema_extra=SchemaOnly.LIST_ATOMIC),
    ] = ()
    """The newest steps, oldest first."""


class LLMDeploymentStatus(ApiModel):
    """Observed state."""

    observed_generation: LongCount | None = None
    """Generation of the spec that the rest of the status describes; -1: never seen."""
    replicas: Count | None = None
    """Pods that exist."""
    ready_replicas: Count | None = None
    """Pods that serve."""
    selector: Annotated[str, Field(max_length=1024)] | None = None
    """Label selector of the pods, for autoscalers."""
    endpoint: Annotated[str, Field(max_length=512)] | None = None
    """URL of the OpenAI-compatible API inside the cluster."""
    model_revision: Annotated[str, Field(max_length=255)] | None = None
    """The commit of `spec.model.revision` that the running engine loaded; absent where the files do
    not come from Hugging Face."""
    plan: PlanStatus | None = None
    """The plan that the pods run."""
    measured: MeasuredStatus | None = None
    """What the running engine printed."""
    healing: HealingStatus | None = None
    """Failures and steps."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(max_length=16, json_schema_extra=SchemaOnly.list_map("type")),
    ] = ()
    """Ready, Planned, Available; Reconciling and Stalled while true."""
