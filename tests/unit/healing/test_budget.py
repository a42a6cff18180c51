"""The memory budget between what a minimum needs and where memory ran out (toy of `builders`)."""

from xpullm.healing.decide import decide
from xpullm.healing.situation import GIB, MIB, Pool, Wish
from xpullm.healing.types import Step, Stop

from .builders import BLOCK, TOKEN, arguments, failure, past, pinned, plan_of, situation

OOM = "device_oom_runtime"
SHORT = "max_model_len_exceeds_kv"
FULL = {"tried_bytes": 512 * MIB, "free_bytes": 128 * MIB, "reserved_bytes": 11 * GIB}


def test_a_cut_leaves_the_users_own_context_its_cache():
    """3.9 GiB are missing; 24576 tokens and a block need 3 GiB and 8 MiB, so 2 GiB are given."""
    mine = frozenset({"max-model-len"})
    plan = plan_of(pinned(5, max_model_len=24576, max_num_batched_tokens=1024, user=mine))
    step = decide(situation(plan, failure(OOM, **FULL | {"reserved_bytes": 7 * GIB})))
    assert isinstance(step, Step)
    assert (step.lever, int(step.after)) == ("kv-cache-memory-bytes", 3 * GIB + BLOCK * TOKEN)
    assert step.plan.arguments.max_model_len == 24576


def test_the_floor_counts_what_the_engine_really_held():
    """After a cut of 0.75 GiB 48 % are planned; what was held tells whether blocks are larger."""
    plan = plan_of(pinned(2.25, max_num_batched_tokens=1024))

    def answer(reserved):
        figures = {"tried_bytes": 512 * MIB, "free_bytes": 0, "reserved_bytes": reserved}
        refused = failure("device_oom_kv_alloc", "kv_alloc", **figures)
        return decide(situation(plan, refused, wish=Wish(None, 2048, 1, 1)))

    assert isinstance(answer(7 * GIB), Stop)  # 7.5 GiB, as planned
    step = answer(12 * GIB)  # 5 GiB more
    assert isinstance(step, Step)
    assert int(step.after) == int(1.5 * GIB)


def test_a_cut_that_is_small_beside_what_lacks_is_no_step():
    """Of 2.75 GiB only 0.24 GiB could be given back: that run would die like this one."""
    tight = plan_of(pinned(1.25, max_num_seqs=4, max_num_batched_tokens=1024))
    seen = {"tried_bytes": 512 * MIB, "reserved_bytes": 4 * GIB}
    stop = decide(situation(tight, failure(OOM, **seen), wish=Wish(8192, 8192, 1, 1)))
    assert isinstance(stop, Stop)
    assert "only 0.24 GiB of the KV cache could be given back" in stop.text


def test_after_a_cut_that_went_too_far_the_budget_goes_back_at_most_half_way():
    """Memory ran out at 4 GiB, and 1 GiB is too little: up to 2.5 GiB may be tried."""
    cut = past("kv-cache-memory-bytes", 4 * GIB, GIB, effect="Worse")

    def answer(tokens):
        plan = plan_of(pinned(1, max_model_len=tokens))
        seen = failure(SHORT, "kv_alloc", kv_available_bytes=GIB)
        wish = Wish(tokens, tokens, 1, 1)
        return decide(situation(plan, seen, history=(cut,), wish=wish))

    step = answer(16384)
    assert isinstance(step, Step)
    assert (step.lever, int(step.after)) == ("kv-cache-memory-bytes", 2 * GIB + 2 * BLOCK * TOKEN)
    assert isinstance(answer(24576), Stop)


def test_a_budget_that_others_leave_no_room_for_is_not_raised_again():
    plan = plan_of(pinned(1, max_model_len=16384))
    left = past("kv-cache-memory-bytes", 4 * GIB, GIB, cause="device_memory_busy")
    seen = failure(SHORT, "kv_alloc", kv_available_bytes=GIB)
    wish = Wish(16384, 16384, 1, 1)
    assert isinstance(decide(situation(plan, seen, history=(left,), wish=wish)), Stop)


def test_a_budget_that_was_too_small_for_a_longer_context_is_open_again():
    """A cut stops half way to a budget that was too small, until the context is shorter."""
    raised = past("gpu-memory-utilization", 0.85, 0.9, cause=SHORT, effect="Worse")
    shorter = past("max-model-len", 8192, 4096, cause=SHORT)
    plan = plan_of(arguments(max_model_len=4096, max_num_batched_tokens=1024), Pool.LEFTOVER)
    seen = failure(OOM, **FULL | {"reserved_bytes": 12 * GIB})

    def after(*history):
        step = decide(situation(plan, seen, Pool.LEFTOVER, history=history))
        assert isinstance(step, Step)
        return step.after

    assert after(raised) == "0.875"
    assert float(after(raised, shorter)) < 0.85
