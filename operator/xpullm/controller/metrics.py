"""Prometheus metrics. No object names in labels: their number must not grow with the fleet."""

from __future__ import annotations

import time
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

_PASS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """What the operator counts; ``registry`` is what ``/metrics`` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        # A counter is exposed with _total behind its name.
        self.reconciles = counter("xpullm_reconcile", "Passes by result", ["result"])
        self.reconcile_seconds = histogram(
            "xpullm_reconcile_duration_seconds",
            "Time of a pass, requests included",
            buckets=_PASS_BUCKETS,
        )
        self.decide_seconds = histogram(
            "xpullm_decide_duration_seconds",
            "Time that the event loop is held by a decision",
            buckets=_PASS_BUCKETS,
        )
        self.cause_seconds = histogram(
            "xpullm_cause_latency_seconds",
            "From the watch event of a failure to its cause in status",
            buckets=_LATENCY_BUCKETS,
        )
        self.rerolls = counter("xpullm_rerolls", "Re-rolls by cause", ["reason"])
        self.watch_events = counter("xpullm_watch_events", "Events by resource", ["resource"])
        self.watch_last_event = gauge(
            "xpullm_watch_last_event_timestamp",
            "When the last event came, seconds since the epoch",
            ["resource"],
        )
        self.resyncs = counter("xpullm_resyncs", "Complete listings by result", ["result"])
        self.missed = counter(
            "xpullm_watch_missed",
            "Changes found by a listing that no watch had told",
            ["resource"],
        )
        self.api_requests = counter(
            "xpullm_api_requests",
            "Requests to the API server (code 0: no answer)",
            ["verb", "resource", "code"],
        )
        self.api_seconds = histogram(
            "xpullm_api_request_duration_seconds", "Time of a request", ["verb"]
        )
        self.engine_requests = counter(
            "xpullm_engine_requests",
            "Questions to supervisors about their engines, by result",
            ["result"],
        )
        self.leader = gauge("xpullm_leader", "1 while this process holds the Lease")
        self.queue_depth = gauge("xpullm_queue_depth", "Keys that wait")
        self.queue_oldest = gauge(
            "xpullm_queue_oldest_age_seconds", "Age of the oldest key in work"
        )

    def request(self, verb: str, resource: str, code: int, seconds: float) -> None:
        """Count one request to the API server."""
        self.api_requests.labels(verb, resource, str(code)).inc()
        self.api_seconds.labels(verb).observe(seconds)

    def event(self, resource: str) -> None:
        """Count one watch event."""
        self.watch_events.labels(resource).inc()
        self.watch_last_event.labels(resource).set(time.time())
