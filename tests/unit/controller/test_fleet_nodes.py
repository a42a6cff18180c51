"""What the store shows of nodes: who fails there, what serves there, what pods hold."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from tests.unit.decide.world import KERNEL, World, manifest, node, oom

from xpullm.controller.fleet import FleetView
from xpullm.controller.kinds import DEPLOYMENT, LLMDEPLOYMENT, NODE, POD
from xpullm.controller.store import Store
from xpullm.controller.types import Fleet
from xpullm.healing.node import MEMORY, Trouble

CARD = "arc-a770-16g"
I915 = "gpu.intel.com/i915"
HOST = 27_392 << 20  # what a pod of this plan requests of host memory


class Shown:
    """Deployments as `decide` made them, in a store."""

    def __init__(self, *nodes: str) -> None:
        self.store = Store()
        self.view = FleetView(self.store)
        self.version = 0
        self.worlds: dict[str, World] = {}
        for name in nodes:
            self.put(NODE, node(name))

    def put(self, kind: Any, obj: dict[str, Any]) -> None:
        self.version += 1
        made = copy.deepcopy(obj)
        made["metadata"]["resourceVersion"] = str(self.version)
        self.store.put(kind, made)

    def starts(self, name: str, where: str) -> World:
        """A deployment with one pod on this node."""
        world = World(manifest(), nodes=[node(where)])
        world.llmd["metadata"] |= {"name": name, "uid": f"uid-{name}"}
        world.settle()
        world.roll()
        world.settle()
        self.worlds[name] = world
        self.show(name)
        return world

    def show(self, name: str) -> None:
        """The watch tells what became of a deployment."""
        world = self.worlds[name]
        self.put(LLMDEPLOYMENT, world.llmd)
        live = copy.deepcopy(world.deployment)
        live["metadata"]["namespace"] = "default"
        self.put(DEPLOYMENT, live)
        for pod in self.store.children(POD, ("default", name)):
            if not any(pod["metadata"]["name"] == f"{name}-{p['metadata']['name']}"
                       for p in world.pods):  # fmt: skip
                self.version += 1
                gone = copy.deepcopy(dict(pod))
                gone["metadata"]["resourceVersion"] = str(self.version)
                self.store.remove(POD, gone)
        for pod in world.pods:
            mine = copy.deepcopy(pod)
            names = {"name": f"{name}-{pod['metadata']['name']}", "namespace": "default"}
            mine["metadata"] |= names | {"uid": f"{name}-{pod['metadata']['uid']}"}
            self.put(POD, mine)
        self.view.touch(("default", name))

    def facts(self, name: str) -> Fleet:
        return self.view.facts(("default", name), self.worlds[name].now)

    def kind(self, name: str) -> tuple[str, str, str]:
        template = self.worlds[name].deployment["spec"]["template"]
        return (template["spec"]["containers"][0]["image"], CARD, KERNEL)


def test_where_nothing_fails_nothing_is_told() -> None:
    shown = Shown("n1", "n2")
    shown.starts("a", "n1").serve()
    shown.starts("b", "n2")
    for name in ("a", "b"):
        shown.show(name)
    assert shown.facts("a") == Fleet(canaries={}, serving={}, held={})


def test_what_fails_is_told_to_those_that_fail_too() -> None:
    shown = Shown("n1", "n2")
    a, b, c = (shown.starts(*where) for where in (("a", "n1"), ("b", "n1"), ("c", "n2")))
    c.serve()
    a.fail(oom(a.plan_hash()))
    b.fail(replace(oom(b.plan_hash()), cause="device_lost", helps="reschedule", figures={}))
    for name in ("a", "b", "c"):
        shown.show(name)
    facts, kind = shown.facts("a"), shown.kind("a")
    assert facts.troubles == (
        Trouble("default/b", "n1", kind, b.plan_hash(), "device_lost", True, False, b.now),
    )
    assert facts.serving == {kind: ("n2",), (c.plan_hash(), KERNEL): ("n2",)}
    assert facts.held == {
        ("n1", I915): 1, ("n1", "memory"): HOST, ("n2", I915): 1, ("n2", "memory"): HOST,
    }  # fmt: skip
    (told,) = shown.facts("b").troubles
    assert told == Trouble("default/a", "n1", kind, a.plan_hash(), MEMORY, True, True, a.now)


def test_what_serves_again_is_no_trouble() -> None:
    shown = Shown("n1")
    a, b = shown.starts("a", "n1"), shown.starts("b", "n1")
    for world in (a, b):
        world.fail(oom(world.plan_hash()))
    shown.show("a")
    shown.show("b")
    assert len(shown.facts("a").troubles) == 1
    b.serve()
    shown.show("b")
    assert shown.facts("a").troubles == ()


def test_who_moved_away_still_speaks_of_the_node() -> None:
    """Its pod there is gone; the step in the Deployment's annotation is not."""
    shown = Shown("n1", "n2")
    a, b = shown.starts("a", "n1"), shown.starts("b", "n1")
    plan = a.plan_hash()
    other = Trouble("default/b", "n1", shown.kind("b"), "p", "device_lost", time=a.now)
    a.fleet = Fleet(troubles=(other,), serving={shown.kind("a"): ("n2",)})
    a.nodes.append(node("n2"))
    a.fail(replace(oom(plan), cause="device_lost", helps="reschedule", figures={}))
    failed = int(a.now)
    a.settle()
    assert a.attempt() == 1
    a.nodes.reverse()
    a.roll()
    a.serve()
    b.fail(oom(b.plan_hash()))
    for name in ("a", "b"):
        shown.show(name)
    facts, kind = shown.facts("b"), shown.kind("a")
    assert facts.troubles == (
        Trouble("default/a", "n1", kind, plan, "device_lost", True, True, float(failed)),
    )
    # Moving away keeps the plan: what served on n2 proves it for those that run it on n1.
    assert facts.serving == {kind: ("n2",), (plan, KERNEL): ("n2",)}


