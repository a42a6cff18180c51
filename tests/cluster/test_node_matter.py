"""Two deployments fail on one node while their image serves on another: the node is left, and no
argument changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hack.cluster import Cluster
from tests.cluster.kwok_world import World, last_word, nodes, public_log, world

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

IMAGE = "test/node-matter:1"
OURS, BAD, GOOD = "node-matter", "node-matter-a", "node-matter-b"
SPEC: dict[str, Any] = {
    "engine": {"image": IMAGE},
    "pod": {"nodeSelector": {"test.xpullm.io/nodes": OURS}},
}
# Out of memory on a card of 15.11 GiB, long before the engine held what was planned for it.
OOM = (
    "INFO 11-23 02:00:00 [model_runner.py:1115] Loading model weights took 4.5100 GB\n"
    "INFO 11-23 02:00:09 [executor_base.py:111] # xpu blocks: 7800, # CPU blocks: 512\n"
    "INFO:     Application startup complete.\n"
    "ERROR 11-23 02:01:00 [engine.py:448] Traceback (most recent call last):\n"
    "ERROR 11-23 02:01:00 [engine.py:448] RuntimeError: XPU out of memory. Tried to allocate "
    "130.00 MiB (GPU 0; 15.11 GiB total capacity; 11.09 GiB already allocated; 11.23 GiB reserved "
    "in total by PyTorch)\n"
)
WAITS = "in 30 s (1 of 1)"


@pytest.fixture
def live(cluster: Cluster, tmp_path: Any) -> Iterator[World]:
    log = tmp_path / "log"
    with world(cluster, log) as w:
        yield w
        assert "Traceback" not in log.read_text()


def arguments(live: World, name: str) -> list[str]:
    return list(live.template(name)["spec"]["containers"][0]["args"])


def place(live: World, name: str) -> str:
    return str(live.running(name)["spec"]["nodeName"])


def said_of(live: World, node: str) -> list[str]:
    """The operator's Events about a node; those of cluster-scoped objects lie in `default`."""
    path = "/apis/events.k8s.io/v1/namespaces/default/events"
    return [
        item["note"]
        for item in live.api.request("GET", path).body["items"]
        if item["regarding"].get("name") == node and item["reason"] == "DeviceSuspect"
    ]


def test_a_node_on_which_two_deployments_fail_is_left_by_both(
    cluster: Cluster, live: World
) -> None:
    # The nodes leave after the pods, which kwok would not end without them.
    with ExitStack() as places, ExitStack() as stack:
        enter = stack.enter_context
        places.enter_context(nodes(cluster, OURS, {"a": 3}))
        places.enter_context(nodes(cluster, "foreign", {"a": 3}))  # not the user's label
        first, second = (enter(live.deployed(name, **SPEC)) for name in ("first", "second"))
        assert {place(live, name) for name in (first, second)} == {BAD}
        before = {name: arguments(live, name) for name in (first, second)}

        live.end(first, last_word(public_log("F008")))  # a lost device, alone: started again
        assert WAITS in live.until(first, "BackingOff")
        cluster.kubectl("cordon", BAD)
        places.enter_context(nodes(cluster, OURS, {"b": 3}))
        third = enter(live.deployed("third", **SPEC))
        assert place(live, third) == GOOD
        live.serve(third)

        live.end(second, last_word(OOM))
        live.until(second, "Healing")
        live.until(first, "Healing")  # it looks again, without a failure of its own
        for name, cause in ((first, "device_lost"), (second, "device_oom_runtime")):
            (step,) = live.healing(name)["history"]
            assert (step["argument"], step["cause"]) == ("node", cause)
            assert step["node"] == BAD
            assert arguments(live, name) == before[name]
            assert place(live, name) == GOOD
        live.wait(lambda: [n for n in said_of(live, BAD) if "too, while" in n][1:])
        notes = said_of(live, BAD)
        for name in (first, second):
            other = f"{live.namespace}/{name} fails on node {BAD} too, while the same image"
            assert any(other in note for note in notes)
        assert not [r for r in live.list("TuningRecord") if outcomes(r) == {"Failed"}]


def outcomes(record: dict[str, Any]) -> set[str]:
    entries = record.get("status", {}).get("entries", ())  # not yet, where it has just been made
    return {entry["outcome"] for entry in entries}
