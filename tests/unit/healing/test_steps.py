"""One failure, one step: which lever moves, and exactly how far (toy card of `builders`)."""

from dataclasses import replace

import pytest

from xpullm.healing.decide import decide
from xpullm.healing.situation import GIB, MIB, Pool, Wish
from xpullm.healing.types import Policy, Step, Stop, Wait

from .builders import BLOCK, TOKEN, VISIBLE, arguments, failure, past, pinned, plan_of, situation

OOM = "device_oom_runtime"
# The toy's torch peak with 7 GiB pinned: 5 weights + 1 activation + 7 KV + 0.5 outside = 13.5 GiB.
SEEN = {
    "tried_bytes": 512 * MIB,
    "free_bytes": 128 * MIB,
    "reserved_bytes": int(12.5 * GIB),
}


def moved(step):
    assert isinstance(step, Step), step
    return step.lever, step.before, step.after


def test_the_missing_bytes_are_taken_from_a_pinned_pool_that_has_more_than_was_wished():
    plan = plan_of(pinned(7))
    step = decide(situation(plan, failure(OOM, **SEEN), wish=Wish(8192, 2048, 4, 1)))
    # 13.5 GiB planned, 12.625 GiB to be had, 0.25 GiB margin: 1.125 GiB, in blocks of 8 MiB
    assert moved(step) == (
        "kv-cache-memory-bytes",
        str(7 * GIB),
        str(int(5.875 * GIB)),
    )
    assert step.plan.arguments == replace(plan.arguments, kv_cache_memory_bytes=int(5.875 * GIB))


def test_a_pool_that_is_just_what_was_wished_keeps_its_size_and_prefill_gives_way():
    wish = Wish(8192, 2048, 7, 1)  # 7 x 8192 tokens are exactly 7 GiB
    seen = SEEN | {"reserved_bytes": int(13.2 * GIB), "tried_bytes": 256 * MIB}
    step = decide(situation(plan_of(pinned(7)), failure(OOM, **seen), wish=wish))
    # 0.43 GiB are missing: half of 1 GiB of activations is enough
    assert moved(step) == ("max-num-batched-tokens", "4096", "2048")
    assert step.plan.ledger.kv_cache_bytes == 7 * GIB


def test_where_the_pool_is_what_is_left_batched_tokens_are_never_the_answer():
    plan = plan_of(arguments(), Pool.LEFTOVER)
    seen = SEEN | {"reserved_bytes": 13 * GIB}
    step = decide(situation(plan, failure(OOM, **seen), Pool.LEFTOVER))
    # 14.65 GiB planned, 13.125 to be had, 0.25 margin: 11.1 % of 16 GiB
    assert moved(step)[0] == "gpu-memory-utilization"
    assert (step.before, step.after) == ("0.9", "0.789")


def test_on_v0_activations_are_outside_the_sum_and_batched_tokens_help():
    plan = plan_of(arguments(gpu_memory_utilization=0.7), Pool.OUTSIDE)
    seen = {"tried_bytes": 130 * MIB, "reserved_bytes": int(12.5 * GIB)}
    step = decide(situation(plan, failure(OOM, **seen), Pool.OUTSIDE))
    assert moved(step) == ("max-num-batched-tokens", "4096", "2048")


def test_without_figures_a_twentieth_of_the_card_is_given_up():
    step = decide(situation(plan_of(pinned(7)), failure(OOM), wish=Wish(8192, 2048, 2, 1)))
    # 5 % of 16 GiB, in whole blocks of 8 MiB
    left = (7 * GIB - int(0.05 * 16 * GIB)) // (BLOCK * TOKEN) * (BLOCK * TOKEN)
    assert moved(step) == ("kv-cache-memory-bytes", str(7 * GIB), str(left))


