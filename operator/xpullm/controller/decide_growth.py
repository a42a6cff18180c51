"""When a deployment that serves grows: healthy for long enough, watched, and inside its window.

Since when it is healthy is read off the pods' Ready conditions, so an operator that was away
misses nothing and forgets nothing. A step is on probation until it held for as long again; fails it
before that with memory, it is taken back by healing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from xpullm.api import LLMDeployment
from xpullm.api.healing import WEEKDAYS, GrowthWindow
from xpullm.controller.decide_answer import Answer
from xpullm.controller.decide_heal import place
from xpullm.controller.decide_plan import Standing, request_behind
from xpullm.controller.decide_pods import entries, of_plan
from xpullm.controller.decide_rollout import hold
from xpullm.controller.engine_figures import known, serving
from xpullm.controller.timestamps import epoch
from xpullm.controller.types import EngineFigures, Object, Snapshot
from xpullm.healing.growth import CAUSE, grow, on_probation
from xpullm.healing.policy import policy_of
from xpullm.healing.types import Health
from xpullm.planner.types import Plan, Refusal
from xpullm_runtime.diagnosis.types import Diagnosis

GROWN = Diagnosis(CAUSE, "runtime")
STALE_SECONDS = 300  # figures are asked for every minute; older ones say nothing of now


def healthy_seconds(pods: Sequence[Object], now: float) -> float:
    """How long all of these pods have been Ready together; 0 where one does not say."""
    since = [
        epoch(condition.get("lastTransitionTime"))
        for pod in pods
        for condition in entries(pod, "status", "conditions")
        if condition.get("type") == "Ready" and condition.get("status") == "True"
    ]
    if not pods or len(since) != len(pods):
        return 0.0
    times = [time for time in since if time is not None]
    return max(0.0, now - max(times)) if len(times) == len(pods) else 0.0


def proven(llmd: LLMDeployment, snapshot: Snapshot, standing: Standing, now: float) -> bool:
    """Whether the last step may be called a success: one of growth first has to last."""
    if not on_probation(standing.history):
        return True
    pods = of_plan(snapshot.pods, standing.plan.hash)
    return healthy_seconds(pods, now) >= llmd.spec.healing.growth.after_healthy_seconds


def grow_now(
    llmd: LLMDeployment, snapshot: Snapshot, standing: Standing, max_rerolls: int, now: float
) -> Answer:
    """A growth step, or nothing. For a deployment whose pods all serve the plan in force."""
    growth, plan = llmd.spec.healing.growth, standing.plan
    if growth.mode != "Enabled" or not proven(llmd, snapshot, standing, now):
        return Answer()
    pods = serving(snapshot.pods, plan.hash)
    told = [known(snapshot.runtime, pod, plan.hash) for pod in pods]
    watched = [item for item in told if item is not None and now - item.fetched <= STALE_SECONDS]
    request = request_behind(llmd, plan)
    if isinstance(request, Refusal) or not pods or len(watched) < len(pods):
        return Answer()
    health = _health(llmd, plan, pods, watched, now)
    step = grow(plan, health, policy_of(llmd.spec), request, standing.history)
    if step is None:
        return Answer()
    where = place(snapshot, pods[0])
    canary = (plan.image, plan.gpu, where.kernel)
    if hold(snapshot.fleet, canary, replaces_ready=True, max_rerolls=max_rerolls, now=now):
        return Answer()  # the next figures bring it here again
    return Answer(place=where, step=step, replaces_ready=True)


def _health(
    llmd: LLMDeployment,
    plan: Plan,
    pods: Sequence[Object],
    watched: Sequence[EngineFigures],
    now: float,
) -> Health:
    """The worst of all replicas. Device memory is told for all cards of a pod together."""
    return Health(
        healthy_seconds=healthy_seconds(pods, now),
        kv_usage_percent=max(item.kv_usage_percent or 0 for item in watched),
        preemptions=sum(item.preemptions for item in watched),
        peak_bytes=-(-max(item.vram_peak_bytes for item in watched) // max(1, plan.gpu_count)),
        replicas=llmd.spec.replicas,
        ready_replicas=len(pods),
        in_window=is_open(llmd.spec.healing.growth.window, now),
    )


def is_open(window: GrowthWindow | None, now: float) -> bool:
    """Whether a step may begin now. A window that lasts past midnight belongs to the day on which
    it opened. Times are UTC."""
    if window is None:
        return True
    moment = datetime.fromtimestamp(now, UTC)
    hour, minute = map(int, window.start_time.split(":"))
    for days_ago in (0, 1):
        day = moment - timedelta(days=days_ago)
        if window.weekdays and WEEKDAYS[day.weekday()] not in window.weekdays:
            continue
        opened = day.replace(hour=hour, minute=minute, second=0, microsecond=0)
        if opened <= moment < opened + timedelta(minutes=window.duration_minutes):
            return True
    return False
