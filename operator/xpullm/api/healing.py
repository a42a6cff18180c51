"""`spec.healing`: what the operator may do about failures."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from xpullm.api.meta import NOT_IN_SCHEMA, ApiModel, Rule, SchemaOnly, int_range, text

MayChange = Literal[
    "Arguments", "UserArguments", "KVCacheType", "GPUCount", "Quantization", "UserMemoryLimit"
]


Weekday = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)


class GrowthWindow(ApiModel):
    """When a growth step may begin, in UTC. Its re-roll may last longer."""

    weekdays: Annotated[
        tuple[Weekday, ...],
        Field(max_length=7, json_schema_extra={**SchemaOnly.LIST_SET, **NOT_IN_SCHEMA}),
    ] = ()
    """Days on which it opens; absent: every day."""
    start_time: Annotated[str, text(5, r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    """When it opens, HH:MM in UTC."""
    duration_minutes: Annotated[int, int_range(15, 1440)]
    """How long it stays open, minutes; it may last past midnight."""


class Growth(ApiModel):
    """Raising utilization in small steps while memory is watched."""

    rules: ClassVar = (
        Rule(
            "!has(self.startUtilizationPercent) || self.startUtilizationPercent <="
            " (has(self.targetUtilizationPercent) ? self.targetUtilizationPercent : 80)",
            "`startUtilizationPercent` must not be above `targetUtilizationPercent`, which is 80"
            " where absent: lower it or raise the target",
            lambda g: (g.start_utilization_percent or 0) <= g.target_utilization_percent,
            "startUtilizationPercent",
        ),
    )

    mode: Literal["Disabled", "Enabled"] = "Disabled"
    """Enabled: new plans begin with less of the card than is safe, and a deployment that stayed
    healthy and uses its KV cache is given more, step by step."""
    after_healthy_seconds: Annotated[int, int_range(60, 2_592_000, **NOT_IN_SCHEMA)] = 3600
    """Healthy time before each step; absent: 3600."""
    start_utilization_percent: Annotated[int, int_range(50, 95)] | None = None
    """Planned use of visible VRAM at which a new plan begins, more where the context and the
    concurrency that were asked for need it; absent: 60, or the target where that is lower."""
    target_utilization_percent: Annotated[int, int_range(50, 95, **NOT_IN_SCHEMA)] = 80
    """Planned use of visible VRAM at which growth ends; absent: 80."""
    window: GrowthWindow | None = None
    """When steps may begin; absent: at any time."""


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
