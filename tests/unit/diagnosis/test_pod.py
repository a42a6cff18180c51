"""What Kubernetes says comes first. The cases are what a real kubelet (1.36) reports."""

import pytest
from tests.unit.diagnosis.logs import DEAD, OOM, READY, core, log

from xpullm_runtime.diagnosis import Evidence, classify
from xpullm_runtime.report import Report, encode


def pod(reason="Error", code=137, message="", state=None, **status):
    ended = {"reason": reason, "exitCode": code, "message": message}
    engine = {"name": "engine", "state": state or {}, "lastState": {"terminated": ended}}
    return {"status": {"containerStatuses": [engine], **status}}


def test_oom_killed_is_host_memory_whatever_the_log_says():
    found = classify(Evidence(log=core(OOM), pod=pod("OOMKilled", 137)))
    assert (found.cause, found.helps, found.actionable) == ("host_oom", "resources", True)


def test_oom_killed_counts_with_any_exit_code():
    """Only a child was killed; the first process ended by itself later."""
    assert classify(Evidence(pod=pod("OOMKilled", 0))).cause == "host_oom"
    assert classify(Evidence(pod=pod("OOMKilled", 1))).cause == "host_oom"


def test_exit_code_137_alone_is_not_host_memory():
    assert classify(Evidence(pod=pod("Error", 137))).cause == "unknown"


def test_the_cgroups_count_of_kills_is_believed():
    found = classify(Evidence(log=DEAD, exit_code=1, host_oom_kills=1))
    assert (found.cause, found.actionable) == ("host_oom", True)


@pytest.mark.parametrize(
    ("status", "cause", "helps"),
    [
        ({"reason": "Evicted", "message": "low on memory"}, "evicted", "reschedule"),
        ({"reason": "NodeLost"}, "evicted", "reschedule"),
        ({"reason": "UnexpectedAdmissionError"}, "admission_error", "wait"),
        ({"reason": "OutOfgpu.intel.com/i915"}, "admission_error", "wait"),
        ({"reason": "TopologyAffinityError"}, "admission_error", "wait"),
        ({"reason": "AppArmor", "message": "Cannot enforce AppArmor"}, "bad_pod_spec", "person"),
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
                ]
            },
            "unschedulable_gpu",
            "wait",
        ),
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
                ]
            },
            "unschedulable_gpu",
            "wait",
        ),
    ],
)
def test_states_of_the_pod(status, cause, helps):
    found = classify(Evidence(pod={"status": status}, log=core(OOM)))
    assert (found.cause, found.helps) == (cause, helps)


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("ErrImagePull", "image_pull"),
        ("ImagePullBackOff", "image_pull"),
        ("InvalidImageName", "image_pull"),
        ("CreateContainerConfigError", "bad_pod_spec"),
        ("RunContainerError", "bad_pod_spec"),
    ],
)
def test_states_of_a_waiting_container(reason, cause):
    waiting = {"waiting": {"reason": reason, "message": "why"}}
    status = {"containerStatuses": [{"name": "engine", "state": waiting}]}
    found = classify(Evidence(pod={"status": status}))
    assert found.cause == cause
    assert found.evidence == (f"{reason}: why",)


def test_a_back_off_says_nothing_so_the_last_termination_does():
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    assert classify(Evidence(pod=pod("OOMKilled", 137, state=waiting))).cause == "host_oom"


def test_a_container_that_could_not_start():
    found = classify(Evidence(pod=pod("StartError", 128, 'exec: "vllm": not found')))
    assert (found.cause, found.phase) == ("bad_pod_spec", "starting")


def test_an_init_container_that_did_its_work_is_no_failure():
    done = {"state": {"terminated": {"reason": "Completed", "exitCode": 0}}}
    status = {
        "initContainerStatuses": [{"name": "runtime", **done}],
        "containerStatuses": [
            {"name": "engine", "lastState": {"terminated": {"reason": "OOMKilled"}}}
        ],
    }
    assert classify(Evidence(pod={"status": status})).cause == "host_oom"


def killing(text):
    return [{"reason": "Killing", "message": f"Container engine {text}, will be restarted"}]


