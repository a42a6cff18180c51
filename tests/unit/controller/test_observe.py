"""A snapshot holds what belongs to this very object, and nothing that another left behind."""

from __future__ import annotations

from typing import Any

from tests.unit.controller import world

from xpullm.controller.kinds import (
    CLAIM_TEMPLATE,
    CONFIG_MAP,
    DEPLOYMENT,
    LLMDEPLOYMENT,
    NODE,
    SERVICE,
    TUNING_RECORD,
)
from xpullm.controller.observe import observe
from xpullm.controller.store import Store
from xpullm.controller.types import Capabilities, Fleet
from xpullm.resources import names


def numbered(obj: dict[str, Any], number: int, **metadata: Any) -> dict[str, Any]:
    old = obj["metadata"]
    new = {"uid": f"u{number}", **old, "resourceVersion": str(number), **metadata}
    return {**obj, "metadata": new}


def child(name: str, number: int, owner: dict[str, Any] | None = None) -> dict[str, Any]:
    return numbered({"metadata": names.metadata(owner or world.llmd(), name)}, number)


def seen(store: Store) -> Any:
    return observe(store, world.KEY, Capabilities(), Fleet())


def filled() -> Store:
    store = Store()
    store.put(LLMDEPLOYMENT, numbered(world.llmd(), 1))
    return store


def test_without_the_resource_there_is_nothing_to_see() -> None:
    store = Store()
    store.put(SERVICE, child("m", 2))
    snapshot = seen(store)
    assert (snapshot.llmd, snapshot.service) == (None, None)


def test_children_are_told_apart_by_kind_and_name() -> None:
    store = filled()
    store.put(SERVICE, child("m", 2))
    store.put(CONFIG_MAP, child("m-model-facts", 3))
    store.put(CONFIG_MAP, child("another", 4))
    snapshot = seen(store)
    assert snapshot.service["metadata"]["name"] == "m"
    assert snapshot.facts["metadata"]["name"] == "m-model-facts"
    assert snapshot.deployment is None


def test_children_of_a_former_resource_of_this_name_are_not_ours() -> None:
    former = world.llmd()
    former["metadata"]["uid"] = "uid-former"
    store = filled()
    store.put(SERVICE, child("m", 2, former))
    assert seen(store).service is None


def test_the_claim_template_is_the_one_that_the_pods_use() -> None:
    store = filled()
    deployment = numbered(world.deployment(world.llmd(), 0), 2)
    claims = [{"name": "gpu", "resourceClaimTemplateName": "m-gpu-new"}]
    deployment["spec"]["template"]["spec"]["resourceClaims"] = claims
    store.put(DEPLOYMENT, deployment)
    for number, name in enumerate(("m-gpu-a", "m-gpu-new"), 3):
        store.put(CLAIM_TEMPLATE, child(name, number))
    snapshot = seen(store)
    assert snapshot.claim_template["metadata"]["name"] == "m-gpu-new"
    assert [t["metadata"]["name"] for t in snapshot.claim_templates] == ["m-gpu-a", "m-gpu-new"]


def test_records_are_of_the_namespace_and_nodes_of_the_cluster() -> None:
    store = filled()
    for number, namespace in enumerate(("ns", "other"), 5):
        record = {"metadata": {"namespace": namespace, "name": "r", "uid": str(number)}}
        store.put(TUNING_RECORD, numbered(record, number))
    store.put(NODE, numbered({"metadata": {"name": "n"}}, 9))
    snapshot = seen(store)
    assert [r["metadata"]["namespace"] for r in snapshot.records] == ["ns"]
    assert [n["metadata"]["name"] for n in snapshot.nodes] == ["n"]


def test_events_of_pods_are_handed_on() -> None:
    told = ({"regarding": {"uid": "u"}, "reason": "FailedMount"},)
    snapshot = observe(filled(), world.KEY, Capabilities(), Fleet(), events=told)
    assert snapshot.events == told
