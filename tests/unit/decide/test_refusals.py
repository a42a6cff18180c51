"""What cannot be is said once, with field, value and way out, and never tried for ever."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kstatus import compute
from tests.unit.decide.world import World, manifest, node, oom, running

from xpullm import catalog
from xpullm.controller.types import Capabilities

HUGE = {"model": {"id": "Qwen/Qwen2-72B-Instruct"}, "quantization": "fp16"}


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"quantization": "int3"}, "UnknownQuantization", ("spec.quantization", "int3")),
        ({"gpu": {"type": "arc-z9"}}, "UnknownGPU", ("spec.gpu.type", "arc-z9")),
        ({"engine": {"name": "sglang"}}, "UnknownEngine", ("spec.engine.name", "sglang")),
        (
            {"engine": {"args": [{"name": "no-such-flag", "value": "1"}]}},
            "InvalidArgument",
            ("spec.engine.args[no-such-flag]",),
        ),
        (
            {"model": {"id": "acme/unheard-of"}},
            "UnknownModel",
            ("spec.model.id", "acme/unheard-of", "spec.model.facts"),
        ),
        (
            {"serving": {"contextLength": 1_000_000}},
            "ContextTooLong",
            ("spec.serving.contextLength", "1000000", "32768"),
        ),
        (
            {"engine": {"name": "vllm"}, "quantization": "sym_int4"},
            "IncompatibleQuantization",
            ("spec.quantization",),
        ),
        ({"gpu": {"type": "arc-a770-16g", "count": -1}}, "InvalidSpec", ("spec.gpu.count", "-1")),
        ({"model": {}}, "InvalidSpec", ("spec.model.id", "required")),
        ({"replicas": "many"}, "InvalidSpec", ("spec.replicas", "many")),
        (HUGE, "Infeasible", ("weights", "GiB", "what fits")),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_spec_is_stalled_with_the_way_out(
    spec: dict[str, Any], reason: str, words: tuple[str, ...]
) -> None:
    world = World(manifest(**spec))
    assert world.settle() == ["status"]
    assert world.condition("Ready") == ("False", reason)
    assert world.condition("Stalled") == ("True", reason)
    assert world.condition("Planned") == ("False", reason)
    assert compute(world.llmd) == "Failed"
    for word in words:
        assert word in world.message(), world.message()
    assert len(world.events) == 1
    assert world.last.requeue_after_seconds is None
    assert world.settle() == []


def test_a_corrected_spec_recovers() -> None:
    world = World(manifest(quantization="int3"))
    world.settle()
    world.edit(quantization="sym_int4")
    world.settle()
    assert world.condition("Stalled") is None
    assert world.condition("Planned") == ("True", "Planned")


def test_a_wrong_edit_leaves_what_runs_alone() -> None:
    world = running()
    template = world.deployment["spec"]["template"]
    world.edit(**HUGE)
    assert world.settle() == ["status"]
    assert world.condition("Stalled") == ("True", "Infeasible")
    assert world.condition("Available") == ("True", "Serving")
    assert world.llmd["status"]["plan"]["quantization"] == "sym_int4"  # that is what runs
    world.edit(replicas=0)
    world.settle()
    assert world.deployment["spec"]["replicas"] == 0
    assert world.deployment["spec"]["template"] == template


@pytest.mark.parametrize(
    ("spec", "capabilities", "word"),
    [
        (
            {"gpu": {"type": "arc-pro-b60", "allocation": "ResourceClaim"}},
            Capabilities(version=(1, 33)),
            "1.33",
        ),
        (
            {"gpu": {"type": "arc-pro-b60", "allocation": "ResourceClaim"}},
            Capabilities(version=(1, 35), dra=True),
            "DeviceClass gpu.intel.com",
        ),
        (
            {
                "model": {
                    "id": "Qwen/Qwen2-7B-Instruct",
                    "source": {"image": {"reference": "example.org/m:1"}},
                }
            },
            Capabilities(version=(1, 34), dra=True),
            "image volumes",
        ),
    ],
)
def test_what_the_cluster_lacks_is_named(
    spec: dict[str, Any], capabilities: Capabilities, word: str
) -> None:
    world = World(manifest(**spec), capabilities=capabilities)
    world.settle()
    assert world.condition("Stalled") == ("True", "UnsupportedCluster")
    assert word in world.message()


def dra_world(**gpu: Any) -> World:
    return World(
        manifest(quantization="fp8", gpu={"type": "arc-pro-b60", **gpu}),
        nodes=[node(**{"xpullm.io/gpu-type": "arc-pro-b60"})],
        capabilities=Capabilities(
            version=(1, 35), dra=True, device_classes=frozenset({"gpu.intel.com"})
        ),
    )


def test_a_claim_template_comes_before_the_pods_that_use_it_and_goes_after_them() -> None:
    world = dra_world(allocation="ResourceClaim", count=1)
    assert world.settle() == ["ResourceClaimTemplate", "Service", "Deployment", "status"]
    (first,) = [name for kind, name in world.objects if kind == "ResourceClaimTemplate"]
    claims = world.deployment["spec"]["template"]["spec"]["resourceClaims"]
    assert claims == [{"name": "gpu", "resourceClaimTemplateName": first}]
    world.roll()
    world.serve()
    world.settle()
    world.edit(gpu={"type": "arc-pro-b60", "allocation": "ResourceClaim", "count": 2})
    world.settle()
    assert len([kind for kind, _ in world.objects if kind == "ResourceClaimTemplate"]) == 2
    world.roll()
    world.serve()
    assert "delete ResourceClaimTemplate" in world.settle()
    assert ("ResourceClaimTemplate", first) not in world.objects


def test_automatic_allocation_takes_the_plugin_where_a_node_offers_it() -> None:
    world = dra_world()
    world.nodes[0]["status"]["allocatable"] = {"gpu.intel.com/xe": "1"}
    world.settle()
    limits = world.deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["gpu.intel.com/xe"] == "1"
    assert "resourceClaims" not in world.deployment["spec"]["template"]["spec"]


def test_a_step_gets_its_card_as_the_plan_before_it() -> None:
    """How pods get cards is chosen with the plan: a driver that restarts while an engine fails
    must not move the next attempt to the other one, where there may be no card."""
    world = dra_world()
    memory = {"value": str(catalog.gpus()["arc-pro-b60"].usable_bytes)}
    card = {"attributes": {"pciId": {"string": "0xe211"}}, "capacity": {"memory": memory}}
    world.slices = [{"spec": {"driver": "gpu.intel.com", "nodeName": "node-a", "devices": [card]}}]
    world.settle()
    world.roll()
    assert "resourceClaims" in world.deployment["spec"]["template"]["spec"]
    world.slices = []
    world.fail(oom(world.plan_hash()))
    world.settle()
    assert world.attempt() == 1
    assert "resourceClaims" in world.deployment["spec"]["template"]["spec"]


def test_a_cache_that_is_no_longer_wanted_goes() -> None:
    cache = {"persistentVolumeClaim": {"size": "20Gi"}}
    world = running(model={"id": "Qwen/Qwen2-7B-Instruct", "cache": cache})
    assert ("PersistentVolumeClaim", "qwen2-7b-model-cache") in world.objects
    world.edit(model={"id": "Qwen/Qwen2-7B-Instruct"})
    assert "delete PersistentVolumeClaim" in world.settle()
