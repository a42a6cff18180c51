"""The whole loop on a real node: apply, plan, fail, name the cause, change one argument, serve.

Everything is real but the engine: API server, scheduler, kubelet, containers, kernel OOM kills, the
supervisor, and the operator with the rights that the chart gives and no others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hack.cluster import Cluster
from hack.demo import images, objects
from hack.demo.__main__ import attempts, causes, chat
from hack.demo.install import Operator
from hack.demo.timeline import Timeline, condition, is_ready, is_stalled
from tests.cluster.loop_world import operated, pods_of, prepared, quiet, settled, versions

pytestmark = [pytest.mark.cluster, pytest.mark.node]


@pytest.fixture(scope="module")
def world(real_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with prepared(real_cluster, tmp_path_factory.mktemp("loop")) as cluster:
        yield cluster


@pytest.fixture
def operator(world: Cluster, tmp_path: Path) -> Iterator[Operator]:
    with operated(world, tmp_path / "operator.log") as running:
        yield running


def test_the_seeds_case_heals_with_one_argument_and_serves(
    world: Cluster, operator: Operator
) -> None:
    world.apply(objects.seed(images.SEED))
    healed = settled(world, "qwen2-7b")
    assert is_ready(healed)
    history = healed["status"]["healing"]["history"]
    assert history[0]["cause"].startswith("device_oom")
    assert history[0]["from"] != history[0]["to"]
    assert len(history) == attempts(healed) <= 3
    with world.port_forward("svc/qwen2-7b", 8000) as url:
        assert "assistant" in chat(url, "Qwen/Qwen2-7B-Instruct")
    told = world.get("events.events.k8s.io")["items"]
    assert {"Planned", "ArgumentChanged"} <= {e["reason"] for e in told}


def test_a_kernel_oom_kill_heals_by_the_memory_limit(world: Cluster, operator: Operator) -> None:
    world.apply(objects.host_oom(images.LOADING))
    healed = settled(world, "small-limit")
    assert is_ready(healed)
    assert causes(healed)[0] == "host_oom"
    (pod,) = pods_of(world, "small-limit")
    assert pod["spec"]["containers"][0]["resources"]["limits"]["memory"] != "320Mi"


def test_a_users_memory_limit_is_not_raised_without_leave(
    world: Cluster, operator: Operator
) -> None:
    manifest = objects.host_oom(images.LOADING)
    manifest["spec"]["healing"] = {"mayChange": ["Arguments"]}
    world.apply(manifest)
    stalled = settled(world, "small-limit")
    assert is_stalled(stalled)
    assert "spec.healing.mayChange" in str(stalled["status"]["conditions"])
    (pod,) = pods_of(world, "small-limit")
    assert pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == "320Mi"


def test_what_cannot_fit_says_by_how_much_and_what_fits(world: Cluster, operator: Operator) -> None:
    world.apply(objects.too_big())
    refused = settled(world, "qwen2-72b")
    (stalled,) = (c for c in refused["status"]["conditions"] if c["type"] == "Stalled")
    assert stalled["reason"] == "Infeasible"
    assert "GiB" in stalled["message"]
    assert pods_of(world, "qwen2-72b") == []


def test_a_crash_of_the_operator_during_a_reroll_takes_no_second_step(
    world: Cluster, operator: Operator
) -> None:
    world.apply(objects.seed(images.SEED))
    Timeline(world).follow("qwen2-7b", lambda o: attempts(o) >= 1, 120)
    operator.kill()
    time.sleep(2)  # the world goes on without an operator
    before = world.get("deployment", "qwen2-7b")["metadata"]["annotations"]
    operator.start()
    healed = settled(world, "qwen2-7b")
    assert is_ready(healed)
    after = world.get("deployment", "qwen2-7b")["metadata"]["annotations"]
    for truth in ("plan", "template", "attempt", "inputs-hash"):
        assert after[f"xpullm.io/{truth}"] == before[f"xpullm.io/{truth}"]
    assert attempts(healed) == 1
    hashes = {p["metadata"]["labels"]["xpullm.io/plan-hash"] for p in pods_of(world, "qwen2-7b")}
    assert len(hashes) == 1


def test_a_restarted_operator_leaves_a_healthy_deployment_alone(
    world: Cluster, operator: Operator
) -> None:
    world.apply(objects.seed(images.SEED))
    assert is_ready(settled(world, "qwen2-7b"))
    Timeline(world).follow("qwen2-7b", lambda o: "measured" in o["status"], 60)
    before = quiet(world, "llmd,deployment,service,pod")
    operator.stop()
    operator.start()
    time.sleep(5)  # long enough for a pass over everything
    assert versions(world, "llmd,deployment,service,pod") == before
    assert condition(world.get("llmd", "qwen2-7b"), "Ready") == "True"
