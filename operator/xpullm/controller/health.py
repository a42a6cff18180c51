"""Is the operator alive, and is it ready? Liveness asks for progress, not for a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from xpullm.controller.resync import Resync
from xpullm.controller.types import Key
from xpullm.controller.workqueue import WorkQueue

_STUCK_SECONDS = 180.0  # a pass is a few requests of at most 15 s each
_MISSED_PERIODS = 2.0


@dataclass(slots=True)
class Health:
    """Answers of /healthz and /readyz: what is wrong, nothing if all is well."""

    queue: WorkQueue[Key] | None = None
    resync: Resync | None = None
    period_seconds: float = 600.0
    standby: bool = True  # waits for the Lease: alive and ready to take over
    primed: bool = False
    clock: Callable[[], float] = time.monotonic

    def live_problems(self) -> list[str]:
        """Reasons to restart the process."""
        problems = []
        stalled = self.queue.stalled_seconds() if self.queue is not None else 0.0
        if stalled > _STUCK_SECONDS:
            problems.append(f"no progress for {stalled:.0f} s: a pass hangs or none begins")
        if self.resync is not None and self.primed:
            age = self.clock() - self.resync.last_success
            if age > self.period_seconds * _MISSED_PERIODS:
                problems.append(f"the last complete listing was {age:.0f} s ago")
            if self.resync.deaf:
                problems.append(f"watches miss changes: {', '.join(sorted(self.resync.deaf))}")
        return problems

    def ready_problems(self) -> list[str]:
        """Reasons not to count this process as able to work."""
        if self.standby or self.primed:
            return []
        return ["the first listing is not complete"]
