"""Asks the API server for the Events of pods that say nothing themselves (`decide_silence`).

At most once a minute and pod while that stays so; nothing is asked where all is well. What was told
is kept in memory only: an operator that comes anew asks again and hears the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from xpullm.controller import asking
from xpullm.controller.asking import Target
from xpullm.controller.decide_pods import of_plan, text
from xpullm.controller.decide_silence import ask_from, kept
from xpullm.controller.errors import ApiError, ForbiddenError
from xpullm.controller.kinds import POD
from xpullm.controller.store import Store
from xpullm.controller.types import Key, Object
from xpullm.controller.workqueue import WorkQueue

log = logging.getLogger(__name__)

ASK_SECONDS = 60.0

Fetch = Callable[[str, str], Awaitable[Iterable[Object]]]  # of namespace and pod UID; ApiError


@dataclass(slots=True)
class _Look:
    """`asked`: when, in seconds since the epoch; kept while the pod exists."""

    asked: float = 0.0
    told: tuple[Object, ...] = ()


class PodEvents:
    """Events by LLMDeployment. Call ``touch`` for every key that a change concerns."""

    def __init__(
        self,
        store: Store,
        fetch: Fetch,
        touched: Callable[[Key], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._fetch = fetch
        self._touched = touched
        self._clock = clock
        self._queue: WorkQueue[Target] = WorkQueue(asyncio.get_running_loop())
        self._looks: dict[Key, dict[str, _Look]] = {}  # by pod UID
        self._forbidden = False

    def events(self, key: Key) -> tuple[Object, ...]:
        """What is known of a deployment's pods, oldest first for each pod."""
        looks = self._looks.get(key, {})
        return tuple(event for uid in sorted(looks) for event in looks[uid].told)

    def touch(self, key: Key) -> None:
        """Objects of this deployment changed: ask for pods that are silent now, forget others."""
        wanted = self._wanted(key)
        before = self._looks.get(key, {})
        if not wanted and not before:
            return
        pods = {text(pod, "metadata", "uid") for pod in self._store.children(POD, key)}
        looks = {uid: look for uid, look in before.items() if uid in pods}
        for uid in looks.keys() - wanted.keys():
            looks[uid].told = ()
        for uid, due in wanted.items():
            look = looks.setdefault(uid, _Look())
            self._queue.add_after((*key, uid), self._wait(due, look))
        self._looks[key] = looks
        if not looks:
            del self._looks[key]

    async def work(self) -> None:
        """One task of any number: ask until the queue is shut down."""
        await asking.work(self._queue, self._ask, self._later)

    async def _ask(self, target: Target) -> None:
        key, uid = target[:2], target[2]
        due, look = self._wanted(key).get(uid), self._looks.get(key, {}).get(uid)
        if due is None or look is None:  # it has started, or is gone
            return
        if (wait := self._wait(due, look)) > 0:
            self._queue.add_after(target, wait)
            return
        look.asked = self._clock()
        self._later(target)
        try:
            told = kept(await self._fetch(key[0], uid), uid)
        except ForbiddenError as error:
            if not self._forbidden:
                log.warning("%s; going on without Events of pods", error)
            self._forbidden = True
            return
        except ApiError as error:
            log.info("%s/%s: no Events of a pod: %s", *key, error)
            return
        if told != look.told and uid in self._wanted(key):
            look.told = told
            self._touched(key)

    def _later(self, target: Target) -> None:
        self._queue.add_after(target, ASK_SECONDS)

    def _wait(self, due: float, look: _Look) -> float:
        """Seconds until the next question; bounded, as the clocks of others are not ours."""
        later = max(due, look.asked + ASK_SECONDS) - self._clock()
        return min(max(0.0, later), ASK_SECONDS)

    def _wanted(self, key: Key) -> dict[str, float]:
        """From when to ask for the Events of which pods of the plan in force."""
        plan_hash = asking.plan_in_force(self._store, key)
        if not plan_hash:
            return {}
        return {
            text(pod, "metadata", "uid"): due
            for pod in of_plan(self._store.children(POD, key), plan_hash)
            if (due := ask_from(pod)) is not None
        }

    def shut_down(self) -> None:
        """Workers end after the request under way."""
        self._queue.shut_down()
