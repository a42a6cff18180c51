"""The store keeps the newest version of each object, whatever order the news arrive in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpullm.controller.kinds import DEPLOYMENT, LLMDEPLOYMENT, NODE, POD
from xpullm.controller.store import Store, owner_key


def obj(name: str, version: int, uid: str = "u", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "ns",
            "name": name,
            "uid": uid,
            "resourceVersion": str(version),
            "labels": {key.replace("_", "/").replace("-", "."): v for key, v in labels.items()},
        }
    }


def child(name: str, version: int, owner: str, uid: str = "u") -> dict[str, Any]:
    made = obj(name, version, uid)
    made["metadata"]["labels"] = {"xpullm.io/deployment": owner}
    return made


def version_of(store: Store, name: str) -> str | None:
    found = store.get(POD, "ns", name)
    return None if found is None else found["metadata"]["resourceVersion"]


def test_an_older_version_does_not_replace_a_newer_one() -> None:
    store = Store()
    assert store.put(POD, obj("p", 10)) is not None
    assert store.put(POD, obj("p", 9)) is None
    assert store.put(POD, obj("p", 10)) is None
    assert version_of(store, "p") == "10"


def test_resource_versions_are_compared_as_numbers() -> None:
    store = Store()
    store.put(POD, obj("p", 9))
    store.put(POD, obj("p", 10))
    assert version_of(store, "p") == "10"


def test_a_late_event_does_not_bring_a_deleted_object_back() -> None:
    store = Store()
    store.put(POD, obj("p", 10))
    assert store.remove(POD, obj("p", 12)) is not None
    assert store.put(POD, obj("p", 11)) is None
    assert version_of(store, "p") is None


def test_the_deletion_of_a_former_object_leaves_its_successor() -> None:
    store = Store()
    store.put(POD, obj("p", 20, uid="new"))
    assert store.remove(POD, obj("p", 15, uid="old")) is None
    assert version_of(store, "p") == "20"


def test_a_listing_removes_what_it_lacks_but_nothing_newer_than_itself() -> None:
    store = Store()
    store.put(POD, obj("gone", 5, uid="a"))
    store.put(POD, obj("stays", 6, uid="b"))
    store.put(POD, obj("younger", 20, uid="c"))
    changes = store.replace(POD, [obj("stays", 6, uid="b")], version=10)
    assert [(c.old or {})["metadata"]["name"] for c in changes] == ["gone"]
    assert [o["metadata"]["name"] for o in store.all(POD)] == ["stays", "younger"]


def test_a_listing_finds_an_object_that_was_deleted_and_created_again() -> None:
    store = Store()
    store.put(POD, obj("p", 5, uid="old"))
    changes = store.replace(POD, [obj("p", 8, uid="new")], version=9)
    assert [(c.new or {})["metadata"]["uid"] for c in changes] == ["new"]


def test_a_listing_of_one_namespace_says_nothing_of_others() -> None:
    store = Store()
    other = obj("p", 5)
    other["metadata"]["namespace"] = "other"
    store.put(POD, other)
    assert store.replace(POD, [], version=10, namespace="ns") == []
    assert store.get(POD, "other", "p") is not None


def test_children_are_found_by_their_owner_and_follow_a_changed_label() -> None:
    store = Store()
    store.put(POD, child("p2", 2, "m", "b"))
    store.put(POD, child("p1", 1, "m", "a"))
    assert [c["metadata"]["name"] for c in store.children(POD, ("ns", "m"))] == ["p1", "p2"]
    store.put(POD, child("p1", 3, "other", "a"))
    assert [c["metadata"]["name"] for c in store.children(POD, ("ns", "m"))] == ["p2"]
    assert [c["metadata"]["name"] for c in store.children(POD, ("ns", "other"))] == ["p1"]
    store.remove(POD, child("p2", 4, "m", "b"))
    assert store.children(POD, ("ns", "m")) == ()


def test_a_child_without_our_label_is_known_by_its_owner_reference() -> None:
    made = obj("d", 1)
    made["metadata"]["ownerReferences"] = [{"kind": "LLMDeployment", "name": "m", "uid": "x"}]
    assert owner_key(made) == ("ns", "m")
    assert owner_key(obj("d", 1)) is None


def test_managed_fields_are_not_kept() -> None:
    store = Store()
    made = obj("d", 1)
    made["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    store.put(DEPLOYMENT, made)
    assert "managedFields" not in (store.get(DEPLOYMENT, "ns", "d") or {})["metadata"]
    assert "managedFields" in made["metadata"]


def node(version: int, heartbeat: str, **allocatable: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "n",
            "uid": "u",
            "resourceVersion": str(version),
            "labels": {"a": "b"},
            "annotations": {"volatile": heartbeat},
        },
        "spec": {"podCIDR": "10.0.0.0/24", "taints": [{"key": "t", "effect": "NoSchedule"}]},
        "status": {
            "allocatable": allocatable,
            "nodeInfo": {"kernelVersion": "6.18"},
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": heartbeat}],
            "images": [{"names": ["x"]}],
        },
    }


def test_a_node_is_kept_as_far_as_planning_needs_it() -> None:
    store = Store()
    store.put(NODE, node(1, "now", cpu="4"))
    assert store.get(NODE, "", "n") == {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n", "uid": "u", "resourceVersion": "1", "labels": {"a": "b"}},
        "spec": {"taints": [{"key": "t", "effect": "NoSchedule"}]},
        "status": {
            "allocatable": {"cpu": "4"},
            "nodeInfo": {"kernelVersion": "6.18"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def test_a_heartbeat_of_a_node_is_no_change() -> None:
    store = Store()
    assert store.put(NODE, node(1, "now", cpu="4")) is not None
    assert store.put(NODE, node(2, "later", cpu="4")) is None
    assert store.put(NODE, node(3, "later", cpu="8")) is not None


@given(order=st.permutations(range(1, 8)), deleted_at=st.none() | st.integers(1, 8))
def test_any_order_of_news_ends_in_the_newest_state(
    order: list[int], deleted_at: int | None
) -> None:
    store = Store()
    for version in order:
        if version == deleted_at:
            store.remove(POD, obj("p", version))
        elif deleted_at is None or version < deleted_at:
            store.put(POD, obj("p", version))
    gone = deleted_at is not None and deleted_at <= 7
    assert version_of(store, "p") == (None if gone else "7")


@pytest.mark.parametrize("kind", [LLMDEPLOYMENT, POD])
def test_all_is_sorted_and_follows_changes(kind: Any) -> None:
    store = Store()
    store.put(kind, obj("b", 1, uid="b"))
    store.put(kind, obj("a", 2, uid="a"))
    assert [o["metadata"]["name"] for o in store.all(kind)] == ["a", "b"]
    store.remove(kind, obj("a", 3, uid="a"))
    assert [o["metadata"]["name"] for o in store.all(kind)] == ["b"]
