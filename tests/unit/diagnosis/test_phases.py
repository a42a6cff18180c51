"""One out-of-memory text, five causes: the course of the run tells which."""

import pytest
from tests.unit.diagnosis.logs import OOM, READY, core, log, traceback

from xpullm_runtime.diagnosis import Evidence, classify, marks

LOADING = core("Starting to load model Qwen/Qwen2-7B-Instruct...", "INFO")
LOADED = core("Model loading took 14.2488 GiB and 31.2 seconds", "INFO")
SIZED = core("Available KV cache memory: 12.82 GiB", "INFO")
CAPTURING = core("Capturing CUDA graph shapes:  10%", "INFO")


@pytest.mark.parametrize(
    ("course", "cause", "phase"),
    [
        ([LOADING], "device_oom_weights", "weights"),
        ([LOADING, LOADED], "device_oom_profile", "profile"),
        ([LOADING, LOADED, SIZED], "device_oom_kv_alloc", "kv_alloc"),
        ([LOADING, LOADED, SIZED, CAPTURING], "device_oom_profile", "profile"),
        ([LOADING, LOADED, SIZED, READY], "device_oom_runtime", "runtime"),
        ([], "device_oom_startup", "startup"),
    ],
)
def test_the_last_log_marker_tells_the_phase(course, cause, phase):
    found = classify(Evidence(log=log(*course, core(OOM)), exit_code=1))
    assert (found.cause, found.phase) == (cause, phase)


@pytest.mark.parametrize(
    ("frames", "cause"),
    [
        (["load_model", "create_weights"], "device_oom_weights"),
        (["determine_available_memory", "profile_run", "execute_model"], "device_oom_profile"),
        (["determine_num_available_blocks"], "device_oom_profile"),
        (["initialize_from_config", "_allocate_kv_cache_tensors"], "device_oom_kv_alloc"),
        (["compile_or_warm_up_model", "capture_model"], "device_oom_profile"),
        (["run_busy_loop", "execute_model"], "device_oom_runtime"),
    ],
)
def test_frames_tell_where_no_marker_does(frames, cause):
    assert classify(Evidence(log=traceback(OOM, *frames), exit_code=1)).cause == cause


def test_a_frame_seen_late_does_not_beat_the_marker():
    """On XPU a failure is noticed later than it happened."""
    text = log(READY, traceback(OOM, "load_weights"))
    assert classify(Evidence(log=text, exit_code=1)).cause == "device_oom_runtime"


def test_the_samplers_warm_up_names_its_own_phase_and_lever():
    text = log(
        LOADED, SIZED,
        core("RuntimeError: CUDA out of memory occurred when warming up sampler with 256 dummy requests."),  # noqa: E501
    )  # fmt: skip
    found = classify(Evidence(log=text, exit_code=1))
    assert (found.cause, found.figures["warmup_sequences"]) == ("device_oom_profile", 256)


def test_a_progress_bar_that_comes_late_still_tells():
    text = log(core(OOM), "Loading safetensors checkpoint shards:   3% Completed | 1/37")
    assert classify(Evidence(log=text, exit_code=1)).cause == "device_oom_weights"


def test_the_dump_after_a_failure_tells_that_it_served():
    text = log(core(OOM), core("Dumping input data for V1 LLM engine (v0.25.0)"))
    assert classify(Evidence(log=text, exit_code=1)).cause == "device_oom_runtime"


@pytest.mark.parametrize(
    "line",
    [
        "EngineCore encountered a fatal error.",  # at the start it is "EngineCore failed to start."
        "AsyncLLM output_handler failed.",
        "Request chatcmpl-1 failed (engine dead).",
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_what_only_a_started_engine_says_tells_that_it_served(line, before):
    lines = [core(line), core(OOM)] if before else [core(OOM), core(line)]
    assert classify(Evidence(log=log(*lines), exit_code=1)).cause == "device_oom_runtime"


@pytest.mark.parametrize(
    ("frame", "cause"),
    [
        ("_apply", "device_oom_weights"),
        ("from_pretrained", "device_oom_weights"),
        ("load_model", "device_oom_weights"),
    ],
)
def test_a_model_on_its_way_to_the_card_is_weights(frame, cause):
    assert classify(Evidence(log=traceback(OOM, frame), exit_code=1)).cause == cause


def test_who_was_ready_fails_under_load():
    found = classify(Evidence(log=core(OOM), exit_code=1, was_ready=True))
    assert found.cause == "device_oom_runtime"


@pytest.mark.parametrize(
    ("line", "phase"),
    [
        (LOADING, "weights"), (LOADED, "profile"), (SIZED, "kv_alloc"), (CAPTURING, "profile"),
        (READY, "runtime"), ("hello", ""),
        ("INFO 07-01 10:00:00 [l.py:1] Received request x: prompt: 'Application startup complete'", ""),  # noqa: E501
    ],
)  # fmt: skip
def test_marks_of_single_lines(line, phase):
    assert marks(line) == phase
