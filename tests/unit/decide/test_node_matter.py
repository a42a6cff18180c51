"""A failure in the light of what other deployments' pods did on the same node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.unit.decide.world import KERNEL, START, World, manifest, node, oom

from xpullm.controller.types import Fleet
from xpullm.healing.history import decode_history
from xpullm.healing.node import Trouble
from xpullm_runtime.report import Report

CARD = "arc-a770-16g"


def started(**spec: Any) -> World:
    """Planned and starting on node-a; node-b has room."""
    world = World(manifest(**spec), nodes=[node(), node("node-b")])
    world.settle()
    world.roll()
    return world


def lost(world: World) -> Report:
    return replace(
        oom(world.plan_hash()), cause="device_lost", helps="reschedule", figures={}, evidence=()
    )


def kind(world: World) -> tuple[str, str, str]:
    image = world.deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    return (image, CARD, KERNEL)


def beside(world: World, *names: str, where: str = "node-a") -> Fleet:
    """Others lost their device on a node; the image serves on node-b."""
    troubles = tuple(
        Trouble(f"ns/{name}", where, kind(world), f"plan-{name}", "device_lost", time=START)
        for name in names
    )
    return Fleet(troubles=troubles, serving={kind(world): ("node-b",)})


def steps(world: World) -> list[tuple[str, str]]:
    notes = world.deployment["metadata"]["annotations"]
    return [(step.lever, step.cause) for step in decode_history(notes["xpullm.io/history"])]


def avoided(world: World) -> bool:
    return "node-a" in str(world.deployment["spec"]["template"]["spec"]["affinity"])


def test_out_of_memory_alone_on_a_node_is_tightened() -> None:
    world = started()
    world.fleet = beside(world, "other", where="node-b")
    before = world.flags()
    world.fail(oom(world.plan_hash()))
    world.settle()
    assert world.flags() != before
    assert not avoided(world)
    assert ("DeviceSuspect" in {reason for reason, _ in world.events}) is False


def test_out_of_memory_beside_lost_devices_leaves_the_node_and_keeps_the_arguments() -> None:
    world = started()
    world.fleet = beside(world, "b", "c")
    before = world.flags()
    world.fail(oom(world.plan_hash()))
    world.settle()
    assert world.flags() == before
    assert avoided(world)
    assert steps(world) == [("node", "device_oom_runtime")]
    assert world.attempt() == 1
    (said,) = (note for (reason, _), note in world.events.items() if reason == "DeviceSuspect")
    assert said.startswith(
        "LLMDeployment default/qwen2-7b: its node or card fails, not its arguments: ns/b, ns/c fail"
        " on node node-a too, while the same image, card and kernel serve elsewhere;"
        " device_oom_runtime in phase runtime on node node-a"
    )
    # It teaches nothing about the arguments.
    assert [name for name, _ in world.objects if name == "TuningRecord"] == []
    assert "ns/b" not in world.message()  # who else runs there is for the node's people


def test_on_the_next_node_the_same_failure_is_the_arguments_matter() -> None:
    world = started()
    world.fleet = beside(world, "b")
    world.fail(oom(world.plan_hash()))
    world.settle()
    before = world.flags()
    world.nodes.reverse()
    world.roll()
    third = Trouble("ns/d", "node-b", kind(world), "plan-d", "device_lost", time=START)
    world.fleet = Fleet(troubles=(third,), serving={kind(world): ("node-c",)})
    world.fail(oom(world.plan_hash()))
    world.settle()
    assert steps(world)[0] == ("node", "device_oom_runtime")
    assert steps(world)[1][0] != "node"
    assert world.flags() != before


def test_a_lost_device_that_others_lost_too_is_not_waited_for() -> None:
    world = started()
    world.fail(lost(world))
    world.settle()
    assert world.condition("Ready") == ("False", "BackingOff")
    world.fleet = beside(world, "b")
    world.settle()
    assert steps(world) == [("node", "device_lost")]
    told = [note for (reason, _), note in world.events.items() if reason == "DeviceSuspect"]
    assert [("ns/b" in note) for note in told] == [False, True]


def test_without_room_a_person_is_asked_and_nothing_changes() -> None:
    world = started()
    world.nodes[1]["spec"]["taints"] = [{"key": "mine", "effect": "NoSchedule"}]
    world.fleet = beside(world, "b")
    before = world.flags()
    world.fail(oom(world.plan_hash()))
    world.settle()
    assert world.condition("Stalled") == ("True", "NotHealable")
    assert "node node-a or its card fails, not the arguments" in world.message()
    assert world.flags() == before
    del world.nodes[1]["spec"]["taints"]
    world.settle()
    assert steps(world) == [("node", "device_oom_runtime")]


def test_observing_proposes_the_move() -> None:
    world = started(healing={"mode": "Observe"})
    world.fleet = beside(world, "b")
    world.fail(oom(world.plan_hash()))
    world.settle()
    proposal = world.llmd["status"]["healing"]["proposal"]
    assert (proposal["argument"], proposal["from"]) == ("node", "node-a")
    assert steps(world) == []


def replicas() -> World:
    """One replica serves on node-b, the other starts on node-a; node-c has room."""
    world = World(manifest(replicas=2), nodes=[node("node-b"), node(), node("node-c")])
    world.settle()
    world.roll()
    world.serve()
    world.pods[1]["spec"]["nodeName"] = "node-a"
    return world


def test_out_of_memory_at_the_start_of_a_plan_that_serves_elsewhere_leaves_the_node() -> None:
    world = replicas()
    before = world.flags()
    for _ in range(2):  # the plan has served: one failure is not enough
        world.fail(oom(world.plan_hash()), index=1)
        world.settle()
        world.now += 60
    assert world.flags() == before
    assert steps(world) == [("node", "device_oom_runtime")]
    (said,) = (note for (reason, _), note in world.events.items() if reason == "DeviceSuspect")
    assert "the same plan serves on node node-b" in said


def test_out_of_memory_under_load_is_tightened_although_another_replica_serves() -> None:
    world = replicas()
    before = world.flags()
    for _ in range(2):
        world.fail(oom(world.plan_hash(), was_ready=True), index=1)
        world.settle()
        world.now += 60
    assert world.flags() != before
    assert not avoided(world)
