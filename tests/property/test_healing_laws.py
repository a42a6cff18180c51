"""The laws of healing, against an adversary: whatever fails next, in whatever order.

The toy card of the unit tests takes each step; the adversary draws the next failure freely, with
figures that contradict each other, so the laws hold for histories that no engine would produce.
"""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.healing.builders import arguments, plan_of, situation

from xpullm.healing.decide import decide
from xpullm.healing.history import decode_history, encode_history, past_step
from xpullm.healing.judge import axis, direction, judge
from xpullm.healing.ladder import rules
from xpullm.healing.levers.budget import shown
from xpullm.healing.situation import GIB, Pool, Wish
from xpullm.healing.types import Policy, Step, Stop, Wait
from xpullm_runtime.diagnosis.types import PHASES, Diagnosis

CAUSES = sorted({rule.cause for rule in rules()} - {"*"} | {"a_cause_of_tomorrow"})
MEMORY = [
    "device_oom_runtime",
    "device_oom_profile",
    "device_oom_kv_alloc",
    "device_oom_startup",
    "kv_cache_no_memory",
    "max_model_len_exceeds_kv",
    "device_memory_busy",
]
# What an argument cannot help, by failures that people reported (docs/failures.md).
HOPELESS = [
    "device_lost",
    "driver_runtime_mismatch",
    "model_auth",
    "model_not_found",
    "model_offline",
    "model_corrupt",
    "no_device",
    "engine_hang",
    "worker_died",
    "segfault",
    "abort",
    "disk_full",
    "image_pull",
    "bad_pod_spec",
    "unsupported_architecture",
    "unsupported_quantization",
    "unsupported_device",
    "unschedulable_gpu",
    "evicted",
    "port_in_use",
    "startup_killed",
    "host_oom",
    "shm_exhausted",
    "ccl_error",
    "engine_dead",
    "engine_init_failed",
    "unknown",
    "a_cause_of_tomorrow",
]
LINES = [
    "Unschedulable: 0/1 nodes are available: 1 Insufficient memory.",
    "User-specified max_model_len (8192) is greater than the derived max_model_len (4096)",
    "max_num_batched_tokens (2048) is smaller than max_model_len (4096).",
    "error: unrecognized arguments: --kv-cache-memory-bytes 1",
    "oneCCL: could not open device directory",
    "PermissionError: [Errno 13] Permission denied: '/.cache'",
]
FLAGS = [
    "max-model-len",
    "max-num-seqs",
    "max-num-batched-tokens",
    "gpu-memory-utilization",
    "kv-cache-memory-bytes",
    "num-gpu-blocks-override",
    "kv-cache-dtype",
]
PERMISSIONS = ["UserArguments", "KVCacheType", "UserMemoryLimit"]
SIZE = st.integers(-(2**34), 2**36)
FIGURES = st.dictionaries(
    st.sampled_from(
        [
            "tried_bytes",
            "free_bytes",
            "total_bytes",
            "allocated_bytes",
            "reserved_bytes",
            "kv_needed_bytes",
            "kv_available_bytes",
            "weights_bytes",
            "activation_bytes",
            "memory_limit_bytes",
            "host_peak_bytes",
            "max_model_len_fits",
            "warmup_sequences",
        ]
    ),
    SIZE | st.integers(0, 20_000),
)


@st.composite
def diagnoses(draw, causes=None):
    return Diagnosis(
        cause=draw(st.sampled_from(causes or (CAUSES + MEMORY * 6))),
        phase=draw(st.sampled_from(PHASES)),
        evidence=tuple(draw(st.lists(st.sampled_from(LINES), max_size=2))),
        figures=draw(FIGURES),
        actionable=draw(st.sampled_from([True, True, True, False])),
    )


