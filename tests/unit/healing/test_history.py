"""What is remembered of steps, how it is judged, and how it is written down."""

import json
from dataclasses import replace

import pytest

from xpullm.healing.decide import decide
from xpullm.healing.history import (
    decode_history,
    encode_history,
    past_step,
    status_history,
)
from xpullm.healing.judge import episode, judge, judge_healthy, reversed_before
from xpullm.healing.types import Step, Stop

from .builders import failure, past, pinned, plan_of, situation

OOM = "device_oom_runtime"


@pytest.mark.parametrize(
    ("step", "now", "effect"),
    [
        # the same allocation fails again, within 10 %
        (past("max-num-seqs", 16, 8, tried_bytes=500), failure(OOM, tried_bytes=540), "NoEffect"),
        # it fails, but much smaller
        (past("max-num-seqs", 16, 8, tried_bytes=500), failure(OOM, tried_bytes=250), "Helped"),
        # another failure now
        (past("max-num-seqs", 16, 8), failure("host_oom"), "Helped"),
        # too much after too little: the raise went too far
        (
            past("gpu-memory-utilization", 0.8, 0.9, cause="kv_cache_no_memory", phase="kv_alloc"),
            failure(OOM),
            "Worse",
        ),
        # no figures: nobody can tell whether it moved
        (past("gpu-memory-utilization", 0.9, 0.85), failure(OOM), "Unclear"),
        # environment against a cause without sizes
        (
            past("environment:CCL_ENABLE_SYCL_KERNELS", "", 0, cause="ccl_error"),
            failure("ccl_error"),
            "NoEffect",
        ),
        (past("memory-limit", 1, 2, cause="host_oom"), failure("host_oom"), "Helped"),
        (past("kv-cache-memory-bytes", 1, 2, cause="growth"), failure(OOM), "Worse"),
    ],
)
def test_the_next_failure_judges_the_last_step(step, now, effect):
    assert judge((step,), now)[-1].effect == effect


def test_the_same_allocation_at_a_later_moment_is_an_effect():
    """The card filled up again although the pool gave 300 back: something grew meanwhile."""
    step = past("kv-cache-memory-bytes", 9, 8, tried_bytes=50, held_bytes=900, relief_bytes=300)
    later = failure(OOM, tried_bytes=50, reserved_bytes=890)
    at_once = failure(OOM, tried_bytes=50, reserved_bytes=600)
    assert judge((step,), later)[-1].effect == "Helped"
    assert judge((step,), at_once)[-1].effect == "NoEffect"


def test_a_failure_on_another_node_tells_nothing_of_a_step():
    """Replicas run on different cards, and one may hold more of others than its neighbour."""
    step = past("kv-cache-memory-bytes", 9, 8, tried_bytes=500, held_bytes=900, node="a")
    again = failure(OOM, tried_bytes=500, reserved_bytes=900)
    assert judge((step,), again, "b")[-1].effect == "Unclear"
    assert judge((step,), again, "a")[-1].effect == "NoEffect"
    assert judge((step,), again)[-1].effect == "NoEffect"
    moved = replace(step, lever="node")  # but a move is judged by where it led to
    assert judge((moved,), again, "b")[-1].effect == "NoEffect"


@pytest.mark.parametrize(
    ("lever", "tried", "effect"),
    [
        # a cut of 6 %: the failed tensor is a part of the pool and has shrunk with it
        ("num-gpu-blocks-override", 470, "Unclear"),
        # the engine did not take the cut
        ("num-gpu-blocks-override", 500, "NoEffect"),
        # not a lever of the pool
        ("max-num-seqs", 470, "NoEffect"),
    ],
)
def test_a_tensor_of_the_pool_shrinks_with_it(lever, tried, effect):
    cause = {"cause": "device_oom_kv_alloc", "phase": "kv_alloc"}
    step = past(lever, 100, 94, tried_bytes=500, held_bytes=900, **cause)
    now = failure(*cause.values(), tried_bytes=tried, reserved_bytes=900)
    assert judge((step,), now)[-1].effect == effect


