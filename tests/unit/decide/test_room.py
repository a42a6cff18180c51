"""Whether another node could take a pod: cards, labels, taints, devices of a driver."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.decide.world import World, manifest, node

from xpullm import catalog
from xpullm.controller.decide_plan import stored
from xpullm.controller.decide_room import admits, holdings, room_elsewhere
from xpullm.controller.types import Capabilities, Fleet

CARD = "arc-a770-16g"


def two_nodes(*labels: dict[str, str], **spec: Any) -> World:
    """A pod on node-a; node-b has the same card."""
    first, second = labels or ({}, {})
    world = World(manifest(**spec), nodes=[node(**first), node("node-b", **second)])
    world.settle()
    world.roll()
    return world


def room(world: World, failed: str = "node-a") -> bool:
    snapshot = world.snapshot()
    found = stored(snapshot)
    assert found is not None
    return room_elsewhere(found.plan, found.truth.template, snapshot, failed)


def test_a_ready_node_with_a_free_card_has_room() -> None:
    world = two_nodes()
    assert room(world)
    world.nodes[1]["spec"]["unschedulable"] = True
    assert not room(world)
    world.nodes[1]["spec"] = {}
    world.nodes[1]["status"]["conditions"][0]["status"] = "Unknown"
    assert not room(world)


def test_cards_that_pods_of_others_hold_are_not_free() -> None:
    world = two_nodes()
    world.fleet = Fleet(held={("node-b", "gpu.intel.com/i915"): 1})
    assert not room(world)
    world.fleet = Fleet(held={("node-b", "gpu.intel.com/xe"): 1, ("c", "gpu.intel.com/i915"): 1})
    assert room(world)


def test_its_own_pods_hold_cards_too() -> None:
    world = two_nodes(replicas=2)
    world.pods[1]["spec"]["nodeName"] = "node-b"
    assert not room(world)
    world.pods[1]["status"]["phase"] = "Failed"  # a record: it holds nothing
    assert room(world)


def test_host_memory_that_the_pod_requests_must_be_free() -> None:
    world = two_nodes()
    world.nodes[1]["status"]["allocatable"]["memory"] = "26Gi"  # the plan requests 26.75
    assert not room(world)
    world.nodes[1]["status"]["allocatable"]["memory"] = "54Gi"
    world.fleet = Fleet(held={("node-b", "memory"): 28 << 30})
    assert not room(world)
    world.fleet = Fleet(held={("node-b", "memory"): 27 << 30})
    assert room(world)
    del world.nodes[1]["status"]["allocatable"]["memory"]  # unknown: the scheduler has the word
    assert room(world)


def test_pods_hold_the_memory_that_they_request() -> None:
    world = two_nodes()
    held = dict(holdings(world.pods, [], CARD))
    assert held == {("node-a", "gpu.intel.com/i915"): 1, ("node-a", "memory"): 27392 << 20}
    world.pods[0]["spec"]["containers"][0]["resources"]["requests"]["memory"] = "much"
    assert dict(holdings(world.pods, [], CARD)) == {("node-a", "gpu.intel.com/i915"): 1}


def test_a_node_selector_of_the_users_binds() -> None:
    world = two_nodes({"pool": "gold"}, {"pool": "silver"}, pod={"nodeSelector": {"pool": "gold"}})
    assert not room(world)
    world.nodes[1]["metadata"]["labels"]["pool"] = "gold"
    assert room(world)


def test_a_required_node_affinity_of_the_users_binds() -> None:
    terms = [{"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["b"]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    world = two_nodes({}, {"zone": "b"}, pod={"affinity": {"nodeAffinity": required}})
    assert not room(world)
    world.nodes[1]["metadata"]["labels"]["zone"] = "c"
    assert room(world)


def test_a_taint_that_is_not_tolerated_keeps_out() -> None:
    taint = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    world = two_nodes()
    world.nodes[1]["spec"]["taints"] = [taint]
    assert not room(world)
    taint["effect"] = "PreferNoSchedule"
    assert room(world)
    tolerated = {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}
    world = two_nodes(pod={"tolerations": [tolerated]})
    world.nodes[1]["spec"]["taints"] = [taint | {"effect": "NoSchedule"}]
    assert room(world)


@pytest.mark.parametrize(
    ("toleration", "admitted"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "value": "yes"}, True),
        ({"key": "gpu", "value": "no"}, False),
        ({"key": "cpu", "operator": "Exists"}, False),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "gpu", "operator": "Gt", "value": "1"}, False),
    ],
)
def test_tolerations_match_as_kubernetes_matches_them(
    toleration: dict[str, str], admitted: bool
) -> None:
    taint = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    tainted = node() | {"spec": {"taints": [taint]}}
    assert admits(tainted, {"tolerations": [toleration]}) is admitted


@pytest.mark.parametrize(
    ("operator", "values", "selected"),
    [
        ("In", ["7", "8"], True),
        ("In", ["8"], False),
        ("NotIn", ["7"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
        ("Gt", ["6"], True),
        ("Gt", ["7"], False),
        ("Lt", ["8"], True),
        ("Lt", ["x"], False),
        ("Near", ["7"], False),
    ],
)
def test_node_affinity_selects_as_kubernetes_selects(
    operator: str, values: list[str], selected: bool
) -> None:
    def spec(term: dict[str, Any]) -> dict[str, Any]:
        required = {"nodeSelectorTerms": [term]}
        name = "requiredDuringSchedulingIgnoredDuringExecution"
        return {"affinity": {"nodeAffinity": {name: required}}}

    expression = {"key": "size", "operator": operator, "values": values}
    assert admits(node(size="7"), spec({"matchExpressions": [expression]})) is selected
    assert not admits(node(size="7"), spec({}))  # an empty term selects nothing
    here = {"key": "metadata.name", "operator": "In", "values": ["node-a"]}
    assert admits(node(), spec({"matchFields": [here]}))
    assert not admits(node("node-b"), spec({"matchFields": [here]}))


# -- dynamic resource allocation ----------------------------------------------------------------


def device(**more: Any) -> dict[str, Any]:
    memory = {"value": str(catalog.gpus()["arc-pro-b60"].usable_bytes)}
    found = {"attributes": {"pciId": {"string": "0xe211"}}, "capacity": {"memory": memory}}
    return found | more


def published(name: str, *devices: dict[str, Any], generation: int = 1) -> dict[str, Any]:
    pool = {"name": name, "generation": generation}
    spec = {"driver": "gpu.intel.com", "nodeName": name, "pool": pool, "devices": list(devices)}
    return {"spec": spec}


def claiming() -> World:
    """A pod that got its card by a claim; nodes whose allocatable shows no card at all."""
    nodes = [node(name, **{"xpullm.io/gpu-type": "arc-pro-b60"}) for name in ("node-a", "node-b")]
    for found in nodes:
        del found["status"]["allocatable"]["gpu.intel.com/i915"]
    world = World(
        manifest(quantization="fp8", gpu={"type": "arc-pro-b60", "allocation": "ResourceClaim"}),
        nodes=nodes,
        slices=[published("node-a", device()), published("node-b", device())],
        capabilities=Capabilities((1, 35), dra=True, device_classes=frozenset({"gpu.intel.com"})),
    )
    world.settle()
    world.roll()
    world.pods[0]["spec"]["resourceClaims"] = world.deployment["spec"]["template"]["spec"][
        "resourceClaims"
    ]
    return world


def test_devices_that_a_driver_publishes_are_room() -> None:
    world = claiming()
    assert room(world)
    world.slices[1] = published("node-b", device(taints=[{"effect": "NoSchedule"}]))
    assert not room(world)
    world.slices[1] = published("node-b", device(attributes={"pciId": {"string": "0x56a0"}}))
    assert not room(world)


def test_claims_that_pods_hold_are_not_free() -> None:
    world = claiming()
    world.fleet = Fleet(held={("node-b", "claim/arc-pro-b60"): 1})
    assert not room(world)
    world.slices[1] = published("node-b", device(), device())
    assert room(world)


def test_only_the_newest_generation_of_a_pool_counts() -> None:
    world = claiming()
    world.slices += [published("node-b", generation=2)]
    assert not room(world)


def test_a_claim_holds_as_many_devices_as_its_template_asks_for() -> None:
    template = {
        "metadata": {"name": "two"},
        "spec": {"spec": {"devices": {"requests": [{"exactly": {"count": 2}}]}}},
    }
    pod = {
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n", "resourceClaims": [{"resourceClaimTemplateName": "two"}]},
    }
    assert dict(holdings([pod], [template], CARD)) == {("n", f"claim/{CARD}"): 2}
    assert dict(holdings([pod], [], CARD)) == {("n", f"claim/{CARD}"): 1}
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert dict(holdings([pod], [template], CARD)) == {}
