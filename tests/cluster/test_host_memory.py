"""A node of 64 GiB under the real scheduler: host memory goes up as far as the node, no further."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hack.cluster import Cluster
from tests.cluster.kwok_world import CARD, World, last_word, world

from xpullm import catalog
from xpullm_runtime.cgroup import HostMemory

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

NODE = "host-memory-a"
SPEC: dict[str, Any] = {
    "pod": {
        "nodeSelector": {"test.xpullm.io/nodes": "host-memory"},
        "terminationGracePeriodSeconds": 1,
    }
}
KILLED = last_word("", 137, host=HostMemory(limit_bytes=0, oom_kills=1))


@pytest.fixture(scope="module")
def live(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    labels = {"xpullm.io/gpu-type": CARD, "test.xpullm.io/nodes": "host-memory"}
    capacity = {catalog.gpus()[CARD].resource: "1", "memory": "64Gi"}
    log = tmp_path_factory.mktemp("host-memory") / "log"
    cluster.add_kwok_node(NODE, labels, capacity)
    try:
        with world(cluster, log) as w:
            yield w
            assert "Traceback" not in log.read_text()
    finally:
        cluster.kubectl("delete", "node", NODE, "--wait=false", check=False)


def memory(live: World, name: str) -> tuple[str, str]:
    """Request and limit of the pod that runs."""
    resources = live.running(name)["spec"]["containers"][0]["resources"]
    return resources["requests"]["memory"], resources["limits"]["memory"]


def killed(live: World, name: str) -> None:
    """The kernel kills the engine, and another plan is written."""
    before = live.plan_hash(name)
    live.end(name, KILLED, 137, "OOMKilled")
    live.wait(lambda: live.plan_hash(name) != before, told="for another plan")


def test_kills_end_at_the_nodes_memory_and_with_a_persons_turn(live: World) -> None:
    with live.deployed("bounded", **SPEC) as name:
        seen = [memory(live, name)]
        for _ in range(3):
            killed(live, name)
            seen.append(memory(live, name))
        assert seen == [
            ("27392Mi", "31488Mi"),
            ("41199Mi", "47360Mi"),
            ("57010Mi", "64Gi"),
            ("57010Mi", "64Gi"),
        ]
        live.end(name, KILLED, 137, "OOMKilled")
        message = live.until(name, "LadderExhausted")
        assert "needs more than 64Gi of host memory, and the largest node" in message
        assert live.condition(name, "Stalled")["message"] == message
        assert [step["argument"] for step in live.healing(name)["history"]] == [
            "memory-limit",
            "memory-limit",
            "swap-space",
        ]


@contextmanager
def another_pod(live: World, memory: str) -> Iterator[None]:
    """A pod of somebody else's that holds so much of the node."""
    other = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "other", "namespace": live.namespace},
        "spec": {
            "nodeName": NODE,
            "containers": [
                {"name": "c", "image": "c", "resources": {"requests": {"memory": memory}}}
            ],
        },
    }
    live.cluster.apply(other)
    try:
        yield
    finally:
        live.cluster.kubectl("delete", "pod", "other", "-n", live.namespace, "--now")


def test_a_request_that_the_scheduler_cannot_place_goes_back(live: World) -> None:
    """30 of the node's 64 GiB are held: 27 more fit, 40.5 don't."""
    with another_pod(live, "30Gi"), live.deployed("placed", **SPEC) as name:
        assert memory(live, name) == ("27392Mi", "31488Mi")
        live.end(name, KILLED, 137, "OOMKilled")
        live.wait(lambda: len(live.healing(name).get("history", ())) == 2, told="for two steps")
        assert memory(live, name) == ("27392Mi", "47360Mi")
        raised, back = live.healing(name)["history"]
        assert (raised["argument"], raised["to"]) == ("memory-limit", "47360Mi")
        assert (back["argument"], back["from"], back["to"], back["cause"]) == (
            "memory-request", "41199Mi", "27392Mi", "unschedulable_gpu",
        )  # fmt: skip
        assert "Insufficient memory" in back["evidence"]
        live.serve(name)
        assert live.healing(name)["history"][-1]["result"] == "Helped"
