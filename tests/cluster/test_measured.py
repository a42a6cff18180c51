"""`status.measured` on a real node: what the engine printed and really used, written once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hack.cluster import Cluster
from hack.demo import images, objects
from hack.demo.install import Operator
from hack.demo.timeline import Timeline, is_ready
from hack.simengine.hub import commit_of
from tests.cluster.loop_world import (
    Object,
    operated,
    pods_of,
    prepared,
    quiet,
    settled,
    versions,
)

pytestmark = [pytest.mark.cluster, pytest.mark.node]
GIB = 1 << 30
NAME = "qwen2-7b"


@pytest.fixture(scope="module")
def world(real_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with prepared(real_cluster, tmp_path_factory.mktemp("measured")) as cluster:
        yield cluster


@pytest.fixture
def operator(world: Cluster, tmp_path: Path) -> Iterator[Operator]:
    with operated(world, tmp_path / "operator.log") as running:
        yield running


def measured(seen: Object) -> Object:
    found: Object = seen["status"].get("measured", {})
    return found


def follow(world: Cluster, done: Callable[[Object], bool]) -> Object:
    return Timeline(world).follow(NAME, done, 60)


def asked(operator: Operator, result: str) -> float:
    found = re.search(
        rf'xpullm_engine_requests_total{{result="{result}"}} (\S+)', operator.metrics()
    )
    return float(found[1]) if found else 0.0


def test_a_healthy_deployment_says_what_its_engine_measured_and_is_then_left_alone(
    world: Cluster, operator: Operator
) -> None:
    world.apply(objects.seed(images.LOADING))
    assert is_ready(settled(world, NAME))
    seen = follow(world, lambda o: "startSeconds" in measured(o))
    (pod,) = pods_of(world, NAME)
    log = world.kubectl("logs", pod["metadata"]["name"], "-c", "engine").stdout
    weights = re.search(r"Loading model weights took ([\d.]+) GiB", log)
    blocks = re.search(r"# xpu blocks: (\d+),", log)
    assert weights
    assert blocks
    found, plan = measured(seen), seen["status"]["plan"]
    assert seen["status"]["modelRevision"] == commit_of("Qwen/Qwen2-7B-Instruct", "main")
    assert found["planHash"] == plan["hash"]
    assert found["weightsBytes"] == int(float(weights[1]) * GIB)
    assert found["kvCacheTokens"] == int(blocks[1]) * 8
    # What the engine held while it loaded (for 75 ms all of it), and above it two interpreters.
    assert 400 << 20 < found["hostPeakBytes"] < 480 << 20
    assert found["startSeconds"] >= 1
    errors = found["predictionErrors"]
    assert errors["weightsBytes"] == found["weightsBytes"] - plan["memory"]["weightsBytes"]
    assert errors["hostBytes"] == found["hostPeakBytes"] - plan["hostMemory"]["requestBytes"]
    assert asked(operator, "ok") == 1

    before = quiet(world, "llmd")
    operator.stop()
    operator.start()
    deadline = time.monotonic() + 90
    while not asked(operator, "ok"):
        assert time.monotonic() < deadline, operator.tail()
        time.sleep(0.2)
    time.sleep(3)  # long enough for a pass with the figures that were asked for again
    assert versions(world, "llmd") == before


def test_an_engine_that_died_and_came_again_is_measured_anew(
    world: Cluster, operator: Operator
) -> None:
    world.apply(objects.seed(images.SEED))
    assert is_ready(settled(world, NAME))
    seen = follow(world, lambda o: "startSeconds" in measured(o))
    assert measured(seen)["planHash"] == seen["status"]["plan"]["hash"]
    assert seen["status"]["healing"]["history"][0]["planHash"] != measured(seen)["planHash"]
