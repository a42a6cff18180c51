"""The operator as a process: the Lease, signals, missing rights."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hack.cluster import Cluster
from tests.cluster.controller_world import connect, eventually, install_crds

from xpullm.controller.lease import LeadershipLostError, Lease, Times

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

# Renewals may be late by seconds on a machine that is busy.
_TIMES = Times(duration=8.0, renew_deadline=6.0, retry=0.2, call=3.0)


@pytest.fixture(autouse=True)
def crds(cluster: Cluster) -> None:
    install_crds(cluster)


@contextmanager
def process(
    kubeconfig: Path, namespace: str, log: Path, *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable, "-m", "xpullm", "--kubeconfig", str(kubeconfig),
        "--namespaces", namespace, "--lease-namespace", namespace,
        "--probe-port", "-1", "--metrics-port", "-1", *arguments,
    ]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith("XPULLM_")}
    with log.open("ab") as out:
        child = subprocess.Popen(command, stderr=out, stdout=out, env=environment)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def holder(cluster: Cluster, namespace: str) -> str:
    items = cluster.get("leases", "-n", namespace)["items"]
    return str(items[0]["spec"].get("holderIdentity") or "") if items else ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_frees_the_lease(
    cluster: Cluster, namespace: str, tmp_path: Path, number: int
) -> None:
    log = tmp_path / "log"
    with process(cluster.kubeconfig, namespace, log) as operator:
        while b"serving 0" not in log.read_bytes():
            assert operator.poll() is None, log.read_text()
            time.sleep(0.05)
        assert holder(cluster, namespace).endswith(f"_{operator.pid}")
        operator.send_signal(number)
        assert operator.wait(timeout=60) == 0, log.read_text()
    assert holder(cluster, namespace) == ""
    assert "Traceback" not in log.read_text()


def test_without_rights_it_names_the_missing_one_and_ends(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    cluster.kubectl("create", "serviceaccount", "nobody", "-n", namespace)
    kubeconfig = cluster.service_account_kubeconfig(namespace, "nobody")
    log = tmp_path / "log"
    with process(kubeconfig, namespace, log, "--no-leader-elect") as operator:
        assert operator.wait(timeout=60) == 1
    assert "the operator may not list llmdeployments.xpullm.io" in log.read_text()
    assert "Traceback" not in log.read_text()


async def test_the_second_waits_and_takes_over_when_the_first_lets_go(
    cluster: Cluster, namespace: str
) -> None:
    api = await connect(cluster)
    try:
        first, second = (
            Lease(api, namespace=namespace, name="l", identity=i, times=_TIMES) for i in "ab"
        )
        await first.acquire()
        holding = asyncio.create_task(first.hold())
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(_TIMES.duration + 1)
        assert not waiting.done()
        holding.cancel()
        await first.release()
        await asyncio.wait_for(waiting, _TIMES.duration - 2)
        assert holder(cluster, namespace) == "b"
        lease = cluster.get("lease", "l", "-n", namespace)["spec"]
        assert (lease["leaseTransitions"], lease["leaseDurationSeconds"]) == (1, 8)
    finally:
        await api.close()


async def test_who_loses_the_lease_to_another_is_told(cluster: Cluster, namespace: str) -> None:
    api = await connect(cluster)
    try:
        lease = Lease(api, namespace=namespace, name="l", identity="a", times=_TIMES)
        await lease.acquire()
        patch = '{"spec":{"holderIdentity":"thief"}}'
        await asyncio.to_thread(
            cluster.kubectl, "patch", "lease", "l", "-n", namespace, "--type=merge", "-p", patch
        )
        with pytest.raises(LeadershipLostError, match="held by thief"):
            await asyncio.wait_for(lease.hold(), 30)
    finally:
        await api.close()


async def test_a_killed_leader_is_followed_by_a_waiting_one(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    first_log, second_log = tmp_path / "a", tmp_path / "b"
    with process(cluster.kubeconfig, namespace, first_log) as first:
        await eventually(lambda: b"serving 0" in first_log.read_bytes())
        with process(cluster.kubeconfig, namespace, second_log) as second:
            await eventually(lambda: b"waiting for the Lease" in second_log.read_bytes())
            first.kill()
            await eventually(lambda: b"serving 0" in second_log.read_bytes(), 40)
            assert holder(cluster, namespace).endswith(f"_{second.pid}")
