"""Two replicas under the real Deployment controller: a re-roll takes the dead one first, and costs
the healthy one nothing until the replacement serves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hack.cluster import Cluster
from tests.cluster.kwok_world import World, last_word, nodes, public_log, world

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

OURS = "replicas"
SPEC: dict[str, Any] = {
    "replicas": 2,
    "pod": {"nodeSelector": {"test.xpullm.io/nodes": OURS}},
}
OOM = public_log("F037")


@pytest.fixture(scope="module")
def live(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    log = tmp_path_factory.mktemp("replicas") / "log"
    with nodes(cluster, OURS, {"a": 2, "b": 2}), world(cluster, log) as w:
        yield w
        assert "Traceback" not in log.read_text()


@dataclass(frozen=True)
class Moment:
    """One change of one pod."""

    pod: str
    plan: str
    ready: bool
    leaves: bool


def names(pods: Sequence[dict[str, Any]]) -> list[str]:
    return [str(pod["metadata"]["name"]) for pod in pods]


def now(live: World) -> str:
    """The version of the cluster's state at this moment."""
    answer = live.api.request("GET", f"/api/v1/namespaces/{live.namespace}/pods?limit=1")
    return str(answer.body["metadata"]["resourceVersion"])


def course(live: World, name: str, since: str) -> list[Moment]:
    """Every change of the deployment's pods since then, in the order in which it happened: a watch
    from the past tells them all again."""
    query = f"watch=1&resourceVersion={since}&timeoutSeconds=5"
    query += f"&labelSelector=xpullm.io/deployment={name}"
    path = f"/api/v1/namespaces/{live.namespace}/pods?{query}"
    events = map(json.loads, live.cluster.kubectl("get", "--raw", path).stdout.splitlines())
    return [_moment(event["type"], event["object"]) for event in events]


def _moment(change: str, pod: dict[str, Any]) -> Moment:
    metadata = pod["metadata"]
    conditions = pod["status"].get("conditions", ())
    return Moment(
        metadata["name"],
        metadata["labels"]["xpullm.io/plan-hash"],
        any(c["type"] == "Ready" and c["status"] == "True" for c in conditions),
        change == "DELETED" or "deletionTimestamp" in metadata,
    )


def rolling(live: World, name: str) -> dict[str, Any]:
    spec = live.get("Deployment", name)["spec"]
    return dict(spec["strategy"]["rollingUpdate"])


def test_the_dead_replica_goes_first_and_the_healthy_one_serves_until_it_is_replaced(
    live: World,
) -> None:
    with live.deployed("pair", **SPEC) as name:
        dead, healthy = pods = names(live.running_pods(name, 2))
        for pod in pods:
            live.serve_pod(pod)
        live.until(name, "ReplicasReady")
        start, before = now(live), live.plan_hash(name)

        word = last_word(OOM, plan_hash=before, was_ready=True)
        live.end_pod(dead, word)
        live.wait(lambda: "device_oom_runtime" in live.condition(name, "Ready")["message"])
        assert live.plan_hash(name) == before  # it had served: one failure is no reason
        live.end_pod(dead, word)
        live.until(name, "Healing")
        assert rolling(live, name) == {"maxSurge": 0, "maxUnavailable": 1}
        (replacement,) = names(live.running_pods(name, 1))
        time.sleep(1)  # time enough for a controller that would go on
        kept = live.get("Pod", healthy)
        assert kept["metadata"]["labels"]["xpullm.io/plan-hash"] == before
        assert "deletionTimestamp" not in kept["metadata"]
        assert live.condition(name, "Available")["message"] == "1 of 2 replicas serve"
        assert live.condition(name, "Available")["status"] == "True"

        live.serve_pod(replacement)
        (last,) = set(names(live.running_pods(name, 2))) - {replacement}
        live.serve_pod(last)
        live.until(name, "ReplicasReady")
        assert live.healing(name)["attempt"] == 1

        seen = course(live, name, start)
        leaving = list(dict.fromkeys(moment.pod for moment in seen if moment.leaves))
        assert leaving == [dead, healthy]
        gone = next(i for i, m in enumerate(seen) if m.pod == healthy and m.leaves)
        until_then = seen[:gone]
        assert {m.ready for m in until_then if m.pod == healthy} <= {True}
        assert {m.pod for m in until_then if m.plan != before} == {replacement}
        assert [m.ready for m in until_then if m.pod == replacement][-1] is True


def test_where_no_replica_serves_all_are_replaced_at_once(live: World) -> None:
    with live.deployed("both", **SPEC) as name:
        pods = names(live.running_pods(name, 2))
        start, before = now(live), live.plan_hash(name)
        live.end_pod(pods[0], last_word(OOM, plan_hash=before))
        live.until(name, "Healing")
        assert rolling(live, name) == {"maxSurge": 0, "maxUnavailable": "100%"}
        fresh = names(live.running_pods(name, 2))  # none of them is Ready
        assert set(fresh) & set(pods) == set()
        listed = f"xpullm.io/deployment={name}"
        live.wait(lambda: not {*names(live.list("Pod", listed))} & {*pods}, told="for both to go")
        seen = course(live, name, start)
        assert {moment.pod for moment in seen if moment.leaves} == set(pods)
        assert not any(moment.ready for moment in seen)
        for pod in fresh:
            live.serve_pod(pod)
        live.until(name, "ReplicasReady")
        assert live.healing(name)["attempt"] == 1
