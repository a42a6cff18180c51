"""How busy the engine has been since Ready: whether more KV cache would be used.

Burn-in fills the cache on purpose, so nothing before Ready counts.
"""

from __future__ import annotations

from typing import Any

from .client import EngineMetrics


class Load:
    """Fed by the poller's thread, read by all: attributes are replaced whole, never in place."""

    def __init__(self) -> None:
        self._now: EngineMetrics | None = None
        self._preempted_before = 0
        self._peak_percent: int | None = None
        self._preemptions = 0

    def on_metrics(self, metrics: EngineMetrics) -> None:
        """A look at a ready engine; the first is what later ones are counted from."""
        if self._now is None:
            self._preempted_before = metrics.preemptions
        self._preemptions = max(0, metrics.preemptions - self._preempted_before)
        usage = metrics.kv_cache_usage_percent
        if usage is not None:
            self._peak_percent = max(usage, self._peak_percent or 0)
        self._now = metrics

    def snapshot(self) -> dict[str, Any] | None:
        """For /status; None before the first look, or where the engine has no metrics."""
        now = self._now
        if now is None:
            return None
        return {
            "runningRequests": now.running,
            "waitingRequests": now.waiting,
            "preemptions": self._preemptions,
            "kvCacheUsagePercent": now.kv_cache_usage_percent,
            "kvCacheUsagePeakPercent": self._peak_percent,
        }
