"""Growth: more of the card, step by step, while it stays healthy. Pure.

The method of people who tune by hand: start at 60 % utilization and go up in small steps to 70 and
80 % while memory is watched. A step that fails is taken back by `heal` and never tried again.
Utilization is the planned use of visible VRAM, however the engine is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xpullm.healing.judge import axis
from xpullm.healing.levers.budget import GRAIN, shown
from xpullm.healing.situation import UTILIZATION_CEILING, UTILIZATION_FLOOR, budget_lever
from xpullm.healing.types import Health, PastStep, Policy, Step
from xpullm.planner.build import choice_of, target_of, with_arguments
from xpullm.planner.estimate import judge
from xpullm.planner.request import PlanRequest
from xpullm.planner.types import Arguments, Plan

CAUSE = "growth"  # of a growth step in the history
POINTS = 5  # per cent of visible VRAM per step
KV_USAGE_PERCENT = 70  # below that more KV cache would not be used
PEAK_SHARE = 0.95  # measured peak plus the step must stay below this share of the card


def begin(plan: Plan, policy: Policy, request: PlanRequest) -> Plan:
    """A new plan as growth starts it: with less KV cache, but never less than the context at the
    concurrency that was asked for. The user's own budget is left alone."""
    growth, arguments, ledger = policy.growth, plan.arguments, plan.ledger
    lever = budget_lever(arguments)
    if not _allowed(policy) or lever in arguments.user:
        return plan
    serving = request.serving
    asked = min(serving.concurrency or serving.min_concurrency or 1, plan.concurrency)
    first, kept, most = plan, 0, plan.utilization_percent - growth.start_utilization_percent
    while kept < most:  # the largest cut that keeps what was asked for, in per cent
        points = (kept + most + 1) // 2
        smaller = _changed(plan, -points * ledger.visible_bytes // 100)
        tried = with_arguments(plan, request, smaller) if smaller is not None else plan
        if tried.concurrency >= asked and _safe(tried, request):
            first, kept = tried, points
        else:
            most = points - 1
    return first


def _allowed(policy: Policy) -> bool:
    enabled = policy.growth.mode == "Enabled" and policy.mode == "Auto"
    return enabled and "Arguments" in policy.may_change


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
    if not _allowed(policy):
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
    if points <= 0 or change <= 0:
        return None
    if health.peak_bytes and health.peak_bytes + change > PEAK_SHARE * ledger.visible_bytes:
        return None
    if health.free_bytes is not None and health.free_bytes < 2 * change:
        return None  # the step, and as much again for what was not yet seen
    return _step(plan, request, lever, change, target)


def on_probation(history: Sequence[PastStep]) -> bool:
    """The last step was one of growth, and nothing is known yet of what came of it."""
    return bool(history) and history[-1].cause == CAUSE and history[-1].effect == ""


def _failed(step: PastStep, lever: str) -> bool:
    """A growth step that failed, or a cut after memory ran out: growing again would reverse it."""
    if axis(step.lever) != axis(lever):
        return False
    if step.cause == CAUSE:
        return step.effect == "Worse"
    return step.cause.startswith("device_")


def _step(plan: Plan, request: PlanRequest, lever: str, change: int, target: int) -> Step | None:
    larger = _changed(plan, change)
    if larger is None:
        return None
    grown = with_arguments(plan, request, larger)
    if grown.utilization_percent > target or not _safe(grown, request):
        return None
    before, after = shown(plan.arguments, lever), shown(grown.arguments, lever)
    return Step(
        lever,
        before,
        after,
        f"{lever} {before} → {after}: healthy and in demand, utilization "
        f"{plan.utilization_percent} → {grown.utilization_percent} %",
        grown,
    )


def _changed(plan: Plan, change: int) -> Arguments | None:
    """The arguments with the KV pool changed by so many bytes, rounded down; None where that is
    less than a block or a grain."""
    arguments, ledger = plan.arguments, plan.ledger
    block = max(1, ledger.kv_bytes_per_token * ledger.block_size)
    if abs(change) < block:
        return None
    if arguments.num_gpu_blocks_override is not None:
        blocks = arguments.num_gpu_blocks_override + change // block
        return replace(arguments, num_gpu_blocks_override=blocks)
    if arguments.kv_cache_memory_bytes is not None:
        size = (arguments.kv_cache_memory_bytes + change) // block * block
        return replace(arguments, kv_cache_memory_bytes=size)
    if arguments.gpu_memory_utilization is None:
        return None
    moved = (change + 1) * GRAIN // ledger.visible_bytes / GRAIN  # 1: whole points stay whole
    utilization = arguments.gpu_memory_utilization + moved
    utilization = round(max(utilization, UTILIZATION_FLOOR), 3)
    if utilization == arguments.gpu_memory_utilization:
        return None
    return replace(arguments, gpu_memory_utilization=utilization)


def _safe(plan: Plan, request: PlanRequest) -> bool:
    """Whether the planner itself would let the plan pass: it starts and holds the worst load."""
    where = target_of(request, choice_of(plan, request), plan.arguments.dtype)
    return judge(where, plan.arguments).safe is True
