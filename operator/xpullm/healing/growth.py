"""Growth: more of the card, step by step, while it stays healthy. Pure.

The method of people who tune by hand: start at 60 % utilization and go up in small steps to 70 and
80 % while memory is watched. A step that fails is taken back by `heal` and never tried again.
"""

from __future__ import annotations

from dataclasses import replace

from xpullm.healing.border import replan_of
from xpullm.healing.levers.budget import shown
from xpullm.healing.situation import UTILIZATION_CEILING, budget_lever
from xpullm.healing.types import Health, PastStep, Policy, Step
from xpullm.planner.request import PlanRequest
from xpullm.planner.types import Plan

POINTS = 5  # per cent of visible VRAM per step
KV_USAGE_PERCENT = 70  # below that more KV cache would not be used
PEAK_SHARE = 0.95  # measured peak plus the step must stay below this share of the card


def grow(
    plan: Plan,
    health: Health,
    policy: Policy,
    request: PlanRequest,
    history: tuple[PastStep, ...] = (),
) -> Step | None:
    """The next growth step, or None.

    Nothing grows without leave (`growth.mode`, `mayChange: [Arguments]`), before its time, outside
    the window, while a replica is missing, without demand, past the target, past what the ledger
    holds back, or again in a direction that failed.
    """
    growth = policy.growth
    if growth.mode != "Enabled" or policy.mode != "Auto" or "Arguments" not in policy.may_change:
        return None
    if health.healthy_seconds < growth.after_healthy_seconds or not health.in_window:
        return None
    if health.ready_replicas < health.replicas:
        return None
    if health.kv_usage_percent < KV_USAGE_PERCENT and health.preemptions == 0:
        return None
    lever = budget_lever(plan.arguments)
    if lever in plan.arguments.user and "UserArguments" not in policy.may_change:
        return None
    if any(_failed(step, lever) for step in history):
        return None
    target = min(growth.target_utilization_percent, round(UTILIZATION_CEILING * 100))
    points = min(POINTS, target - plan.utilization_percent)
    ledger = plan.ledger
    change = min(points * ledger.visible_bytes // 100, ledger.free_bytes)
    block = max(1, ledger.kv_bytes_per_token * ledger.block_size)
    if points <= 0 or change < block:
        return None
    if health.peak_bytes and health.peak_bytes + change > PEAK_SHARE * ledger.visible_bytes:
        return None
    if health.free_bytes is not None and health.free_bytes < 2 * change:
        return None  # the step, and as much again for what was not yet seen
    return _step(plan, request, lever, change, block)


def _failed(step: PastStep, lever: str) -> bool:
    """A growth step that failed, or a cut after memory ran out: growing again would reverse it."""
    if step.lever != lever:
        return False
    if step.cause == "growth":
        return step.effect == "Worse"
    return step.cause.startswith("device_")


def _step(plan: Plan, request: PlanRequest, lever: str, change: int, block: int) -> Step | None:
    arguments = plan.arguments
    if arguments.num_gpu_blocks_override is not None:
        larger = replace(
            arguments, num_gpu_blocks_override=arguments.num_gpu_blocks_override + change // block
        )
    elif arguments.kv_cache_memory_bytes is not None:
        larger = replace(
            arguments,
            kv_cache_memory_bytes=(arguments.kv_cache_memory_bytes + change) // block * block,
        )
    elif arguments.gpu_memory_utilization is not None:
        points = change * 100 // plan.ledger.visible_bytes
        if points < 1:
            return None
        larger = replace(
            arguments,
            gpu_memory_utilization=round(arguments.gpu_memory_utilization, 3) + points / 100,
        )
    else:
        return None
    grown = replan_of(plan, request)(larger)
    before, after = shown(arguments, lever), shown(grown.arguments, lever)
    return Step(
        lever,
        before,
        after,
        f"{lever} {before} → {after}: healthy and in demand, utilization "
        f"{plan.utilization_percent} → {grown.utilization_percent} %",
        grown,
    )
