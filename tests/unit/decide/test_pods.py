"""Which failures the pods show, and whose they are."""

from __future__ import annotations

from typing import Any

import pytest

from xpullm.controller.decide_pods import Failure, failures, latest_report, ready
from xpullm_runtime.report import Report, encode

PLAN = "0123456789abcdef"


def pod(status: dict[str, Any], plan: str = PLAN, uid: str = "u1", **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "uid": uid, "labels": {"xpullm.io/plan-hash": plan}, **meta},
        "spec": {"nodeName": "node-a"},
        "status": status,
    }


def ended(
    at: str = "2026-01-01T00:00:30Z", restarts: int = 0, state: str = "terminated", **more: Any
) -> dict[str, Any]:
    end = {"exitCode": 1, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": at, **more}
    status: dict[str, Any] = {"name": "engine", "restartCount": restarts}
    if state == "terminated":
        status["state"] = {"terminated": end}
    else:
        status["state"] = {state: {}}
        status["lastState"] = {"terminated": end}
    return {"containerStatuses": [status]}


def only(status: dict[str, Any]) -> Failure:
    (failure,) = failures([pod(status)], PLAN)
    return failure


def test_one_failure_has_one_identity_in_every_state_that_shows_it() -> None:
    ids = {
        only(ended(state="terminated")).id,
        only(ended(state="waiting")).id,
        only(ended(state="running", restarts=1)).id,
    }
    assert ids == {"u1/0/2026-01-01T00:00:30Z"}
    assert only(ended(restarts=1, at="2026-01-01T00:01:00Z")).id == "u1/1/2026-01-01T00:01:00Z"


def test_pods_of_other_plans_and_leaving_pods_are_history() -> None:
    assert failures([pod(ended(), plan="other")], PLAN) == ()
    assert failures([pod(ended(), deletionTimestamp="2026-01-01T00:00:00Z")], PLAN) == ()


def test_a_pod_that_serves_again_is_no_failure() -> None:
    status = ended(state="running", restarts=1)
    assert not ready(pod(status))
    status["conditions"] = [{"type": "Ready", "status": "True"}]
    assert ready(pod(status))
    assert failures([pod(status)], PLAN) == ()


def test_a_failure_is_over_once_the_next_run_has_started_up() -> None:
    """Readiness that flaps days later must not bring the old failure back."""
    status = ended(state="running", restarts=1)
    status["containerStatuses"][0]["started"] = True
    assert failures([pod(status)], PLAN) == ()
    status["containerStatuses"][0]["started"] = False
    assert only(status).ended
    again = ended(state="terminated", restarts=1)
    again["containerStatuses"][0]["started"] = True
    assert only(again).ended


def killed(name: str) -> dict[str, Any]:
    end = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:00:30Z"}
    running: dict[str, Any] = {"running": {}}
    return {"name": name, "restartCount": 1, "state": running, "lastState": {"terminated": end}}


def test_containers_that_others_put_into_the_pod_are_not_the_engine() -> None:
    """A service mesh's proxy that runs out of memory must not raise the engine's limit."""
    engine = {"name": "engine", "restartCount": 0, "state": {"running": {}}}
    status = {"containerStatuses": [engine, killed("istio-proxy")]}
    assert failures([pod(status)], PLAN) == ()
    assert failures([pod({"initContainerStatuses": [killed("istio-init")]})], PLAN) == ()
    assert only({"containerStatuses": [killed("engine")]}).diagnosis.cause == "host_oom"
    assert only({"initContainerStatuses": [killed("install-runtime")]}).ended


def test_the_report_names_the_cause() -> None:
    report = Report(
        cause="device_oom_runtime", phase="runtime", helps="arguments", actionable=True,
        ended=True, was_ready=True, plan_hash=PLAN,
    )  # fmt: skip
    failure = only(ended(message=encode(report).decode()))
    assert failure.diagnosis.cause == "device_oom_runtime"
    assert failure.diagnosis.phase == "runtime"
    assert failure.was_ready
    assert latest_report([pod(ended(message=encode(report).decode()))], PLAN) == report


def test_the_kernels_kill_needs_no_report() -> None:
    assert only(ended(exitCode=137, reason="OOMKilled")).diagnosis.cause == "host_oom"


def test_two_failures_show_in_one_moment() -> None:
    first, second = only(ended()), only(ended(restarts=1, at="2026-01-01T00:01:00Z"))
    assert (first.earlier, first.runs) == (None, 1)
    assert (second.earlier, second.runs) == (1767225600.0, 2)


def test_runs_in_a_row_are_those_since_the_pod_was_last_ready() -> None:
    """40 s each, with 10, 20, 40 s between them after the first restart."""
    status = ended(at="2026-01-01T00:00:40Z", restarts=9, state="waiting")
    status["startTime"] = "2025-12-01T00:00:00Z"
    not_ready = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status["conditions"] = [not_ready]
    assert only(status).runs == 2
    end = status["containerStatuses"][0]["lastState"]["terminated"]
    end |= {"startedAt": "2026-01-01T00:00:50Z", "finishedAt": "2026-01-01T00:01:30Z"}
    assert only(status).runs == 3
    end |= {"startedAt": "2026-01-01T00:01:50Z", "finishedAt": "2026-01-01T00:02:30Z"}
    assert only(status).runs == 4
    end |= {"startedAt": "2025-12-31T23:00:00Z", "finishedAt": "2026-01-01T00:00:00Z"}
    assert only(status).runs == 2  # the run that served, and the one before
    status["startTime"] = "2026-01-01T00:00:00Z"
    assert only(status).runs == 10  # never Ready: all of them


def test_a_time_long_past_costs_no_time() -> None:
    status = ended(restarts=10**9, state="waiting")
    status["startTime"] = "1960-01-01T00:00:00Z"
    old = {"type": "Ready", "status": "False", "lastTransitionTime": "1970-01-01T00:00:00Z"}
    status["conditions"] = [old]
    assert only(status).runs == 64


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (
            {
                "containerStatuses": [
                    {"name": "engine", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
                ]
            },
            "image_pull",
        ),
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes are available: 1 Insufficient gpu.intel.com/i915.",
                    }
                ]
            },
            "unschedulable_gpu",
        ),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "evicted"),
    ],
)
def test_a_pod_without_a_container_has_a_cause_too(status: dict[str, Any], cause: str) -> None:
    failure = only(status)
    assert not failure.ended
    assert failure.diagnosis.cause == cause


