"""Growth in the loop: exact sequences of steps, writes, conditions and Events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.decide.world import World, manifest, oom, running

from xpullm.api.healing import GrowthWindow
from xpullm.controller.decide_growth import is_open
from xpullm.controller.types import Fleet
from xpullm.healing.history import decode_history

HOUR = 3600
GROWING = {"growth": {"mode": "Enabled"}}
BUSY = {"kv_usage_percent": 90}


def utilization(world: World) -> int:
    return int(world.llmd["status"]["plan"]["utilizationPercent"])


def rollout(world: World) -> None:
    """The new pods come up; their engines are asked."""
    world.roll()
    world.settle()
    world.serve()
    world.settle()


def later(world: World, seconds: float = HOUR, **figures: Any) -> list[str]:
    """The supervisors are asked again after some time."""
    world.now += seconds
    world.tell(**(BUSY | figures))
    return world.settle()


def history(world: World) -> list[tuple[str, str, str]]:
    notes = world.deployment["metadata"]["annotations"]["xpullm.io/history"]
    return [(step.cause, step.lever, step.effect) for step in decode_history(notes)]


def test_a_new_plan_begins_low_and_goes_up_to_the_target() -> None:
    world = running(healing=GROWING)
    seen, blocks = [utilization(world)], [world.flags()["--num-gpu-blocks-override"]]
    for _ in range(6):
        if "Deployment" in later(world) and world.pods[0]["template"]:
            rollout(world)
        seen.append(utilization(world))
        blocks.append(world.flags()["--num-gpu-blocks-override"])
    assert seen == [60, 65, 70, 75, 80, 80, 80]
    assert list(dict.fromkeys(blocks)) == ["8788", "10556", "12324", "14092", "15860"]
    assert {effect for _, _, effect in history(world)} == {"Helped"}
    assert world.attempt() == 0
    assert later(world) == []


def test_a_step_of_growth_is_said() -> None:
    world = running(healing=GROWING)
    wrote = later(world)
    assert wrote == ["Deployment", "status"]
    assert world.condition("Ready") == ("False", "Growing")
    assert world.condition("Reconciling") == ("True", "Growing")
    world.roll()
    world.settle()
    (told,) = [text for (reason, _), text in world.events.items() if reason == "UtilizationRaised"]
    assert "8788 → 10556" in told
    assert "60 → 65 %" in told
    assert "attempt" not in world.message()
    assert world.llmd["status"]["healing"]["attempt"] == 0
    (row,) = world.llmd["status"]["healing"]["history"]
    assert (row["cause"], row["from"], row["to"], row["result"]) == (
        "growth", "8788", "10556", "Pending",
    )  # fmt: skip
    world.serve()
    world.settle()
    assert world.condition("Ready") == ("True", "ReplicasReady")


@pytest.mark.parametrize(
    ("seconds", "figures"),
    [
        (HOUR - 10, {}),
        (HOUR, {"kv_usage_percent": 69}),
        (HOUR, {"kv_usage_percent": None}),
        (HOUR, {"vram_peak_bytes": 15 << 30}),
        (HOUR, {"restarts": 1}),
        (HOUR, {"plan_hash": "another"}),
    ],
    ids=["too early", "no demand", "use unknown", "the card is full", "old run", "old plan"],
)
def test_when_nothing_grows(seconds: float, figures: dict[str, Any]) -> None:
    world = running(healing=GROWING)
    assert "Deployment" not in later(world, seconds, **figures)
    assert utilization(world) == 60


def test_preemptions_are_demand() -> None:
    world = running(healing=GROWING)
    assert "Deployment" in later(world, kv_usage_percent=10, preemptions=1)


def test_figures_that_are_old_say_nothing() -> None:
    world = running(healing=GROWING)
    world.tell(**BUSY)
    world.now += HOUR
    assert "Deployment" not in world.settle()


def test_an_engine_that_restarted_is_healthy_anew() -> None:
    """Read off the pod's Ready condition: an operator that was away does not forget it."""
    world = running(healing=GROWING)
    world.now += HOUR - 60
    world.fail(oom(was_ready=True), reason="Error")
    world.settle()
    world.serve()
    world.settle()
    world.pods[0]["status"]["containerStatuses"][0]["restartCount"] = 1
    assert "Deployment" not in later(world, 120)
    assert "Deployment" in later(world, HOUR)


def test_every_replica_has_to_be_ready_and_told_of() -> None:
    world = running(healing=GROWING, replicas=2)
    world.now += HOUR
    world.tell(**BUSY)
    del world.runtime["uid-pod-2"]
    assert "Deployment" not in world.settle()
    world.tell(**BUSY)
    world.pods[1]["status"]["conditions"][0]["status"] = "False"
    world.count()
    assert "Deployment" not in world.settle()
    world.serve()
    assert "Deployment" not in world.settle()  # ready again, but not for an hour
    assert "Deployment" in later(world)
    assert world.deployment["spec"]["strategy"]["rollingUpdate"] == {
        "maxSurge": 0,
        "maxUnavailable": 1,
    }