@st.composite
def openings(draw):
    """A first plan, who owns what of it, what may change, and how it counts."""
    pool = draw(st.sampled_from(list(Pool)))
    length = 64 * draw(st.integers(32, 256))
    chunked = draw(st.booleans())
    tokens = draw(st.sampled_from([1024, 2048, 4096, 8192]))
    budget = {}
    if pool is Pool.PINNED and draw(st.booleans()):
        budget = {"kv_cache_memory_bytes": draw(st.integers(GIB, 9 * GIB))}
    elif pool is Pool.PINNED:
        budget = {"num_gpu_blocks_override": draw(st.integers(128, 1100))}
    first = arguments(
        max_model_len=length,
        max_num_seqs=draw(st.sampled_from([1, 4, 16, 64, 256])),
        max_num_batched_tokens=tokens if chunked else max(tokens, length),
        gpu_memory_utilization=draw(st.sampled_from([0.5, 0.6, 0.75, 0.9, 0.95])),
        user=frozenset(draw(st.lists(st.sampled_from(FLAGS), max_size=3))),
        **budget,
    )
    wish = Wish(
        draw(st.none() | st.just(length)),
        min(2048, length),
        draw(st.none() | st.integers(1, 16)),
        draw(st.sampled_from([1, 1, 2])),
    )
    policy = Policy(
        max_attempts=draw(st.integers(0, 8)),
        may_change=frozenset(draw(st.sets(st.sampled_from(PERMISSIONS)))) | {"Arguments"},
        user_memory_limit=draw(st.booleans()),
        other_matching_node_has_room=draw(st.booleans()),
        node_memory_bytes=draw(st.none() | st.integers(8 * GIB, 96 * GIB)),
    )
    return plan_of(first, pool), pool, chunked, wish, policy


def play(opening, failures):
    """Every (situation, answer) of a course in which each step is taken."""
    plan, pool, chunked, wish, policy = opening
    history = ()
    for number, diagnosis in enumerate(failures):
        now = situation(
            plan,
            diagnosis,
            pool,
            history=judge(history, diagnosis),
            policy=policy,
            wish=wish,
            chunked_prefill=chunked,
            kv_cache_dtypes=("auto", "fp8"),
            node=f"node-{number % 3}",
        )
        answer = decide(now)
        yield now, answer
        if isinstance(answer, Step):
            history = (
                *now.history,
                past_step(answer, diagnosis, now.history, time="2026-11-23T02:00:00Z"),
            )
            plan = answer.plan


COURSE = st.lists(diagnoses(), min_size=1, max_size=12)
HOST = st.lists(
    diagnoses(["host_oom", "shm_exhausted", "unschedulable_gpu"]), min_size=1, max_size=12
)
FIELDS = {
    "max-model-len": {"max_model_len", "max_num_batched_tokens", "max_num_seqs"},
    "max-num-seqs": {"max_num_seqs"},
    "max-num-batched-tokens": {"max_num_batched_tokens", "max_num_seqs"},
    "gpu-memory-utilization": {"gpu_memory_utilization"},
    "kv-cache-memory-bytes": {"kv_cache_memory_bytes", "gpu_memory_utilization"},
    "num-gpu-blocks-override": {"num_gpu_blocks_override", "gpu_memory_utilization"},
    "kv-cache-dtype": {"kv_cache_dtype"},
    "enforce-eager": {"enforce_eager"},
    "dtype": {"dtype"},
    "swap-space": {"swap_space_gib"},
}


def changed(before, after):
    return {
        name
        for name in type(before).__dataclass_fields__
        if getattr(before, name) != getattr(after, name)
    }


@given(openings(), COURSE)
def test_one_lever_moves_and_dependents_follow(opening, failures):
    for now, step in play(opening, failures):
        if not isinstance(step, Step):
            continue
        before, after = now.arguments, step.plan.arguments
        followers = {"max_model_len"} | FIELDS.get(step.lever, set())
        assert changed(before, after) <= followers
        if step.lever not in FIELDS:
            assert before == after
        assert after.max_num_seqs <= after.max_num_batched_tokens
        assert after.max_model_len <= before.max_model_len
        if not now.chunked_prefill and step.lever in FIELDS:
            assert after.max_num_batched_tokens >= after.max_model_len


@given(openings(), COURSE)
def test_no_floor_is_crossed(opening, failures):
    for now, step in play(opening, failures):
        if not isinstance(step, Step):
            continue
        before, after = now.arguments, step.plan.arguments
        if after.max_model_len != before.max_model_len:
            assert after.max_model_len >= now.wish.min_context
        if after.max_num_seqs != before.max_num_seqs:
            assert after.max_num_seqs >= now.wish.min_concurrency
        if after.max_num_batched_tokens != before.max_num_batched_tokens:
            assert after.max_num_batched_tokens >= 1024
        if after.gpu_memory_utilization != before.gpu_memory_utilization:
            assert 0.50 <= after.gpu_memory_utilization <= 0.95


