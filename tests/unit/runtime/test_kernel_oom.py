"""A real kill by the kernel, in a memory cgroup of our own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Supervise, eventually

pytestmark = pytest.mark.timeout(20)
LIMIT_BYTES = 96 << 20
ENTER = 'echo $$ > "$0/cgroup.procs" && exec "$@"'


def _memory_cgroup() -> tuple[Path, str] | None:
    """Where a group can be made, and the name of its limit's file; None where it cannot."""
    for root, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        probe = root / f"xpullm-test-{uuid.uuid4().hex[:8]}"
        try:
            probe.mkdir()
        except OSError:
            continue
        has_limit = os.access(probe / limit, os.W_OK)
        probe.rmdir()
        if has_limit:
            return root, limit
    return None


MEMORY = _memory_cgroup()


@pytest.fixture
def group() -> Iterator[Path]:
    assert MEMORY is not None
    folder = MEMORY[0] / f"xpullm-test-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    (folder / MEMORY[1]).write_text(str(LIMIT_BYTES))
    yield folder
    eventually(lambda: not (folder / "cgroup.procs").read_text())
    folder.rmdir()


@pytest.mark.skipif(MEMORY is None, reason="needs root and a writable memory cgroup")
def test_when_the_kernel_kills_a_child_the_half_dead_engine_is_ended(
    group: Path, supervise: Supervise
) -> None:
    run = supervise(
        """
        import os, time
        print("INFO 05-20 00:55:13 [a.py:1] Starting to load model tiny", flush=True)
        if os.fork() == 0:
            held = []
            while True:
                held.append(b"x" * (4 << 20))   # touches its pages
        time.sleep(60)
        """,
        wrapper=["bash", "-c", ENTER, str(group)],
        oom_grace_seconds=0.2,
    )
    assert run.finish()[0] == 143
    report = run.report()
    assert (report.cause, report.phase, report.helps) == ("host_oom", "weights", "resources")
    assert report.actionable
    assert report.oom_kills == 1
    assert report.host_limit_bytes == LIMIT_BYTES
    assert report.host_peak_bytes >= LIMIT_BYTES * 9 // 10
