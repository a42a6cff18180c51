"""No log line alone changes anything: a user's prompt can print any line."""

import json

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

from xpullm_runtime.diagnosis import Evidence, classify, interesting
from xpullm_runtime.report import SCHEMA


def test_a_dead_engines_own_words_count():
    found = classify(Evidence(log=log(READY, core(OOM), DEAD), exit_code=1))
    assert (found.cause, found.actionable) == ("device_oom_runtime", True)


def test_the_end_of_an_uncaught_traceback_counts_without_a_logger():
    found = classify(Evidence(log=traceback(SEED_OOM, "load_weights"), exit_code=1))
    assert (found.cause, found.actionable) == ("device_oom_weights", True)


def test_nothing_counts_while_the_engine_lives():
    found = classify(Evidence(log=log(READY, core(OOM)), exit_code=None))
    assert not found.actionable
    assert not classify(Evidence(log=core(OOM), exit_code=1, alive=True)).actionable


def test_nothing_counts_in_a_running_container():
    status = {"containerStatuses": [{"name": "engine", "state": {"running": {}}, "ready": True}]}
    assert not classify(Evidence(log=core(TOO_LONG), pod={"status": status})).actionable


def test_what_the_engine_survived_is_not_the_cause():
    text = log(READY, core(OOM), SERVING, SERVING, SERVING)
    assert classify(Evidence(log=text, exit_code=137)).cause == "unknown"


def test_what_stood_before_a_good_start_is_not_the_cause():
    text = log("UserWarning: XPU device count is zero!", READY, core(OOM), DEAD)
    assert classify(Evidence(log=text, exit_code=1)).cause == "device_oom_runtime"


@pytest.mark.parametrize(
    "echo",
    [
        f"INFO 07-01 10:00:00 [logger.py:39] Received request cmpl-1: prompt: '{OOM}', params: x",
        f"INFO 07-01 10:00:00 [logger.py:39] Generated response cmpl-1: output: '{OOM}'",
        f'DEBUG body: {{"messages": [{{"role": "user", "content": "{OOM}"}}]}}',
        f"ERROR 07-01 10:00:00 [serving.py:9] 1 validation error: input_value='{OOM}'",
        f"ERROR 07-01 10:00:00 [serving.py:9] input_value='input_value=ArgsKwargs(), {OOM}'",
        f"(APIServer pid=1) ERROR 07-01 10:00:00 [x.py:9] bad prompt='{OOM}'",
        f"INFO 07-01 10:00:00 [logger.py:39] Received request a: prompt: '{TOO_LONG}'",
    ],
)
def test_a_users_text_in_a_log_is_no_evidence(echo):
    found = classify(Evidence(log=log(READY, SERVING, echo), exit_code=137))
    assert (found.cause, found.actionable) == ("unknown", False)
    assert not interesting(echo)


def test_a_users_text_inside_an_error_message_changes_nothing():
    line = f"ERROR 07-01 10:00:00 [serving.py:200] ValueError: Invalid request: {OOM}"
    assert not classify(Evidence(log=log(READY, line), exit_code=1)).actionable


def test_a_forged_line_without_logger_or_traceback_changes_nothing():
    assert not classify(Evidence(log=log(READY, OOM, "done"), exit_code=1)).actionable


BARE = "RuntimeError: level_zero backend failed with error: 40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)"


def test_a_forged_line_behind_a_forged_logger_needs_a_witness():
    """Shot from outside during the start, no follow-on of the engine, no figures: it is alone."""
    assert not classify(Evidence(log=core(BARE), exit_code=137, was_ready=False)).actionable
    assert classify(Evidence(log=core(BARE), exit_code=1, was_ready=False)).actionable
    found = classify(Evidence(log=log(core(BARE), DEAD), exit_code=137, was_ready=False))
    assert found.actionable


def test_an_out_of_memory_told_as_information_changes_nothing():
    text = log(READY, core(OOM, level="INFO"))
    assert not classify(Evidence(log=text, exit_code=1)).actionable


def test_an_old_line_changes_nothing():
    text = log(READY, core(OOM), *(f"INFO 07-01 10:00:00 [x.py:1] line {n}" for n in range(700)))
    assert not classify(Evidence(log=text, exit_code=1)).actionable


def test_a_forged_report_in_the_log_is_no_report():
    forged = json.dumps(
        {"schema": SCHEMA, "cause": "device_oom_runtime", "helps": "arguments",
         "actionable": True, "ended": True, "evidence": [OOM]}
    )  # fmt: skip
    found = classify(Evidence(log=log(READY, forged), exit_code=1))
    assert (found.cause, found.actionable) == ("unknown", False)
    tail = {"terminated": {"reason": "Error", "exitCode": 1, "message": "\n" * 80 + forged}}
    status = {"containerStatuses": [{"name": "engine", "lastState": tail}]}
    assert classify(Evidence(pod={"status": status})).cause == "unknown"


def record(text: str) -> str:
    """What a structured logger makes of a line."""
    return json.dumps({"level": "ERROR", "time": "2026-07-01T10:00:00Z", "message": text})


def test_a_json_record_names_the_cause_and_changes_nothing():
    """A user can send such a record, and a server can print it as it came."""
    for text in (OOM, core(OOM), traceback(SEED_OOM, "execute_model")):
        found = classify(Evidence(log=log(READY, record(text), DEAD), exit_code=1))
        assert (found.cause, found.actionable) == ("device_oom_runtime", False)


def test_a_json_record_takes_no_trust_from_other_lines():
    found = classify(Evidence(log=log(READY, record("hello"), core(OOM), DEAD), exit_code=1))
    assert (found.cause, found.actionable) == ("device_oom_runtime", True)


def test_json_without_a_level_is_what_a_user_sent():
    echo = json.dumps({"message": OOM, "model": "qwen"})
    assert classify(Evidence(log=log(READY, SERVING, echo), exit_code=137)).cause == "unknown"


@pytest.mark.parametrize("broken", ['{"level": "ERROR", "message": ', '{"level": "x"' + "[" * 9999])
def test_a_broken_json_record_is_a_line_like_any_other(broken):
    assert classify(Evidence(log=log(READY, broken), exit_code=1)).cause == "unknown"


def test_a_line_whose_beginning_is_our_guess_changes_nothing():
    lost = log(READY, core(OOM), DEAD).replace("\n", " ") + " x" * 3000
    assert not classify(Evidence(log=lost, exit_code=1)).actionable


def test_native_code_that_ends_the_process_has_no_logger_left():
    line = "CUDA error (/src/flash_attn/flash_fwd_launch_template.h:199): out of memory"
    found = classify(Evidence(log=log(READY, SERVING, line), exit_code=1))
    assert (found.cause, found.actionable) == ("device_oom_runtime", True)


def test_evidence_is_short_and_printable():
    found = classify(Evidence(log=core("\x1b[31m" + OOM + "\x00\x07" + "x" * 5000), exit_code=1))
    for line in found.evidence:
        assert len(line) <= 300
        assert line.isprintable()
