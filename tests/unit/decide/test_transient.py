"""Moments of a real cluster that look like failures of a plan and are none: nothing changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.decide.test_host_memory import killed, memory, refused
from tests.unit.decide.world import KERNEL, World, node, oom, rolled, running

from xpullm.controller.decide_pods import failures
from xpullm.controller.timestamps import rfc3339
from xpullm.controller.types import Fleet
from xpullm.healing.history import decode_history
from xpullm.healing.node import Trouble

DAY = 86_400
NO_DEVICES = "Allocate failed due to no healthy devices present"


def steps(world: World) -> list[tuple[str, str]]:
    notes = world.deployment["metadata"]["annotations"]
    return [(step.lever, step.cause) for step in decode_history(notes["xpullm.io/history"])]


def ready(world: World, index: int, value: str) -> None:
    """The kubelet says since when a pod is Ready, or is not."""
    condition = {"type": "Ready", "status": value, "lastTransitionTime": rfc3339(world.now)}
    world.pods[index]["status"]["conditions"] = [condition]
    world.count()


def restarted(world: World, index: int, restarts: int) -> None:
    """The next run of a container is up and serves."""
    container = world._container(world.pods[index])
    container["state"] = {"running": {"startedAt": rfc3339(world.now)}}
    container |= {"restartCount": restarts, "started": True}
    world.now += 60
    ready(world, index, "True")


def replaced(world: World, **status: Any) -> None:
    """A pod ends for good and stays as a record; its ReplicaSet makes another."""
    record = world.pods[0]
    record["status"] |= {"phase": "Failed", "conditions": [], **status}
    world.pods = []
    world.roll()
    world.pods.append(record)


def ended(world: World, *, reason: str, exit_code: int) -> dict[str, Any]:
    end = {
        "exitCode": exit_code,
        "reason": reason,
        "startedAt": rfc3339(world.now - 3600),
        "finishedAt": rfc3339(world.now),
    }
    return {"name": "engine", "restartCount": 6, "state": {"terminated": end}}


def test_an_eviction_is_not_the_first_of_two_failures() -> None:
    world = running()
    evicted = ended(world, reason="Error", exit_code=137)
    replaced(world, reason="Evicted", containerStatuses=[evicted])
    record = world.pods.pop()
    world.serve()
    world.pods.append(record)
    world.settle()
    assert world.condition("Ready") == ("True", "ReplicasReady")
    world.now += 3600
    world.fail(oom(world.plan_hash(), was_ready=True))
    world.settle()
    assert steps(world) == []
    assert world.condition("Reconciling") == ("True", "BackingOff")
    world.now += 600
    world.fail(oom(world.plan_hash(), was_ready=True))
    world.settle()
    assert len(steps(world)) == 1


def test_a_pod_that_the_kubelet_refused_does_not_move_the_deployment_away() -> None:
    """After a node's reboot, before its device plugin is back; the restarts are of weeks."""
    world = running()
    world.nodes.append(node("node-b"))
    world.now += 20 * DAY
    before = ended(world, reason="Unknown", exit_code=255)
    replaced(
        world, reason="UnexpectedAdmissionError", message=NO_DEVICES, containerStatuses=[before]
    )
    world.settle()
    assert steps(world) == []
    assert world.condition("Reconciling") == ("True", "BackingOff")
    assert "admission_error: Kubernetes replaces the pod" in world.message()


@pytest.mark.parametrize("room", [True, False])
def test_pods_of_two_deployments_that_the_kubelet_refused_accuse_no_node(room: bool) -> None:
    world = running()
    world.nodes += [node("node-b")] if room else []
    image = world.deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    kind = (image, "arc-a770-16g", KERNEL)
    other = Trouble("ns/b", "node-a", kind, "plan-b", "admission_error")
    world.fleet = Fleet(troubles=(other,), serving={kind: ("node-b",)})
    replaced(world, reason="UnexpectedAdmissionError", message=NO_DEVICES)
    world.settle()
    assert steps(world) == []
    assert world.condition("Stalled") is None


