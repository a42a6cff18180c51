"""A pod that does not start: what the kubelet says of it in Events stands in the status."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hack.cluster import Cluster
from tests.cluster.kwok_world import World, nodes, world

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

NEVER_MADE = {"annotations": {"test.xpullm.io/fail-phase": "mount"}}
SECRET = 'MountVolume.SetUp failed for volume "token" : secret "hf-token" not found'


@pytest.fixture(scope="module")
def live(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    log = tmp_path_factory.mktemp("events") / "log"
    with nodes(cluster, "events", {"a": 8}), world(cluster, log) as w:
        yield w


def placed(live: World, name: str) -> dict[str, Any]:
    """The pod once it has its node, with its container as the kubelet first shows it."""

    def look() -> dict[str, Any] | None:
        pods = live.list("Pod", f"xpullm.io/deployment={name}")
        return next((pod for pod in pods if pod["spec"].get("nodeName")), None)

    pod = live.wait(look)
    container = {
        "name": "engine",
        "image": "e",
        "imageID": "",
        "ready": False,
        "started": False,
        "restartCount": 0,
        "state": {"waiting": {"reason": "ContainerCreating"}},
    }
    status = {"phase": "Pending", "containerStatuses": [container]}
    answer = live.patch("Pod", pod["metadata"]["name"], {"status": status}, "status")
    assert answer.code == 200, answer
    return pod


def kubelet_says(live: World, pod: dict[str, Any], reason: str, message: str) -> None:
    """As kubelet 1.36 records it: core/v1, without eventTime (client-go tools/record/event.go)."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata, node = pod["metadata"], pod["spec"]["nodeName"]
    name = f"{metadata['name']}.{time.time_ns():x}"
    regarding = {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")}
    live.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": live.namespace},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", **regarding},
            "reason": reason,
            "message": message,
            "type": "Warning",
            "count": 6,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": "kubelet", "host": node},
            "reportingComponent": "kubelet",
            "reportingInstance": node,
        }
    )


def questions(live: World, uid: str) -> int:
    """How often the operator has asked for the Events of a pod."""
    whole = live.cluster.audit_log.read_text().rpartition("\n")[0]  # the rest is being written
    told = map(json.loads, whole.splitlines())
    selector = f"fieldSelector=regarding.uid%3D{uid}"
    return sum(
        event["verb"] == "list" and selector in event["requestURI"].replace("=" + uid, "%3D" + uid)
        for event in told
        if event["stage"] == "ResponseComplete"
    )


def test_a_secret_that_is_missing_is_named_until_it_is_there(live: World) -> None:
    live.apply("mounting", pod=NEVER_MADE)
    pod = placed(live, "mounting")
    template = live.template("mounting")
    kubelet_says(live, pod, "FailedMount", SECRET)
    message = live.until("mounting", "NotHealable")
    assert "bad_pod_spec in phase starting on node events-a" in message
    assert message.endswith(f": FailedMount: {SECRET}")
    assert live.condition("mounting", "Stalled")["status"] == "True"
    assert live.template("mounting") == template
    uid = pod["metadata"]["uid"]
    live.wait(lambda: questions(live, uid))  # the server writes its log later than it answers
    assert questions(live, uid) == 1

    running = {"state": {"running": {"startedAt": pod["metadata"]["creationTimestamp"]}}}
    container = {"name": "engine", "image": "e", "imageID": "", "ready": False, "restartCount": 0}
    status = {"phase": "Running", "containerStatuses": [container | running]}
    live.patch("Pod", pod["metadata"]["name"], {"status": status}, "status")
    live.until("mounting", "Starting")
    live.serve("mounting")
    assert live.condition("mounting", "Stalled")["status"] == ""