def test_the_budget_of_rerolls_counts() -> None:
    world = running(healing=GROWING)
    world.fleet = Fleet(rerolling=3)
    assert "Deployment" not in later(world)
    world.fleet = Fleet(rerolling=2)
    assert "Deployment" in later(world, 60)
    assert world.last.status is not None


def test_a_step_that_fails_is_taken_back_at_the_first_failure_and_not_tried_again() -> None:
    world = running(healing=GROWING)
    first, before = world.plan_hash(), world.flags()
    later(world)
    rollout(world)
    assert utilization(world) == 65
    world.now += 600  # it served for a while, then memory ran out
    world.fail(oom(world.plan_hash(), was_ready=True))
    world.settle()
    assert (world.plan_hash(), world.flags()) == (first, before)
    assert world.message().startswith("growth is taken back after device_oom_runtime")
    assert world.attempt() == 0
    rollout(world)
    assert world.condition("Ready") == ("True", "ReplicasReady")
    assert utilization(world) == 60
    assert [(cause, effect) for cause, _, effect in history(world)] == [
        ("growth", "Worse"),
        ("device_oom_runtime", "Helped"),
    ]
    for _ in range(5):
        assert "Deployment" not in later(world)
    assert utilization(world) == 60


def test_a_step_that_does_not_start_on_the_first_pod_leaves_the_others() -> None:
    world = running(healing=GROWING, replicas=2)
    first = world.plan_hash()
    later(world)
    old = world.pods[1]
    world.roll()
    world.pods[1] = old  # maxUnavailable 1: the second waits for the first
    world.count()
    world.deployment["status"] |= {"updatedReplicas": 1}
    world.fail(oom(world.plan_hash()), index=0)
    world.deployment["status"] |= {"updatedReplicas": 1}
    world.settle()
    assert world.plan_hash() == first
    world.roll()
    assert old in world.pods


def test_a_step_that_was_on_probation_for_long_enough_is_no_longer_blamed() -> None:
    world = running(healing=GROWING)
    later(world)
    rollout(world)
    assert later(world, HOUR - 30) == ["status"]  # measured, of the new plan
    assert history(world)[-1][2] == ""
    assert later(world, 60, kv_usage_percent=0) == ["Deployment", "status"]
    assert history(world)[-1][2] == "Helped"
    assert utilization(world) == 65


def test_a_growth_that_is_switched_on_later_grows_from_where_it_is() -> None:
    world = running()
    full = utilization(world)
    world.edit(healing=GROWING)
    world.settle()
    assert utilization(world) == full == 93
    assert "Deployment" not in later(world)


def test_nothing_grows_unasked() -> None:
    world = running()
    later(world)
    assert later(world, 100 * HOUR) == []


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NIGHT = GrowthWindow(weekdays=("Saturday", "Sunday"), start_time="22:00", duration_minutes=300)


@pytest.mark.parametrize(
    ("window", "moment", "open_"),
    [
        (None, "2026-11-23T12:00", True),
        (NIGHT, "2026-11-21T21:59:59", False),  # a Saturday
        (NIGHT, "2026-11-21T22:00", True),
        (NIGHT, "2026-11-22T02:59:59", True),
        (NIGHT, "2026-11-22T03:00", False),
        (NIGHT, "2026-11-23T02:59", True),  # Monday, of Sunday's window
        (NIGHT, "2026-11-23T22:30", False),
        (NIGHT, "2026-11-21T02:30", False),  # Friday has none
        (GrowthWindow(start_time="00:00", duration_minutes=1440), "2026-11-23T23:59", True),
        (GrowthWindow(start_time="01:30", duration_minutes=15), "2026-11-23T01:44:59", True),
        (GrowthWindow(start_time="01:30", duration_minutes=15), "2026-11-23T01:45", False),
    ],
)
def test_the_window(window: GrowthWindow | None, moment: str, open_: bool) -> None:
    assert is_open(window, at(moment)) is open_


def test_a_step_waits_for_its_window() -> None:
    window = {"weekdays": ["Sunday"], "startTime": "02:00", "durationMinutes": 60}
    world = World(manifest(healing={"growth": {"mode": "Enabled", "window": window}}))
    world.now = at("2026-11-20T00:00")  # a Friday
    world.settle()
    rollout(world)
    assert "Deployment" not in later(world, 24 * HOUR)
    assert "Deployment" not in later(world, at("2026-11-22T01:59") - world.now)
    assert "Deployment" in later(world, at("2026-11-22T02:00") - world.now)
