"""What a world's engine prints is named by the classifier as what happened."""

from dataclasses import replace

import pytest
from tests.bench.healing.logs import render
from tests.bench.healing.world import GIB, Flags, Geometry, Result, Truth, World

from xpullm_runtime.diagnosis import Evidence, classify

MODEL = Geometry("qwen2-7b", 28, 3584, 18944, 4, 128, 152064, weights=int(4.5 * GIB))
TRUTH = {
    "v0": Truth(pool="v0", total=int(15.1 * GIB), context=GIB // 4, runtime=GIB // 4),
    "v1": Truth(pool="v1", total=int(15.1 * GIB), context=GIB // 4, runtime=GIB // 4),
}
FLAGS = Flags(length=8192, seqs=16, tokens=4096, utilization=0.9)
NAMES = {
    ("oom", "weights"): "device_oom_weights",
    ("oom", "profile"): "device_oom_profile",
    ("oom", "kv_alloc"): "device_oom_kv_alloc",
    ("oom", "warm_up"): "device_oom_profile",
    ("oom", "runtime"): "device_oom_runtime",
    ("no_kv", "kv_alloc"): "kv_cache_no_memory",
    ("too_long", "kv_alloc"): "max_model_len_exceeds_kv",
    ("busy", "startup"): "device_memory_busy",
    ("single", "runtime"): "device_oom_single_alloc",
    ("device_lost", "runtime"): "device_lost",
    ("ccl", "startup"): "ccl_error",
    ("gated", "startup"): "model_auth",
    ("missing", "startup"): "model_not_found",
    ("driver", "startup"): "driver_runtime_mismatch",
    ("shape", "startup"): "unsupported_architecture",
}


@pytest.mark.parametrize("pool", ["v0", "v1"])
@pytest.mark.parametrize(("happened", "cause"), NAMES.items())
@pytest.mark.parametrize("figures", ["free", "reserved", "all-free", "none"])
def test_the_log_says_what_happened(pool, happened, cause, figures):
    failure, phase = happened
    if pool == "v0" and (phase == "warm_up" or failure == "busy"):
        pytest.skip("V0 has no such moment")
    world = World(MODEL, replace(TRUTH[pool], figures=figures))
    tried = 6 * GIB if failure == "single" else GIB // 2
    result = Result(
        failure, phase, tried, 10 * GIB, 11 * GIB, GIB // 4, 6 * GIB, 2 * GIB, 3 * GIB, 4096
    )
    found = classify(
        Evidence(log=render(world, FLAGS, result), exit_code=1, was_ready=phase == "runtime")
    )
    assert found.cause == cause
    if failure == "oom":
        assert found.actionable
        assert found.phase == {"warm_up": "profile"}.get(phase, phase)
        if figures != "none":
            assert found.figures["tried_bytes"] == tried
            assert found.figures["reserved_bytes"] == pytest.approx(11 * GIB, rel=0.01)
        if phase == "warm_up":
            assert found.figures["warmup_sequences"] == FLAGS.seqs
