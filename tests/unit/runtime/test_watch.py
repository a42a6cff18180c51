"""When a running engine is ended, and when it is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xpullm_runtime.config import RuntimeConfig
from xpullm_runtime.watch import TokenFlow, Verdict, Vitals, Watchdog

CONFIG = RuntimeConfig(
    startup_deadline_seconds=1000, no_progress_seconds=100, hang_seconds=60, oom_grace_seconds=5
)
STARTING = Vitals(now=50, began=0, phase="weights", last_progress=49)
SERVING = replace(STARTING, phase="runtime", served=True, started_up=True, health=200)


@pytest.mark.parametrize(
    "vitals",
    [
        STARTING,
        replace(STARTING, now=900, last_progress=850),
        replace(STARTING, now=1500, last_progress=1450, served=True, health=200),  # burn-in
        SERVING,
        replace(SERVING, now=10_000),  # idle for hours is no hang
        replace(SERVING, health=0, unhealthy_since=45),
        replace(SERVING, health=503, unhealthy_since=40),
    ],
)
def test_it_is_left_alone(vitals: Vitals) -> None:
    assert Watchdog(CONFIG).decide(vitals) is None


@pytest.mark.parametrize(
    ("vitals", "cause"),
    [
        (replace(STARTING, now=149), "engine_hang"),
        (replace(STARTING, now=1000, last_progress=999), "startup_killed"),
        (replace(SERVING, now=105, health=0, unhealthy_since=45), "engine_hang"),
        (replace(SERVING, now=60, health=500, unhealthy_since=45), "engine_dead"),
        (replace(STARTING, now=60, served=True, health=500, unhealthy_since=45), "engine_dead"),
        (replace(SERVING, found=Verdict("engine_hang", "no token")), "engine_hang"),
    ],
)
def test_it_is_ended(vitals: Vitals, cause: str) -> None:
    verdict = Watchdog(CONFIG).decide(vitals)
    assert verdict is not None
    assert verdict.cause == cause


def test_after_an_oom_kill_the_engine_may_end_by_itself_for_a_moment() -> None:
    dog = Watchdog(CONFIG)
    assert dog.decide(replace(SERVING, now=100, oom_kills=1)) is None
    assert dog.decide(replace(SERVING, now=104, oom_kills=1)) is None
    verdict = dog.decide(replace(SERVING, now=105, oom_kills=2))
    assert verdict is not None
    assert verdict.cause == "host_oom"
    assert "2 of the engine's processes" in verdict.reason


def test_silence_is_noticed_once_per_limit() -> None:
    flow = TokenFlow(60, now=0)
    assert [flow.stalled(now, tokens=5) for now in (1, 30, 60, 61, 62, 121)] == [
        False, False, False, True, False, True,
    ]  # fmt: skip


def test_tokens_reset_the_clock() -> None:
    flow = TokenFlow(60, now=0)
    assert not flow.stalled(50, tokens=5)
    assert not flow.stalled(100, tokens=6)
    assert not flow.stalled(159, tokens=6)
    assert flow.stalled(160, tokens=6)