def test_a_kubelet_that_was_restarted_brings_no_old_failures_back() -> None:
    """Two replicas each failed once, within six hours of each other, weeks ago."""
    world = running(replicas=2)
    for index in (0, 1):
        world.now += 3600
        world.fail(oom(world.plan_hash(), was_ready=True), index=index)
        world.settle()
        restarted(world, index, 1)
        world.settle()
    world.now += 20 * DAY
    for index in (0, 1):
        world._container(world.pods[index])["started"] = False
        ready(world, index, "False")
    world.settle()
    assert steps(world) == []
    assert failures(world.pods, world.plan_hash()) == ()


def test_the_run_that_starts_after_a_failure_does_not_end_it() -> None:
    world = running()
    world.fail(oom(world.plan_hash()))
    ready(world, 0, "False")
    container = world._container(world.pods[0])
    container["state"] = {"running": {"startedAt": rfc3339(world.now)}}
    container["started"] = False
    assert len(failures(world.pods, world.plan_hash())) == 1


def test_while_the_scheduler_preempts_others_the_request_stays() -> None:
    """What it preempts has grace periods of its own."""
    world = rolled()
    killed(world)
    refused(world)
    world.pods[0]["status"]["nominatedNodeName"] = "node-a"
    world.now += 600
    world.settle()
    assert memory(world) == ("41199Mi", "47360Mi")
    assert world.condition("Reconciling") == ("True", "Unschedulable")
    assert "the scheduler makes room on node node-a" in world.message()
    del world.pods[0]["status"]["nominatedNodeName"]
    world.settle()
    assert memory(world) == ("27392Mi", "47360Mi")


def test_a_scaling_that_nobody_has_looked_at_does_not_make_one_failure_enough() -> None:
    """The plan has served; a drain brought a new pod of it, whose first start fails."""
    world = running()
    world.pods = []
    world.roll()
    world.settle()
    world.fail(oom(world.plan_hash()))
    world.edit(replicas=2)
    world.settle()
    assert steps(world) == []
    assert "the Deployment's controller has yet to look at it" in world.message()
    world.roll()
    # A scaling begins no rollout (kubernetes pkg/controller/deployment/progress.go).
    world.deployment["status"]["conditions"][0]["reason"] = "NewReplicaSetAvailable"
    world.settle()
    assert steps(world) == []
    assert "a second failure within 6 hours is answered with a step" in world.message()


@pytest.mark.parametrize("reason", ["Unknown", "ContainerStatusUnknown"])
def test_a_node_that_goes_down_twice_stalls_nothing(reason: str) -> None:
    world = running()
    world.now += DAY
    for _ in range(2):
        world.fail(exitCode=255, reason=reason, startedAt=rfc3339(world.now - 1200))
        world.settle()
        assert world.condition("Stalled") is None
        assert world.condition("Ready") == ("False", "BackingOff")
        world.now += 1200
    assert steps(world) == []


def crashed_after_weeks(cause: str, *, runs: int) -> World:
    """Restarted six times in three weeks; now it ends, and `runs` more runs of 40 s each fail."""
    world = running()
    world.nodes.append(node("node-b"))
    pod = world.pods[0]
    pod["status"]["startTime"] = rfc3339(world.now)
    weeks = rfc3339(world.now)
    world.now += 20 * DAY
    world._container(pod)["restartCount"] = 6
    world.fail(oom(world.plan_hash(), was_ready=True), startedAt=weeks)
    ready(world, 0, "False")
    since = pod["status"]["conditions"]
    world.settle()
    report = replace(oom(world.plan_hash()), cause=cause, figures={}, evidence=())
    back_off = 0
    for _ in range(runs):
        world.now += back_off + 40 - world.now % 1
        world.fail(report, startedAt=rfc3339(world.now - 40))
        pod["status"]["conditions"] = since
        back_off = max(10, 2 * back_off)
        end = world.now
        world.settle()
        world.now = end
    return world


