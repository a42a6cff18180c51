"""The same message is found behind every prefix, and nothing else is taken for one."""

import pytest
from tests.unit.diagnosis.logs import OOM, TOO_LONG

from xpullm_runtime.diagnosis import Evidence, classify
from xpullm_runtime.diagnosis.normalize import read

PREFIXES = [
    "",
    "(EngineCore_DP0 pid=271) ERROR 07-01 10:00:00 [core.py:866] ",
    "(Worker_TP1_EP1 pid=8317) ERROR 02-03 09:24:09 [multiproc_executor.py:743] ",
    "(VllmWorker rank=1 pid=2445156) ERROR 05-10 16:00:15 [multiproc_executor.py:470] ",
    "(VllmWorkerProcess pid=2421) ERROR 10-14 12:32:47 multiproc_worker_utils.py:233] ",
    "\x1b[36m(RayWorkerWrapper pid=3320, ip=10.0.0.1)\x1b[0m ",
    "^[[36m(RayWorkerVllm pid=409241)^[[0m ",
    "#033[2m(WrapperWithLoadBit pid=35347)#033[0m ",
    "vllm-service  | ",
    "vllm-service  | (EngineCore pid=183) ",
    "[rank0]: ",
    "2025-11-11T11:11:11.111111111Z stderr F ",
    "2025-11-11T11:11:11.111111111Z ",
    "[2026-02-24T20:21:58Z] (EngineCore_DP0 pid=6940) ",
    "2026-03-09 01:27:30.122744672 (MapWorker(MapBatches(vLLMEngineActor)) pid=1202, ip=10.5.1.8) ",
    "ERROR 09-03 22:42:03 [core.py:962] ",
    "ERROR 10-23 23:20:26 registry.py:272] ",
    "2023-10-06 05:57:22 | ERROR | stderr | ",
    "2026-02-11 11:22:35,206 - runtime.core.processor:83 - ERROR - ",
    "ERROR:    ",
    "ERROR:root:",
    "> - ",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_message_is_read_behind_its_prefix(prefix):
    line = read(prefix + OOM)
    assert line.full == OOM
    assert line.exception == "torch.OutOfMemoryError"
    assert line.head.startswith("XPU out of memory")


@pytest.mark.parametrize(
    ("prefix", "tag", "process"),
    [
        ("(Worker_TP1 pid=8317) ", "Worker_TP1 pid=8317", 0),
        ("(VllmWorker rank=1 pid=2) ", "VllmWorker rank=1 pid=2", 0),
        ("(EngineCore_DP0 pid=271) ", "EngineCore_DP0 pid=271", 1),
        ("(APIServer pid=1) ", "APIServer pid=1", 2),
        ("(ApiServer_1 pid=245) ", "ApiServer_1 pid=245", 2),
        ("", "", 1),
    ],
)
def test_the_process_is_kept_as_a_key(prefix, tag, process):
    line = read(prefix + OOM)
    assert (line.tag, line.process) == (tag, process)


def test_a_loggers_prefix_is_told_from_plain_text():
    assert read("ERROR 07-01 10:00:00 [core.py:866] x").logged
    assert read("(EngineCore pid=1) x").logged
    assert not read("x").logged
    assert not read("2025-11-11T11:11:11Z x").logged


def test_a_source_line_of_a_traceback_is_not_its_exception():
    text = (
        '(APIServer pid=9)     raise RuntimeError("Engine core initialization failed. "\n'
        '(APIServer pid=9)                        "See root cause above. "'
    )
    assert classify(Evidence(log=text)).cause == "unknown"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end(newline):
    text = newline.join(["a", "b", TOO_LONG])
    assert classify(Evidence(log=text)).cause == "max_model_len_exceeds_kv"


def test_a_wrapped_record_is_joined():
    text = TOO_LONG.replace(" cache memory", "\ncache memory").replace(
        "max seq len", "max\nseq len"
    )
    found = classify(Evidence(log=text))
    assert found.cause == "max_model_len_exceeds_kv"
    assert found.figures["max_model_len_fits"] == 26208


def test_lost_newlines_are_put_back():
    frames = '  File "/a.py", line 1, in load_weights   File "/b.py", line 2, in load_weights '
    text = f"Traceback (most recent call last): {frames * 4} {OOM}"
    assert classify(Evidence(log=text)).cause == "device_oom_weights"


def test_dockers_json_lines_are_unwrapped():
    text = '{"log":"starting\\n","stream":"stdout","time":"2026-01-01T00:00:00Z"}\n' + (
        '{"log":"(EngineCore pid=1) ' + OOM + '\\n","stream":"stderr","time":"2026-01-01"}'
    )
    assert classify(Evidence(log=text)).cause.startswith("device_oom")


@pytest.mark.parametrize(
    "noise",
    [
        "resource_tracker: There appear to be 1 leaked semaphore objects to clean up at shutdown",
        "[rank0]:[W508 00:41:45.803 ProcessGroupNCCL.cpp:1496] destroy_process_group() was not called",  # noqa: E501
        "CCL_WARN value of CCL_ZE_IPC_EXCHANGE changed to be pidfd (default:drmfd)",
        "OperatorEntry.cpp:161] Warning: Overriding a previously registered kernel",
        "INFO 01-01 00:00:00 [x.py:1] Aborted request cmpl-1",
        ":: initializing oneAPI environment ...",
        "pidfd is not supported, fallbacks to drmfd exchange mode",
        # vLLM's own warnings that say how it carries on, in words of its refusals
        "WARNING 01-01 00:00:00 [x.py:1] Async scheduling is not compatible with prefix caching "
        "for Mamba models and will be disabled.",
        "WARNING 01-01 00:00:00 [x.py:1] `naive` all2all manager is not supported on XPU. Falling "
        "back to AgRs manager for XPU.",
        "WARNING 01-01 00:00:00 [x.py:1] Hybrid KV cache manager is disabled for this hybrid model",
        "WARNING 01-01 00:00:00 [x.py:1] X has no vLLM implementation, falling back to HF",
        "WARNING 01-01 00:00:00 [xpu.py:120] Pin memory is not supported on XPU.",
        # of platforms that are absent on every Intel node
        "DEBUG 01-01 00:00:00 [__init__.py:99] CUDA platform is not available because: NVML Shared "
        "Library Not Found",
    ],
)
def test_noise_of_every_good_start_is_no_cause(noise):
    assert classify(Evidence(log=noise, exit_code=1)).cause == "unknown"


@pytest.mark.parametrize("odd", ["模型加载失败", "Модель не загружена", "💥 é", "\ufffd" * 40])
def test_lines_in_other_scripts_are_searched_too(odd):
    found = classify(Evidence(log=f"{odd} 12\n{odd} {OOM}\n{odd} 13"))
    assert found.cause.startswith("device_oom")
    assert odd.split()[0] in found.evidence[0]
