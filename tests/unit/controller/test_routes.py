"""Which LLMDeployments a change concerns."""

from __future__ import annotations

from typing import Any

from xpullm.controller.kinds import DEPLOYMENT, LLMDEPLOYMENT, NODE, POD, TUNING_RECORD
from xpullm.controller.routes import concerned, settled
from xpullm.controller.store import Change, Store


def llmd(name: str, namespace: str = "ns", ready: str = "False", seen: int = 1) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": name,
            "generation": 1,
            "resourceVersion": "1",
        },
        "status": {
            "observedGeneration": seen,
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def child(owner: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": "c", "labels": {"xpullm.io/deployment": owner}}}


def store(*objects: dict[str, Any]) -> Store:
    made = Store()
    for obj in objects:
        made.put(LLMDEPLOYMENT, obj)
    return made


FLEET = store(llmd("healthy", ready="True"), llmd("waiting"), llmd("far", "other"))


def test_a_child_concerns_its_owner() -> None:
    change = Change(POD, None, child("m"))
    assert concerned(FLEET, change) == {("ns", "m")}


def test_a_child_that_changes_hands_concerns_both() -> None:
    change = Change(DEPLOYMENT, child("m"), child("other"))
    assert concerned(FLEET, change) == {("ns", "m"), ("ns", "other")}


def test_a_stranger_concerns_nobody() -> None:
    stranger = {"metadata": {"namespace": "ns", "name": "x", "labels": {}}}
    assert concerned(FLEET, Change(POD, None, stranger)) == frozenset()


def test_a_node_concerns_those_that_are_not_ready() -> None:
    change = Change(NODE, None, {"metadata": {"name": "n"}})
    assert concerned(FLEET, change) == {("ns", "waiting"), ("other", "far")}


def test_the_spec_of_a_tuning_record_concerns_those_of_its_namespace_that_are_not_ready() -> None:
    metadata = {"namespace": "ns", "name": "r"}
    shipped = Change(TUNING_RECORD, None, {"metadata": metadata, "spec": {"model": "a/b"}})
    assert concerned(FLEET, shipped) == {("ns", "waiting")}
    learned = Change(
        TUNING_RECORD, {"metadata": metadata}, {"metadata": metadata, "status": {"model": "a/b"}}
    )
    assert concerned(FLEET, learned) == frozenset()


def test_ready_for_a_former_spec_is_not_settled() -> None:
    assert settled(llmd("m", ready="True"))
    assert not settled(llmd("m", ready="True", seen=0))
    assert not settled({"metadata": {"generation": 1}})