def test_restarts_of_weeks_are_no_tries_of_today() -> None:
    world = crashed_after_weeks("device_memory_busy", runs=1)
    assert "tried again unchanged in 60 s (2 of 3)" in world.message()
    assert steps(crashed_after_weeks("device_memory_busy", runs=2)) == []
    assert steps(crashed_after_weeks("device_memory_busy", runs=3)) == [
        ("node", "device_memory_busy")
    ]


def test_a_hub_that_is_away_for_a_minute_stalls_nothing() -> None:
    world = crashed_after_weeks("model_offline", runs=1)
    assert world.condition("Stalled") is None
    assert "(2 of 5)" in world.message()


def test_a_device_that_is_lost_twice_in_a_day_is_still_left() -> None:
    """Its engine serves in between, so the second loss is the second in a row."""
    world = running()
    world.nodes.append(node("node-b"))
    pod = world.pods[0]
    pod["status"]["startTime"] = rfc3339(world.now)
    lost = replace(
        oom(world.plan_hash(), was_ready=True), cause="device_lost", figures={}, evidence=()
    )
    began = world.now
    for index in (1, 2):
        world.now = began + 7200
        world.fail(lost, startedAt=rfc3339(began))
        ready(world, 0, "False")
        world.settle()
        if index == 1:
            assert steps(world) == []
            began = world.now
            restarted(world, 0, 0)
            world.settle()
    assert steps(world) == [("node", "device_lost")]


def test_a_pod_that_no_kubelet_accepts_is_a_persons_matter() -> None:
    world = running()
    replaced(world, reason="SysctlForbidden", message="forbidden sysctl")
    world.settle()
    assert world.condition("Stalled") == ("True", "NotHealable")


@pytest.mark.parametrize("taint", ["not-ready", "unreachable", "unschedulable", "memory-pressure"])
def test_a_nodes_memory_bounds_a_limit_also_while_the_node_is_out_of_service(taint: str) -> None:
    """Memory runs out when a node is under pressure: that must not let a limit grow beyond it."""
    world = rolled()
    killed(world)
    key = f"node.kubernetes.io/{taint}"
    world.nodes[0]["spec"]["taints"] = [{"key": key, "effect": "NoSchedule"}]
    killed(world)
    assert memory(world) == ("57010Mi", "64Gi")


def test_a_nodes_pressure_does_not_make_a_smaller_one_the_largest() -> None:
    """It passes with what took the memory: here the engine that was killed."""
    world = rolled()
    world.nodes.append(node("node-b"))
    world.nodes[1]["status"]["allocatable"]["memory"] = "32Gi"
    taint = {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}
    world.nodes[0]["spec"]["taints"] = [taint]
    killed(world)
    assert memory(world) == ("41199Mi", "47360Mi")


def uncreated(reason: str, message: str) -> World:
    """The kubelet cannot make the engine's container."""
    world = rolled()
    waiting = {"reason": reason, "message": message}
    world._container(world.pods[0])["state"] = {"waiting": waiting}
    return world


def test_a_secret_that_comes_a_moment_later_is_waited_for() -> None:
    world = uncreated("CreateContainerConfigError", 'secret "token" not found')
    world.settle()
    assert world.condition("Stalled") is None
    assert world.condition("Reconciling") == ("True", "BackingOff")
    assert 'secret "token" not found' in world.message()
    assert (world.last.requeue_after_seconds or 0) <= 30
    world.now += 30
    world.settle()
    assert world.condition("Stalled") == ("True", "NotHealable")
    world.serve()
    world.settle()
    assert world.condition("Ready") == ("True", "ReplicasReady")


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        (
            "CreateContainerConfigError",
            "failed to sync secret cache: timed out waiting for the condition",
        ),
        ("CreateContainerError", "context deadline exceeded"),
        (
            "CreateContainerError",
            'failed to reserve container name "e": name "e" is reserved for "1"',
        ),
    ],
)
def test_a_kubelet_or_a_runtime_that_is_late_stalls_nothing(reason: str, message: str) -> None:
    world = uncreated(reason, message)
    world.now += 3600
    world.settle()
    assert world.condition("Stalled") is None
    assert world.condition("Reconciling") == ("True", "BackingOff")
    assert steps(world) == []
