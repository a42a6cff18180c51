"""Host memory is raised no further than the nodes go that a pod may run on."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.decide.world import World, manifest, node, rolled

from xpullm.controller.decide_plan import stored
from xpullm.controller.decide_room import largest_memory
from xpullm.controller.timestamps import rfc3339
from xpullm.healing.history import decode_history

GIB = 1 << 30


def memory(world: World) -> tuple[str, str]:
    """Request and limit of the engine's container."""
    template = world.deployment["spec"]["template"]["spec"]
    resources = template["containers"][0]["resources"]
    return resources["requests"]["memory"], resources["limits"]["memory"]


def killed(world: World) -> None:
    """The kernel kills the engine, the operator answers, the new pod comes."""
    world.fail(exitCode=137, reason="OOMKilled")
    world.settle()
    world.now += 60
    world.roll()


def refused(
    world: World, message: str = "0/1 nodes are available: 1 Insufficient memory.", **changes: str
) -> None:
    """The scheduler finds no node for the pod."""
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastTransitionTime": rfc3339(world.now),
        **changes,
    }
    for pod in world.pods:
        pod["spec"].pop("nodeName", None)
        pod["status"] = {"phase": "Pending", "conditions": [condition]}
    world.settle()


def unplaced(
    world: World, message: str = "0/1 nodes are available: 1 Insufficient memory."
) -> None:
    """It finds none either when whatever ended has made its room."""
    refused(world, message)
    world.now += 75
    world.settle()


def results(world: World) -> list[str]:
    return [row["result"] for row in world.llmd["status"]["healing"]["history"]]


def sized(name: str, size: str, **labels: str) -> dict[str, Any]:
    made = node(name, **labels)
    made["status"]["allocatable"]["memory"] = size
    return made


def largest(world: World) -> int | None:
    snapshot = world.snapshot()
    found = stored(snapshot)
    assert found is not None
    return largest_memory(found.plan, found.truth.template, snapshot)


def test_repeated_kills_end_at_the_nodes_memory_with_a_persons_turn() -> None:
    world = rolled()
    assert memory(world) == ("27392Mi", "31488Mi")
    killed(world)
    assert memory(world) == ("41199Mi", "47360Mi")
    killed(world)
    assert memory(world) == ("57010Mi", "64Gi")  # 64 GiB is what the node has
    killed(world)
    assert memory(world) == ("57010Mi", "64Gi")
    assert "--swap-space" in world.flags()
    assert float(world.flags()["--swap-space"]) == 0
    killed(world)
    assert world.attempt() == 3
    assert world.condition("Stalled") == ("True", "LadderExhausted")
    assert "needs more than 64Gi of host memory, and the largest node" in world.message()
    assert "has 64.0 GiB" in world.message()
    assert world.settle() == []


def test_a_raised_request_that_finds_no_place_goes_back_to_where_the_pod_ran() -> None:
    world = rolled()
    killed(world)
    unplaced(world)
    assert memory(world) == ("27392Mi", "47360Mi")
    history = decode_history(world.deployment["metadata"]["annotations"]["xpullm.io/history"])
    assert [(step.lever, step.before, step.after) for step in history] == [
        ("memory-limit", "31488Mi", "47360Mi"),
        ("memory-request", "41199Mi", "27392Mi"),
    ]
    assert "memory-request 41199Mi → 27392Mi" in world.message()
    (told,) = [text for text in world.events.values() if "memory-request" in text]
    assert "no node has free what it was raised to against host_oom" in told
    assert results(world) == ["Pending", "Pending"]
    world.roll()
    world.serve()
    world.settle()
    assert world.condition("Ready") == ("True", "ReplicasReady")
    assert results(world) == ["Helped", "Helped"]
    (healed,) = [text for (reason, _), text in world.events.items() if reason == "Healed"]
    assert healed.startswith(
        "Ready after memory-request 41199Mi → 27392Mi against unschedulable_gpu"
    )
    assert world.settle() == []


