"""The test cluster itself: it starts, it is real, and it leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hack.cluster import Cluster, ClusterError, real_node_unavailable
from hack.cluster.paths import REPOSITORY
from hack.cluster.state import State, known
from hack.cluster.sweep import cgroup_folders, marked, mounts_below, sweep_leftovers

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

_NEEDS_NODE = pytest.mark.skipif(
    real_node_unavailable() is not None, reason=str(real_node_unavailable())
)


def _traces(state: State) -> dict[str, object]:
    """What is still there of a cluster; empty values all over where it is gone."""
    return {
        "processes": marked(state.id),
        "mounts": mounts_below([state.folder, state.sockets]),
        "bridge": Path("/sys/class/net", state.bridge).exists(),
        "cgroups": list(cgroup_folders(state.cgroup)),
        "files": [f for f in (state.folder, state.sockets) if f.exists()],
        "log links": [
            link
            for link in Path("/var/log/containers").glob("*")
            if str(state.folder) in _target(link)
        ],
    }


def _target(link: Path) -> str:
    """Empty where it has gone meanwhile: other clusters end, too."""
    with suppress(OSError):
        return os.readlink(link)
    return ""


def _gone(state: State) -> bool:
    return not any(_traces(state).values())


def _until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@contextmanager
def _harness(name: str, *, real_node: bool = False) -> Iterator["subprocess.Popen[str]"]:
    """A harness in a process of its own that has started a cluster and waits."""
    script = (
        "import time\nfrom hack.cluster import Cluster\n"
        f"with Cluster(name={name!r}, real_node={real_node}, kwok=False) as c:\n"
        "    print('up', flush=True)\n    time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "up\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        _until(lambda: all(state.id != name for state in known()))


def _own(name: str) -> str:
    """A name that no other test run on this machine has."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


def _state(name: str) -> State:
    return next(state for state in known() if state.id == name)


def test_server_side_apply_refuses_unknown_fields(cluster: Cluster, namespace: str) -> None:
    bad = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x", "namespace": namespace},
        "dta": {},
    }
    assert ".dta: field not declared in schema" in cluster.apply(bad, check=False)


def test_a_token_has_the_rights_of_its_service_account(cluster: Cluster, namespace: str) -> None:
    config = cluster.service_account_kubeconfig(namespace, "default")
    who = cluster.kubectl("auth", "whoami", kubeconfig=config)
    assert f"system:serviceaccount:{namespace}:default" in who.stdout
    with pytest.raises(ClusterError, match=f"system:serviceaccount:{namespace}:default.*cannot"):
        cluster.kubectl("get", "secrets", "-n", namespace, kubeconfig=config)


def test_a_foreign_kubeconfig_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    foreign = tmp_path / "config"
    foreign.write_text("current-context: production\n")
    with pytest.raises(ClusterError, match="'production' is not a test cluster"):
        cluster.kubectl("get", "nodes", kubeconfig=foreign)


def test_helm_runs(cluster: Cluster) -> None:
    assert "NAME" in cluster.helm("list").stdout


def test_stop_leaves_nothing() -> None:
    with Cluster(kwok=False) as running:
        state = running.state
        assert len(marked(state.id)) == 4
    assert {what: left for what, left in _traces(state).items() if left} == {}
    assert state.id not in [other.id for other in known()]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_harness_that_is_killed_leaves_nothing(how: signal.Signals) -> None:
    name = _own("killed")
    with _harness(name) as harness:
        state = _state(name)
        harness.send_signal(how)
        harness.wait()
        _until(lambda: _gone(state))


def test_the_next_start_cleans_up_where_even_the_watchdog_was_killed() -> None:
    name = _own("orphaned")
    with _harness(name) as harness:
        state = _state(name)
        for pid in _watchdogs(name):
            os.kill(pid, signal.SIGKILL)
        harness.kill()
        harness.wait()
        assert len(marked(name)) == 3 + 1
        assert name in sweep_leftovers()
        assert _gone(state)


def _watchdogs(name: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"hack.cluster.watchdog" in command and name.encode() in command:
            found.append(int(folder.name))
    assert found
    return found


def _run_pod(cluster: Cluster, namespace: str, script: str, memory: str = "256Mi") -> None:
    container = {
        "name": "main",
        "image": "xpullm.test/python:1",
        "command": ["python3", "-c", script],
        "resources": {"limits": {"memory": memory, "gpu.intel.com/i915": "1"}},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": namespace, "labels": {"app": "p"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }
    cluster.image("xpullm.test/python:1")
    cluster.apply(pod)


@pytest.mark.node
def test_a_real_pod_answers_through_a_port_forward(
    real_cluster: Cluster, real_namespace: str
) -> None:
    serve = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8000)"
    _run_pod(real_cluster, real_namespace, serve)
    wait = ("wait", "pod/p", "-n", real_namespace, "--for=condition=Ready", "--timeout=60s")
    real_cluster.kubectl(*wait)
    inside = ("exec", "p", "-n", real_namespace, "--", "wget", "-qO-", "127.0.0.1:8000")
    _until(lambda: "etc/" in real_cluster.kubectl(*inside, check=False).stdout)
    with real_cluster.port_forward("pod/p", 8000, real_namespace) as url:
        answer = subprocess.run(["curl", "-s", url], capture_output=True, text=True, check=True)
    assert "etc/" in answer.stdout
    real_cluster.kubectl("delete", "pod", "p", "-n", real_namespace)


@pytest.mark.node
def test_the_kernel_kills_a_container_over_its_memory_limit(
    real_cluster: Cluster, real_namespace: str
) -> None:
    _run_pod(real_cluster, real_namespace, "b'x' * (200 << 20)", memory="64Mi")
    reason = "{.status.containerStatuses[0].lastState.terminated.reason}"
    real_cluster.kubectl(
        "wait", "pod/p", "-n", real_namespace, f"--for=jsonpath={reason}=OOMKilled", "--timeout=60s"
    )
    status = real_cluster.get("pod", "p", "-n", real_namespace)["status"]["containerStatuses"][0]
    assert status["lastState"]["terminated"]["exitCode"] == 137
    real_cluster.kubectl("delete", "pod", "p", "-n", real_namespace)


@pytest.mark.node
@_NEEDS_NODE
def test_a_killed_harness_with_a_real_node_leaves_nothing() -> None:
    name = _own("killed-node")
    with _harness(name, real_node=True) as harness:
        state = _state(name)
        assert mounts_below([state.folder, state.sockets])
        assert list(cgroup_folders(state.cgroup))
        harness.kill()
        harness.wait()
        _until(lambda: _gone(state))
