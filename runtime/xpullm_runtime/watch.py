"""When an engine that still runs must be ended: pure rules over plain observations.

A verdict needs something that no line of a log can forge: the kernel's counter, a deadline, or an
engine that does not answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from .client import EngineError
from .config import RuntimeConfig

# An engine whose core died answers /health with 500 or 503 (vLLM entrypoints/openai/api_server.py)
# and usually ends by itself within some seconds.
DEAD_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why the engine is to be ended: a cause of the taxonomy and a sentence with numbers."""

    cause: str
    reason: str


def unanswered(what: str, error: EngineError) -> Verdict:
    """An engine that takes a request and never answers hangs; one that refuses it is dead."""
    return Verdict("engine_hang" if error.timed_out else "engine_dead", f"{what}: {error}"[:300])


@dataclass(frozen=True, slots=True)
class Vitals:
    """One moment. Times are seconds of one monotonic clock; None means "never".

    `served`: /health answered 200 at least once. `health`: last HTTP status, 0 for no answer.
    `unhealthy_since`: since when `health` is not 200. `found`: what burn-in or a probing
    completion concluded.
    """

    now: float
    began: float
    phase: str
    last_progress: float
    served: bool = False
    started_up: bool = False
    health: int = 0
    unhealthy_since: float | None = None
    oom_kills: int = 0
    found: Verdict | None = None


class Watchdog:
    """Give it Vitals again and again; it remembers only when the first OOM kill was seen."""

    def __init__(self, config: RuntimeConfig) -> None:
        self._config = config
        self._oom_since: float | None = None

    def decide(self, vitals: Vitals) -> Verdict | None:
        """The first rule that holds, the surest first."""
        return (
            self._killed_for_memory(vitals)
            or vitals.found
            or self._start_takes_too_long(vitals)
            or self._stopped_answering(vitals)
        )

    def _killed_for_memory(self, vitals: Vitals) -> Verdict | None:
        if not vitals.oom_kills:
            return None
        if self._oom_since is None:
            self._oom_since = vitals.now
        if vitals.now - self._oom_since < self._config.oom_grace_seconds:
            return None
        return Verdict(
            "host_oom",
            f"the kernel killed {vitals.oom_kills} of the engine's processes for host memory "
            "and the rest lives on",
        )

    def _start_takes_too_long(self, vitals: Vitals) -> Verdict | None:
        if vitals.started_up:
            return None
        took, limit = vitals.now - vitals.began, self._config.startup_deadline_seconds
        if took >= limit and not vitals.served:  # burn-in has a time limit of its own
            return Verdict("startup_killed", f"not ready after {limit:g} s, in {vitals.phase}")
        limit = self._config.no_progress_seconds
        if vitals.now - vitals.last_progress >= limit:
            return Verdict("engine_hang", f"no progress for {limit:g} s, in {vitals.phase}")
        return None

    def _stopped_answering(self, vitals: Vitals) -> Verdict | None:
        if not vitals.served or vitals.unhealthy_since is None:
            return None
        silent = vitals.now - vitals.unhealthy_since
        if vitals.health >= 500 and silent >= min(DEAD_SECONDS, self._config.hang_seconds):
            return Verdict("engine_dead", f"/health answers {vitals.health} for {silent:.0f} s")
        if silent >= self._config.hang_seconds:
            return Verdict("engine_hang", f"/health does not answer for {silent:.0f} s")
        return None


class TokenFlow:
    """Tells when no token came for too long: then a completion must prove the engine alive.

    That no request runs by vLLM's gauge proves nothing: the engine core sends it with its outputs
    (vllm/v1/core/sched/scheduler.py make_stats), so a hang in the first step leaves it at 0.
    """

    def __init__(self, limit_seconds: float, now: float) -> None:
        self._limit = limit_seconds
        self._since = now
        self._tokens = -1

    def stalled(self, now: float, tokens: int) -> bool:
        """True once per `limit_seconds` without a token."""
        if tokens != self._tokens:
            self._tokens, self._since = tokens, now
            return False
        if now - self._since < self._limit:
            return False
        self._since = now
        return True
