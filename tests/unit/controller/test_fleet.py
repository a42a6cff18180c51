"""What the others are doing, for the budget of re-rolls and the canaries."""

from __future__ import annotations

import copy
import json
from typing import Any

from tests.unit.controller import world

from xpullm.controller.fleet import FleetView
from xpullm.controller.kinds import DEPLOYMENT, LLMDEPLOYMENT, NODE, POD
from xpullm.controller.store import Store
from xpullm.resources import names

ME = ("ns", "me")
CANARY = ("engine:1", "arc-a770-16g", "6.18")


class FleetWorld:
    def __init__(self) -> None:
        self.store = Store()
        self.view = FleetView(self.store)
        self.version = 0
        self.put(
            NODE,
            {
                "metadata": {"name": "n1", "uid": "n1"},
                "status": {"nodeInfo": {"kernelVersion": "6.18"}},
            },
        )

    def put(self, kind: Any, obj: dict[str, Any]) -> None:
        self.version += 1
        obj = copy.deepcopy(obj)
        obj["metadata"]["resourceVersion"] = str(self.version)
        obj["metadata"].setdefault("uid", f"u{self.version}")
        self.store.put(kind, obj)

    def deployment(
        self, name: str, attempt: int, *, done: bool = False, pods: tuple[dict[str, Any], ...] = ()
    ) -> None:
        owner = world.llmd(name)
        owner["status"]["plan"] = {"gpu": "arc-a770-16g"}
        self.put(LLMDEPLOYMENT, owner)
        made = world.deployment(owner, attempt)
        made["metadata"] |= {"uid": f"d-{name}", "generation": 1}
        if done:
            made["status"] = {
                "observedGeneration": 1,
                "replicas": 1,
                "updatedReplicas": 1,
                "readyReplicas": 1,
                "availableReplicas": 1,
            }
        self.put(DEPLOYMENT, made)
        for pod in pods:
            pod["metadata"]["labels"][names.LABEL_DEPLOYMENT] = name
            pod["metadata"] |= {
                "name": f"{name}-{pod['metadata']['name']}",
                "uid": f"{name}-{pod['metadata']['name']}",
            }
            self.put(POD, pod)
        self.view.touch(("ns", name))


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}Z"


NOW = 1767225660.0  # 2026-01-01T00:01:00Z


def test_a_quiet_fleet_does_nothing() -> None:
    fleet = FleetWorld()
    fleet.deployment("a", 0, done=True, pods=(world.pod(0, ready=True, creationTimestamp=at(0)),))
    facts = fleet.view.facts(ME, NOW)
    assert (facts.rerolling, dict(facts.canaries or {})) == (0, {})


def test_canaries_under_way_and_held_are_told_apart() -> None:
    fleet = FleetWorld()
    fleet.deployment("a", 1, pods=(world.pod(1, creationTimestamp=at(30)),))
    fleet.deployment("b", 2, pods=(world.pod(2, creationTimestamp=at(10)),))
    fleet.deployment("c", 1, done=True, pods=(world.pod(1, ready=True, creationTimestamp=at(5)),))
    facts = fleet.view.facts(ME, NOW)
    assert dict(facts.canaries or {}) == {CANARY: (2, 1, NOW - 50)}


def test_one_is_not_its_own_canary() -> None:
    fleet = FleetWorld()
    fleet.deployment("me", 1, pods=(world.pod(1, creationTimestamp=at(30)),))
    assert fleet.view.facts(ME, NOW).canaries == {}


def test_a_roll_out_that_replaces_ready_pods_is_counted_until_it_is_complete() -> None:
    fleet = FleetWorld()
    old, new = (world.pod(n, ready=True, creationTimestamp=at(n)) for n in (0, 1))
    fleet.deployment("a", 1, pods=(old, world.pod(1, creationTimestamp=at(1))))
    assert fleet.view.facts(ME, NOW).rerolling == 1
    fleet.deployment("a", 1, done=True, pods=(new,))
    assert fleet.view.facts(ME, NOW).rerolling == 0


def test_a_roll_out_that_waits_for_a_person_takes_no_place_in_the_budget() -> None:
    """It may wait for ever; its dead pod is in the way of the next Ready one."""
    fleet = FleetWorld()
    pods = (world.pod(0, ready=True, creationTimestamp=at(0)), world.pod(1))
    fleet.deployment("a", 1, pods=pods)
    assert fleet.view.facts(ME, NOW).rerolling == 1
    owner = world.llmd("a")
    owner["status"]["conditions"] = [{"type": "Stalled", "status": "True"}]
    fleet.put(LLMDEPLOYMENT, owner)
    fleet.view.touch(("ns", "a"))
    assert fleet.view.facts(ME, NOW).rerolling == 0


