"""Growth on a real node: a healthy engine in demand is given more of its card, one step at a time.

From the engine's /metrics over the supervisor's /status to the operator's re-roll; about 3 minutes,
because nothing grows before it was healthy for a minute.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hack.cluster import Cluster
from hack.demo import images, objects
from hack.demo.install import Operator
from hack.demo.timeline import Timeline, is_ready
from tests.cluster.loop_world import Object, operated, pods_of, prepared, settled

pytestmark = [pytest.mark.cluster, pytest.mark.node, pytest.mark.timeout(420)]
NAME = "qwen2-7b"


@pytest.fixture(scope="module")
def world(real_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with prepared(real_cluster, tmp_path_factory.mktemp("growth")) as cluster:
        yield cluster


@pytest.fixture
def operator(world: Cluster, tmp_path: Path) -> Iterator[Operator]:
    with operated(world, tmp_path / "operator.log") as running:
        yield running


def growing() -> Object:
    manifest = objects.seed(images.LOADING)
    spec = manifest["spec"]
    del spec["serving"]  # nothing asked for: it begins at the start's percentage
    spec["verification"] = {"mode": "None"}
    spec["healing"] = {
        "growth": {
            "mode": "Enabled",
            "afterHealthySeconds": 60,
            "startUtilizationPercent": 60,
            "targetUtilizationPercent": 65,
        }
    }
    return manifest


@contextmanager
def load(url: str, prompt_tokens: int, requests: int) -> Iterator[None]:
    """Long prompts at the same time, again and again, until the block ends."""
    ends = threading.Event()
    body = {
        "model": "Qwen/Qwen2-7B-Instruct",
        "prompt": [1] * prompt_tokens,
        "max_tokens": 512,
        "ignore_eos": True,
    }

    def ask() -> None:
        while not ends.is_set():
            request = urllib.request.Request(
                f"{url}/v1/completions",
                data=json.dumps(body).encode(),
                headers={"Content-Type": "application/json"},
            )
            with suppress(OSError), urllib.request.urlopen(request, timeout=120) as answer:
                answer.read()
            ends.wait(0.1)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(requests)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ends.set()


def utilization(seen: Object) -> int:
    return int(seen["status"]["plan"]["utilizationPercent"])


def test_an_engine_in_demand_grows_by_one_step_and_serves(
    world: Cluster, operator: Operator
) -> None:
    world.apply(growing())
    first = settled(world, NAME)
    assert is_ready(first)
    assert utilization(first) == 60
    (pod,) = pods_of(world, NAME)
    tokens = first["status"]["plan"]["kvCacheTokens"]
    longest = first["status"]["plan"]["contextLength"]
    with world.port_forward("svc/" + NAME, 8000) as url, load(url, longest - 1024, 4):
        assert 4 * (longest - 1024) > 0.7 * tokens
        grown = Timeline(world).follow(NAME, lambda o: utilization(o) > 60, 240)
    assert utilization(grown) == 65
    assert is_ready(settled(world, NAME))
    (newer,) = pods_of(world, NAME)
    assert newer["metadata"]["uid"] != pod["metadata"]["uid"]
    (step,) = grown["status"]["healing"]["history"]
    assert (step["cause"], step["argument"]) == ("growth", "num-gpu-blocks-override")
    assert grown["status"]["healing"]["attempt"] == 0
    told = world.get("events.events.k8s.io")["items"]
    assert "UtilizationRaised" in {event["reason"] for event in told}
