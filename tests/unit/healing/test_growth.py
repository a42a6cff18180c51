"""Growth: when a healthy deployment gets more of its card, and when it is taken back."""

from dataclasses import replace

import pytest

from xpullm.api import LLMDeployment
from xpullm.healing import Growth, Health, PastStep, Policy, Step, grow, heal, judge, past_step
from xpullm.healing.growth import begin
from xpullm.planner import Learned, Plan, plan, resolve, with_arguments
from xpullm_runtime.diagnosis.types import Diagnosis

GROWING = Policy(growth=Growth("Enabled", 3600, 80))
HEALTHY = Health(healthy_seconds=3600, kv_usage_percent=90)


@pytest.fixture(scope="module")
def request_():
    manifest = LLMDeployment.model_validate(
        {
            "metadata": {"name": "qwen", "namespace": "default"},
            "spec": {
                "model": {"id": "Qwen/Qwen2-7B-Instruct"},
                "quantization": "sym_int4",
                "gpu": {"type": "arc-a770-16g", "count": 1},
                "serving": {"contextLength": 8192, "concurrency": 8},
            },
        }
    )
    return resolve(manifest.spec, cards=("arc-a770-16g",), facts=None)


@pytest.fixture(scope="module")
def sixty(request_):
    """The plan with a pool that uses about 60 % of the card, as the method begins."""
    first = plan(request_, Learned())
    assert isinstance(first, Plan)
    blocks = first.arguments.num_gpu_blocks_override
    tried = first
    for cut in range(10, 60):
        smaller = replace(first.arguments, num_gpu_blocks_override=blocks * (100 - cut) // 100)
        tried = with_arguments(first, request_, smaller)
        if tried.utilization_percent <= 60:
            break
    return tried


def way(request, policy=GROWING, health=HEALTHY):
    """Every value of the lever, and every utilization, from the start until nothing grows."""
    now = begin(plan(request, Learned()), policy, request)
    lever, values, seen = "", [], [now.utilization_percent]
    while (step := grow(now, health, policy, request)) is not None:
        lever, now = step.lever, step.plan
        values = [*(values or [step.before]), step.after]
        seen.append(now.utilization_percent)
        assert now.ledger.free_bytes >= 0
    return lever, values, seen


def test_five_points_at_a_time_up_to_the_target(request_):
    lever, values, seen = way(request_)
    assert lever == "num-gpu-blocks-override"
    assert values == ["8788", "10556", "12324", "14092", "15860"]
    assert seen == [60, 65, 70, 75, 80]


def test_a_target_between_two_steps_is_met_by_a_smaller_last_step(request_):
    near = replace(GROWING, growth=Growth("Enabled", 3600, 72, 60))
    assert way(request_, near)[2] == [60, 65, 70, 72]


def asked(**spec):
    """The seed's request with more in its spec."""
    manifest = {
        "metadata": {"name": "qwen", "namespace": "default"},
        "spec": {
            "model": {"id": "Qwen/Qwen2-7B-Instruct"},
            "quantization": "sym_int4",
            "gpu": {"type": "arc-a770-16g", "count": 1},
            **spec,
        },
    }
    return resolve(LLMDeployment.model_validate(manifest).spec)


def test_a_users_own_utilization_is_where_it_begins_and_needs_leave_to_grow():
    """The seed's own numbers. On V0 activations and context come on top of utilization."""
    own = asked(engine={"args": [{"name": "gpu-memory-utilization", "value": "0.6"}]})
    assert way(own) == ("", [], [65])
    leave = replace(GROWING, may_change=frozenset({"Arguments", "UserArguments"}))
    lever, values, seen = way(own, leave)
    assert lever == "gpu-memory-utilization"
    assert values == ["0.6", "0.65", "0.7", "0.75"]
    assert seen == [65, 70, 75, 80]


def test_it_begins_higher_where_what_was_asked_for_needs_it():
    wide = asked(serving={"contextLength": 32768, "concurrency": 4})
    full = plan(wide, Learned())
    first = begin(full, GROWING, wide)
    assert (full.utilization_percent, first.utilization_percent) == (93, 82)
    assert (first.context_length, first.concurrency) == (32768, 4)
    assert grow(first, HEALTHY, GROWING, wide) is None


@pytest.mark.parametrize(
    "policy",
    [
        replace(GROWING, growth=Growth()),
        replace(GROWING, mode="Observe"),
        replace(GROWING, may_change=frozenset()),
        replace(GROWING, growth=Growth("Enabled", 3600, 95, 95)),
    ],
    ids=["disabled", "observe", "not allowed", "starts as high"],
)
def test_a_plan_that_does_not_grow_begins_as_planned(request_, policy):
    full = plan(request_, Learned())
    assert begin(full, policy, request_) == full


@pytest.mark.parametrize(
    ("health", "policy"),
    [
        (HEALTHY, replace(GROWING, growth=Growth())),
        (HEALTHY, replace(GROWING, mode="Observe")),
        (HEALTHY, replace(GROWING, may_change=frozenset())),
        (replace(HEALTHY, healthy_seconds=3599), GROWING),
        (replace(HEALTHY, kv_usage_percent=69), GROWING),
        (replace(HEALTHY, in_window=False), GROWING),
        (replace(HEALTHY, replicas=2), GROWING),
        (replace(HEALTHY, peak_bytes=14 << 30), GROWING),
        (replace(HEALTHY, free_bytes=1 << 30), GROWING),
        (HEALTHY, replace(GROWING, growth=Growth("Enabled", 3600, 60))),
    ],
    ids=[
        "disabled",
        "observe",
        "not allowed",
        "too early",
        "no demand",
        "outside the window",
        "a replica is missing",
        "measured peak too high",
        "too little free",
        "target reached",
    ],
)
def test_when_nothing_grows(request_, sixty, health, policy):
    assert grow(sixty, health, policy, request_) is None


def test_preemptions_are_demand(request_, sixty):
    busy = Health(healthy_seconds=3600, kv_usage_percent=10, preemptions=3)
    assert grow(sixty, busy, GROWING, request_) is not None


def test_a_growth_step_that_fails_is_taken_back_and_never_tried_again(request_, sixty):
    step = grow(sixty, HEALTHY, GROWING, request_)
    grown = past_step(step, Diagnosis("growth", "runtime"), (), time="2026-11-23T02:00:00Z")
    out_of_memory = Diagnosis("device_oom_runtime", "runtime", actionable=True)
    back = heal(step.plan, out_of_memory, (grown,), GROWING, request_)
    assert isinstance(back, Step)
    assert (back.lever, back.before, back.after) == (step.lever, step.after, step.before)
    assert back.plan.arguments == sixty.arguments
    history = (*judge((grown,), out_of_memory), past_step(back, out_of_memory, (grown,), time=""))
    assert grow(back.plan, HEALTHY, GROWING, request_, history) is None


def test_a_growth_step_is_taken_back_when_the_attempts_are_used_up(request_, sixty):
    step = grow(sixty, HEALTHY, GROWING, request_)
    busy = Diagnosis("device_memory_busy", "starting", actionable=True)
    used = tuple(PastStep(n, "", "host_oom", "weights", "memory-limit", "1", "2") for n in (1, 2))
    grown = past_step(step, Diagnosis("growth", "runtime"), used, time="")
    assert grown.attempt == 2
    two = replace(GROWING, max_attempts=2)
    back = heal(step.plan, busy, (*used, grown), two, request_)
    assert (back.lever, back.after) == (step.lever, step.before)
    judged = judge((*used, grown), busy)
    assert past_step(back, busy, judged, time="").attempt == 2


def test_a_failure_that_growth_cannot_cause_takes_nothing_back(request_, sixty):
    step = grow(sixty, HEALTHY, GROWING, request_)
    grown = past_step(step, Diagnosis("growth", "runtime"), (), time="")
    killed = Diagnosis("host_oom", "runtime", actionable=True)
    assert judge((grown,), killed)[-1].effect == "Unclear"
    assert heal(step.plan, killed, (grown,), GROWING, request_).lever == "memory-limit"


def test_nothing_grows_after_memory_ran_out_at_that_lever(request_, sixty):
    cut = PastStep(1, "", "device_oom_runtime", "runtime", "num-gpu-blocks-override", "900", "800")
    assert grow(sixty, HEALTHY, GROWING, request_, (cut,)) is None
