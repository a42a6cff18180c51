"""What `spec.healing`, the user's own memory and the rest of the fleet do to a step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.kstatus import compute
from tests.unit.decide.world import World, failed_once, manifest, oom, rolled, running

from xpullm.controller.types import Fleet
from xpullm.healing.history import decode_history


def history(world: World) -> list[Any]:
    return list(decode_history(world.deployment["metadata"]["annotations"]["xpullm.io/history"]))


def test_observing_proposes_and_changes_nothing() -> None:
    world = failed_once(healing={"mode": "Observe"})
    assert world.attempt() == 0
    assert world.condition("Stalled") == ("True", "ObserveOnly")
    proposal = world.llmd["status"]["healing"]["proposal"]
    assert proposal["argument"] in world.message()
    assert ("ChangeProposed" in {reason for reason, _ in world.events}) is True
    assert world.settle() == []


def test_healing_off_still_names_the_cause() -> None:
    world = failed_once(healing={"mode": "Off"})
    assert world.condition("Stalled") == ("True", "HealingOff")
    assert "device_oom_runtime" in world.message()
    world.serve()
    world.settle()
    assert world.condition("Stalled") is None
    assert world.condition("Ready") == ("True", "ReplicasReady")


def test_attempts_end_and_a_person_is_asked() -> None:
    world = World(manifest(healing={"maxAttempts": 2}))
    world.settle()
    for tries in range(4):
        world.roll()
        world.fail(oom(world.plan_hash(), tried=(130 + 100 * tries) << 20))
        world.settle()
        world.now += 60
    assert world.attempt() == 2
    assert world.condition("Stalled") == ("True", "AttemptsExhausted")
    assert compute(world.llmd) == "Failed"
    assert world.last.requeue_after_seconds is None


def test_a_killed_container_gets_a_larger_memory_limit() -> None:
    world = rolled()
    old = world.deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    world.fail(exitCode=137, reason="OOMKilled")
    world.settle()
    new = world.deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    (step,) = history(world)
    assert (step.lever, step.cause) == ("memory-limit", "host_oom")
    assert new["memory"] != old["memory"]


def test_a_memory_limit_of_the_users_is_not_raised() -> None:
    world = World(manifest(pod={"resources": {"limits": {"memory": "20Gi"}}}))
    world.settle()
    limits = world.deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["memory"] == "20Gi"
    assert "limits memory to 20Gi" in world.llmd["status"]["plan"]["notes"][-1]
    for _ in range(3):
        world.roll()
        world.fail(exitCode=137, reason="OOMKilled")
        world.settle()
        world.now += 60
    assert {step.lever for step in history(world)} <= {"swap-space"}
    limits = world.deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["memory"] == "20Gi"
    assert world.condition("Stalled") is not None
    assert "spec.pod.resources.limits.memory" in world.message()


def test_a_memory_limit_of_the_users_is_raised_with_leave() -> None:
    leave = {"mayChange": ["Arguments", "UserMemoryLimit"]}
    world = rolled(pod={"resources": {"limits": {"memory": "20Gi"}}}, healing=leave)
    world.fail(exitCode=137, reason="OOMKilled")
    world.settle()
    limits = world.deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["memory"] == "30Gi"
    (step,) = history(world)
    assert (step.lever, step.before, step.after) == (
        "memory-limit", "20Gi", "30Gi",
    )  # fmt: skip


def test_ready_pods_are_replaced_within_the_fleets_budget() -> None:
    world = running(replicas=2)
    world.fleet = Fleet(rerolling=99)
    world.fail(oom(was_ready=True))
    world.settle()
    world.now += 60
    world.fail(oom(was_ready=True))
    world.settle()
    assert world.attempt() == 0
    assert world.condition("Ready") == ("False", "BackingOff")
    assert world.llmd["status"]["healing"]["proposal"]["argument"]
    world.fleet = Fleet()
    decision = world.step()
    assert decision.replaces_ready
    assert world.attempt() == 1
    assert world.deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 1


def test_a_fourth_dead_deployment_waits_for_the_canaries() -> None:
    world = rolled()
    image = world.deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    key = (image, "arc-a770-16g", "6.14.0-33-generic")
    world.fleet = Fleet(canaries={key: (3, 0, world.now)})
    world.fail(oom(world.plan_hash()))
    world.settle()
    assert world.attempt() == 0
    assert world.condition("Reconciling") == ("True", "WaitingForCanary")
    world.fleet = Fleet(canaries={key: (3, 1, world.now)})
    world.settle()
    assert world.attempt() == 1


def test_a_lost_device_is_said_on_its_node_once() -> None:
    world = running()
    lost = replace(
        oom(world.plan_hash()),
        cause="device_lost",
        helps="reschedule",
        evidence=(
            "RuntimeError: level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)",
        ),
        figures={},
    )
    world.fail(lost)
    decision = world.step()
    (said,) = (event for event in decision.events if event.reason == "DeviceSuspect")
    assert said.regarding == {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node-a", "uid": world.nodes[0]["metadata"]["uid"]},
    }
    assert "device_lost" in said.message
    assert "default/qwen2-7b" in said.message
    world.settle()
    assert not [e for e in world.last.events if e.reason == "DeviceSuspect"]
