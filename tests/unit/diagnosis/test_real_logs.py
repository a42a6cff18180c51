"""Logs that a real vLLM wrote (tests/data/engine_logs_real): read as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpullm_runtime.diagnosis import Evidence, classify
from xpullm_runtime.diagnosis.figures import collect
from xpullm_runtime.phases import later, phase_of

LOGS = Path(__file__).parents[2] / "data" / "engine_logs_real"
GIB = 2**30


def log(name: str) -> str:
    return (LOGS / f"vllm-0.32.0-{name}.log").read_text(encoding="utf-8")


def test_phases_of_a_start_that_served() -> None:
    seen = ["starting"]
    for line in log("served").splitlines():
        phase = phase_of(line)
        if phase and later(seen[-1], phase):
            seen.append(phase)
    assert seen == ["starting", "weights", "kv_alloc", "runtime"]  # the CPU build does not profile


def test_the_pool_is_what_a_gibibyte_holds() -> None:
    layers, kv_heads, head_dim, element = 2, 2, 64, 2
    tokens = GIB // (2 * layers * kv_heads * head_dim * element)
    assert collect(log("served").splitlines()) == {"kv_cache_tokens": tokens}


def test_a_context_that_the_pool_can_not_hold() -> None:
    found = classify(Evidence(log=log("context-too-long"), exit_code=1))
    assert (found.cause, found.phase) == ("max_model_len_exceeds_kv", "kv_alloc")
    assert found.actionable  # a long line of the engine's own is no sign of a damaged log
    assert found.figures["max_model_len"] == 2_000_000
    assert found.figures["max_model_len_fits"] == 1_048_448
    assert found.figures["kv_available_bytes"] == GIB


def test_a_flag_that_this_version_does_not_know() -> None:
    found = classify(Evidence(log=log("unknown-flag"), exit_code=2))
    assert (found.cause, found.phase, found.actionable) == ("bad_arguments", "starting", True)


@pytest.mark.parametrize("device", ["GPU", "CPU", "XPU", "XPU + host"])
def test_the_pool_s_line_names_the_device_since_0_32(device: str) -> None:
    line = f"(EngineCore pid=7) INFO 11-23 04:13:07 [kv_cache_utils.py:2327] {device} KV cache size"
    line += ": 1,048,576 tokens, Maximum concurrency for 256 tokens per request: 4096.00x"
    assert collect([line]) == {"kv_cache_tokens": 1_048_576}
    assert phase_of(line) == "kv_alloc"
