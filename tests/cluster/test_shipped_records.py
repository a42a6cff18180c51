"""What was learned reaches the first plan of a new deployment through the API server: a person's
record as from Git, and what the operator itself saw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.cluster import Cluster
from tests.cluster.kwok_world import World, last_word, nodes, public_log, world

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

OURS = "learned"
OOM = public_log("F037")
HEALING = Path(__file__).parents[2] / "docs" / "healing.md"


@pytest.fixture(scope="module")
def live(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    log = tmp_path_factory.mktemp("learned") / "log"
    with nodes(cluster, OURS, {"a": 8, "b": 8}), world(cluster, log) as w:
        yield w
        assert "Traceback" not in log.read_text()


def spec(image: str, node: str = "a") -> dict[str, Any]:
    where = {"kubernetes.io/hostname": f"{OURS}-{node}"}
    return {"engine": {"image": image}, "pod": {"nodeSelector": where}}


def plan(live: World, name: str) -> dict[str, Any]:
    """The plan in force, once status says it: pods may run before."""
    return live.wait(lambda: dict(live.get("LLMDeployment", name)["status"].get("plan", {})))


def record(name: str, image: str, **fields: Any) -> dict[str, Any]:
    """The record that the documentation shows, for another image."""
    text = HEALING.read_text().split("kind: TuningRecord")[1].split("```")[0]
    shown: dict[str, Any] = yaml.safe_load(f"kind: TuningRecord{text}")
    return {
        "apiVersion": "xpullm.io/v1alpha1",
        **shown,
        "metadata": {"name": name},
        "spec": {**shown["spec"], "engineImage": image, **fields},
    }


def ship(live: World, *records: dict[str, Any]) -> None:
    """As a pipeline applies them."""
    for item in records:
        answer = live.api.apply(item, live.namespace, manager="pipeline")
        assert answer.code in (200, 201), answer.message
    start_anew(live)


def start_anew(live: World) -> None:
    """An operator lists all records before its first plan: now it surely knows what is stored."""
    live.operator.stop()
    live.operator.start()


def test_a_persons_record_shapes_the_first_plan(live: World) -> None:
    ship(
        live,
        record("shipped", "test/shipped:1"),
        record("other-driver", "test/unshipped:1", kernel="5.0.0-other"),
        record("other-card", "test/unshipped:1", gpu="arc-b580"),
    )
    with (
        live.deployed("unshipped", **spec("test/unshipped:1")) as without,
        live.deployed("shipped", **spec("test/shipped:1")) as shaped,
    ):
        free, bound = plan(live, without), plan(live, shaped)
        assert bound["utilizationPercent"] < free["utilizationPercent"]
        assert bound["memory"]["kvCacheBytes"] < free["memory"]["kvCacheBytes"]
        failed = record("", "")["spec"]["entries"][0]["plannedBytes"]
        assert used(bound) < failed <= used(free)
        # It was the first plan: nothing failed, and no step was taken.
        assert live.healing(shaped) == {"attempt": 0}
        assert live.get("Deployment", shaped)["metadata"]["generation"] == 1
        (stored,) = (r for r in live.list("TuningRecord") if r["metadata"]["name"] == "shipped")
        assert "status" not in stored  # a person's object is only read


def test_a_record_that_comes_later_binds_the_next_plan_only(live: World) -> None:
    with live.deployed("later", **spec("test/later:1")) as name:
        first, template = plan(live, name), live.template(name)
        ship(live, record("later", "test/later:1"))
        live.patch("LLMDeployment", name, {"spec": {"service": {"port": 8001}}})  # no input of it
        live.wait(lambda: live.get("Service", name)["spec"]["ports"][0]["port"] == 8001)
        assert (plan(live, name), live.template(name)) == (first, template)
        live.patch("LLMDeployment", name, {"spec": {"serving": {"contextLength": 8192}}})
        live.wait(lambda: plan(live, name)["hash"] != first["hash"])
        assert plan(live, name)["utilizationPercent"] < first["utilizationPercent"]


def used(of: dict[str, Any]) -> int:
    """What the engine accounts for itself: all but the card's context and the reserve."""
    memory = of["memory"]
    return sum(memory[f"{term}Bytes"] for term in ("weights", "activation", "nonTorch", "kvCache"))


def test_a_failure_binds_other_deployments_after_two_nodes_have_seen_it(live: World) -> None:
    image = "test/twice:1"
    with ExitStack() as stack:

        def deployed(name: str, node: str) -> dict[str, Any]:
            stack.enter_context(live.deployed(name, **spec(image, node)))
            return plan(live, name)

        def fails(name: str, nodes_: set[str]) -> None:
            live.end(name, last_word(OOM, plan_hash=live.plan_hash(name)))
            live.until(name, "Healing")
            wanted = {f"{OURS}-{node}" for node in nodes_}
            live.wait(lambda: failed_on(live, image) == wanted)
            start_anew(live)

        first = deployed("first", "a")
        fails("first", {"a"})
        second = deployed("second", "b")
        assert second == first  # one node's failure binds nobody else
        fails("second", {"a", "b"})
        third = deployed("third", "a")
        assert third["utilizationPercent"] < first["utilizationPercent"]
        assert third["memory"]["kvCacheBytes"] < first["memory"]["kvCacheBytes"]
        assert live.healing("third") == {"attempt": 0}


def failed_on(live: World, image: str) -> set[str]:
    """The nodes on which the operator saw this image fail, as its record says."""
    return {
        entry["node"]
        for item in live.list("TuningRecord")
        if item.get("status", {}).get("engineImage") == image
        for entry in item["status"]["entries"]
        if entry["outcome"] == "Failed"
    }
