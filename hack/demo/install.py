"""The chart in the test cluster, and the operator as a process with its ServiceAccount's token.

With exactly the rights that the chart gives it starts at once and can be killed at any moment;
tests/cluster/test_install.py runs it as a pod.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from hack.cluster import Cluster, ClusterError

NAMESPACE = "xpullm-system"
ROOT = Path(__file__).resolve().parents[2]
RUNTIME_IMAGE = "xpullm.local/runtime:dev"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def install_chart(cluster: Cluster, *settings: str) -> None:
    """CRDs, RBAC and ServiceAccount by `helm install`; no operator pod."""
    sets = [word for s in ("replicaCount=0", *settings) for word in ("--set", s)]
    chart = str(ROOT / "charts" / "xpullm")
    cluster.helm("install", "xpullm", chart, "--namespace", NAMESPACE, "--create-namespace", *sets)
    # A CRD has no conditions at first, which kubectl's wait for one takes for an error.
    for what in ("jsonpath={.status.acceptedNames.kind}", "condition=Established"):
        cluster.kubectl("wait", "crd", "--all", f"--for={what}", "--timeout=60s")


def uninstall_chart(cluster: Cluster) -> None:
    """Harmless where it is not installed."""
    cluster.helm("uninstall", "xpullm", "--namespace", NAMESPACE, check=False)


class Operator:
    """`python -m xpullm` as a process; `kill` is SIGKILL, `stop` is SIGTERM and waits."""

    def __init__(
        self, cluster: Cluster, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        self.probe_port, self.metrics_port = free_port(), free_port()
        kubeconfig = cluster.service_account_kubeconfig(NAMESPACE, "xpullm")
        self._environment = {
            "PATH": os.environ["PATH"],
            "XPULLM_KUBECONFIG": str(kubeconfig),
            "XPULLM_LEASE_NAME": "xpullm",
            "XPULLM_LEASE_NAMESPACE": NAMESPACE,
            "XPULLM_RUNTIME_IMAGE": RUNTIME_IMAGE,
            "XPULLM_CHECK_DEVICES": "false",
            "XPULLM_PROBE_ADDRESS": "127.0.0.1",
            "XPULLM_PROBE_PORT": str(self.probe_port),
            "XPULLM_METRICS_PORT": str(self.metrics_port),
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout: float = 60) -> None:
        """Start and wait until it is ready.

        Raises:
            ClusterError: it ended, or is not ready in time; with the end of its log.
        """
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "xpullm"],
                env=self._environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ClusterError(f"the operator ended: {self.tail()}")
            if self.ready():
                return
            time.sleep(0.1)
        raise ClusterError(f"the operator is not ready after {timeout:.0f} s: {self.tail()}")

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.probe_port}/readyz", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            return str(answer.read().decode())

    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def tail(self, size: int = 2000) -> str:
        return self.log.read_bytes()[-size:].decode(errors="replace")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