def test_no_step_is_taken_while_a_pod_that_ends_may_hold_the_room() -> None:
    """60 s to end, and 15 until the scheduler has tried again."""
    world = rolled()
    killed(world)
    refused(world)
    assert memory(world) == ("41199Mi", "47360Mi")
    assert world.condition("Reconciling") == ("True", "Unschedulable")
    assert "a step is due 75 s after the scheduler first found none" in world.message()
    world.now += 70
    assert world.settle() == []
    world.now += 5
    world.settle()
    assert memory(world) == ("27392Mi", "47360Mi")


@pytest.mark.parametrize("time", ["", "yesterday", "2023-11-14T20:00:00Z"])
def test_a_time_that_cannot_be_or_is_long_past_does_not_hold_a_step(time: str) -> None:
    world = rolled()
    killed(world)
    refused(world, lastTransitionTime=time)
    assert memory(world) == ("27392Mi", "47360Mi")


def test_a_pod_that_finds_a_node_meanwhile_changes_nothing() -> None:
    world = rolled()
    killed(world)
    refused(world)
    world.roll()
    world.serve()
    world.now += 75
    world.settle()
    assert memory(world) == ("41199Mi", "47360Mi")
    assert world.condition("Ready") == ("True", "ReplicasReady")


def test_a_raise_whose_request_was_taken_back_is_judged_by_the_next_kill_too() -> None:
    world = rolled()
    killed(world)
    unplaced(world)
    world.roll()
    killed(world)
    assert results(world) == ["Helped", "Helped", "Pending"]


def test_memory_of_the_users_that_healing_may_raise_goes_back_too() -> None:
    leave = {"mayChange": ["Arguments", "UserMemoryLimit"]}
    world = rolled(pod={"resources": {"limits": {"memory": "20Gi"}}}, healing=leave)
    assert memory(world) == ("20Gi", "20Gi")
    killed(world)
    assert memory(world) == ("30Gi", "30Gi")
    unplaced(world)
    assert memory(world) == ("20Gi", "30Gi")


def test_where_that_does_not_help_either_it_waits_and_says_the_figure() -> None:
    world = rolled()
    killed(world)
    unplaced(world)
    world.roll()
    unplaced(world)
    assert world.attempt() == 2
    assert world.condition("Reconciling") == ("True", "Unschedulable")
    assert "the pod requests 27392Mi of host memory, which healing has changed" in world.message()


def test_a_first_plan_that_no_node_can_hold_names_its_figure() -> None:
    world = World(manifest(), nodes=[sized("node-a", "16777216Ki")])
    world.settle()
    world.roll()
    unplaced(world)
    assert world.condition("Reconciling") == ("True", "Unschedulable")
    assert (
        "the pod requests 27392Mi of host memory, and the largest node that the pod may run on has"
        " 16.0 GiB: add a larger node, or set spec.pod.resources.requests.memory"
    ) in world.message()
    assert world.attempt() == 0


def test_only_nodes_that_the_pod_may_run_on_count() -> None:
    big = sized("node-b", "512Gi")
    world = World(manifest(), nodes=[sized("node-a", "64Gi"), big])
    world.settle()
    assert largest(world) == 512 * GIB
    big["spec"]["taints"] = [{"key": "mine", "effect": "NoSchedule"}]
    assert largest(world) == 64 * GIB
    big["spec"] = {"unschedulable": True}
    assert largest(world) == 64 * GIB
    big["spec"] = {}
    big["status"]["allocatable"]["gpu.intel.com/i915"] = "0"
    assert largest(world) == 64 * GIB
    big["status"]["allocatable"]["gpu.intel.com/i915"] = "1"
    big["metadata"]["labels"] = {"xpullm.io/gpu-type": "arc-b580"}
    assert largest(world) == 64 * GIB


def test_a_moment_without_a_usable_node_lifts_no_bound() -> None:
    world = World(manifest(), nodes=[sized("node-a", "64Gi")])
    world.settle()
    world.nodes[0]["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
    assert largest(world) == 64 * GIB


def test_what_no_node_says_bounds_nothing() -> None:
    world = World(manifest(), nodes=[sized("node-a", "plenty")])
    world.settle()
    assert largest(world) is None
    world.nodes.clear()
    assert largest(world) is None