def test_an_evicted_pod_counts_until_its_replacement_serves() -> None:
    evicted = pod({"phase": "Failed", "reason": "Evicted"}, uid="old")
    starting = pod({"phase": "Pending"}, uid="new")
    serving = pod({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
    assert [f.diagnosis.cause for f in failures([evicted], PLAN)] == ["evicted"]
    assert [f.diagnosis.cause for f in failures([evicted, starting], PLAN)] == ["evicted"]
    assert failures([evicted, serving], PLAN) == ()


def test_waiting_for_the_card_of_a_leaving_pod_is_no_failure() -> None:
    waiting = {
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]
    }
    old = pod({}, plan="old", uid="u0", deletionTimestamp="2026-01-01T00:00:00Z")
    assert failures([pod(waiting), old], PLAN) == ()
    assert len(failures([pod(waiting)], PLAN)) == 1


def test_ended_containers_come_before_waiting_ones_newest_first() -> None:
    early, late = ended(), ended(at="2026-01-01T00:05:00Z")
    waiting = {
        "containerStatuses": [
            {"name": "engine", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
        ]
    }
    found = failures([pod(waiting, uid="a"), pod(early, uid="b"), pod(late, uid="c")], PLAN)
    assert [f.pod["metadata"]["uid"] for f in found] == ["c", "b", "a"]


@pytest.mark.parametrize("rubbish", [None, [], "x", 3, {"containerStatuses": "x"}, {"a": {}}])
def test_rubbish_is_no_failure(rubbish: Any) -> None:
    assert failures([pod(rubbish)], PLAN) == ()
    assert failures([{"metadata": rubbish}], PLAN) == ()
    assert latest_report([pod(rubbish)], PLAN) is None
