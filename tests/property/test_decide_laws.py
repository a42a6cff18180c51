"""Laws of `decide` for every world: quiet on its own work, well-formed status, never a crash."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.kstatus import lint_status
from tests.unit.decide.world import KERNEL, World, failed_once, manifest, node, rolled

from xpullm.controller.decide import decide
from xpullm.controller.types import Fleet
from xpullm.healing.node import Trouble
from xpullm_runtime.report import Report

# Any JSON at all: what an API object holds where we expect something else.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
causes = st.sampled_from(
    [
        "device_oom_runtime", "device_oom_profile", "device_oom_weights", "kv_cache_no_memory",
        "max_model_len_exceeds_kv", "host_oom", "device_lost", "model_not_found", "unknown",
        "bad_arguments", "engine_hang", "shm_exhausted", "never heard of it", "",
    ]
)  # fmt: skip
phases = st.sampled_from(["starting", "weights", "profile", "kv_alloc", "runtime", "rubbish", ""])
reports = st.builds(
    Report,
    cause=causes,
    phase=phases,
    helps=st.sampled_from(["arguments", "resources", "person", "wait", "", "rubbish"]),
    actionable=st.booleans(),
    was_ready=st.booleans(),
    ended=st.booleans(),
    exit_code=st.integers(0, 255),
    evidence=st.lists(st.text(max_size=40), max_size=3).map(tuple),
    figures=st.dictionaries(
        st.sampled_from(["tried_bytes", "weights_bytes", "max_model_len_fits", "kv_cache_tokens"]),
        st.integers(-(2**40), 2**40),
        max_size=3,
    ),
)
GROWING = {"growth": {"mode": "Enabled", "afterHealthySeconds": 600}}
specs = st.fixed_dictionaries(
    {},
    optional={
        "quantization": st.sampled_from(["sym_int4", "fp8", "nonsense"]),
        "gpu": st.sampled_from([{}, {"type": "arc-a770-16g"}, {"type": "arc-pro-b60", "count": 2}]),
        "replicas": st.integers(0, 3),
        "suspend": st.booleans(),
        "serving": st.sampled_from([{}, {"contextLength": 4096}, {"contextLength": 10**7}]),
        "healing": st.sampled_from(
            [{}, {"mode": "Off"}, {"mode": "Observe"}, {"maxAttempts": 0}, GROWING]
        ),
        "engine": st.sampled_from([{}, {"name": "vllm"}, {"args": [{"name": "no-such-flag"}]}]),
    },
)
moves = st.lists(
    st.one_of(
        st.just(("roll",)),
        st.just(("serve",)),
        st.tuples(st.just("fail"), reports),
        st.tuples(st.just("kill"), st.sampled_from(["OOMKilled", "Error", "Completed", "x"])),
        st.tuples(st.just("edit"), specs),
        st.tuples(st.just("later"), st.integers(1, 100_000)),
        st.tuples(st.just("fleet"), st.integers(0, 5)),
        st.just(("company",)),
        st.tuples(st.just("tell"), st.none() | st.integers(0, 100)),
    ),
    max_size=8,
)


def company(world: World) -> Fleet:
    """Another deployment loses its device on the first node; the image serves on a third."""
    image = world.deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    card = world.llmd.get("status", {}).get("plan", {}).get("gpu", "")
    kind = (image, card, KERNEL)
    where = world.nodes[0]["metadata"]["name"]
    trouble = Trouble("ns/other", where, kind, "other", "device_lost", time=None)
    return Fleet(troubles=(trouble,), serving={kind: ("node-c",)})


def play(world: World, move: tuple[Any, ...]) -> None:
    exists = ("Deployment", "qwen2-7b") in world.objects
    match move:
        case ("roll",) if exists:
            world.roll()
        case ("serve",) if exists and world.pods:
            world.serve()
        case ("fail", report) if exists and world.pods:
            world.fail(report)
        case ("kill", reason) if exists and world.pods:
            world.fail(reason=reason, exitCode=137)
        case ("edit", spec):
            world.edit(**spec)
        case ("later", seconds):
            world.now += seconds
        case ("tell", usage):
            world.tell(kv_usage_percent=usage)
        case ("fleet", number):
            world.fleet = Fleet(rerolling=number)
        case ("company",) if exists:
            world.fleet = company(world)


@given(specs, moves)
def test_deciding_on_its_own_work_decides_nothing(
    spec: dict[str, Any], history: list[tuple[Any, ...]]
) -> None:
    """After every move a few passes bring rest, each status is sound, and nothing is told twice."""
    world = World(manifest(**spec), nodes=[node("node-a"), node("node-b")])
    world.settle()
    for move in history:
        play(world, move)
        world.settle()  # raises where it never comes to rest; lints every status
        world.runtime.clear()  # time alone may let it grow; without figures nothing does
        told = dict(world.events)
        assert world.settle() == []
        assert world.events == told
        again = world.step()
        assert not again.rerolled
        assert again.records == ()


@given(specs, moves)
def test_the_same_moment_gives_the_same_decision(
    spec: dict[str, Any], history: list[tuple[Any, ...]]
) -> None:
    world = World(manifest(**spec))
    for move in history:
        play(world, move)
        snapshot = world.snapshot()
        before = copy.deepcopy(snapshot)
        first = decide(snapshot, world.now, world.settings)
        assert decide(before, world.now, world.settings) == first
        assert snapshot == before  # and nothing that was read is changed
        world.step()


@given(moves)
def test_attempts_are_bounded(history: list[tuple[Any, ...]]) -> None:
    """However the engine dies, at most maxAttempts steps are taken for one set of inputs."""
    world = World(manifest(healing={"maxAttempts": 2} | GROWING))
    world.settle()
    for move in history:
        if move[0] == "edit":
            continue
        world.roll()
        play(world, move)
        world.settle()
        assert world.attempt() <= 2


@given(st.lists(json_values, max_size=3), json_values, json_values)
def test_rubbish_in_pods_nodes_and_records_is_survived(
    statuses: list[Any], labels: Any, extra: Any
) -> None:
    world = rolled()
    plan = {"xpullm.io/plan-hash": world.plan_hash()}
    world.pods = [
        {"metadata": {"uid": "u", "labels": plan}, "spec": labels, "status": status}
        for status in statuses
    ] + [{"metadata": {"uid": "u", "labels": labels}, "status": extra}]
    world.nodes = [{"metadata": {"name": "n", "labels": {}}, "spec": labels, "status": extra}]
    world.objects["TuningRecord", "odd"] = {
        "metadata": {"name": "odd"}, "spec": labels, "status": extra,
    }  # fmt: skip
    world.step()


@given(
    st.sampled_from(["inputs-hash", "plan", "history", "attempt", "template"]),
    st.text(max_size=40) | st.just(""),
)
def test_any_annotation_may_be_damaged(name: str, text: str) -> None:
    """The operator finds its way back to a running deployment, whatever was written there."""
    world = failed_once()
    world.deployment["metadata"]["annotations"][f"xpullm.io/{name}"] = text
    world.settle()
    assert lint_status(world.llmd) == []
    assert world.deployment["metadata"]["annotations"][f"xpullm.io/{name}"] != text or (
        name in ("history", "attempt")
    )


@given(json_values)
def test_rubbish_in_the_stored_status_is_survived(status: Any) -> None:
    world = World(manifest())
    world.llmd["status"] = status
    world.settle()
    assert lint_status(world.llmd) == []
