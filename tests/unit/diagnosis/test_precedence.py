"""The root cause before what follows from it."""

import pytest
from tests.unit.diagnosis.logs import DEAD, OOM, READY, TOO_LONG, core, log, traceback

from xpullm_runtime.diagnosis import Evidence, classify

LOST = core("RuntimeError: level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)")
CCL = "2026:09:04-19:19:08:(  192) |CCL_ERROR| internal_kvs_server.hpp:70 put: read/write error: Broken pipe"  # noqa: E501
DIED = core("Worker proc VllmWorker-0 died unexpectedly, shutting down executor.")
INIT = "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"  # noqa: E501
SIGTERM = core("[shutdown] EngineCore: trigger received signal=SIGTERM", "INFO")
WRITE = core(
    "RuntimeError: oneCCL: ze_fd_manager.cpp:144 init_device_fds: EXCEPTION: opendir failed"
)


def cause(*lines, **evidence):
    return classify(Evidence(log=log(*lines), **evidence)).cause


def test_an_out_of_memory_before_a_lost_device_is_the_cause():
    assert cause(READY, core(OOM), LOST) == "device_oom_runtime"


def test_a_lost_device_alone_is_the_cause():
    assert cause(READY, LOST, DEAD) == "device_lost"


def test_wrappers_come_last():
    assert cause(core(TOO_LONG), INIT) == "max_model_len_exceeds_kv"
    assert cause(INIT, core(TOO_LONG)) == "max_model_len_exceeds_kv"
    assert cause(INIT) == "engine_init_failed"
    assert cause(DEAD) == "engine_dead"


def test_collectives_fail_because_a_peer_died():
    assert cause(DIED, CCL) == "worker_died"


def test_a_worker_died_after_it_said_why():
    assert cause(core(OOM), DIED).startswith("device_oom")


def test_collectives_inside_the_memory_profile_are_not_memory():
    frame = '  File "/v/xpu_worker.py", line 1, in determine_available_memory'
    assert cause(frame, WRITE) == "ccl_error"


def test_device_memory_inside_a_collectives_line_is_memory():
    line = (
        "|CCL_ERROR| ze_call.cpp:43 do_call: zeMemAllocDevice: ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY"
    )
    assert cause(line).startswith("device_oom")


def test_what_follows_a_sigterm_is_shutdown_noise():
    assert cause(READY, SIGTERM, DEAD) == "sigterm"
    assert cause(READY, SIGTERM, core("AttributeError: 'NoneType' has no x"), DEAD) == "sigterm"


def test_a_sigterm_that_follows_a_failure_is_not_its_cause():
    assert cause(READY, core(OOM), DEAD, SIGTERM) == "device_oom_runtime"


def test_a_sigterm_while_loading_was_a_probes():
    loading = core("Starting to load model m...", "INFO")
    assert cause(loading, SIGTERM, exit_code=143) == "startup_killed"


def test_the_lowest_process_is_believed_first():
    api = "(APIServer pid=1) ERROR 07-01 10:00:02 [x.py:1] ValueError: No available memory for the cache blocks."  # noqa: E501
    worker = f"(Worker_TP0 pid=9) ERROR 07-01 10:00:02 [x.py:1] {OOM}"
    assert cause(api, worker).startswith("device_oom")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            [
                "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
                "  Value error, Unknown quantization method: foo. Must be one of ['awq'].",
            ],
            "unsupported_quantization",
        ),
        (
            [
                "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://huggingface.co/x",
                "huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error. Repository Not Found for url",  # noqa: E501
                "OSError: x is not a local folder and is not a valid model identifier",
            ],
            "model_not_found",
        ),
        (
            [
                "requests.exceptions.HTTPError: 403 Client Error: Forbidden for url: https://huggingface.co/x",
                "huggingface_hub.errors.GatedRepoError: 403 Client Error. Cannot access gated repo",
                "OSError: You are trying to access a gated repo.",
            ],
            "model_auth",
        ),
        (
            [
                "ERROR registry.py:264] ImportError: /x/flash.so: undefined symbol: _ZN3c10",
                "ValueError: Model architectures ['LlamaForCausalLM'] are not supported for now.",
            ],
            "driver_runtime_mismatch",
        ),
        (["UserWarning: XPU device count is zero!", "RuntimeError: Failed to infer device type"], "no_device"),  # noqa: E501
    ],
)  # fmt: skip
def test_the_most_specific_of_one_traceback(lines, expected):
    assert cause(*lines, exit_code=1) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [(139, "segfault"), (134, "abort"), (135, "shm_exhausted"), (127, "bad_pod_spec"), (1, "unknown"), (0, "unknown")],  # noqa: E501
)  # fmt: skip
def test_the_exit_code_speaks_where_the_log_is_silent(code, expected):
    assert cause("INFO hello", exit_code=code) == expected


