"""kopf as watcher: its events are laid over the store, and keys go into the queue.

kopf writes nothing: `on.event` handlers leave no annotation, no finalizer and no status
(measured, kopf 1.45.2), and its posting of Events is off.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import kopf

from xpullm.controller.kinds import Kind
from xpullm.controller.metrics import Metrics
from xpullm.controller.resync import Resync
from xpullm.controller.routes import concerned
from xpullm.controller.stateless import NoDiffBase, NoProgress
from xpullm.controller.store import Store
from xpullm.controller.types import Key, Object

Login = Callable[[], Awaitable[kopf.ConnectionInfo]]


class Feed:
    """Where events go."""

    def __init__(
        self,
        store: Store,
        touched: Callable[[Key], None],
        resync: Resync,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._touched = touched
        self._resync = resync
        self._metrics = metrics

    def event(self, kind: Kind, event_type: str | None, obj: Object) -> None:
        """One event; its type is None where kopf lists, at the start or after a gap."""
        self._metrics.event(kind.plural)
        self._resync.heard(obj)
        if event_type is None:
            self._resync.gap(kind)
        overlay = self._store.remove if event_type == "DELETED" else self._store.put
        change = overlay(kind, _typed(kind, obj))
        if change is not None:
            for key in concerned(self._store, change):
                self._touched(key)


def registry(kinds: Iterable[Kind], feed: Feed, login: Login) -> kopf.OperatorRegistry:
    """One handler for each kind."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def log_in(**_: object) -> kopf.ConnectionInfo:
        return await login()

    for kind in kinds:
        _watch(handlers, kind, feed)
    return handlers


def _watch(handlers: kopf.OperatorRegistry, kind: Kind, feed: Feed) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=handlers)
    async def on_event(event: kopf.RawEvent, **_: object) -> None:
        feed.event(kind, event["type"], event["object"])


def settings(kinds: Iterable[Kind]) -> kopf.OperatorSettings:
    """kopf's settings, each with its reason."""
    chosen = kopf.OperatorSettings()
    chosen.scanning.disabled = True  # no listing of CRDs and namespaces; ours are known
    chosen.posting.enabled = False  # Events are written by us, on transitions only
    chosen.peering.standalone = True  # leadership is a Lease
    chosen.watching.server_timeout = 300  # upper bound of a stream; bookmarks guard it meanwhile
    chosen.watching.connect_timeout = 10
    chosen.watching.chunk_size = 500  # 10,000 pods in one listing cost 204 MiB (measured)
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 10
    chosen.queueing.exit_timeout = 1
    chosen.persistence.diffbase_storage = NoDiffBase()
    chosen.persistence.progress_storage = NoProgress()
    chosen.process.ultimate_exiting_timeout = 20  # below a pod's terminationGracePeriodSeconds
    for kind in kinds:
        if kind.selector:
            place = (kind.group, kind.version, kind.plural)
            chosen.watching.label_selectors[place] = kind.selector
    return chosen


def _typed(kind: Kind, obj: Object) -> Object:
    """Items of kopf's listings do not always say what they are."""
    if "kind" in obj and "apiVersion" in obj:
        return obj
    return {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