def test_without_figures_the_second_cut_is_twice_as_large():
    history = (past("kv-cache-memory-bytes", int(7.8 * GIB), 7 * GIB, effect="Unclear"),)
    step = decide(
        situation(plan_of(pinned(7)), failure(OOM), history=history, wish=Wish(8192, 2048, 2, 1))
    )
    left = (7 * GIB - int(0.10 * 16 * GIB)) // (BLOCK * TOKEN) * (BLOCK * TOKEN)
    assert moved(step) == ("kv-cache-memory-bytes", str(7 * GIB), str(left))


def test_the_engines_own_estimate_sets_the_context():
    plan = plan_of(pinned(0.5))
    seen = {"max_model_len_fits": 3904, "kv_available_bytes": GIB // 2, "kv_needed_bytes": GIB}
    step = decide(situation(plan, failure("max_model_len_exceeds_kv", "kv_alloc", **seen)))
    # 95 % of 3904, in blocks of 64
    assert moved(step) == ("max-model-len", "8192", "3648")


def test_an_estimate_of_no_tokens_is_the_engines_word_too():
    """ "the estimated maximum model length is 0": the context is not nibbled at by our own sum."""
    plan = plan_of(pinned(1))
    nothing = {"max_model_len_fits": 0, "kv_available_bytes": 10 * MIB, "kv_needed_bytes": 2 * GIB}
    answer = decide(situation(plan, failure("max_model_len_exceeds_kv", "kv_alloc", **nothing)))
    assert not isinstance(answer, Step) or answer.lever != "max-model-len"


def test_without_an_estimate_the_printed_pool_says_how_long_a_context_may_be():
    plan = plan_of(arguments(gpu_memory_utilization=0.9), Pool.LEFTOVER)
    seen = failure("max_model_len_exceeds_kv", "kv_alloc", kv_available_bytes=GIB // 2)
    step = decide(situation(plan, seen, Pool.LEFTOVER))
    # 0.5 GiB of 128 KiB per token are 4096 tokens; 95 % in blocks of 64
    assert moved(step) == ("max-model-len", "8192", "3840")


def test_what_was_tried_alone_is_no_measure_of_what_lacks():
    plan = plan_of(pinned(7))
    step = decide(situation(plan, failure(OOM, tried_bytes=46 * MIB), wish=Wish(8192, 2048, 2, 1)))
    # 5 % of 16 GiB, as without figures
    left = (7 * GIB - int(0.05 * 16 * GIB)) // (BLOCK * TOKEN) * (BLOCK * TOKEN)
    assert moved(step) == ("kv-cache-memory-bytes", str(7 * GIB), str(left))


def test_a_cut_of_utilization_stops_at_what_the_minimum_needs_as_the_engine_counts():
    """Where the engine multiplies it with more than is visible, 1/1000 of it is more, too."""
    plan = plan_of(arguments(gpu_memory_utilization=0.6), Pool.LEFTOVER)
    wish = Wish(None, 4096, None, 6)  # 3 GiB and a block of 3.35 GiB
    seen = failure(OOM, **SEEN | {"tried_bytes": 256 * MIB, "reserved_bytes": 8 * GIB})
    base = situation(plan, seen, Pool.LEFTOVER, wish=wish)

    def replan(other, **changes):
        made = base.replan(other, **changes)
        more = int((other.gpu_memory_utilization - 0.6) * VISIBLE)  # the whole is 32 GiB
        kv = made.ledger.kv_cache_bytes + more
        tokens = kv // TOKEN
        sums = replace(
            made.ledger, kv_cache_bytes=kv, kv_cache_tokens=tokens, max_model_len_fits=tokens
        )
        return replace(made, ledger=sums)

    assert moved(decide(base)) == ("gpu-memory-utilization", "0.6", "0.579")
    step = decide(replace(base, replan=replan))
    assert moved(step) == ("gpu-memory-utilization", "0.6", "0.59")
    assert step.plan.ledger.kv_cache_tokens >= 6 * 4096


def test_one_allocation_too_large_shortens_the_context_where_the_batch_follows_it():
    plan = plan_of(pinned(7, max_model_len=8192, max_num_batched_tokens=8192))
    relaxed = replace(plan, env={"UR_L0_ENABLE_RELAXED_ALLOCATION_LIMITS": "1"})
    seen = failure("device_oom_single_alloc", "profile", tried_bytes=6 * GIB)
    step = decide(situation(relaxed, seen, chunked_prefill=False))
    assert moved(step) == ("max-model-len", "8192", "4096")
    assert step.plan.arguments.max_num_batched_tokens == 4096


@pytest.mark.parametrize(("reserved", "moves"), [(11, True), (8, False)])
def test_one_large_allocation_on_a_full_card_is_paid_by_the_pool(reserved, moves):
    """A driver that calls everything free makes an ordinary shortage look like a limit."""
    plan = plan_of(pinned(7, max_num_batched_tokens=1024))
    relaxed = replace(plan, env={"UR_L0_ENABLE_RELAXED_ALLOCATION_LIMITS": "1"})
    figures = {"tried_bytes": 5 * GIB, "free_bytes": VISIBLE, "reserved_bytes": reserved * GIB}
    answer = decide(situation(relaxed, failure("device_oom_single_alloc", "runtime", **figures)))
    assert isinstance(answer, Step if moves else Stop)
    if moves:
        assert answer.lever == "kv-cache-memory-bytes"


def test_a_limit_in_words_is_never_answered_with_a_smaller_pool():
    plan = plan_of(pinned(7, max_num_batched_tokens=1024))
    relaxed = replace(plan, env={"UR_L0_ENABLE_RELAXED_ALLOCATION_LIMITS": "1"})
    words = "Current platform can NOT allocate memory block with size larger than 4GB!"
    figures = {"tried_bytes": 5 * GIB, "reserved_bytes": 11 * GIB}
    seen = failure("device_oom_single_alloc", "runtime", words, **figures)
    assert isinstance(decide(situation(relaxed, seen)), Stop)


def test_a_wished_context_is_kept_where_the_card_has_room():
    plan = plan_of(pinned(0.5))
    seen = {"max_model_len_fits": 3904, "kv_available_bytes": GIB // 2, "kv_needed_bytes": GIB}
    step = decide(
        situation(
            plan,
            failure("max_model_len_exceeds_kv", "kv_alloc", **seen),
            wish=Wish(8192, 2048, None, 1),
        )
    )
    assert moved(step)[0] == "kv-cache-memory-bytes"
    assert int(step.after) >= GIB
    assert step.plan.arguments.max_model_len == 8192


def test_a_negative_pool_raises_the_budget_by_what_is_printed():
    plan = plan_of(arguments(gpu_memory_utilization=0.5), Pool.LEFTOVER)
    seen = {"kv_available_bytes": -int(0.25 * GIB)}
    step = decide(situation(plan, failure("kv_cache_no_memory", "kv_alloc", **seen), Pool.LEFTOVER))
    # 8192 tokens and two blocks are 1.016 GiB, and 0.25 GiB more: 7.9 % of 16 GiB
    assert moved(step) == ("gpu-memory-utilization", "0.5", "0.58")


def test_the_profile_run_answers_to_batched_tokens():
    seen = {"tried_bytes": 256 * MIB, "free_bytes": 64 * MIB, "reserved_bytes": 5 * GIB}
    plan = plan_of(pinned(7))
    step = decide(situation(plan, failure("device_oom_profile", "profile", **seen)))
    # 6 GiB planned, 5.06 to be had: 4096 -> 1024 gives 0.75 GiB, all there is
    assert moved(step) == ("max-num-batched-tokens", "4096", "1024")


def test_the_samplers_warm_up_answers_to_sequences():
    plan = plan_of(pinned(7, max_num_seqs=512))
    seen = {"tried_bytes": 600 * MIB, "free_bytes": 200 * MIB, "warmup_sequences": 512}
    step = decide(situation(plan, failure("device_oom_profile", "profile", **seen)))
    assert moved(step) == ("max-num-seqs", "512", "256")


def test_weights_that_do_not_fit_are_nobodys_argument():
    plan = plan_of(pinned(7))
    stop = decide(situation(plan, failure("device_oom_weights", "weights")))
    assert isinstance(stop, Stop)
    assert stop.reason == "LadderExhausted"
    assert "smaller quantization" in stop.text


def test_host_memory_is_raised_by_half_then_doubled():
    plan = plan_of(pinned(7))
    killed = failure("host_oom", "weights")
    first = decide(situation(plan, killed))
    assert moved(first) == ("memory-limit", "16Gi", "24Gi")
    assert first.text == "memory-limit 16Gi → 24Gi: the kernel killed the engine at its limit"
    assert first.plan.host.request_bytes == 12 * GIB
    before = {"cause": "host_oom", "phase": "weights", "effect": "Helped"}
    history = (past("memory-limit", 16 * GIB, 24 * GIB, **before),)
    second = decide(situation(first.plan, killed, history=history))
    assert moved(second) == ("memory-limit", "24Gi", "48Gi")


def test_a_users_memory_limit_is_the_users():
    plan = plan_of(pinned(7))
    policy = Policy(user_memory_limit=True)
    stop = decide(situation(plan, failure("host_oom", "weights"), policy=policy))
    assert isinstance(stop, Stop)
    assert stop.reason == "UserArgumentInTheWay"
    assert "the memory limit of 16Gi is yours" in stop.text
    assert "spec.pod.resources.limits.memory to 24Gi" in stop.text
    allowed = replace(policy, may_change=frozenset({"Arguments", "UserMemoryLimit"}))
    assert decide(situation(plan, failure("host_oom"), policy=allowed)).lever == "memory-limit"


def test_a_full_dev_shm_grows_with_the_limit_that_it_counts_into():
    step = decide(situation(plan_of(pinned(7)), failure("shm_exhausted", "startup")))
    assert moved(step) == ("shm-size", "2Gi", "16Gi")
    assert step.text == "shm-size 2Gi → 16Gi: /dev/shm was full"
    assert step.plan.host.limit_bytes == 30 * GIB


def test_a_slow_start_gets_a_longer_deadline_up_to_two_hours():
    plan = plan_of(pinned(7), startup_deadline_seconds=3600)
    step = decide(situation(plan, failure("startup_killed", "weights")))
    assert moved(step) == ("startup-deadline", "3600", "7200")
    assert step.text == "startup-deadline 3600 → 7200: the start takes longer than 3600 s"
    longest = plan_of(pinned(7), startup_deadline_seconds=7200)
    assert isinstance(decide(situation(longest, failure("startup_killed"))), Stop)


@pytest.mark.parametrize(
    ("line", "lever", "before", "after"),
    [
        (
            "ValueError: User-specified max_model_len (8192) is greater than the derived "
            "max_model_len (max_position_embeddings=4096 or model_max_length=None in config.json)",
            "max-model-len",
            "8192",
            "4096",
        ),
        (
            "ValueError: max_num_batched_tokens (4096) is smaller than max_model_len (8192).",
            "max-num-batched-tokens",
            "4096",
            "8192",
        ),
        (
            "api_server.py: error: unrecognized arguments: --kv-cache-memory-bytes 7516192768",
            "kv-cache-memory-bytes",
            str(7 * GIB),
            "",
        ),
    ],
)
def test_our_own_bad_arguments_are_corrected(line, lever, before, after):
    step = decide(situation(plan_of(pinned(7)), failure("bad_arguments", "starting", line)))
    assert moved(step) == (lever, before, after)


def test_a_bad_argument_of_the_user_stops():
    plan = plan_of(pinned(7, user=frozenset({"max-model-len"})))
    line = "User-specified max_model_len (8192) is greater than the derived max_model_len (4096)"
    stop = decide(situation(plan, failure("bad_arguments", "starting", line)))
    assert isinstance(stop, Stop)
    assert stop.reason == "UserArgumentInTheWay"


def test_a_lost_device_is_restarted_once_then_left():
    plan = plan_of(pinned(7))
    lost = failure("device_lost")
    assert decide(situation(plan, lost, failures=1)) == Wait(
        30, "device_lost: no argument helps; tried again unchanged in 30 s (1 of 1)"
    )
    room = Policy(other_matching_node_has_room=True)
    step = decide(situation(plan, lost, failures=2, policy=room, node="node-1"))
    assert moved(step) == ("node", "node-1", "another")
    assert step.plan.avoid_nodes == ("node-1",)
    assert step.plan.arguments == plan.arguments
    stop = decide(situation(plan, lost, failures=2, node="node-1"))
    assert isinstance(stop, Stop)
    assert stop.reason == "NotHealable"


def test_one_allocation_too_large_sets_the_drivers_switch_first():
    plan = plan_of(pinned(7))
    step = decide(situation(plan, failure("device_oom_single_alloc", tried_bytes=6 * GIB)))
    assert moved(step) == ("environment:UR_L0_ENABLE_RELAXED_ALLOCATION_LIMITS", "", "1")
    assert step.plan.env == {"UR_L0_ENABLE_RELAXED_ALLOCATION_LIMITS": "1"}


def test_a_card_in_use_is_waited_for_then_left_then_shared():
    plan = plan_of(pinned(7, gpu_memory_utilization=0.9))
    seen = {"free_bytes": 12 * GIB, "total_bytes": 16 * GIB}
    busy = failure("device_memory_busy", "startup", **seen)
    assert decide(situation(plan, busy, failures=1)).seconds == 30
    assert decide(situation(plan, busy, failures=3)).seconds == 120
    step = decide(situation(plan, busy, failures=4))
    assert moved(step)[0] == "kv-cache-memory-bytes"
    assert step.plan.arguments.gpu_memory_utilization == 0.74
    # 14.25 GiB planned; 0.25 of them, the engine's own context, are no longer among the 12 free
    assert step.relief_bytes == 2 * GIB


@pytest.mark.parametrize("cause", ["model_auth", "model_not_found", "driver_runtime_mismatch"])
def test_what_no_argument_helps_stops_at_once(cause):
    stop = decide(situation(plan_of(pinned(7)), failure(cause, "starting")))
    assert isinstance(stop, Stop)
    assert stop.reason == "NotHealable"


def test_a_log_line_alone_changes_nothing():
    seen = failure(OOM, actionable=False, **SEEN)
    assert isinstance(decide(situation(plan_of(pinned(7)), seen)), Stop)


def test_what_grows_with_time_gets_twice_the_cut_each_time():
    seen = SEEN | {"reserved_bytes": int(12.875 * GIB)}
    plan = plan_of(pinned(7))
    wish = Wish(8192, 2048, 2, 1)
    filled = past(
        "kv-cache-memory-bytes",
        8 * GIB,
        7 * GIB,
        effect="Helped",
        tried_bytes=512 * MIB,
    )
    once = decide(situation(plan, failure(OOM, **seen), wish=wish))
    again = decide(situation(plan, failure(OOM, **seen), wish=wish, history=(filled,)))
    assert 7 * GIB - int(once.after) == 768 * MIB
    assert 7 * GIB - int(again.after) == 1536 * MIB


def test_a_dependent_of_the_users_blocks_the_lever_too():
    """Without chunked prefill a shorter context takes the batched tokens along."""
    mine = frozenset({"max-num-batched-tokens"})
    plan = plan_of(pinned(7, max_model_len=4096, user=mine))
    failed = failure("device_oom_profile", "profile", tried_bytes=GIB)
    stop = decide(situation(plan, failed, chunked_prefill=False))
    assert isinstance(stop, Stop)
    assert "max-num-batched-tokens 4096 is yours" in stop.text


def test_a_lever_that_would_stay_where_it_is_is_no_step():
    plan = plan_of(arguments(gpu_memory_utilization=0.5), Pool.LEFTOVER)
    enough = failure("kv_cache_no_memory", "kv_alloc", max_model_len_fits=100_000)
    answer = decide(situation(plan, enough, Pool.LEFTOVER))
    assert not isinstance(answer, Step) or answer.lever != "gpu-memory-utilization"
