"""`xpullm diagnose -n` reads a live pod and what it belongs to, and says what the operator says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hack.cluster import Cluster
from tests.cluster.kwok_world import World, last_word, nodes, public_log, world

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

OOM = public_log("F037")  # an XPU out-of-memory while it generates


@pytest.fixture(scope="module")
def live(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    log = tmp_path_factory.mktemp("diagnose") / "log"
    with nodes(cluster, "diagnose", {"a": 2}), world(cluster, log) as w:
        yield w


def test_a_live_pod_is_told_the_operators_own_proposal(live: World) -> None:
    with live.deployed("observed", healing={"mode": "Observe"}) as name:
        pod = live.end(name, last_word(OOM))
        live.until(name, "ObserveOnly")
        proposal = live.healing(name)["proposal"]
        diagnose = [sys.executable, "-m", "xpullm.cli.main", "diagnose", "-o", "json"]
        done = subprocess.run(
            [*diagnose, "-n", live.namespace, pod],
            env=os.environ | {"KUBECONFIG": str(live.cluster.kubeconfig)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 3, done.stderr
        told = json.loads(done.stdout)
        assert told["cause"] == "device_oom_runtime"
        change = f"{proposal['argument']} {proposal['from']} → {proposal['to']}"
        assert told["operator"].startswith(
            f"changes nothing: healing.mode is Observe; proposed: {change}"
        )
