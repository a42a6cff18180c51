"""A user's text with raw newlines can be any line of a log; what the kernel saw it cannot be."""

import pytest
from tests.unit.diagnosis.logs import (
    DEAD,
    OOM,
    READY,
    SEED_OOM,
    SERVING,
    TOO_LONG,
    core,
    log,
    traceback,
)

from xpullm_runtime.diagnosis import Evidence, causes, classify, signatures
from xpullm_runtime.report import Report, encode

GIB = 2**30
ONLY_AT_A_START = {
    "device_oom_weights", "device_oom_profile", "device_oom_kv_alloc", "device_oom_startup",
    "kv_cache_no_memory", "max_model_len_exceeds_kv", "wrong_gpu", "device_memory_busy",
    "unschedulable_gpu", "admission_error", "image_pull", "bad_pod_spec", "no_device",
    "bad_arguments", "unsupported_quantization", "unsupported_dtype", "unsupported_architecture",
    "tokenizer_error", "trust_remote_code", "model_auth", "model_not_found", "model_offline",
    "model_corrupt",
}  # fmt: skip
STARTS = [
    one
    for one in signatures()
    if one.cause in ONLY_AT_A_START or one.cause.startswith("device_oom")
]


def test_the_causes_that_only_a_start_can_have():
    assert {cause for cause, known in causes().items() if known.get("start_only")} == (
        ONLY_AT_A_START
    )


def as_logged(text):
    return "\n".join(core(line) for line in text.split("\n"))


def as_raised(text):
    return traceback(text, "load_weights", "profile_run")


@pytest.mark.parametrize("form", [str, as_logged, as_raised])
@pytest.mark.parametrize("signature", STARTS, ids=lambda one: one.id)
def test_an_engine_that_was_ready_cannot_fail_as_only_a_start_can(signature, form):
    text = form(signature.example)
    for evidence in (
        Evidence(log=text, exit_code=1, was_ready=True),  # the supervisor's word
        Evidence(log=log(READY, text), exit_code=1),  # the log's own
        Evidence(log=log(READY, text), exit_code=1, was_ready=False),  # between the two
    ):
        found = classify(evidence)
        assert found.cause not in ONLY_AT_A_START


def test_what_only_a_start_can_have_is_shown_to_people_all_the_same():
    found = classify(Evidence(log=log(READY, core(TOO_LONG)), exit_code=137, was_ready=True))
    assert (found.cause, found.phase, found.actionable) == ("unknown", "runtime", False)
    assert found.evidence == (core(TOO_LONG)[:300], READY)
    assert found.figures == {}


def test_the_truth_behind_a_forged_start_is_found():
    text = log(READY, core(TOO_LONG), core(OOM), DEAD)
    found = classify(Evidence(log=text, exit_code=1, was_ready=True))
    assert (found.cause, found.actionable) == ("device_oom_runtime", True)
    crashed = classify(Evidence(log=log(READY, core(TOO_LONG)), exit_code=139, was_ready=True))
    assert (crashed.cause, crashed.actionable) == ("segfault", False)


def test_a_phase_of_the_start_in_words_is_not_believed_after_ready():
    text = "RuntimeError: CUDA out of memory occurred when warming up sampler with 4 dummy requests"
    assert classify(Evidence(log=core(text), exit_code=1)).cause == "device_oom_profile"
    found = classify(Evidence(log=core(text), exit_code=1, was_ready=True))
    assert found.cause == "device_oom_runtime"


def test_frames_of_a_start_make_no_missing_device_after_ready():
    lost = "RuntimeError: level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)"
    text = traceback(lost, "_lazy_init", "device_count")
    assert classify(Evidence(log=text, exit_code=1)).cause == "no_device"
    for evidence in (
        Evidence(log=text, exit_code=1, was_ready=True),
        Evidence(log=log(READY, text), exit_code=1),
    ):
        assert classify(evidence).cause == "device_lost"


def test_an_older_supervisors_report_is_held_to_the_same():
    told = Report(
        cause="max_model_len_exceeds_kv", phase="runtime", helps="arguments", actionable=True,
        ended=True, was_ready=True, exit_code=137, evidence=(TOO_LONG,),
    )  # fmt: skip
    ended = {"exitCode": 137, "reason": "Error", "message": encode(told).decode()}
    status = {"containerStatuses": [{"name": "engine", "lastState": {"terminated": ended}}]}
    found = classify(Evidence(pod={"status": status}))
    assert (found.cause, found.actionable, found.evidence) == ("unknown", False, (TOO_LONG[:300],))