def test_a_kill_in_mid_load_is_most_often_host_memory():
    text = "Loading safetensors checkpoint shards:  63% Completed | 17/27"
    found = classify(Evidence(log=text, exit_code=137))
    assert (found.cause, found.actionable) == ("host_oom", False)


def test_few_broadcast_lines_while_it_starts_are_no_hang():
    line = core("No available shared memory broadcast block found in 60 seconds.", "INFO")
    assert cause(line, line, core(TOO_LONG)) == "max_model_len_exceeds_kv"
    assert cause(line, line, line) == "engine_hang"


def test_an_absurd_size_is_a_bug_not_a_lack_of_memory():
    line = (
        "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate {} bytes."
    )
    assert cause(line.format(4_398_046_511_104)) == "engine_bug"
    assert cause(line.format(116_813_856_768)) == "host_oom"


def test_a_startup_probe_that_fails_is_what_every_start_looks_like():
    failing = 'Warning  Unhealthy  16s (x29 over 5m)  kubelet  Startup probe failed: Get "http://'
    assert cause(failing + '10.0.0.7:8000/health": connect: connection refused') == "unknown"
    assert cause(failing, "Killing  Container engine failed startup probe, will be restarted") == (
        "startup_killed"
    )


def test_a_volume_that_waits_is_shown_but_named_no_engine_cause():
    waits = 'Warning  FailedAttachVolume  2m  Multi-Attach error for volume "pvc-1" is used by pod'
    found = classify(Evidence(log=log(waits, "Normal  Scheduled  9m  default-scheduler")))
    assert (found.cause, found.evidence) == ("unknown", (waits,))
    absent = 'MountVolume.SetUp failed for volume "token" : secret "hf-token" not found'
    assert cause(waits, absent) == "bad_pod_spec"


def test_a_wrapper_of_the_start_after_ready_is_a_dead_engine():
    wrapper = "RuntimeError: Engine process failed to start."
    assert cause(wrapper) == "engine_init_failed"
    assert cause(READY, wrapper) == "engine_dead"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("RuntimeError: level_zero backend failed with error: 64 (UR_RESULT_ERROR_INVALID_USM_SIZE)", "device_oom_single_alloc"),  # noqa: E501
        ("RuntimeError: level_zero backend failed with error: 41 (UR_RESULT_ERROR_PROGRAM_BUILD_FAILURE)", "kernel_compile_failure"),  # noqa: E501
        ("RuntimeError: level_zero backend failed with error: 37 (UR_RESULT_ERROR_UNINITIALIZED)", "driver_runtime_mismatch"),  # noqa: E501
        ("RuntimeError: level_zero backend failed with error: 4 (UR_RESULT_ERROR_INVALID_VALUE)", "engine_bug"),  # noqa: E501
        ("RuntimeError: Triton Error [ZE]: 1879048194", "host_oom"),
        ("RuntimeError: Triton Error [ZE]: 0x70000003", "device_oom_startup"),
    ],
)  # fmt: skip
def test_a_drivers_code_by_name_and_by_number(line, expected):
    assert cause(core(line), exit_code=1) == expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("No model architectures are specified", "unsupported_architecture"),
        ("Unknown quantization method: foo.", "unsupported_quantization"),
        ("Expecting value: line 1 column 1 (char 0)", "model_corrupt"),
        ("a reason that nobody has seen", "bad_arguments"),
    ],
)
def test_the_reason_why_a_config_is_refused_is_the_cause(reason, expected):
    """The engine's own configuration is no text of a user, although pydantic prints it."""
    refused = "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig"
    config = "input_value=ArgsKwargs((), {'model': ...rocessor_plugin': None})"
    text = f"{refused}\n  Value error, {reason} [type=value_error, {config}, input_type=ArgsKwargs]"
    assert cause(*text.split("\n")) == expected


