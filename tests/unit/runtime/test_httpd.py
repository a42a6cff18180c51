"""What the probes say in each state, and the metrics' text."""

from __future__ import annotations

import pytest

from xpullm_runtime.config import RuntimeConfig
from xpullm_runtime.httpd import STUCK_SECONDS, check, prometheus
from xpullm_runtime.state import State


def states() -> dict[str, State]:
    """A state for each step of an engine's life."""
    made = {name: State(RuntimeConfig()) for name in ("starting", "ready", "unhealthy", "stopping")}
    for name in ("ready", "unhealthy", "stopping"):
        made[name].healthy = name != "unhealthy"
        made[name].start_complete()
    made["stopping"].begin_stop()
    return made


@pytest.mark.parametrize(
    ("step", "startup", "readiness"),
    [
        ("starting", False, False),
        ("ready", True, True),
        ("unhealthy", True, False),
        ("stopping", True, False),
    ],
)
def test_probes(step: str, startup: bool, readiness: bool) -> None:
    state = states()[step]
    assert check(state, "liveness")[0]
    assert check(state, "startup")[0] is startup
    assert check(state, "readiness")[0] is readiness


def test_a_supervisor_that_is_stuck_is_not_alive() -> None:
    state = State(RuntimeConfig())
    state.beat -= STUCK_SECONDS
    assert not check(state, "liveness")[0]


def test_metrics_escape_what_came_from_outside() -> None:
    state = State(RuntimeConfig(plan_hash='a"b\\c\nd'))
    text = prometheus(state)
    assert r'plan_hash="a\"b\\c\nd"' in text
    assert text.endswith("\n")
    for line in text.splitlines():
        assert line.startswith("# ") or len(line.rsplit(" ", 1)) == 2
        if not line.startswith("# "):
            float(line.rsplit(" ", 1)[1])
