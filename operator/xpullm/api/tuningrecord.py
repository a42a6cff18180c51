"""`TuningRecord`: what was learned for one model, quantization, engine image and card."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xpullm.api.meta import (
    API_VERSION,
    ApiModel,
    ByteCount,
    CatalogueName,
    ImageReference,
    ObjectMeta,
    SchemaOnly,
    Timestamp,
    Word,
    int_range,
    text,
)
from xpullm.api.status import PlannedArgument

ENTRY_LIMIT = 32


class TuningEntry(ApiModel):
    """One set of arguments and what came of it."""

    arguments: Annotated[
        tuple[PlannedArgument, ...],
        Field(max_length=64, json_schema_extra=SchemaOnly.list_map("name")),
    ] = ()
    """The memory-relevant flags; an entry without max-model-len, max-num-seqs and
    max-num-batched-tokens is not read."""
    outcome: Literal["Healthy", "Failed"]
    """Whether the engine held."""
    cause: Word | None = None
    """Cause of the failure."""
    phase: Word | None = None
    """Phase of the engine's life in which it failed."""
    node: Annotated[str, Field(max_length=253)] | None = None
    """Node on which it was seen."""
    kernel: Annotated[str, Field(max_length=128)] | None = None
    """Kernel version of that node."""
    time: Timestamp | None = None
    """When it was seen; entries expire after 30 days."""
    planned_bytes: ByteCount | None = None
    """Planned use of one card, without its context and reserve; a failure without it binds
    nothing."""


class TuningKeyed(ApiModel):
    """What an entry depends on, and the entries."""

    model: Annotated[str, text(200)]
    """Model, as in `spec.model.id`."""
    quantization: CatalogueName | None = None
    """Quantization, as in `status.plan.quantization`; a record without it is for no deployment."""
    engine_image: ImageReference
    """Image of the engine."""
    gpu: CatalogueName
    """Card in the catalogue."""
    gpu_count: Annotated[int, int_range(1, 64)]
    """Cards per replica."""
    kernel: Annotated[str, Field(max_length=128)] | None = None
    """Kernel version of the nodes, which is the GPU driver's; absent: any."""
    entries: Annotated[
        tuple[TuningEntry, ...],
        Field(max_length=ENTRY_LIMIT, json_schema_extra=SchemaOnly.LIST_ATOMIC),
    ] = ()
    """A Pareto list: the largest that held, the smallest that failed."""


class TuningRecordSpec(TuningKeyed):
    """Entries that a person ships, such as through Git; the operator only reads them."""


class TuningRecordStatus(TuningKeyed):
    """Entries that the operator learned; only in records that it named itself."""


class TuningRecord(ApiModel):
    """What was learned for one model, quantization, engine image, card, count and driver."""

    api_version: Literal["xpullm.io/v1alpha1"] = API_VERSION  # type: ignore[assignment]
    kind: Literal["TuningRecord"] = "TuningRecord"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: TuningRecordSpec | None = None
    """Entries that a person ships."""
    status: TuningRecordStatus | None = None
    """Entries that the operator learned."""