@pytest.mark.parametrize(
    ("inner", "expected"),
    [("capture_model", "device_oom_profile"), ("_allocate_kv_cache", "device_oom_kv_alloc")],
)
def test_the_innermost_frame_tells_the_warm_up_from_the_allocation(inner, expected):
    """Both are called from initialize_cache (V0) and initialize_from_config (V1)."""
    started = "INFO 10-10 11:00:00 [executor_base.py:111] # xpu blocks: 901, # CPU blocks: 0"
    for outer in ("initialize_cache", "initialize_from_config"):
        assert cause(started, traceback(OOM, outer, inner), exit_code=1) == expected


def test_words_count_only_where_no_root_cause_is_known():
    words = core("ValueError: max_num_seqs must be even")
    assert cause(words) == "bad_arguments"
    assert cause(words, core(OOM)).startswith("device_oom")
    assert cause(core("ValueError: The prompt is longer than max_model_len")) == "unknown"


NO_BLOCKS = core("RuntimeError: Not enough memory for 24 blocks of KV cache. Try reducing")
RAY_GUESSES = (
    "The actor is dead because its worker process has died. There are some potential root causes. "
    "(1) The process is killed by SIGKILL by OOM killer due to high memory usage. (2) ray stop"
)
CREATE = "Error: failed to create containerd task: failed to create shim task: "
EXEC = "ExecSync failed: failed to exec in container: OCI runtime exec failed: exec failed: "


def test_a_later_message_about_the_same_failure_names_the_phase():
    lack = core("RuntimeError: SYS_EBUSY: Lack of device memory. (code: -16)")
    assert cause(lack) == "device_oom_startup"
    assert cause(lack, NO_BLOCKS) == "device_oom_kv_alloc"
    assert cause(lack, *["loading"] * 90, NO_BLOCKS) == "device_oom_startup"


def test_what_a_compiler_backend_raised_is_the_cause():
    backend = core("torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:")
    assert cause(backend, core("RuntimeError: boom")) == "kernel_compile_failure"
    assert cause(backend, NO_BLOCKS) == "device_oom_kv_alloc"


def test_a_list_of_possible_causes_yields_to_any_root_cause():
    assert cause(RAY_GUESSES) == "host_oom"
    assert cause(RAY_GUESSES, core(TOO_LONG)) == "max_model_len_exceeds_kv"


def test_a_full_disk_under_the_container_runtime_is_the_cause():
    init = "OCI runtime create failed: error during container init: "
    assert cause(CREATE + init + "open /run/x/resolv.conf: no space left on device") == "disk_full"
    assert cause(CREATE + init + "unable to apply cgroup configuration") == "bad_pod_spec"


def test_an_exec_into_a_container_that_ends_says_nothing_about_its_spec():
    assert cause(EXEC + "error executing setns process: exit status 1: unknown") == "unknown"
    assert cause(EXEC + 'exec: "curl": executable file not found in $PATH') == "bad_pod_spec"


def test_a_refusal_by_the_api_server_needs_its_kind_of_field_error():
    assert cause('Pod "llm-0" is invalid: spec.x: Invalid value: "2": too much') == "bad_pod_spec"
    assert cause('The token "abc" is invalid: log in again') == "unknown"


@pytest.mark.parametrize("before", ["!!! Exception during processing !!! ", "Oops! ", ""])
def test_an_out_of_memory_after_an_exclamation_is_named_but_changes_nothing(before):
    found = classify(Evidence(log=before + OOM.partition(": ")[2], exit_code=0))
    assert found.cause == "device_oom_runtime"
    assert not found.actionable


def test_an_exception_under_load_is_no_refused_argument():
    """Its name alone speaks of arguments only at the start; its words speak for themselves."""
    assert cause(READY, core("ValueError: max() arg is an empty sequence"), DEAD) == "engine_bug"
    assert cause(READY, core("ValueError: it went wrong"), DEAD) == "engine_dead"
    assert cause(core("ValueError: it went wrong")) == "bad_arguments"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("mpirun noticed that process rank 3 on node n1 exited on signal 9 (Killed).", "host_oom"),
        ("systemd[1]: vllm.service: Main process exited, code=dumped, status=11/SEGV", "segfault"),
        ("Process Process-1 exited with code -6", "abort"),
        ("Signal 4 (SIGILL) received by PID 123", "unsupported_device"),
        ("ERROR Worker process 3 terminated with exit code -15", "unknown"),
        ("INFO: Child process [4321] died", "worker_died"),
    ],
)
def test_a_parent_says_how_a_child_ended(said, expected):
    assert cause(said) == expected
