"""When a node is to blame, and what is done then."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.healing.builders import pinned, plan_of, situation

from xpullm.healing.decide import decide
from xpullm.healing.ladder import rules
from xpullm.healing.node import MEMORY, Trouble, accusers, left, node_matter, trouble_of
from xpullm.healing.situation import GIB
from xpullm.healing.types import NodeMatter, PastStep, Policy, Step, Stop, Wait
from xpullm_runtime.diagnosis import causes
from xpullm_runtime.diagnosis.types import Diagnosis

KIND = ("vllm:1", "arc-a770-16g", "6.14")
LOST = Trouble("ns/a", "n1", KIND, "plan-a", "device_lost", time=1000.0)
OOM = Trouble("ns/a", "n1", KIND, "plan-a", MEMORY, early=True, time=1000.0)
SERVES = {KIND: ("n2",)}
BOTH = {**SERVES, ("plan-a", "6.14"): ("n2",), ("plan-b", "6.14"): ("n2",)}


def other(trouble: Trouble, **changes: object) -> Trouble:
    return replace(trouble, deployment="ns/b", plan_hash="plan-b", **changes)


def ask(
    mine: Trouble, *others: Trouble, serving: object = SERVES, home: str = "", own: tuple = ()
) -> NodeMatter | None:
    return node_matter(mine, (mine, *own), others, serving, home)


BLAMED = NodeMatter("n1", ("ns/b",))


def test_two_deployments_that_lose_the_device_on_one_node_blame_it() -> None:
    assert ask(LOST, other(LOST)) == BLAMED
    assert ask(LOST, other(replace(LOST, family="no_device"))) == BLAMED
    assert ask(LOST, other(LOST, kind=("another:2", *KIND[1:]))) is None  # it serves nowhere


def test_one_alone_blames_no_node() -> None:
    assert ask(LOST) is None
    assert ask(OOM, serving=BOTH) is None
    assert ask(LOST, other(LOST, node="n3")) is None
    assert ask(LOST, replace(LOST, time=1001.0)) is None  # the same deployment, twice


def test_what_serves_nowhere_else_may_be_a_bad_image_or_driver() -> None:
    assert ask(LOST, other(LOST), serving={}) is None
    assert ask(LOST, other(LOST), serving={KIND: ("n1",)}) is None


def test_what_fails_on_another_node_too_is_no_matter_of_this_one() -> None:
    third = Trouble("ns/c", "n3", KIND, "plan-c", "device_lost", time=1000.0)
    assert ask(LOST, other(LOST), third) is None
    assert ask(LOST, other(LOST), replace(third, time=9000.0)) == BLAMED
    assert ask(LOST, other(LOST), replace(third, family="abort")) == BLAMED
    moved = replace(LOST, node="n3", time=900.0)
    assert ask(LOST, other(LOST), own=(moved,)) is None


def test_failures_more_than_an_hour_apart_have_nothing_to_do_with_each_other() -> None:
    assert ask(LOST, other(LOST, time=1000.0 + 3600)) == BLAMED
    assert ask(LOST, other(LOST, time=1000.0 + 3601)) is None
    assert ask(LOST, other(LOST, time=None)) == BLAMED  # it fails just now


def test_out_of_memory_beside_out_of_memory_proves_nothing() -> None:
    """Every plan may be wrong in the same way: then the arguments are what helps."""
    within = replace(OOM, within_plan=True)
    assert ask(within, other(within)) is None


def test_out_of_memory_where_both_plans_hold_elsewhere() -> None:
    assert ask(OOM, other(OOM), serving=BOTH) == BLAMED
    late = replace(OOM, early=False)  # another load than elsewhere explains it
    assert ask(late, other(OOM), serving=BOTH) is None
    assert ask(OOM, other(late), serving=BOTH) is None


def test_out_of_memory_beside_a_lost_device() -> None:
    within = replace(OOM, within_plan=True, early=False)
    assert ask(within, other(LOST)) == BLAMED
    assert ask(replace(within, within_plan=False), other(LOST)) is None
    assert ask(LOST, other(within)) == BLAMED


def test_a_plan_that_serves_on_another_node_needs_no_other_deployment() -> None:
    assert ask(LOST, home="n2") == NodeMatter("n1", home="n2")
    assert ask(OOM, serving=BOTH, home="n2") == NodeMatter("n1", home="n2")
    assert ask(replace(OOM, early=False), serving=BOTH, home="n2") is None


def test_what_a_failure_says_of_its_node() -> None:
    plan = plan_of(pinned())

    def said(diagnosis: Diagnosis, **changes: object) -> Trouble | None:
        where = {"deployment": "ns/a", "node": "n1", "kind": KIND, "plan_hash": "p"} | changes
        return trouble_of(diagnosis, plan.ledger, was_ready=True, time=5.0, **where)

    lost = Diagnosis("device_lost", "runtime", actionable=True)
    assert said(lost) == Trouble("ns/a", "n1", KIND, "p", "device_lost", time=5.0)
    assert said(lost, node="") is None
    assert said(lost, kind=("vllm:1", "arc-a770-16g", "")) is None  # a node that is not known
    assert said(replace(lost, actionable=False)) is None
    assert said(Diagnosis("model_auth", actionable=True)) is None
    figures = {"allocated_bytes": 8 * GIB, "tried_bytes": GIB}
    oom = Diagnosis("device_oom_runtime", "runtime", figures=figures, actionable=True)
    assert said(oom) == Trouble("ns/a", "n1", KIND, "p", MEMORY, within_plan=True, time=5.0)
    beyond = replace(oom, figures=figures | {"tried_bytes": 8 * GIB})
    assert said(beyond) == Trouble("ns/a", "n1", KIND, "p", MEMORY, time=5.0)


def test_a_step_that_moved_away_still_speaks_of_the_node_that_it_left() -> None:
    step = PastStep(1, "2026-01-01T00:00:00Z", "device_lost", "runtime", "node", "n1", "another")

    def said(past: PastStep) -> Trouble | None:
        return left(past, deployment="ns/a", kind=KIND, plan_hash="p", time=7.0)

    moved = said(replace(step, node="n1"))
    assert moved == Trouble("ns/a", "n1", KIND, "p", "device_lost", True, True, 7.0)
    assert said(replace(step, node="n1", lever="max-num-seqs")) is None
    assert said(replace(step, node="n1", cause="port_in_use")) is None


def test_the_causes_are_known_ones() -> None:
    table = accusers()
    assert table.causes | table.memory <= set(causes())
    assert not table.causes & table.memory
    assert table.memory == {
        rule.cause for rule in rules() if rule.cause.startswith(MEMORY)
    } - {"device_oom_single_alloc"}  # fmt: skip


# -- what is done ---------------------------------------------------------------------------------

ROOM = Policy(other_matching_node_has_room=True, node_matter=BLAMED)
FAILED = Diagnosis("device_oom_runtime", "runtime", actionable=True)


def test_the_node_is_left_and_nothing_else_changes() -> None:
    plan = plan_of(pinned())
    step = decide(situation(plan, FAILED, policy=ROOM, node="n1"))
    assert isinstance(step, Step)
    assert (step.lever, step.before, step.after) == ("node", "n1", "another")
    assert step.plan == replace(plan, avoid_nodes=("n1",))
    assert step.text == (
        "node n1 → another: the failure belongs to the node or its card: 1 other deployment fails"
        " on node n1 too, while the same image, card and kernel serve elsewhere"
    )


@pytest.mark.parametrize("cause", ["device_oom_runtime", "ccl_error", "driver_runtime_mismatch"])
def test_without_room_a_person_is_told_which_node(cause: str) -> None:
    policy = replace(ROOM, other_matching_node_has_room=False)
    stop = decide(
        situation(plan_of(pinned()), replace(FAILED, cause=cause), policy=policy, node="n1")
    )
    assert stop == Stop(
        "NotHealable",
        "node n1 or its card fails, not the arguments: 1 other deployment fails on node n1 too,"
        " while the same image, card and kernel serve elsewhere; look at the node's kernel log, and"
        " cordon or repair it (no other matching node has room)",
    )


def test_others_that_fail_there_make_waiting_needless() -> None:
    lost = Diagnosis("device_lost", "runtime", actionable=True)
    alone = replace(ROOM, node_matter=NodeMatter("n1", home="n2"))
    plan = plan_of(pinned())
    now = situation(plan, lost, policy=alone, node="n1")
    assert isinstance(decide(now), Wait)
    again = decide(replace(now, failures=2))
    assert isinstance(again, Step)
    assert again.lever == "node"
    assert "the same plan serves on node n2" in again.text
    at_once = decide(situation(plan, lost, policy=ROOM, node="n1"))
    assert isinstance(at_once, Step)
    assert at_once.lever == "node"


def test_growth_is_taken_back_first() -> None:
    grown = PastStep(
        0, "", "growth", "runtime", "kv-cache-memory-bytes", str(6 * GIB), str(7 * GIB),
        effect="Worse",
    )  # fmt: skip
    step = decide(situation(plan_of(pinned()), FAILED, history=(grown,), policy=ROOM, node="n1"))
    assert isinstance(step, Step)
    assert (step.lever, step.after) == ("kv-cache-memory-bytes", str(6 * GIB))


def test_names_are_for_the_nodes_people_and_bounded() -> None:
    many = NodeMatter("n1", tuple(f"ns/{name}" for name in "abcdefgh"))
    assert many.named == (
        "ns/a, ns/b, ns/c, ns/d, ns/e and 3 more fail on node n1 too, while the same image, card"
        " and kernel serve elsewhere"
    )
    assert many.told == (
        "8 other deployments fail on node n1 too, while the same image, card and kernel serve"
        " elsewhere"
    )
