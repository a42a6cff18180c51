"""A supervisor's answer is hostile input: what comes out is bounded, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from xpullm.controller.engine_figures import BODY_BYTES, decode
from xpullm.controller.types import EngineFigures
from xpullm_runtime.client import EngineMetrics
from xpullm_runtime.config import RuntimeConfig
from xpullm_runtime.state import State

GOOD: dict[str, Any] = {
    "planHash": "p1",
    "startedUp": True,
    "start": {
        "seconds": 46.2,
        "hostPeakBytes": 9000,
        "hostHeldPeakBytes": 7000,
        "vramPeakBytes": 5000,
        "modelRevision": "f2826a00ceef68f0f2b946d945ecc0477ce4450c",
        "figures": {"weights_bytes": 4000, "gpu_blocks": 10, "tried_bytes": 1},
    },
    "gpu": {"peakBytes": 6000},
    "load": {"kvCacheUsagePeakPercent": 71, "preemptions": 2},
}


def read(raw: Any) -> EngineFigures | None:
    return decode(json.dumps(raw).encode(), plan_hash="p1", restarts=3, fetched=12.5)


def test_a_started_engine_is_read() -> None:
    assert read(GOOD) == EngineFigures(
        plan_hash="p1",
        restarts=3,
        fetched=12.5,
        start_seconds=47,
        host_peak_bytes=7000,
        start_vram_peak_bytes=5000,
        figures={"weights_bytes": 4000, "gpu_blocks": 10},
        vram_peak_bytes=6000,
        kv_usage_percent=71,
        preemptions=2,
        model_revision="f2826a00ceef68f0f2b946d945ecc0477ce4450c",
    )


@pytest.mark.parametrize(
    "said",
    [None, 7, ["f" * 40], "", "main", "f" * 39, "f" * 41, "F" * 40, "g" * 40, "f" * 40 + "\n"],
)
def test_what_is_no_commit_is_dropped(said: Any) -> None:
    told = read({**GOOD, "start": {**GOOD["start"], "modelRevision": said}})
    assert told is not None
    assert told.model_revision == ""


def test_what_the_supervisor_itself_says_is_read() -> None:
    state = State(RuntimeConfig(plan_hash="p1"))
    state.on_output("stdout", b"INFO 01-11 15:51:18 executor_base.py:112] # xpu blocks: 229\n")
    assert read(state.snapshot()) is None  # not started yet
    state.start_complete()
    state.load.on_metrics(EngineMetrics(1, 1, preemptions=4, kv_cache_usage_percent=10))
    state.load.on_metrics(EngineMetrics(2, 2, preemptions=5, kv_cache_usage_percent=88))
    state.load.on_metrics(EngineMetrics(3, 3, preemptions=5, kv_cache_usage_percent=12))
    told = read(state.snapshot())
    assert told is not None
    assert told.figures == {"gpu_blocks": 229}
    assert (told.kv_usage_percent, told.preemptions) == (88, 1)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {**GOOD, "planHash": "p2"},
        {**GOOD, "startedUp": "yes"},
        {**GOOD, "start": None},
        {**GOOD, "start": {"seconds": True}},
        {**GOOD, "start": {"seconds": -1}},
        {**GOOD, "start": {"seconds": 1e300}},
        {**GOOD, "padding": "x" * BODY_BYTES},
    ],
)
def test_anything_else_is_nothing(raw: Any) -> None:
    assert read(raw) is None


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[" * 50_000, b'{"a":', b"NaN"])
def test_no_json_is_nothing(data: bytes) -> None:
    assert decode(data, plan_hash="p1", restarts=0, fetched=0.0) is None
