"""Laws of the node's matter: it never changes an argument, and without company nothing changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st
from tests.property.test_decide_laws import reports
from tests.property.test_healing_laws import diagnoses, openings
from tests.unit.decide.world import KERNEL, START, World, manifest, node
from tests.unit.healing.builders import situation

from xpullm.controller.decide import decide
from xpullm.controller.types import Fleet
from xpullm.healing import decide as healing
from xpullm.healing.node import MEMORY, Trouble, accusers, node_matter
from xpullm.healing.types import NodeMatter, Step
from xpullm_runtime.report import Report

CARD = "arc-a770-16g"
KIND = ("vllm:1", CARD, KERNEL)
FAMILIES = sorted({MEMORY, *accusers().causes})
NODES = ("n1", "n2", "n3")

accused = st.builds(
    replace,
    reports,
    cause=st.sampled_from(sorted(accusers().causes | accusers().memory)),
    actionable=st.just(True),
    ended=st.just(True),
    phase=st.just("runtime"),
    was_ready=st.just(False),
)
matters = st.builds(
    NodeMatter,
    st.just("node-a"),
    st.lists(st.sampled_from(["ns/b", "ns/c", "ns/d"]), max_size=3, unique=True).map(tuple),
    st.just("node-b"),
)


def troubles(nodes: tuple[str, ...], kinds: tuple[tuple[str, str, str], ...]) -> Any:
    return st.lists(
        st.builds(
            Trouble,
            st.sampled_from(["ns/a", "ns/b", "ns/c"]),
            st.sampled_from(nodes),
            st.sampled_from(kinds),
            st.sampled_from(["plan-1", "plan-2"]),
            st.sampled_from(["device_lost", "device_lost", "no_device", MEMORY]),
            st.booleans(),
            st.booleans(),
            st.none() | st.sampled_from([START, START + 3000, START + 9000]),
        ),
        max_size=3,
    ).map(tuple)


def servings(kinds: tuple[tuple[str, ...], ...]) -> Any:
    """Most often all of them serve on a node where nothing fails."""
    nodes = st.lists(st.sampled_from(["n9", "n9", *NODES]), max_size=2, unique=True).map(tuple)
    everywhere = st.just(dict.fromkeys(kinds, ("n9",)))
    return everywhere | st.dictionaries(st.sampled_from(kinds), nodes, max_size=4)


WHAT = (KIND, ("other:1", CARD, KERNEL), ("plan-1", KERNEL), ("plan-2", KERNEL))


@given(openings(), diagnoses(), matters, st.integers(1, 7))
def test_a_nodes_matter_never_changes_arguments(
    opening: Any, diagnosis: Any, matter: NodeMatter, failures: int
) -> None:
    plan, pool, chunked, wish, policy = opening
    policy = replace(policy, node_matter=matter)
    now = situation(
        plan, diagnosis, pool, policy=policy, wish=wish, chunked_prefill=chunked,
        node="node-a", failures=failures,
    )  # fmt: skip
    answer = healing.decide(now)
    if isinstance(answer, Step):
        assert answer.lever == "node"
        assert policy.other_matching_node_has_room
        assert answer.plan == replace(plan, avoid_nodes=(*plan.avoid_nodes, "node-a"))


@given(
    troubles(NODES, WHAT[:2]), troubles(NODES, (KIND,)), servings(WHAT), st.sampled_from(FAMILIES)
)
def test_a_node_is_blamed_only_in_company_and_by_contrast(
    others: tuple[Trouble, ...],
    own: tuple[Trouble, ...],
    serving: dict[tuple[str, ...], tuple[str, ...]],
    family: str,
) -> None:
    mine = Trouble("ns/me", "n1", KIND, "plan-1", family, True, True, START)
    own = tuple(replace(t, deployment="ns/me") for t in own)
    found = node_matter(mine, own, others, serving, "")
    event("blamed" if found else "none")
    if found is None:
        return
    there = {t.deployment for t in others if t.node == "n1"}
    assert found.others
    assert set(found.others) <= there
    assert set(serving[KIND]) - {"n1"}
    near = [t for t in (*own, *others) if t.time is None or abs(t.time - START) <= 3600]
    assert not [t for t in near if (t.kind, t.family) == (KIND, family) and t.node != "n1"]
    if family == MEMORY and not set(serving.get(("plan-1", KERNEL), ())) - {"n1"}:
        assert any(t.hard for t in others if t.deployment in found.others)


@given(reports | accused, st.data())
def test_a_deployment_alone_on_a_node_is_decided_as_before(report: Report, data: Any) -> None:
    """Whatever others do on other nodes, and wherever the image serves."""
    world = World(manifest(), nodes=[node(), node("node-b")])
    world.settle()
    world.roll()
    world.fail(replace(report, plan_hash=world.plan_hash()))
    image = world.deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    kind = (image, CARD, KERNEL)
    before = decide(world.snapshot(), world.now, world.settings)
    others = data.draw(troubles(("node-b", "node-c"), (kind, KIND)))
    serving = data.draw(servings((kind, (world.plan_hash(), KERNEL))))
    world.fleet = Fleet(troubles=others, serving=serving)
    assert decide(world.snapshot(), world.now, world.settings) == before


@given(accused, st.data())
def test_with_others_failing_beside_it_either_the_node_or_what_it_was(
    report: Report, data: Any
) -> None:
    """A step is the one of before, or a move away that leaves every flag as it was."""
    world = World(manifest(), nodes=[node(), node("node-b")])
    world.settle()
    world.roll()
    flags = world.flags()
    world.fail(replace(report, plan_hash=world.plan_hash()))
    image = world.deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    kind = (image, CARD, KERNEL)
    before = decide(world.snapshot(), world.now, world.settings)
    others = data.draw(troubles(("node-a", "node-a", "node-b"), (kind, kind, KIND)))
    serving = data.draw(servings((kind, KIND, (world.plan_hash(), KERNEL))))
    world.fleet = Fleet(troubles=others, serving=serving)
    after = decide(world.snapshot(), world.now, world.settings)
    event("blamed" if after != before else "as before")
    if after == before:
        return
    world.settle()
    assert world.flags() == flags
    notes = world.deployment["spec"]["template"]["spec"]["affinity"]
    assert "node-a" in str(notes)
    assert world.settle() == []
