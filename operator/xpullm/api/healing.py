"""`spec.healing`: what the operator may do about failures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xpullm.api.meta import NOT_IN_SCHEMA, ApiModel, SchemaOnly, int_range

MayChange = Literal[
    "Arguments", "UserArguments", "KVCacheType", "GPUCount", "Quantization", "UserMemoryLimit"
]


class Growth(ApiModel):
    """Raising utilization in small steps while memory is watched."""

    mode: Literal["Disabled", "Enabled"] = "Disabled"
    """Enabled: a deployment that stayed healthy is given more of the card, step by step."""
    after_healthy_seconds: Annotated[int, int_range(60, 2_592_000, **NOT_IN_SCHEMA)] = 3600
    """Healthy time before each step; absent: 3600."""
    target_utilization_percent: Annotated[int, int_range(50, 95, **NOT_IN_SCHEMA)] = 80
    """Planned use of visible VRAM at which growth ends; absent: 80."""


class Healing(ApiModel):
    """How failures are answered."""

    mode: Literal["Auto", "Observe", "Off"] = "Auto"
    """Auto: diagnose and change what helps. Observe: diagnose and propose, change nothing. Off:
    only restart, as Kubernetes does."""
    max_attempts: Annotated[int, int_range(0, 50, **NOT_IN_SCHEMA)] = 6
    """Steps before a person is asked, counted per version of the plan-relevant spec; absent: 6."""
    growth: Growth = Field(default_factory=Growth)
    """Growth after a healthy time."""
    may_change: Annotated[
        tuple[MayChange, ...],
        Field(max_length=6, json_schema_extra={**SchemaOnly.LIST_SET, **NOT_IN_SCHEMA}),
    ] = ("Arguments",)
    """What a step may touch; absent: Arguments, which are those that the operator computed."""
