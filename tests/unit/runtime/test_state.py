"""What the supervisor concludes from the engine's lines while it runs."""

from __future__ import annotations

import pytest

from xpullm_runtime.cgroup import HostMemory
from xpullm_runtime.config import RuntimeConfig
from xpullm_runtime.fdinfo import GpuMemory
from xpullm_runtime.phases import phase_of
from xpullm_runtime.state import State

LOG = "INFO 05-20 00:55:13 [a.py:1] "


@pytest.mark.parametrize(
    ("line", "phase"),
    [
        (LOG + "Starting to load model tiny...", "weights"),
        ("Loading safetensors checkpoint shards:   3% Completed | 1/37 [00:02<01:39]", "weights"),
        ("2024-06-14 12:12:24,393 - INFO - Converting the current model to sym_int4", "weights"),
        (LOG + "Model loading took 14.9596 GiB and 8.705854 seconds", "profile"),
        ("INFO 02-26 09:54:02 model_runner.py:1115] Loading model weights took 5.2 GB", "profile"),
        ("(EngineCore_DP0 pid=494) " + LOG + "Available KV cache memory: 6.94 GiB", "kv_alloc"),
        ("INFO 01-11 15:51:18 llm_engine.py:275] # GPU blocks: 229, # CPU blocks: 512", "kv_alloc"),
        ("INFO:     Application startup complete.", "runtime"),
        ("Application startup complete.", None),
        ("prompt: 'INFO:     Application startup complete.'", None),
        (LOG + "Received request cmpl-1: prompt: 'Application startup complete.'", None),
    ],
)
def test_a_phase_is_opened_by_the_engines_own_line(line: str, phase: str | None) -> None:
    assert phase_of(line) == phase


def test_phases_only_move_forward() -> None:
    state = State(RuntimeConfig())
    state.on_output("stderr", b"INFO:     Application startup complete.\n")
    state.on_output("stderr", b"INFO 09-03 22:42:03 [a.py:1] Starting to load model tiny\n")
    assert state.phase == "runtime"


def test_the_start_up_figures_of_the_engine_are_remembered() -> None:
    state = State(RuntimeConfig())
    state.on_output(
        "stderr",
        b"INFO 05-08 00:41:43 [gpu_model_runner.py:1347] Model loading took 14.5 GiB and 8.7 s\n"
        b"INFO 05-20 00:55:13 [gpu_worker.py:424] Available KV cache memory: 6.5 GiB\n"
        b"INFO 05-20 00:55:13 [kv_cache_utils.py:1] GPU KV cache size: 15,488 tokens\n",
    )
    figures = state.report().figures
    assert figures["weights_bytes"] == int(14.5 * 2**30)
    assert figures["kv_available_bytes"] == int(6.5 * 2**30)
    assert figures["kv_cache_tokens"] == 15_488


def test_lines_split_between_chunks_and_streams_do_not_mix() -> None:
    state = State(RuntimeConfig())
    state.on_output("stdout", b"INFO:     Application ")
    state.on_output("stderr", b"noise\n")
    state.on_output("stdout", b"startup complete.\n")
    assert state.phase == "runtime"


def test_a_line_that_breaks_our_reading_is_noted_and_output_flows_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(line: str) -> bool:
        raise RecursionError(line)

    monkeypatch.setattr("xpullm_runtime.state.interesting", broken)
    state = State(RuntimeConfig())
    state.on_output("stdout", b"one\ntwo\n")
    assert state.output_bytes["stdout"] == 8
    assert len(state.snapshot()["notes"]) == 2


def test_what_was_measured_until_ready_is_kept_as_it_was() -> None:
    state = State(RuntimeConfig())
    state.on_output("stdout", b"INFO 01-11 15:51:18 [a.py:1] Model loading took 14.5 GiB and 8 s\n")
    state.on_host(HostMemory(peak_bytes=900, held_peak_bytes=500))
    state.on_gpu(GpuMemory(device_bytes=700))
    assert state.snapshot()["start"] is None
    state.start_complete()
    start = state.snapshot()["start"]
    assert start["figures"] == {"weights_bytes": int(14.5 * 2**30)}
    assert (start["hostPeakBytes"], start["hostHeldPeakBytes"]) == (900, 500)
    assert start["vramPeakBytes"] == 700
    assert start["modelRevision"] == ""
    state.on_host(HostMemory(peak_bytes=2000, held_peak_bytes=1900))
    state.on_gpu(GpuMemory(device_bytes=1700))
    state.on_output("stdout", b"INFO 01-11 15:51:18 [a.py:1] Model loading took 1.0 GiB and 8 s\n")
    state.start_complete()
    assert state.snapshot()["start"] == start
    assert state.snapshot()["gpu"]["peakBytes"] == 1700