def test_the_second_to_fail_on_a_node_wakes_the_first_once() -> None:
    shown = Shown("n1")
    worlds = {name: shown.starts(name, "n1") for name in ("a", "b", "c")}
    woken = []
    for name, world in worlds.items():
        world.fail(oom(world.plan_hash()))
        shown.show(name)
        shown.facts(name)
        woken.append(list(shown.view.freed()))
    assert woken == [[], [("default", "a")], []]
    worlds["b"].now += 60
    worlds["b"].fail(oom(worlds["b"].plan_hash()))
    shown.show("b")
    shown.facts("b")
    assert list(shown.view.freed()) == []


def test_a_node_that_is_not_known_yet_is_learned_when_it_comes() -> None:
    shown = Shown("n1")
    a, b = shown.starts("a", "n2"), shown.starts("b", "n2")
    for name, world in (("a", a), ("b", b)):
        world.fail(oom(world.plan_hash()))
        shown.show(name)
    assert shown.facts("a").troubles == ()
    shown.put(NODE, node("n2"))
    shown.view.touch(("default", "b"))
    assert len(shown.facts("a").troubles) == 1


def test_what_is_gone_is_forgotten() -> None:
    shown = Shown("n1")
    a, b = shown.starts("a", "n1"), shown.starts("b", "n1")
    for name, world in (("a", a), ("b", b)):
        world.fail(oom(world.plan_hash()))
        shown.show(name)
    assert shown.facts("a").held == {("n1", I915): 1, ("n1", "memory"): HOST}
    for kind in (POD, DEPLOYMENT):
        for child in shown.store.children(kind, ("default", "b")):
            shown.version += 1
            gone = {**child, "metadata": {**child["metadata"], "resourceVersion": "99999"}}
            shown.store.remove(kind, gone)
    shown.view.touch(("default", "b"))
    facts = shown.facts("a")
    assert (facts.troubles, facts.held) == ((), {})