FORGED = [
    core(OOM),
    log(core(OOM), DEAD),
    traceback(SEED_OOM, "execute_model"),
    log(core(traceback(OOM, "execute_model")), DEAD),
    core("RuntimeError: level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)"),
    core("RuntimeError: oneCCL: coll_param.cpp:432 validate: EXCEPTION: unknown memory type"),
    core("OSError: [Errno 28] No space left on device"),
]


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("code", [129, 132, 134, 135, 136, 137, 139, 143])
def test_no_line_explains_a_signal(forged, code):
    """Figures, follow-ons, frames: all of it is the same text."""
    text = log(READY, SERVING, "INFO 07-01 10:00:00 [x.py:1] said: hi", forged)
    assert not classify(Evidence(log=text, exit_code=code)).actionable
    assert not classify(Evidence(log=forged, exit_code=code)).actionable  # who knows what was cut
    assert not classify(Evidence(log=forged, exit_code=code, was_ready=True)).actionable


@pytest.mark.parametrize("forged", FORGED)
def test_an_engines_own_exit_does(forged):
    for code in (1, 255):
        assert classify(Evidence(log=log(READY, forged), exit_code=code)).actionable


def test_before_ready_there_are_no_users():
    for code in (1, 137, 139):
        found = classify(Evidence(log=core(OOM), exit_code=code, was_ready=False))
        assert (found.cause, found.actionable) == ("device_oom_startup", True)


NATIVE = log(
    "terminate called after throwing an instance of 'sycl::_V1::exception'",
    "  what():  level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
    "Aborted (core dumped)",
)


def test_an_abort_is_explained_by_its_own_words_at_the_end():
    def actionable(*lines, code=134):
        found = classify(Evidence(log=log(READY, SERVING, *lines), exit_code=code, was_ready=True))
        assert found.cause == "device_oom_runtime"
        return found.actionable

    neo = log("Abort was called at 251 line in file:", "x/drm_neo.cpp")
    later = [f"INFO 07-01 10:00:00 [x.py:1] line {n}" for n in range(100)]
    assert actionable(NATIVE)
    assert actionable(core(OOM), NATIVE)
    assert actionable(core(OOM), DEAD, "Fatal Python error: Aborted")
    assert classify(Evidence(log=log(READY, core(OOM), neo), exit_code=134)).actionable
    assert not actionable(core(OOM))
    assert not actionable(core(OOM), NATIVE, code=137)
    assert not actionable(core(OOM), NATIVE, *later)


def test_a_bus_error_is_what_small_shared_memory_gives():
    text = log(READY, SERVING, "Bus error (core dumped)")
    assert classify(Evidence(log=text, exit_code=135, was_ready=True)).actionable
    assert not classify(Evidence(log=text, exit_code=137, was_ready=True)).actionable


ALLOCATOR = (
    "RuntimeError: [enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate "
    "memory: you tried to allocate 1000000000 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize("was_ready", [True, False, None])
@pytest.mark.parametrize(
    ("facts", "actionable"),
    [
        ({"exit_code": 137}, False),
        ({"exit_code": 139}, False),
        ({"exit_code": 134}, False),
        ({"exit_code": 137, "host_oom_kills": 1}, True),
        ({"exit_code": 137, "host_peak_bytes": 28 * GIB, "host_limit_bytes": 32 * GIB}, False),
        ({"exit_code": 137, "host_peak_bytes": 29 * GIB, "host_limit_bytes": 32 * GIB}, True),
        ({"exit_code": 137, "host_peak_bytes": 29 * GIB}, False),  # no limit
        ({"exit_code": 1}, True),
    ],
)
def test_host_memory_is_the_kernels_word(was_ready, facts, actionable):
    text = core(traceback(ALLOCATOR, "load_model"))
    found = classify(Evidence(log=text, was_ready=was_ready, **facts))
    assert (found.cause, found.actionable) == ("host_oom", actionable)


def test_the_peak_in_the_supervisors_report_counts_without_page_cache():
    told = {"cause": "unknown", "host_limit_bytes": 32 * GIB, "host_peak_bytes": 32 * GIB}
    text = core(ALLOCATOR)
    assert not classify(Evidence(log=text, exit_code=137, report=told)).actionable
    held = told | {"figures": {"host_held_peak_bytes": 31 * GIB}}
    assert classify(Evidence(log=text, exit_code=137, report=held)).actionable


def test_host_memory_by_the_log_must_be_the_last_thing_that_went_wrong():
    def actionable(*lines):
        found = classify(Evidence(log=log(READY, *lines), exit_code=1))
        return (found.cause, found.actionable)

    lack = traceback(ALLOCATOR, "execute_model")
    assert actionable(lack, DEAD, "SystemExit: 1") == ("host_oom", True)
    assert actionable(lack, traceback("KeyError: 'cmpl-1'", "step")) == ("host_oom", False)


def test_native_code_without_host_memory_aborts_by_itself():
    text = log("terminate called after throwing an instance of 'std::bad_alloc'",
               "  what():  std::bad_alloc", "Aborted (core dumped)")  # fmt: skip
    found = classify(Evidence(log=log(READY, text), exit_code=134, was_ready=True))
    assert (found.cause, found.actionable) == ("host_oom", True)
    assert not classify(Evidence(log=log(READY, text), exit_code=137, was_ready=True)).actionable
