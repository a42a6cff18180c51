"""Asks the supervisors of running engines what they measured: GET /status in each pod.

Once per start of the pod that status speaks of; where growth is enabled, every pod once a minute.
What is known is kept in memory only: an operator that comes anew asks again and hears the same. An
engine that does not answer is asked again with back-off, and nothing waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from xpullm.controller import asking
from xpullm.controller.asking import Target
from xpullm.controller.decide_pods import text
from xpullm.controller.engine_figures import decode, restarts, serving
from xpullm.controller.kinds import LLMDEPLOYMENT, POD
from xpullm.controller.metrics import Metrics
from xpullm.controller.store import Store
from xpullm.controller.types import EngineFigures, Key, Object
from xpullm.controller.workqueue import WorkQueue

log = logging.getLogger(__name__)

WATCH_SECONDS = 60.0  # between two looks where growth is enabled
_JITTER = 0.1
_BASE_SECONDS, _CAP_SECONDS = 2.0, 300.0  # back-off of a pod that does not answer

Fetch = Callable[[str], Awaitable[bytes]]  # of a pod's address; OSError where there is no answer


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One run that is to be asked; `often`: again and again."""

    address: str
    plan_hash: str
    restarts: int
    often: bool


class Engines:
    """Figures by LLMDeployment and pod. Call ``touch`` for every key that a change concerns."""

    def __init__(
        self,
        store: Store,
        fetch: Fetch,
        touched: Callable[[Key], None],
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._fetch = fetch
        self._touched = touched
        self._metrics = metrics
        self._clock = clock
        self._queue: WorkQueue[Target] = WorkQueue(
            asyncio.get_running_loop(), base_seconds=_BASE_SECONDS, cap_seconds=_CAP_SECONDS
        )
        self._asked: dict[Key, dict[str, _Wanted]] = {}  # by pod UID: what is or was queued
        self._known: dict[Key, dict[str, EngineFigures]] = {}

    def figures(self, key: Key) -> Mapping[str, EngineFigures]:
        """What is known of a deployment's pods, by UID. Runs may have ended since."""
        return dict(self._known.get(key, {}))

    def touch(self, key: Key) -> None:
        """Objects of this deployment changed: ask runs that are new, forget pods that are gone."""
        wanted = self._wanted(key)
        asked = self._asked.get(key, {})
        if not wanted and key not in self._asked:
            return
        for uid, run in wanted.items():
            if asked.get(uid) != run:
                self._queue.add((*key, uid))
        pods = {text(pod, "metadata", "uid") for pod in self._store.children(POD, key)}
        self._asked[key] = {uid: run for uid, run in asked.items() if uid in pods} | wanted
        known = {uid: told for uid, told in self._known.get(key, {}).items() if uid in pods}
        self._known[key] = known
        if not self._asked[key]:
            del self._asked[key], self._known[key]  # of nobody here, nothing is kept

    async def work(self) -> None:
        """One task of any number: ask until the queue is shut down."""
        await asking.work(self._queue, self._ask, self._queue.add_rate_limited)

    async def _ask(self, target: Target) -> None:
        key, uid = target[:2], target[2]
        run = self._wanted(key).get(uid)
        if run is None:  # it serves no more; should it come back, `touch` must see it as new
            self._asked.get(key, {}).pop(uid, None)
            self._queue.forget(target)
            return
        if not run.often and self._knows(key, uid, run):  # growth was switched off meanwhile
            self._queue.forget(target)
            return
        try:
            told = decode(
                await self._fetch(run.address),
                plan_hash=run.plan_hash,
                restarts=run.restarts,
                fetched=self._clock(),
            )
            result = "ok" if told is not None else "invalid"
        except OSError as error:
            log.debug("%s/%s: %s: %s", *key, run.address, error)
            told, result = None, "error"
        self._metrics.engine_requests.labels(result).inc()
        if told is None:
            self._queue.add_rate_limited(target)
            return
        self._queue.forget(target)
        if uid in self._asked.get(key, {}):  # not gone meanwhile
            self._known.setdefault(key, {})[uid] = told
            self._touched(key)
        if run.often:
            spread = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  no secret
            self._queue.add_after(target, WATCH_SECONDS * spread)

    def _knows(self, key: Key, uid: str, run: _Wanted) -> bool:
        told = self._known.get(key, {}).get(uid)
        return told is not None and (told.plan_hash, told.restarts) == (run.plan_hash, run.restarts)

    def _wanted(self, key: Key) -> dict[str, _Wanted]:
        """The pods to ask now: Ready, of the plan in force."""
        plan_hash = asking.plan_in_force(self._store, key)
        if not plan_hash:
            return {}
        llmd = self._store.get(LLMDEPLOYMENT, *key)
        often = text(llmd, "spec", "healing", "growth", "mode") == "Enabled"
        pods = serving(self._store.children(POD, key), plan_hash)
        return {
            text(pod, "metadata", "uid"): _Wanted(address, plan_hash, restarts(pod), often)
            for pod in (pods if often else pods[:1])
            if (address := _address(pod))
        }

    def shut_down(self) -> None:
        """Workers end after the request under way."""
        self._queue.shut_down()


def _address(pod: Object) -> str:
    return text(pod, "status", "podIP")
