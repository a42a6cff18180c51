"""Simulated nodes fail pods in the shape a kubelet gives them, at any scale."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hack.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


def _pod(namespace: str, name: str, notes: dict[str, str]) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "annotations": notes},
        "spec": {
            "nodeSelector": {"test": namespace},
            "containers": [{"name": "engine", "image": "engine:1"}],
        },
    }


@pytest.fixture(autouse=True)
def node(cluster: Cluster, namespace: str) -> Iterator[None]:
    cluster.add_kwok_node(f"node-{namespace}", {"test": namespace})
    yield
    cluster.kubectl("delete", "node", f"node-{namespace}", "--wait=false", check=False)


def _course(cluster: Cluster, namespace: str, since: str) -> list[dict[str, Any]]:
    """The status of the first container of the namespace's pod after each of its changes since
    then: a watch from the past tells them all again, however short each was."""
    query = f"watch=1&resourceVersion={since}&timeoutSeconds=5"
    told = cluster.kubectl("get", "--raw", f"/api/v1/namespaces/{namespace}/pods?{query}").stdout
    pods = [json.loads(line)["object"] for line in told.splitlines()]
    return [pod["status"]["containerStatuses"][0] for pod in pods if _started(pod)]


def _started(pod: dict[str, Any]) -> bool:
    return bool(pod["status"].get("containerStatuses"))


def test_a_pod_fails_with_the_annotated_cause_and_recovers(
    cluster: Cluster, namespace: str
) -> None:
    notes = {
        "test.xpullm.io/fail": "OOMKilled",
        "test.xpullm.io/fail-exit-code": "137",
        "test.xpullm.io/fail-message": '{"cause": "device_oom_runtime"}',
        "test.xpullm.io/fail-times": "1",
    }
    since = cluster.get("namespace", namespace)["metadata"]["resourceVersion"]
    cluster.apply(_pod(namespace, "p", notes))
    wait = ("wait", "pod/p", "-n", namespace, "--timeout=60s")
    cluster.kubectl(*wait, "--for=jsonpath={.status.containerStatuses[0].restartCount}=1")
    cluster.kubectl(*wait, "--for=condition=Ready")
    seen = _course(cluster, namespace, since)
    status = next(container for container in seen if container["restartCount"] == 1)
    terminated = status["lastState"]["terminated"]
    assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert (
        status["ready"],
        terminated["reason"],
        terminated["exitCode"],
        terminated["message"],
    ) == (
        False,
        "OOMKilled",
        137,
        '{"cause": "device_oom_runtime"}',
    )
    status = cluster.get("pod", "p", "-n", namespace)["status"]["containerStatuses"][0]
    assert (status["restartCount"], status["lastState"]["terminated"]["exitCode"]) == (1, 137)


def test_a_pod_that_fails_at_start_is_never_ready(cluster: Cluster, namespace: str) -> None:
    notes = {
        "test.xpullm.io/fail": "Error",
        "test.xpullm.io/fail-exit-code": "1",
        "test.xpullm.io/fail-phase": "start",
    }
    cluster.apply(_pod(namespace, "p", notes))
    restarted_twice = "--for=jsonpath={.status.containerStatuses[0].restartCount}=2"
    cluster.kubectl("wait", "pod/p", "-n", namespace, "--timeout=60s", restarted_twice)
    pod = cluster.get("pod", "p", "-n", namespace)["status"]
    ready = next(c for c in pod["conditions"] if c["type"] == "Ready")
    assert ready["status"] == "False"
    assert pod["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 1
