"""heal() on real plans: the seed's case, permissions, modes, and steps that leave the request."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from xpullm.api import LLMDeployment
from xpullm.healing import PastStep, Policy, Step, Stop, Wait, heal, judge, past_step
from xpullm.healing.border import pool_of, remake, situation_of
from xpullm.healing.situation import GIB, MIB, Pool
from xpullm.healing.tuning import key_of, learned_for, merge, observation_of, status_of
from xpullm.planner import Learned, Plan, PlanRequest, plan, resolve, with_arguments
from xpullm_runtime.diagnosis import Evidence, classify
from xpullm_runtime.diagnosis.types import Diagnosis

SERVING = {"contextLength": 8192, "concurrency": 8}


def asked(quantization="sym_int4", gpu="arc-a770-16g", serving=SERVING, **spec):
    manifest = LLMDeployment.model_validate(
        {
            "metadata": {"name": "qwen", "namespace": "default"},
            "spec": {
                "model": {"id": "Qwen/Qwen2-7B-Instruct"},
                "quantization": quantization,
                "gpu": {"type": gpu, "count": 1},
                "serving": serving,
            }
            | spec,
        }
    )
    request = resolve(manifest.spec, cards=(gpu,), facts=None)
    assert isinstance(request, PlanRequest), request
    made = plan(request, Learned())
    assert isinstance(made, Plan), made
    return request, made


SEED = (
    "INFO 11-23 02:00:00 [model_runner.py:1115] Loading model weights took 4.5100 GB\n"
    "INFO 11-23 02:00:09 [executor_base.py:111] # xpu blocks: 7800, # CPU blocks: 512\n"
    "INFO:     Application startup complete.\n"
    "ERROR 11-23 02:01:00 [engine.py:448] Traceback (most recent call last):\n"
    'ERROR 11-23 02:01:00 [engine.py:448]   File "/vllm/worker/model_runner.py", line 9, in '
    "execute_model\n"
    "ERROR 11-23 02:01:00 [engine.py:448] RuntimeError: XPU out of memory. Tried to allocate "
    "130.00 MiB (GPU 0; 15.11 GiB total capacity; 11.09 GiB already allocated; 11.23 GiB reserved "
    "in total by PyTorch)"
)


def test_the_seeds_failure_on_the_seeds_card():
    """Three GiB of the card are held by something that the pod cannot see: one step fits below."""
    request, first = asked()
    found = classify(Evidence(log=SEED, exit_code=1, was_ready=True))
    assert (found.cause, found.phase, found.actionable) == ("device_oom_runtime", "runtime", True)
    step = heal(first, found, (), Policy(), request)
    assert isinstance(step, Step)
    assert step.lever == "num-gpu-blocks-override"
    assert int(step.after) < int(step.before)
    ledger = step.plan.ledger
    peak = ledger.weights_bytes + ledger.activation_bytes + ledger.kv_cache_bytes
    assert peak + ledger.outside_bytes <= int(11.23 * GIB) - 250 * MIB
    # the wish is kept: eight sequences of 8192 tokens do not fit, but the context does
    assert step.plan.arguments.max_model_len == 8192
    assert step.plan.hash != first.hash
    assert dict(step.plan.flags)["num-gpu-blocks-override"] == step.after


def test_the_same_question_has_the_same_answer():
    request, first = asked()
    found = classify(Evidence(log=SEED, exit_code=1, was_ready=True))
    assert heal(first, found, (), Policy(), request) == heal(first, found, (), Policy(), request)


def test_observe_proposes_and_changes_nothing_and_off_says_nothing():
    request, first = asked()
    found = classify(Evidence(log=SEED, exit_code=1, was_ready=True))
    step = heal(first, found, (), Policy(), request)
    observed = heal(first, found, (), Policy(mode="Observe"), request)
    assert isinstance(observed, Stop)
    assert observed.reason == "ObserveOnly"
    assert step.text in observed.text
    off = heal(first, found, (), Policy(mode="Off"), request)
    assert isinstance(off, Stop)
    assert off.reason == "HealingOff"


def test_attempts_are_counted_and_growth_is_not_an_attempt():
    request, first = asked()
    found = classify(Evidence(log=SEED, exit_code=1, was_ready=True))
    used = PastStep(1, "", "host_oom", "weights", "memory-limit", "1", "2", effect="Helped")
    grown = replace(used, cause="growth", lever="kv-cache-memory-bytes")
    two = Policy(max_attempts=2)
    assert isinstance(heal(first, found, (used, grown), two, request), Step)
    stop = heal(first, found, (used, used), two, request)
    assert isinstance(stop, Stop)
    assert stop.reason == "AttemptsExhausted"
    assert "memory-limit 1 → 2, memory-limit 1 → 2" in stop.text


def test_a_users_pool_is_the_users():
    args = [{"name": "num-gpu-blocks-override", "value": "3000"}]
    request, first = asked(engine={"name": "ipex-llm", "args": args})
    found = classify(Evidence(log=SEED, exit_code=1, was_ready=True))
    for policy, lever in (
        (Policy(), None),
        (Policy(may_change=frozenset({"Arguments", "UserArguments"})), "num-gpu-blocks-override"),
    ):
        answer = heal(first, found, (), policy, request)
        moved = answer.lever if isinstance(answer, Step) else None
        assert moved in (lever, "max-num-batched-tokens", "max-num-seqs")
        if lever is None:
            assert moved != "num-gpu-blocks-override"


@pytest.mark.parametrize(
    ("quantization", "gpu", "changes", "pool"),
    [
        ("sym_int4", "arc-a770-16g", {}, Pool.PINNED),
        ("sym_int4", "arc-a770-16g", {"num_gpu_blocks_override": None}, Pool.OUTSIDE),
        ("fp8", "arc-pro-b60", {}, Pool.PINNED),
        ("fp8", "arc-pro-b60", {"kv_cache_memory_bytes": None}, Pool.LEFTOVER),
    ],
)
def test_how_the_pool_is_sized_is_read_from_arguments_and_the_catalogue(
    quantization, gpu, changes, pool
):
    request, first = asked(quantization, gpu)
    if gpu == "arc-pro-b60":  # its default engine is older than the pinned pool of bytes
        changes = changes and {"kv_cache_memory_bytes": None, "num_gpu_blocks_override": None}
    arguments = replace(first.arguments, **changes)
    where = situation_of(
        with_arguments(first, request, arguments), Diagnosis("x"), (), Policy(), request
    )
    assert where.pool == pool
    assert pool_of(arguments, None) in (pool, Pool.LEFTOVER)


def test_weights_that_do_not_fit_ask_for_leave_to_change_the_format():
    request, first = asked("fp8_e5m2")
    smaller = remake(first, request, "quantization")
    assert smaller is not None
    before, after, other = smaller
    assert before == "fp8_e5m2"
    assert other.ledger.weights_bytes < first.ledger.weights_bytes
    failed = Diagnosis("device_oom_weights", "weights", actionable=True)
    stop = heal(first, failed, (), Policy(), request)
    assert isinstance(stop, Stop)
    assert f"quantization {after} would fit" in stop.text
    may = Policy(may_change=frozenset({"Arguments", "Quantization"}))
    step = heal(first, failed, (), may, request)
    assert isinstance(step, Step)
    assert (step.lever, step.before, step.after) == ("quantization", before, after)


def test_healing_goes_on_from_a_plan_that_left_the_request():
    request, first = asked("fp8_e5m2")
    may = Policy(may_change=frozenset({"Arguments", "Quantization"}))
    failed = Diagnosis("device_oom_weights", "weights", actionable=True)
    step = heal(first, failed, (), may, request)
    history = (past_step(step, failed, (), time=""),)
    killed = Diagnosis("host_oom", "weights", actionable=True)
    second = heal(step.plan, killed, judge(history, killed), may, request)
    assert isinstance(second, Step)
    assert second.lever == "memory-limit"
    assert second.plan.quantization == step.plan.quantization
    assert second.plan.host.limit_bytes > step.plan.host.limit_bytes


def test_more_gpus_need_leave():
    request, first = asked()
    failed = Diagnosis("device_oom_weights", "weights", actionable=True)
    may = Policy(may_change=frozenset({"Arguments", "GPUCount"}))
    step = heal(first, failed, (), may, request)
    assert isinstance(step, Step)
    assert (step.lever, step.before, step.after) == ("gpu-count", "1", "2")
    assert step.plan.arguments.tensor_parallel_size == 2


def test_a_transient_cause_waits_longer_each_time_then_asks_a_person():
    request, first = asked()
    offline = Diagnosis("model_offline", "starting", "wait")
    waits = [heal(first, offline, (), Policy(), request, failures=n) for n in range(1, 7)]
    assert [w.seconds for w in waits if isinstance(w, Wait)] == [30, 60, 120, 240, 480]
    assert isinstance(waits[5], Stop)


def test_the_next_deployment_starts_from_what_held():
    """One deployment failed and was healed; the same one made anew does not fail the same way."""
    request, first = asked()
    found = classify(Evidence(log=SEED, exit_code=1, was_ready=True))
    step = heal(first, found, (), Policy(), request)
    time, key = "2026-11-23T02:00:00Z", key_of(first, "6.14.0")
    seen = [
        observation_of(first, "Failed", time=time, cause=found.cause, phase="runtime", node="n"),
        observation_of(step.plan, "Healthy", time=time, node="n"),
    ]
    now = datetime(2026, 11, 23, 3, tzinfo=UTC)
    record = {"status": status_of(key, merge((), seen, now))}
    again = plan(request, learned_for([record], key, now, node_count=1))
    assert again.ledger.kv_cache_bytes == step.plan.ledger.kv_cache_bytes
    assert again.arguments.max_model_len == step.plan.arguments.max_model_len
    # elsewhere in a larger fleet one node's failure does not bind
    assert plan(request, learned_for([record], key, now, node_count=9)).hash == first.hash
