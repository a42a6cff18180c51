"""Runs the supervisor as a process of its own around small engines written in the tests."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from xpullm_runtime.report import Report, decode

from .tiny_engine import TinyEngine

RUNTIME = Path(__file__).parents[3] / "runtime"
TINY_ENGINE = Path(__file__).with_name("tiny_engine.py")


@dataclass
class Run:
    """A supervisor at work."""

    process: subprocess.Popen[bytes]
    message: Path
    port: int

    def finish(self) -> tuple[int, bytes, bytes]:
        out, err = self.process.communicate()
        return self.process.returncode, out, err

    def report(self) -> Report:
        report = decode(self.message.read_bytes())
        assert report is not None
        return report

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def complete(self, engine_port: int, prompt: str) -> None:
        """A user's completion, whatever becomes of it."""
        body = json.dumps({"prompt": prompt}).encode()
        url = f"http://127.0.0.1:{engine_port}/v1/completions"
        with contextlib.suppress(OSError, http.client.HTTPException):
            urllib.request.urlopen(urllib.request.Request(url, body)).close()

    def status(self) -> dict[str, Any]:
        return json.loads(self.get("/status")[1])


Supervise = Callable[..., Run]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Supervise]:
    """`supervise(script, *arguments, **config)`: the script is Python source or a path.

    `wrapper` among the settings is a command line that starts the supervisor.
    """
    runs: list[Run] = []

    def start(script: str | Path, *arguments: object, **config: Any) -> Run:
        if isinstance(script, str):
            path = tmp_path / f"engine{len(runs)}.py"
            path.write_text(textwrap.dedent(script))
        else:
            path = script
        wrapper = config.pop("wrapper", [])
        message = tmp_path / f"message{len(runs)}"
        port = config.get("runtime_port") or free_port()
        settings = {"runtime_port": port, "termination_log": str(message)}
        settings |= {"engine_port": free_port()} | config
        words = [sys.executable, "-u", str(path), *map(str, arguments)]
        process = subprocess.Popen(
            [*wrapper, sys.executable, "-S", "-m", "xpullm_runtime", "run", "--", *words],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(RUNTIME),
                "HF_HOME": str(tmp_path / "huggingface"),
                "XPULLM_RUNTIME": json.dumps(settings),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        runs.append(Run(process, message, port))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            run.process.send_signal(signal.SIGKILL)
        run.process.communicate()


@pytest.fixture
def engine() -> Iterator[TinyEngine]:
    engine = TinyEngine().start()
    yield engine
    engine.shutdown()
    engine.server_close()


def _memory_controller() -> tuple[Path, int] | None:
    """Where a memory cgroup can be made, and of which version; None where it cannot."""
    for root, version in ((Path("/sys/fs/cgroup/memory"), 1), (Path("/sys/fs/cgroup"), 2)):
        probe = root / f"xpullm-test-{uuid.uuid4().hex[:8]}"
        try:
            probe.mkdir()
        except OSError:
            continue
        has_limit = os.access(probe / _LIMIT[version], os.W_OK)
        probe.rmdir()
        if has_limit:
            return root, version
    return None


_LIMIT = {1: "memory.limit_in_bytes", 2: "memory.max"}
MEMORY = _memory_controller()
needs_memory_cgroup = pytest.mark.skipif(
    MEMORY is None, reason="needs root and a writable memory cgroup"
)


@dataclass(frozen=True)
class Group:
    """A memory cgroup of our own."""

    folder: Path
    version: int

    @property
    def enter(self) -> list[str]:
        """Put it before a command line."""
        return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self.folder)]

    def limit(self, size_bytes: int) -> None:
        (self.folder / _LIMIT[self.version]).write_text(str(size_bytes))


@pytest.fixture
def group() -> Iterator[Group]:
    assert MEMORY is not None
    folder = MEMORY[0] / f"xpullm-test-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    yield Group(folder, MEMORY[1])
    eventually(lambda: not (folder / "cgroup.procs").read_text())
    folder.rmdir()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(true: Callable[[], object]) -> None:
    """Wait until `true()`; the test's own time limit is what ends a wait in vain."""
    while not true():
        time.sleep(0.02)