def test_a_startup_probes_kill_asks_for_a_longer_deadline():
    found = classify(Evidence(pod=pod(code=137), events=killing("failed startup probe")))
    assert (found.cause, found.helps, found.actionable) == ("startup_killed", "deadline", True)


def test_a_liveness_probes_kill_after_ready_is_a_hang():
    found = classify(
        Evidence(pod=pod(code=137), events=killing("failed liveness probe"), was_ready=True)
    )
    assert (found.cause, found.helps) == ("engine_hang", "reschedule")


def test_an_out_of_memory_that_led_to_a_probes_kill_is_the_cause():
    """The engine core died, the API server lived on until the probe gave up."""
    text = log(READY, core(OOM), DEAD)
    found = classify(Evidence(log=text, pod=pod(code=137), events=killing("failed liveness probe")))
    assert (found.cause, found.actionable) == ("device_oom_runtime", True)


def test_a_probes_kill_does_not_explain_an_exit_by_itself():
    found = classify(Evidence(pod=pod(code=1), events=killing("failed startup probe")))
    assert found.cause == "unknown"


def test_an_eviction_that_was_called_off_is_none():
    """One reason stands for both (kubernetes pkg/controller/tainteviction)."""
    cause = {
        word: classify(
            Evidence(
                pod=pod(code=137),
                events=[{"reason": "TaintManagerEviction", "note": f"{word} deletion of Pod a/b"}],
            )
        ).cause
        for word in ("Marking for", "Cancelling")
    }
    assert cause == {"Marking for": "evicted", "Cancelling": "unknown"}


REPORT = Report(
    cause="max_model_len_exceeds_kv", phase="kv_alloc", helps="arguments", actionable=True,
    ended=True, exit_code=1, evidence=("ValueError: To serve at least one request",),
    figures={"max_model_len_fits": 7344}, host_limit_bytes=8 * 2**30, host_peak_bytes=2**30,
)  # fmt: skip


def test_the_supervisors_last_word_is_taken():
    found = classify(Evidence(pod=pod(code=1, message=encode(REPORT).decode())))
    assert (found.cause, found.phase, found.actionable) == (REPORT.cause, "kv_alloc", True)
    assert found.figures["max_model_len_fits"] == 7344
    assert found.figures["memory_limit_bytes"] == 8 * 2**30


def test_the_supervisors_figures_stay_with_the_kubelets_cause():
    found = classify(Evidence(pod=pod("OOMKilled", 137, message=encode(REPORT).decode())))
    assert found.cause == "host_oom"
    assert found.phase == "kv_alloc"
    assert found.figures["host_peak_bytes"] == 2**30


def test_where_nobody_knows_the_supervisors_last_lines_are_shown():
    silent = encode(Report(cause="unknown", phase="weights", evidence=("last words",)))
    found = classify(Evidence(pod=pod(code=1, message=silent.decode())))
    assert (found.cause, found.phase, found.evidence) == ("unknown", "weights", ("last words",))


def test_a_report_of_a_run_that_goes_on_changes_nothing():
    state = {"running": {}}
    status = {"containerStatuses": [{"name": "engine", "state": state}]}
    going = {"cause": "device_oom_runtime", "phase": "runtime", "actionable": True}
    assert not classify(Evidence(pod={"status": status}, report=going)).actionable


def test_a_log_tail_in_the_message_is_read_as_a_log():
    """FallbackToLogsOnError: the kubelet copied the last lines because there was no report."""
    found = classify(Evidence(pod=pod(code=1, message=log("starting", core(OOM)))))
    assert found.cause == "device_oom_startup"


@pytest.mark.parametrize(
    "rubbish",
    [
        {}, {"status": None}, {"status": []}, {"status": {"containerStatuses": "x"}},
        {"status": {"containerStatuses": [None, 1, {}]}}, {"status": {"conditions": {"a": 1}}},
        {"status": {"containerStatuses": [{"lastState": {"terminated": {"exitCode": "x"}}}]}},
    ],
)  # fmt: skip
def test_rubbish_is_unknown(rubbish):
    assert classify(Evidence(pod=rubbish)).cause == "unknown"
