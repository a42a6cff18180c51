"""The operator as users run it: ``python -m xpullm``."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


class OperatorProcess:
    """One process; ``start_seconds`` is from its start until its store is full."""

    def __init__(self, kubeconfig: Path, log: Path, *arguments: str) -> None:
        self._log = log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        started = time.monotonic()
        with log.open("wb") as out:
            self._child = subprocess.Popen(
                [
                    sys.executable, "-m", "xpullm", "--kubeconfig", str(kubeconfig),
                    "--probe-address", "127.0.0.1", "--probe-port", "0",
                    "--metrics-port", str(self._port), *arguments,
                ],
                stderr=out,
                stdout=out,
            )  # fmt: skip
        while "serving " not in log.read_text():
            if self._child.poll() is not None:
                raise RuntimeError(f"the operator ended: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        self.start_seconds = time.monotonic() - started

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def value(self, pattern: str) -> float:
        """The sum of all samples whose name and labels match."""
        lines = self.metrics().splitlines()
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if re.match(pattern, line) and not line.startswith("#")
        )

    @property
    def rss_mib(self) -> float:
        return self.value("process_resident_memory_bytes") / 2**20

    @property
    def problems(self) -> list[str]:
        """Warnings and errors that it logged."""
        return re.findall(r"^.*(?:WARNING|ERROR).*$", self._log.read_text(), re.MULTILINE)

    def stop(self) -> float:
        """End it with SIGTERM; returns the seconds that took."""
        started = time.monotonic()
        self._child.terminate()
        self._child.wait(timeout=30)
        return time.monotonic() - started