def test_a_cut_that_nothing_sized_is_tried_once_more_before_it_counts_for_nothing():
    """A message that names only what was tried does not say how much was missing."""
    first = past("kv-cache-memory-bytes", 9, 8, tried_bytes=500)
    again = failure(OOM, tried_bytes=500)
    (unclear,) = judge((first,), again)
    assert unclear.effect == "Unclear"
    second = past("kv-cache-memory-bytes", 8, 6, tried_bytes=500)
    assert judge((unclear, second), again)[-1].effect == "NoEffect"


def test_a_card_that_another_process_shares_is_judged_where_it_is():
    busy = {"cause": "device_memory_busy", "phase": "starting"}
    step = past("kv-cache-memory-bytes", 9, 8, node="a", **busy)
    now = failure(*busy.values(), free_bytes=700)
    assert judge((step,), now, "b")[-1].effect == "Unclear"
    assert judge((step,), now, "a")[-1].effect == "NoEffect"


def test_a_cut_that_gave_back_its_share_and_left_too_little_has_helped():
    """More was missing than anybody knew; a card that calls itself free proves nothing."""
    step = past("kv-cache-memory-bytes", 9, 8, tried_bytes=50, held_bytes=900, relief_bytes=300)
    seen = {"tried_bytes": 50, "reserved_bytes": 600}
    assert judge((step,), failure(OOM, **seen, free_bytes=20))[-1].effect == "Helped"
    assert judge((step,), failure(OOM, **seen, free_bytes=9000))[-1].effect == "NoEffect"


def test_where_the_pool_itself_is_refused_a_third_cut_is_tried():
    refused = {"cause": "device_oom_kv_alloc", "phase": "kv_alloc"}
    first = past("gpu-memory-utilization", 0.9, 0.85, effect="Unclear", **refused)
    second = past("gpu-memory-utilization", 0.85, 0.75, **refused)
    now = failure(*refused.values())
    judged = judge((first, second), now)
    assert judged[-1].effect == "Unclear"
    third = past("gpu-memory-utilization", 0.75, 0.55, **refused)
    assert judge((*judged, third), now)[-1].effect == "NoEffect"


def test_an_eviction_judges_nothing():
    step = past("max-num-seqs", 16, 8)
    assert judge((step,), failure("evicted")) == (step,)


def test_two_unclear_tries_of_one_lever_are_no_effect():
    first = past("kv-cache-memory-bytes", 9, 8, effect="Unclear")
    second = past("kv-cache-memory-bytes", 8, 6)
    assert judge((first, second), failure(OOM))[-1].effect == "NoEffect"


def test_what_is_judged_stays_judged():
    judged = past("max-num-seqs", 16, 8, effect="NoEffect")
    assert judge((judged,), failure("host_oom")) == (judged,)
    assert judge_healthy((judged,)) == (judged,)
    assert judge_healthy((replace(judged, effect=""),))[-1].effect == "Helped"
    assert judge((), failure(OOM)) == ()


RAISED = past("memory-limit", "16Gi", "24Gi", cause="host_oom", phase="weights")
TAKEN_BACK = past("memory-request", "12Gi", "8Gi", cause="unschedulable_gpu", phase="scheduling")


def effects(history):
    return [step.effect for step in history]


def test_what_was_open_when_the_pod_found_no_node_is_judged_once_it_runs():
    assert effects(judge_healthy((RAISED, TAKEN_BACK))) == ["Helped", "Helped"]
    assert effects(judge((RAISED, TAKEN_BACK), failure(OOM))) == ["Helped", "Helped"]
    assert effects(judge((RAISED, TAKEN_BACK), failure("unschedulable_gpu"))) == ["", ""]


def test_each_open_step_is_judged_by_what_it_answered():
    cut = past("kv-cache-memory-bytes", 9, 8, tried_bytes=500, held_bytes=900)
    moved = past("node", "a", "another", cause="admission_error", phase="scheduling")
    again = failure(OOM, tried_bytes=500, reserved_bytes=900)
    assert effects(judge((cut, moved), again)) == ["NoEffect", "Helped"]
    unclear = past("kv-cache-memory-bytes", 10, 9, effect="Unclear")
    blind = past("kv-cache-memory-bytes", 9, 8)
    assert effects(judge((unclear, blind, moved), failure(OOM))) == [
        "Unclear",
        "NoEffect",
        "Helped",
    ]