def test_a_step_whose_pods_never_come_is_as_old_as_the_step() -> None:
    """A paused Deployment, say: else canaries would be waited for without end."""
    fleet = FleetWorld()
    fleet.deployment("a", 1, pods=(world.pod(0, creationTimestamp=at(0)),))
    live = copy.deepcopy(dict(fleet.store.get(DEPLOYMENT, "ns", "a") or {}))
    live["metadata"]["annotations"][names.ANNOTATION_HISTORY] = json.dumps([{"time": at(20)}])
    fleet.put(DEPLOYMENT, live)
    fleet.view.touch(("ns", "a"))
    assert dict(fleet.view.facts(ME, NOW).canaries or {}) == {CANARY: (1, 0, NOW - 40)}


def test_a_decided_re_roll_counts_before_the_cluster_shows_it() -> None:
    """Of a hundred failures at once only the first three may see an empty field."""
    fleet = FleetWorld()
    for name in ("a", "b"):
        fleet.deployment(name, 0, pods=(world.pod(0, creationTimestamp=at(0)),))
    fleet.view.reserve(("ns", "a"), NOW, replacing=False, canary=True)
    facts = fleet.view.facts(("ns", "b"), NOW)
    assert (facts.rerolling, dict(facts.canaries or {})) == (0, {CANARY: (1, 0, NOW)})


def test_growth_is_no_canary() -> None:
    fleet = FleetWorld()
    fleet.deployment("a", 0, pods=(world.pod(0, ready=True, creationTimestamp=at(0)),))
    fleet.view.reserve(("ns", "a"), NOW, replacing=True, canary=False)
    facts = fleet.view.facts(("ns", "b"), NOW)
    assert (facts.rerolling, dict(facts.canaries or {})) == (1, {})


def test_a_reserved_slot_is_free_again_when_the_roll_out_is_complete() -> None:
    fleet = FleetWorld()
    ready = world.pod(0, ready=True, creationTimestamp=at(0))
    fleet.deployment("a", 0, done=True, pods=(ready,))
    fleet.view.reserve(("ns", "a"), NOW, replacing=True, canary=True)
    assert fleet.view.facts(ME, NOW).rerolling == 1
    fleet.deployment("a", 1)  # written: the old pod is gone, the new one not there yet
    assert fleet.view.facts(ME, NOW).rerolling == 1
    fleet.deployment("a", 1, done=True)
    assert fleet.view.facts(ME, NOW).rerolling == 0


def test_a_reservation_that_never_shows_ends_after_ten_minutes() -> None:
    fleet = FleetWorld()
    fleet.deployment("a", 0, pods=(world.pod(0, ready=True, creationTimestamp=at(0)),))
    fleet.view.reserve(("ns", "a"), NOW, replacing=True, canary=True)
    assert fleet.view.facts(ME, NOW + 599).rerolling == 1
    assert fleet.view.facts(ME, NOW + 601).rerolling == 0


def waiting(name: str, reason: str) -> dict[str, Any]:
    made = world.llmd(name)
    made["status"]["conditions"] = [{"type": "Reconciling", "status": "True", "reason": reason}]
    return made


def test_those_that_wait_are_woken_once_when_a_canary_holds() -> None:
    fleet = FleetWorld()
    fleet.put(LLMDEPLOYMENT, waiting("w1", "WaitingForCanary"))
    fleet.put(LLMDEPLOYMENT, waiting("w2", "Starting"))
    fleet.deployment("a", 1, pods=(world.pod(1, creationTimestamp=at(1)),))
    fleet.view.facts(ME, NOW)
    assert list(fleet.view.freed()) == []
    fleet.deployment("a", 1, done=True, pods=(world.pod(1, ready=True, creationTimestamp=at(1)),))
    fleet.view.facts(ME, NOW)
    assert list(fleet.view.freed()) == [("ns", "w1")]
    assert list(fleet.view.freed()) == []


def test_those_that_wait_for_the_budget_are_woken_when_a_re_roll_is_complete() -> None:
    fleet = FleetWorld()
    fleet.put(LLMDEPLOYMENT, waiting("w1", "BackingOff"))
    old = world.pod(0, ready=True, creationTimestamp=at(0))
    fleet.deployment("a", 1, pods=(old, world.pod(1, creationTimestamp=at(1))))
    fleet.view.facts(ME, NOW)
    assert list(fleet.view.freed()) == []
    fleet.deployment("a", 1, done=True)
    fleet.view.facts(ME, NOW)
    assert list(fleet.view.freed()) == [("ns", "w1")]
