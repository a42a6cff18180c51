"""apply → plan → pods → failure → re-roll → Ready: exact sequences of writes and conditions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.kstatus import compute
from tests.unit.decide.world import World, failed_once, manifest, node, oom, rolled, running

from xpullm.api import Reason
from xpullm.controller.decide import decide
from xpullm.controller.types import Decision, Snapshot
from xpullm.healing.history import decode_history


def history(world: World) -> list[Any]:
    return list(decode_history(world.deployment["metadata"]["annotations"]["xpullm.io/history"]))


HELD = ("Healthy", "")


def learned(world: World) -> set[tuple[str, str]]:
    """Outcome and cause of all that the TuningRecords say."""
    return {
        (entry["outcome"], entry.get("cause", ""))
        for (kind, _), record in world.objects.items()
        if kind == "TuningRecord"
        for entry in record["status"]["entries"]
    }


def test_applied_planned_and_served() -> None:
    world = World(manifest())
    assert world.settle() == ["Service", "Deployment", "status"]
    assert world.condition("Ready") == ("False", "Starting")
    assert world.condition("Planned") == ("True", "Planned")
    assert world.condition("Reconciling") == ("True", "Starting")
    assert compute(world.llmd) == "InProgress"
    assert world.attempt() == 0
    world.roll()
    assert world.settle() == ["status"]
    world.serve()
    assert world.settle() == ["TuningRecord", "status"]
    assert world.condition("Ready") == ("True", "ReplicasReady")
    assert world.condition("Available") == ("True", "Serving")
    assert world.condition("Reconciling") is None
    assert compute(world.llmd) == "Current"
    status = world.llmd["status"]
    assert status["endpoint"] == "http://qwen2-7b.default.svc:8000/v1"
    assert status["selector"] == "xpullm.io/deployment=qwen2-7b"
    assert (status["replicas"], status["readyReplicas"]) == (1, 1)
    assert status["plan"]["hash"] == world.plan_hash()
    assert [reason for reason, _ in world.events] == ["Planned"]
    assert world.last.requeue_after_seconds is None


def test_a_failed_allocation_changes_one_argument_and_heals() -> None:
    world = rolled()
    world.settle()
    before, first = world.flags(), world.plan_hash()
    world.fail(oom(first))
    decision = world.step()
    assert decision.rerolled
    assert not decision.replaces_ready
    assert decision.cause_seen == "device_oom_runtime"
    changed = {name for name in before if before[name] != world.flags()[name]}
    (step,) = history(world)
    assert f"--{step.lever}" in changed
    assert (step.attempt, step.cause, step.phase) == (1, "device_oom_runtime", "runtime")
    assert (step.before, step.plan_hash, step.node) == (before[f"--{step.lever}"], first, "node-a")
    assert world.attempt() == 1
    assert world.plan_hash() != first
    strategy = world.deployment["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 0, "maxUnavailable": "100%"}
    assert world.condition("Ready") == ("False", "Healing")
    healing = world.llmd["status"]["healing"]
    assert healing["lastCause"] == "device_oom_runtime"
    assert healing["history"][0]["result"] == "Pending"
    assert "11.09 GiB" in healing["history"][0]["evidence"]
    (told,) = [text for (reason, _), text in world.events.items() if reason == "ArgumentChanged"]
    for word in ("device_oom_runtime", step.lever, step.before, step.after):
        assert word in told
    world.roll()
    world.settle()
    world.serve()
    world.settle()
    assert world.condition("Ready") == ("True", "ReplicasReady")
    assert world.llmd["status"]["healing"]["history"][0]["result"] == "Helped"
    assert [reason for reason, _ in world.events] == [
        "Planned", "EngineFailed", "ArgumentChanged", "Healed",
    ]  # fmt: skip
    assert world.settle() == []


@pytest.mark.parametrize("crash", ["events", "records", "objects", "status"])
def test_an_operator_that_dies_anywhere_takes_the_step_once(crash: str) -> None:
    def play(at: str) -> World:
        world = rolled()
        world.settle()
        world.fail(oom(world.plan_hash()))
        world.step(until=at)
        world.now += 60
        world.settle()
        world.roll()
        world.settle()
        world.serve()
        world.settle()
        return world

    reference, crashed = play("status"), play(crash)
    assert crashed.deployment["spec"] == reference.deployment["spec"]
    assert (
        crashed.deployment["metadata"]["annotations"]
        == (reference.deployment["metadata"]["annotations"])
    )
    assert crashed.attempt() == 1
    assert learned(crashed) == learned(reference) == {("Failed", "device_oom_runtime"), HELD}
    assert crashed.events.keys() == reference.events.keys()
    assert [c["reason"] for c in crashed.llmd["status"]["conditions"]] == [
        c["reason"] for c in reference.llmd["status"]["conditions"]
    ]


def test_an_engine_that_served_is_given_a_second_chance() -> None:
    world = running()
    first = world.plan_hash()
    world.fail(oom(first, was_ready=True))
    world.settle()
    assert world.attempt() == 0
    assert world.condition("Ready") == ("False", "BackingOff")
    assert world.llmd["status"]["healing"]["lastCause"] == "device_oom_runtime"
    world.serve()
    world.settle()
    assert world.condition("Ready") == ("True", "ReplicasReady")
    world.now += 600
    world.fail(oom(first, was_ready=True))
    world.settle()
    assert world.attempt() == 1
    assert world.plan_hash() != first


def test_a_rare_failure_is_no_reason_to_change_anything() -> None:
    world = running()
    world.fail(oom(was_ready=True))
    world.settle()
    world.serve()
    world.settle()
    world.now += 7 * 3600
    pod = world.pods[0]["status"]["containerStatuses"][0]
    world.fail(oom(was_ready=True))
    pod["lastState"]["terminated"]["startedAt"] = "2023-11-14T22:20:00Z"
    world.settle()
    assert world.attempt() == 0


def test_failures_of_an_older_plan_are_history() -> None:
    world = failed_once()
    assert world.attempt() == 1  # the failed pod is still there, and says nothing new
    assert world.settle() == []


def test_replicas_suspend_service_and_healing_keep_plan_and_attempts() -> None:
    world = failed_once()
    template = world.deployment["spec"]["template"]
    for change in (
        {"replicas": 2},
        {"service": {"type": "NodePort", "port": 80}},
        {"healing": {"maxAttempts": 3}},
        {"suspend": True},
        {"suspend": False},
    ):
        world.edit(**change)
        world.settle()
    assert world.deployment["spec"]["template"] == template
    assert world.deployment["spec"]["replicas"] == 2
    assert world.attempt() == 1


def test_an_edit_of_the_plans_inputs_starts_anew() -> None:
    world = failed_once()
    assert world.attempt() == 1
    world.edit(serving={"contextLength": 4096})
    world.settle()
    assert world.attempt() == 0
    assert history(world) == []
    assert world.llmd["status"]["plan"]["contextLength"] >= 4096


def test_drift_is_repaired_to_the_stored_template() -> None:
    world = running()
    wanted = json.loads(json.dumps(world.deployment["spec"]["template"]))
    world.deployment["spec"]["template"]["spec"]["containers"][0]["args"].append("--evil")
    world.deployment["spec"]["replicas"] = 5
    assert "Deployment" in world.settle()
    assert world.deployment["spec"]["template"] == wanted
    assert world.deployment["spec"]["replicas"] == 1


def test_an_upgrade_of_the_operator_rolls_nothing() -> None:
    world = running()
    template = world.deployment["spec"]["template"]
    pods = type(world.settings.pods)(runtime_image="example.org/xpullm:2")
    world.settings = type(world.settings)(pods=pods)
    assert world.settle() == []
    assert world.deployment["spec"]["template"] == template
    world.edit(serving={"contextLength": 4096})
    world.settle()
    first = world.deployment["spec"]["template"]["spec"]["initContainers"][0]
    assert first["image"] == "example.org/xpullm:2"


def test_suspended_nothing_is_written_but_the_condition() -> None:
    world = running()
    world.edit(suspend=True, serving={"contextLength": 4096}, replicas=3)
    assert world.settle() == ["status"]
    assert world.condition("Ready") == ("True", "Suspended")
    world.fail(oom(world.plan_hash()))
    world.settle()
    assert world.attempt() == 0
    world.edit(suspend=False)
    assert "Deployment" in world.settle()


def test_scaled_to_zero_is_ready() -> None:
    world = World(manifest(replicas=0))
    world.settle()
    assert world.condition("Ready") == ("True", "ScaledToZero")
    assert world.condition("Available") == ("False", "ScaledToZero")
    assert world.deployment["spec"]["replicas"] == 0


def test_what_is_gone_or_going_is_left_alone() -> None:
    assert decide(Snapshot(key=("a", "b"), llmd=None), 0.0) == Decision()
    world = World(manifest())
    world.llmd["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert decide(world.snapshot(), 0.0) == Decision()


def test_what_was_learned_shapes_the_next_deployment() -> None:
    first = World(manifest())
    first.settle()
    for _ in range(2):
        first.roll()
        first.fail(oom(first.plan_hash()))
        first.settle()
        first.now += 60
    failed = first.flags()
    second = World(manifest(), now=first.now)
    second.objects = {k: v for k, v in first.objects.items() if k[0] == "TuningRecord"}
    assert second.objects
    second.settle()
    assert second.attempt() == 0
    fresh = World(manifest())
    fresh.settle()
    assert second.plan_hash() != fresh.plan_hash()
    assert failed["--max-model-len"]


def test_an_unplaced_pod_waits_with_its_reason() -> None:
    world = rolled()
    world.pods[0]["status"]["conditions"] = [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient gpu.intel.com/i915.",
        }
    ]
    world.settle()
    assert world.condition("Reconciling") == ("True", str(Reason.UNSCHEDULABLE))
    assert world.last.requeue_after_seconds == 60
    assert world.attempt() == 0
    assert not [reason for reason, _ in world.events if reason == "EngineFailed"]


def test_lost_annotations_are_written_anew_without_a_new_template() -> None:
    world = running()
    template = world.deployment["spec"]["template"]
    world.deployment["metadata"]["annotations"] = {}
    assert "Deployment" in world.settle()
    assert world.deployment["spec"]["template"] == template


def test_the_operator_chooses_among_the_clusters_cards() -> None:
    world = World(manifest(gpu={}), nodes=[])
    world.settle()
    assert world.condition("Reconciling") == ("True", "NoMatchingNode")
    assert "spec.gpu.type" in world.message()
    world.nodes.append(node())
    world.settle()
    assert world.llmd["status"]["plan"]["gpu"] == "arc-a770-16g"


def test_pods_that_kubernetes_refuses_to_create_are_told() -> None:
    """By a quota or by pod security admission: there is no pod then that could show a failure."""
    world = rolled()
    world.pods.clear()
    world.count()
    world.deployment["status"]["conditions"].append(
        {
            "type": "ReplicaFailure",
            "status": "True",
            "reason": "FailedCreate",
            "message": 'pods "m-1" is forbidden: exceeded quota: small',
        }
    )
    world.settle()
    assert world.condition("Ready") == ("False", "ReplicasUnready")
    assert world.message("Ready") == (
        'Kubernetes refuses to create pods: pods "m-1" is forbidden: exceeded quota: small'
    )
    assert world.settle() == []