def test_a_step_that_was_left_open_before_a_judged_one_is_judged_too():
    served = replace(TAKEN_BACK, effect="Helped")
    assert effects(judge_healthy((RAISED, served))) == ["Helped", "Helped"]


def test_a_direction_may_be_reversed_once():
    down = past("gpu-memory-utilization", 0.9, 0.85)
    up = past("gpu-memory-utilization", 0.85, 0.88)
    assert not reversed_before((down,), "gpu-memory-utilization", +1)
    assert not reversed_before((down, up), "gpu-memory-utilization", +1)
    assert reversed_before((down, up), "gpu-memory-utilization", -1)
    assert not reversed_before((down, up), "max-num-seqs", -1)


def test_an_episode_is_the_newest_run_of_one_failure():
    other = past("memory-limit", 1, 2, cause="host_oom")
    steps = (past("max-num-seqs", 16, 8), other, past("max-num-seqs", 8, 4))
    assert episode(steps, failure(OOM)) == steps[2:]


def test_a_lever_without_effect_gives_way_to_the_next_and_two_end_the_ladder():
    seen = {"tried_bytes": 1 << 29, "free_bytes": 1 << 27, "reserved_bytes": 13 << 30}
    plan = plan_of(pinned(7))
    once = (past("max-num-batched-tokens", 8192, 4096, tried_bytes=1 << 29),)
    step = decide(situation(plan, failure(OOM, **seen), history=judge(once, failure(OOM, **seen))))
    assert isinstance(step, Step)
    assert step.lever == "kv-cache-memory-bytes"
    twice = (
        past("max-num-batched-tokens", 8192, 4096, effect="NoEffect"),
        past("kv-cache-memory-bytes", 8 << 30, 7 << 30, effect="NoEffect"),
    )
    stop = decide(situation(plan, failure(OOM, **seen), history=twice))
    assert isinstance(stop, Stop)
    assert stop.reason == "LadderExhausted"
    assert "without effect" in stop.text


def test_history_survives_its_annotation():
    diagnosis = failure(OOM, "runtime", "XPU out of memory. " + "x" * 999, tried_bytes=7)
    step = Step("max-num-seqs", "16", "8", "text", plan_of(pinned(7)))
    entry = past_step(
        step,
        diagnosis,
        (),
        time="2026-11-23T02:00:00Z",
        failure_id="uid/1/t",
        plan_hash="abc",
        node="n",
    )
    assert (entry.attempt, entry.tried_bytes, len(entry.evidence)) == (1, 7, 300)
    assert decode_history(encode_history((entry, entry))) == (entry, entry)


@pytest.mark.parametrize(
    "text",
    [
        None, "", "{}", "[1]", "nonsense", '[{"attempt":"x"}]', "[null]",
        pytest.param("[" * 50_000, id="deep"),
    ],
)  # fmt: skip
def test_a_foreign_annotation_is_no_history_and_no_crash(text):
    assert all(step.attempt == 0 for step in decode_history(text))


def test_an_unknown_field_of_a_newer_operator_is_left_out():
    text = json.dumps([{"attempt": 2, "lever": "max-num-seqs", "novel": 1, "tried_bytes": True}])
    (step,) = decode_history(text)
    assert (step.attempt, step.lever, step.tried_bytes) == (2, "max-num-seqs", 0)


def test_status_shows_the_newest_twenty():
    steps = tuple(past("max-num-seqs", 16, 8, attempt=i) for i in range(1, 31))
    rows = status_history(steps)
    assert [row["attempt"] for row in rows] == list(range(11, 31))
    assert rows[-1] == {
        "attempt": 30,
        "time": "2026-11-23T02:00:00Z",
        "cause": OOM,
        "phase": "runtime",
        "argument": "max-num-seqs",
        "from": "16",
        "to": "8",
        "result": "Pending",
    }
