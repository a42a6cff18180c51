"""Growth: when a healthy deployment gets more of its card, and when it is taken back."""

from dataclasses import replace
from itertools import pairwise

import pytest

from xpullm.api import LLMDeployment
from xpullm.healing import Growth, Health, PastStep, Policy, Step, grow, heal, judge, past_step
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


def test_five_points_at_a_time_up_to_the_target(request_, sixty):
    now, seen = sixty, [sixty.utilization_percent]
    while (step := grow(now, HEALTHY, GROWING, request_)) is not None:
        assert step.lever == "num-gpu-blocks-override"
        now = step.plan
        seen.append(now.utilization_percent)
    assert seen == sorted(set(seen))
    assert all(b - a <= 5 for a, b in pairwise(seen))
    assert 78 <= seen[-1] <= 80
    assert now.ledger.free_bytes >= 0


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


def test_nothing_grows_after_memory_ran_out_at_that_lever(request_, sixty):
    cut = PastStep(1, "", "device_oom_runtime", "runtime", "num-gpu-blocks-override", "900", "800")
    assert grow(sixty, HEALTHY, GROWING, request_, (cut,)) is None
