"""What a change has to tell is told, wherever the operator dies and whatever happens meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.decide.world import World, manifest, oom, rolled, running

from xpullm.resources import codec

NEWS = "xpullm.io/news"


def reasons(world: World) -> list[str]:
    return [reason for reason, _ in world.events]


def lessons(world: World) -> list[tuple[str, str]]:
    records = [o for (kind, _), o in world.objects.items() if kind == "TuningRecord"]
    return [(e["outcome"], e.get("cause", "")) for r in records for e in r["status"]["entries"]]


def died_after_the_step() -> World:
    world = rolled()
    world.settle()
    world.fail(oom(world.plan_hash()))
    world.step(until="objects")
    world.now += 60
    world.roll()
    assert (reasons(world), lessons(world)) == (["Planned"], [])
    return world


def test_the_first_plan_is_told_by_the_next_life() -> None:
    world = World(manifest())
    world.step(until="objects")
    assert world.events == {}
    world.settle()
    assert reasons(world) == ["Planned"]


def test_a_step_is_told_before_the_next_failure_is_answered() -> None:
    world = died_after_the_step()
    second = world.plan_hash()
    world.fail(oom(second))  # while nobody looks
    decision = world.step()
    assert not decision.rerolled
    assert decision.requeue_after_seconds == 0.0
    assert reasons(world) == ["Planned", "EngineFailed", "ArgumentChanged"]
    assert lessons(world) == [("Failed", "device_oom_runtime")]
    assert world.plan_hash() == second
    world.settle()
    assert world.attempt() == 2
    assert reasons(world).count("ArgumentChanged") == 2


def test_a_step_is_told_although_the_spec_was_changed_meanwhile() -> None:
    world = died_after_the_step()
    world.edit(serving={"contextLength": 2048})
    world.step(until="objects")  # and it dies again
    world.settle()
    assert {"EngineFailed", "ArgumentChanged"} <= set(reasons(world))
    assert reasons(world).count("Planned") == 2
    assert lessons(world) == [("Failed", "device_oom_runtime")]


def test_a_step_is_told_although_there_is_no_plan_any_more() -> None:
    world = died_after_the_step()
    world.edit(serving={"contextLength": 10_000_000})
    world.settle()
    assert {"EngineFailed", "ArgumentChanged", "SpecRefused"} <= set(reasons(world))
    assert lessons(world) == [("Failed", "device_oom_runtime")]


def test_a_cure_is_told_by_the_next_life() -> None:
    world = died_after_the_step()
    world.settle()
    world.serve()
    world.step(until="objects")
    assert "Healed" not in reasons(world)
    world.settle()
    assert reasons(world).count("Healed") == 1


def test_what_status_shows_is_told_no_more() -> None:
    world = running()
    world.fail(oom(world.plan_hash()))
    world.settle()
    world.roll()
    world.settle()
    world.events.clear()
    assert world.settle() == []
    assert world.events == {}


def said(**event: Any) -> dict[str, Any]:
    return {"type": "Normal", "reason": "Healed", "action": "Heal", "message": "m", **event}


@pytest.mark.parametrize(
    ("news", "told"),
    [
        ("", []),
        ("rubbish", []),
        (codec.pack(["Healed"]), []),
        (codec.pack({"events": "Healed", "seen": 7}), []),
        (codec.pack({"events": [7, {}, said(reason="NodeReady")], "seen": [7, {}]}), []),
        (codec.pack({"events": [said(type="Loud")]}), []),
        (codec.pack({"events": [said(regarding={"kind": "Secret"})]}), []),
        (codec.pack({"events": [said()]}), ["Healed"]),
    ],
)
def test_what_others_write_there_makes_us_say_nothing_that_is_not_ours(
    news: str, told: list[str]
) -> None:
    world = died_after_the_step()
    world.deployment["metadata"]["annotations"][NEWS] = news
    decision = world.step()
    assert [event.reason for event in decision.events if event.reason == "Healed"] == told
    assert all(event.regarding is None for event in decision.events)
