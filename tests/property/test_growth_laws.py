"""The laws of growth, over models, cards, engines, wishes and whatever pods tell."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.property.test_planner_laws import requests

from xpullm.healing.growth import POINTS, begin, grow
from xpullm.healing.heal import heal
from xpullm.healing.history import past_step
from xpullm.healing.judge import axis, direction, judge, judge_healthy
from xpullm.healing.types import Growth, Health, PastStep, Policy, Step
from xpullm.planner import Arguments, Plan, PlanRequest, plan
from xpullm.planner.build import choice_of, target_of
from xpullm.planner.estimate import judge as judged_by_planner
from xpullm.planner.request import UserArguments
from xpullm_runtime.diagnosis.types import Diagnosis

GROWN = Diagnosis("growth", "runtime")
BUSY = Health(healthy_seconds=1e9, kv_usage_percent=100)
BUDGET = {"gpu_memory_utilization", "kv_cache_memory_bytes", "num_gpu_blocks_override"}
policies = st.builds(
    lambda target, start: Policy(growth=Growth("Enabled", 60, target, min(start, target))),
    st.integers(50, 95),
    st.integers(50, 95),
)


def planned(request: PlanRequest) -> Plan:
    found = plan(request)
    assume(isinstance(found, Plan))
    assert isinstance(found, Plan)
    return found


def apart_from_budget(arguments: Arguments) -> Arguments:
    return replace(arguments, **dict.fromkeys(BUDGET))


def safe(found: Plan, request: PlanRequest) -> bool:
    where = target_of(request, choice_of(found, request), found.arguments.dtype)
    return judged_by_planner(where, found.arguments).safe is True


@given(requests(), policies)
def test_it_begins_with_less_and_with_all_that_was_asked_for(
    request: PlanRequest, policy: Policy
) -> None:
    full = planned(request)
    first = begin(full, policy, request)
    assert safe(first, request)
    assert first.utilization_percent <= full.utilization_percent
    assert first.context_length == full.context_length
    assert first.concurrency >= min(request.serving.concurrency or 1, full.concurrency)
    assert apart_from_budget(first.arguments) == apart_from_budget(full.arguments)


@given(requests(), policies)
def test_it_ends_at_the_target_and_every_step_is_small_and_safe(
    request: PlanRequest, policy: Policy
) -> None:
    now = begin(planned(request), policy, request)
    target = policy.growth.target_utilization_percent
    for _ in range(100 // POINTS + 1):
        step = grow(now, BUSY, policy, request)
        if step is None:
            return
        assert now.ledger.kv_cache_bytes < step.plan.ledger.kv_cache_bytes
        assert step.plan.utilization_percent <= min(target, now.utilization_percent + POINTS + 1)
        assert safe(step.plan, request)
        assert step.plan.ledger.free_bytes >= 0
        assert apart_from_budget(step.plan.arguments) == apart_from_budget(now.arguments)
        now = step.plan
    raise AssertionError(f"still growing at {now.utilization_percent} %")


@given(requests(), policies, st.integers(0, 1 << 36))
def test_a_measured_peak_is_left_its_room(request: PlanRequest, policy: Policy, peak: int) -> None:
    first = begin(planned(request), policy, request)
    step = grow(first, replace(BUSY, peak_bytes=peak), policy, request)
    if step is not None and peak:
        added = step.plan.ledger.kv_cache_bytes - first.ledger.kv_cache_bytes
        assert peak + added <= 0.95 * first.ledger.visible_bytes


@given(requests(), policies, st.floats(0.5, 0.95))
def test_a_users_own_budget_is_left_alone(request: PlanRequest, policy: Policy, own: float) -> None:
    value = round(own, 2)
    flags = (("gpu-memory-utilization", str(value)),)
    user = UserArguments(flags=flags, gpu_memory_utilization=value)
    mine = replace(request, user=user)
    first = planned(mine)
    assert begin(first, policy, mine) == first
    step = grow(first, BUSY, policy, mine)
    assert step is None or step.lever != "gpu-memory-utilization"


@given(
    requests(),
    policies,
    st.lists(
        st.sampled_from(["held", "device_oom_runtime", "device_memory_busy", "host_oom"]),
        min_size=1,
        max_size=8,
    ),
)
def test_what_failed_is_taken_back_and_never_tried_again(
    request: PlanRequest, policy: Policy, course: list[str]
) -> None:
    now, history, failed = begin(planned(request), policy, request), (), False
    for result in course:
        step = grow(now, BUSY, policy, request, history)
        if step is None:
            return
        assert not failed
        before, now = now, step.plan
        history = (*history, past_step(step, GROWN, history, time=""))
        if result == "held":
            history = judge_healthy(history)
            continue
        failure = Diagnosis(result, "runtime", actionable=True)
        answer = heal(now, failure, history, policy, request)
        if result != "host_oom":
            assert isinstance(answer, Step)
            assert answer.plan.arguments == before.arguments
            failed = True
        if isinstance(answer, Step):
            history = judge(history, failure)
            history = judge_healthy((*history, past_step(answer, failure, history, time="")))
            now = answer.plan
    raised = [s for s in history if axis(s.lever) == "budget" and direction(s) > 0]
    assert all(isinstance(s, PastStep) and s.cause == "growth" for s in raised)