@given(openings(), COURSE)
def test_a_users_argument_stays_unless_the_user_said_otherwise(opening, failures):
    for now, step in play(opening, failures):
        if not isinstance(step, Step) or "UserArguments" in now.policy.may_change:
            continue
        moved = changed(now.arguments, step.plan.arguments)
        assert not {name.replace("_", "-") for name in moved} & now.arguments.user
        host = step.plan.host
        if now.policy.user_memory_limit and "UserMemoryLimit" not in now.policy.may_change:
            assert host.limit_bytes == now.plan.host.limit_bytes


@given(openings(), HOST)
def test_host_memory_is_raised_no_further_than_a_node_goes(opening, failures):
    most, raised = opening[4].node_memory_bytes, 0
    for now, step in play(opening, failures):
        if not isinstance(step, Step):
            continue
        before, after = now.plan.host, step.plan.host
        assert after.request_bytes <= after.limit_bytes
        if after.limit_bytes != before.limit_bytes:
            assert step.lever in ("memory-limit", "shm-size")
            assert before.limit_bytes < after.limit_bytes
            assert most is None or after.limit_bytes <= most
        if after.request_bytes < before.request_bytes:  # to where it was before the last raise
            assert (step.lever, after.request_bytes) == ("memory-request", raised)
        raised = before.request_bytes


@given(openings(), COURSE)
def test_a_direction_is_reversed_at_most_once(opening, failures):
    steps = [step for _, step in play(opening, failures) if isinstance(step, Step)]
    past = {}
    for step in steps:
        sign = direction(past_step(step, Diagnosis("x"), (), time=""))
        if sign:
            past.setdefault(axis(step.lever), []).append(sign)
    for signs in past.values():
        assert sum(a != b for a, b in pairwise(signs)) <= 1


@given(openings(), COURSE)
def test_a_step_without_effect_is_not_repeated_and_two_end_the_ladder(opening, failures):
    for now, step in play(opening, failures):
        if not isinstance(step, Step):
            continue
        useless = set()
        for entry in reversed(now.history):
            if (entry.cause, entry.phase) != (now.diagnosis.cause, now.diagnosis.phase):
                break
            if entry.effect == "NoEffect":
                useless.add(axis(entry.lever))
        assert axis(step.lever) not in useless
        assert len(useless) < 2


@given(openings(), COURSE)
def test_attempts_end(opening, failures):
    answers = list(play(opening, failures))
    steps = [answer for _, answer in answers if isinstance(answer, Step)]
    assert len(steps) <= opening[4].max_attempts
    for now, answer in answers:
        if len(now.history) >= opening[4].max_attempts:
            assert isinstance(answer, Stop | Wait)


@given(openings(), st.lists(diagnoses(HOPELESS), min_size=1, max_size=6))
def test_what_no_argument_helps_is_never_tightened(opening, failures):
    for now, step in play(opening, failures):
        if isinstance(step, Step):
            assert changed(now.arguments, step.plan.arguments) <= {"swap_space_gib"}


@given(openings(), COURSE)
def test_without_a_second_sign_nothing_changes(opening, failures):
    quiet = [replace(failure, actionable=False) for failure in failures]
    assert not any(isinstance(answer, Step) for _, answer in play(opening, quiet))


@given(openings(), COURSE)
def test_every_tightening_frees_memory(opening, failures):
    for now, step in play(opening, failures):
        if not isinstance(step, Step) or not now.diagnosis.cause.startswith("device_oom_r"):
            continue
        if step.lever == "node":
            continue
        before, after = now.plan.ledger, step.plan.ledger
        assert (
            after.activation_bytes + after.kv_cache_bytes
            < before.activation_bytes + before.kv_cache_bytes
        )


@given(openings(), COURSE)
def test_what_a_step_says_is_what_it_does(opening, failures):
    for now, step in play(opening, failures):
        if not isinstance(step, Step):
            continue
        assert step.before != step.after
        if step.lever in ("gpu-memory-utilization", "kv-cache-memory-bytes"):
            assert shown(now.arguments, step.lever) == step.before
            assert shown(step.plan.arguments, step.lever) == step.after
        assert step.lever.split(":")[0] in step.text
        if isinstance(step, Stop):
            assert step.text


@given(openings(), COURSE)
def test_history_is_the_same_after_its_annotation(opening, failures):
    for now, answer in play(opening, failures):
        read = decode_history(encode_history(now.history))
        assert read == now.history
        assert decide(replace(now, history=read)) == answer
