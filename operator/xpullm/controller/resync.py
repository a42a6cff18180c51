"""Complete listings: before the workers start, then every ten minutes, and after a gap.

kopf tells neither when a first listing is complete nor what vanished while a watch was broken.
A listing does both: the store takes it over by UID, and what it lacks is gone.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Protocol

from xpullm.controller.errors import ApiError, ForbiddenError, NotFoundError
from xpullm.controller.kinds import LLMDEPLOYMENT, TUNING_RECORD, WATCHED, Kind
from xpullm.controller.metrics import Metrics
from xpullm.controller.routes import concerned
from xpullm.controller.store import Change, Store
from xpullm.controller.types import Key, Object

log = logging.getLogger(__name__)

_JITTER = 0.1
_GAP_DELAY_SECONDS = 2.0  # after kopf began a listing: by then its watch runs on from it
_RETRY_SECONDS = 15.0
_DEAF_SECONDS = 120.0  # a living watch tells within a second what a listing has shown


class ListApi(Protocol):
    """What is needed of the API server."""

    async def list(
        self, kind: Kind, namespace: str | None = None
    ) -> tuple[list[dict[str, Any]], int]: ...


class UnservableError(Exception):
    """Something that the operator cannot work without; the message says what to do."""


class Resync:
    """Keeps the store complete. ``served`` is known after ``prime``."""

    def __init__(
        self,
        api: ListApi,
        store: Store,
        touched: Callable[[Key], None],
        metrics: Metrics,
        *,
        namespaces: tuple[str, ...] = (),
        period_seconds: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._store = store
        self._touched = touched
        self._metrics = metrics
        self._namespaces = namespaces
        self._period = period_seconds
        self._clock = clock
        self._gaps: set[Kind] = set()
        self._unheard: dict[str, tuple[Kind, float]] = {}  # by UID: listed before a watch told
        self._wake = asyncio.Event()
        self.served: tuple[Kind, ...] = ()
        self.last_success = clock()

    async def prime(self) -> None:
        """Fill the store; no key is queued before everything is there.

        Raises:
            UnservableError: a kind is not served, or may not be listed.
        """
        served = []
        for kind in WATCHED:
            try:
                async for namespace, items, version in self._listings(kind):
                    self._store.replace(kind, items, version, namespace)
            except NotFoundError as error:
                if not kind.optional:
                    raise UnservableError(not_served(kind)) from error
                continue
            except ForbiddenError as error:
                if not kind.optional:
                    raise UnservableError(_forbidden(kind, error)) from error
                log.warning("%s; going on without %s", error, kind.resource)
                continue
            served.append(kind)
        self.served = tuple(served)
        self.last_success = self._clock()
        self._queue_all()

    def heard(self, obj: Object) -> None:
        """A watch told of this object."""
        self._unheard.pop(obj["metadata"]["uid"], None)

    @property
    def deaf(self) -> set[str]:
        """Resources whose watches did not tell what a listing showed: only a restart helps
        (kopf issue 1276: a watch's task may end while the operator lives on)."""
        late = self._clock() - _DEAF_SECONDS
        return {kind.plural for kind, since in self._unheard.values() if since < late}

    def gap(self, kind: Kind) -> None:
        """A watch of this kind had to list anew: what vanished meanwhile was not told."""
        if kind not in self._gaps:
            self._gaps.add(kind)
            self._wake.set()

    async def run(self) -> None:
        """List again for ever."""
        due = self._next()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - self._clock())):
                    await self._wake.wait()
            if self._wake.is_set():
                await asyncio.sleep(_GAP_DELAY_SECONDS)
                self._wake.clear()
                kinds, self._gaps = tuple(self._gaps), set()
                if not await self._relist(kinds):
                    self._gaps.update(kinds)
                    self._wake.set()
            if self._clock() >= due:
                done = await self._relist(self.served)
                if done:
                    self.last_success = self._clock()
                    self._queue_all()
                due = self._next() if done else self._clock() + _RETRY_SECONDS

    async def _relist(self, kinds: tuple[Kind, ...]) -> bool:
        try:
            for kind in kinds:
                async for namespace, items, version in self._listings(kind):
                    changes = self._store.replace(kind, items, version, namespace)
                    for change in changes:
                        self._note(change)
                        for key in concerned(self._store, change):
                            self._touched(key)
                    if changes:
                        self._metrics.missed.labels(kind.plural).inc(len(changes))
        except ApiError as error:
            self._metrics.resyncs.labels("error").inc()
            log.warning("listing again failed: %s", error)
            return False
        self._metrics.resyncs.labels("ok").inc()
        return True

    async def _listings(
        self, kind: Kind
    ) -> AsyncIterator[tuple[str | None, list[dict[str, Any]], int]]:
        if not (self._namespaces and kind.namespaced):
            yield None, *await self._api.list(kind)
            return
        for namespace in self._namespaces:
            yield namespace, *await self._api.list(kind, namespace)

    def _note(self, change: Change) -> None:
        if change.new is not None:  # a deletion during a gap is never told
            self._unheard[change.new["metadata"]["uid"]] = (change.kind, self._clock())
        elif change.old is not None:
            self._unheard.pop(change.old["metadata"]["uid"], None)

    def _queue_all(self) -> None:
        for obj in self._store.all(LLMDEPLOYMENT):
            self._touched((obj["metadata"]["namespace"], obj["metadata"]["name"]))

    def _next(self) -> float:
        spread = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  no secret
        return self._clock() + self._period * spread


def not_served(kind: Kind) -> str:
    """What to tell when the API server does not know a kind."""
    if kind in (LLMDEPLOYMENT, TUNING_RECORD):
        return (
            f"the API server does not serve {kind.resource} in {kind.version}: install the CRDs "
            "first (`xpullm crd | kubectl apply --server-side -f -`, or the chart with "
            "crds.enabled=true)"
        )
    return f"the API server does not serve {kind.resource}/{kind.version}; Kubernetes ≥ 1.32?"


def _forbidden(kind: Kind, error: ForbiddenError) -> str:
    return (
        f"the operator may not list {kind.resource}: {error.message}; give its ServiceAccount the "
        "rules of the chart's ClusterRole (or set namespaces to those it may read)"
    )
