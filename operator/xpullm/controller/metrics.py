"""Prometheus metrics. No object names in labels: their number must not grow with the fleet."""

from __future__ import annotations

import time

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
        r = self.registry
        self.reconciles = Counter(
            "xpullm_reconcile", "Passes by result", ["result"], registry=r
        )  # exposed as xpullm_reconcile_total
        self.reconcile_seconds = Histogram(
            "xpullm_reconcile_duration_seconds",
            "Time of a pass, requests included",
            registry=r,
            buckets=_PASS_BUCKETS,
        )
        self.decide_seconds = Histogram(
            "xpullm_decide_duration_seconds",
            "Time that the event loop is held by a decision",
            registry=r,
            buckets=_PASS_BUCKETS,
        )
        self.cause_seconds = Histogram(
            "xpullm_cause_latency_seconds",
            "From the watch event of a failure to its cause in status",
            registry=r,
            buckets=_LATENCY_BUCKETS,
        )
        self.rerolls = Counter("xpullm_rerolls", "Re-rolls by cause", ["reason"], registry=r)
        self.watch_events = Counter(
            "xpullm_watch_events", "Events by resource", ["resource"], registry=r
        )
        self.watch_last_event = Gauge(
            "xpullm_watch_last_event_timestamp",
            "When the last event came, seconds since the epoch",
            ["resource"],
            registry=r,
        )
        self.resyncs = Counter(
            "xpullm_resyncs", "Complete listings by result", ["result"], registry=r
        )
        self.missed = Counter(
            "xpullm_watch_missed",
            "Changes found by a listing that no watch had told",
            ["resource"],
            registry=r,
        )
        self.api_requests = Counter(
            "xpullm_api_requests",
            "Requests to the API server (code 0: no answer)",
            ["verb", "resource", "code"],
            registry=r,
        )
        self.api_seconds = Histogram(
            "xpullm_api_request_duration_seconds", "Time of a request", ["verb"], registry=r
        )
        self.engine_requests = Counter(
            "xpullm_engine_requests",
            "Questions to supervisors about their engines, by result",
            ["result"],
            registry=r,
        )
        self.leader = Gauge("xpullm_leader", "1 while this process holds the Lease", registry=r)
        self.queue_depth = Gauge("xpullm_queue_depth", "Keys that wait", registry=r)
        self.queue_oldest = Gauge(
            "xpullm_queue_oldest_age_seconds", "Age of the oldest key in work", registry=r
        )

    def request(self, verb: str, resource: str, code: int, seconds: float) -> None:
        """Count one request to the API server."""
        self.api_requests.labels(verb, resource, str(code)).inc()
        self.api_seconds.labels(verb).observe(seconds)

    def event(self, resource: str) -> None:
        """Count one watch event."""
        self.watch_events.labels(resource).inc()
        self.watch_last_event.labels(resource).set(time.time())
