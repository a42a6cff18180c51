"""The loop: observe, decide, apply, report, for one key at a time and per worker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from xpullm.controller.apply import Applier
from xpullm.controller.errors import (
    ApiError,
    ConflictError,
    NotFoundError,
    RejectedError,
    ThrottledError,
)
from xpullm.controller.fleet import FleetView
from xpullm.controller.metrics import Metrics
from xpullm.controller.observe import observe
from xpullm.controller.report import cause_alone, refused, report
from xpullm.controller.store import Store
from xpullm.controller.types import Capabilities, Decision, EngineFigures, Key, Object, Snapshot
from xpullm.controller.workqueue import ShutDownError, WorkQueue

log = logging.getLogger(__name__)

Decide = Callable[[Snapshot, float], Decision]

# A re-roll is several writes, and what follows from it keeps the API server busy: when many fail at
# once, so many are under way, and of the others the cause is told first.
_REROLLS_AT_ONCE = 6


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pass ended: ``result`` for metrics, when to come again, and whether to back off."""

    result: str
    requeue_after_seconds: float | None = None
    back_off: bool = False


class Reconciler:
    """Works on keys. ``clock`` is the wall clock, seconds since the epoch. ``missed`` is told when
    the API server does not have what the store has."""

    def __init__(
        self,
        decide: Decide,
        *,
        store: Store,
        queue: WorkQueue[Key],
        applier: Applier,
        fleet: FleetView,
        metrics: Metrics,
        capabilities: Callable[[], Capabilities],
        runtime: Callable[[Key], Mapping[str, EngineFigures]] = lambda _: {},
        events: Callable[[Key], tuple[Object, ...]] = lambda _: (),
        missed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._decide = decide
        self._store = store
        self._queue = queue
        self._applier = applier
        self._fleet = fleet
        self._metrics = metrics
        self._capabilities = capabilities
        self._runtime = runtime
        self._events = events
        self._missed = missed
        self._clock = clock
        self._rerolling = 0

    async def work(self) -> None:
        """Work until the queue is shut down."""
        while True:
            try:
                key = await self._queue.get()
            except ShutDownError:
                return
            started = time.monotonic()
            try:
                outcome = await self._guarded(key)
            finally:
                self._queue.done(key)
            self._metrics.reconciles.labels(outcome.result).inc()
            self._metrics.reconcile_seconds.observe(time.monotonic() - started)
            if outcome.back_off:
                self._queue.add_rate_limited(key)
            else:
                self._queue.forget(key)
            if outcome.requeue_after_seconds is not None:
                self._queue.add_after(key, outcome.requeue_after_seconds)
            await asyncio.sleep(0)  # a pass that writes nothing never waits: let others in

    async def _guarded(self, key: Key) -> Outcome:
        """A pass; what goes wrong becomes an outcome, and one object never stops the others."""
        try:
            return await self.reconcile(key)
        except ConflictError as error:
            log.debug("%s/%s: deciding again: %s", *key, error.message)
            return Outcome("conflict", back_off=True)
        except NotFoundError as error:  # deleted while it was worked on, or its kind was
            log.info("%s/%s: gone meanwhile: %s", *key, error.message)
            self._missed()
            return Outcome("gone", back_off=True)
        except ThrottledError as error:
            return Outcome("throttled", error.retry_after_seconds)
        except ApiError as error:
            log.warning("%s/%s: %s", *key, error)
            return Outcome("api-error", back_off=True)
        except Exception:
            log.exception("%s/%s: a pass failed", *key)
            return Outcome("error", back_off=True)

    async def reconcile(self, key: Key) -> Outcome:
        """One pass over one LLMDeployment.

        Raises:
            ApiError: a write failed in a way that trying again may cure.
        """
        now = self._clock()
        fleet, runtime = self._fleet.facts(key, now), self._runtime(key)
        for waiting in self._fleet.freed():
            self._queue.add(waiting)
        snapshot = observe(
            self._store, key, self._capabilities(), fleet, runtime, self._events(key)
        )
        llmd = snapshot.llmd
        if llmd is None or llmd["metadata"].get("deletionTimestamp"):
            return Outcome("gone")  # owner references do the rest
        decision = self._decided(snapshot, now)
        if decision.rerolled and self._rerolling >= _REROLLS_AT_ONCE:
            told = cause_alone(llmd, decision.status)
            if told is not None:
                await self._report(key, llmd, Decision(status=told, cause_seen=decision.cause_seen))
                self._queue.add(key)
                return Outcome("told")
        if decision.rerolled or decision.replaces_ready:
            # Before the first await, so that no other decision comes between.
            self._fleet.reserve(
                key, now, replacing=decision.replaces_ready, canary=bool(decision.cause_seen)
            )
        self._rerolling += decision.rerolled
        try:
            return await self._written(key, llmd, decision, now)
        finally:
            self._rerolling -= decision.rerolled

    async def _written(self, key: Key, llmd: Object, decision: Decision, now: float) -> Outcome:
        try:
            await self._applier.apply(llmd, decision, now)
        except RejectedError as error:
            log.warning("%s/%s: refused by the API server: %s", *key, error)
            await report(self._applier, llmd, refused(decision.status, llmd, error, now))
            return Outcome("rejected", back_off=True)
        await self._report(key, llmd, decision)
        return Outcome("ok", decision.requeue_after_seconds)

    def _decided(self, snapshot: Snapshot, now: float) -> Decision:
        started = time.monotonic()
        try:
            return self._decide(snapshot, now)
        finally:
            self._metrics.decide_seconds.observe(time.monotonic() - started)

    async def _report(self, key: Key, llmd: Object, decision: Decision) -> None:
        try:
            written = await report(self._applier, llmd, decision.status)
        except RejectedError as error:
            log.error("%s/%s: the status was refused: %s", *key, error)
            raise
        if decision.rerolled:
            reason = decision.cause_seen or "growth"
            self._metrics.rerolls.labels(reason).inc()
            log.info("%s/%s: re-rolled: %s", *key, reason)
        if written and decision.cause_seen:
            self._metrics.cause_seconds.observe(self._queue.age_seconds(key))
