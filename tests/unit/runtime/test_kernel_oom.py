"""A real kill by the kernel, in a memory cgroup of our own."""

from __future__ import annotations

import pytest

from .conftest import Group, Supervise, needs_memory_cgroup

pytestmark = pytest.mark.timeout(20)
LIMIT_BYTES = 96 << 20


@needs_memory_cgroup
def test_when_the_kernel_kills_a_child_the_half_dead_engine_is_ended(
    group: Group, supervise: Supervise
) -> None:
    group.limit(LIMIT_BYTES)
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
        wrapper=group.enter,
        oom_grace_seconds=0.2,
    )
    assert run.finish()[0] == 143
    report = run.report()
    assert (report.cause, report.phase, report.helps) == ("host_oom", "weights", "resources")
    assert report.actionable
    assert report.oom_kills == 1
    assert report.host_limit_bytes == LIMIT_BYTES
    assert report.host_peak_bytes >= LIMIT_BYTES * 9 // 10
    assert report.figures["host_held_peak_bytes"] >= LIMIT_BYTES * 9 // 10
