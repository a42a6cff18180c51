"""Simulated nodes fail pods in the shape a kubelet gives them, at any scale."""

import pytest
from hack.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(60)]


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


def test_a_pod_fails_with_the_annotated_cause_and_recovers(
    cluster: Cluster, namespace: str
) -> None:
    cluster.add_kwok_node(f"node-{namespace}", {"test": namespace})
    notes = {
        "test.xpullm.io/fail": "OOMKilled",
        "test.xpullm.io/fail-exit-code": "137",
        "test.xpullm.io/fail-message": '{"cause": "device_oom_runtime"}',
        "test.xpullm.io/fail-times": "1",
    }
    cluster.apply(_pod(namespace, "p", notes))
    wait = ("wait", "pod/p", "-n", namespace, "--timeout=20s")
    cluster.kubectl(*wait, "--for=jsonpath={.status.containerStatuses[0].restartCount}=1")
    status = cluster.get("pod", "p", "-n", namespace)["status"]["containerStatuses"][0]
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
    cluster.kubectl(*wait, "--for=condition=Ready")
    status = cluster.get("pod", "p", "-n", namespace)["status"]["containerStatuses"][0]
    assert (status["restartCount"], status["lastState"]["terminated"]["exitCode"]) == (1, 137)


def test_a_pod_that_fails_at_start_is_never_ready(cluster: Cluster, namespace: str) -> None:
    cluster.add_kwok_node(f"node-{namespace}", {"test": namespace})
    notes = {
        "test.xpullm.io/fail": "Error",
        "test.xpullm.io/fail-exit-code": "1",
        "test.xpullm.io/fail-phase": "start",
    }
    cluster.apply(_pod(namespace, "p", notes))
    restarted_twice = "--for=jsonpath={.status.containerStatuses[0].restartCount}=2"
    cluster.kubectl("wait", "pod/p", "-n", namespace, "--timeout=20s", restarted_twice)
    pod = cluster.get("pod", "p", "-n", namespace)["status"]
    ready = next(c for c in pod["conditions"] if c["type"] == "Ready")
    assert ready["status"] == "False"
    assert pod["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 1
