"""A de-duplicating work queue with client-go's semantics, for one event loop.

A key waits at most once. A key that is added while it is being worked on runs once more
afterwards, so no key is ever worked on twice at the same time and no addition is lost.
Source: k8s.io/client-go/util/workqueue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)


class Handle(Protocol):
    """A call that was scheduled for later."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """What the queue needs of an event loop."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], None], /) -> Handle: ...


class ShutDownError(Exception):
    """The queue was shut down: the worker ends."""


class WorkQueue(Generic[K]):
    """Keys to work on.

    Back-off per key is ``base_seconds`` · 2ⁿ, at most ``cap_seconds`` (client-go: 5 ms, 1000 s).
    """

    def __init__(
        self, clock: Clock, *, base_seconds: float = 0.05, cap_seconds: float = 300.0
    ) -> None:
        self._clock = clock
        self._base = base_seconds
        self._cap = cap_seconds
        self._order: deque[K] = deque()
        self._dirty: dict[K, float] = {}  # waiting, or to run again: since when
        self._processing: dict[K, tuple[float, float]] = {}  # since when it waited, when begun
        self._last_taken = clock.time()
        self._failures: dict[K, int] = {}
        self._later: dict[K, tuple[float, Handle]] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def add(self, key: K) -> None:
        """Work on ``key`` soon."""
        if self._closed or key in self._dirty:
            return
        self._dirty[key] = self._clock.time()
        if key not in self._processing:
            self._order.append(key)
            self._wake()

    def add_after(self, key: K, seconds: float) -> None:
        """Work on ``key`` in ``seconds``; of several delays the earliest counts."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock.time() + seconds
        pending = self._later.get(key)
        if pending is not None:
            if pending[0] <= due:
                return
            pending[1].cancel()
        self._later[key] = (due, self._clock.call_at(due, lambda: self._due(key)))

    def add_rate_limited(self, key: K) -> float:
        """Work on ``key`` after its back-off, which doubles. Returns the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(self._base * 2.0 ** min(failures, 60), self._cap)
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """A success: the next back-off of ``key`` starts from the beginning."""
        self._failures.pop(key, None)

    def take(self) -> K | None:
        """The next key without waiting, or None. ``done`` must follow."""
        if not self._order:
            return None
        key = self._order.popleft()
        self._last_taken = self._clock.time()
        self._processing[key] = (self._dirty.pop(key), self._last_taken)
        return key

    async def get(self) -> K:
        """The next key; waits for one. ``done`` must follow.

        Raises:
            ShutDownError: no key will come any more.
        """
        while not self._closed:
            key = self.take()
            if key is not None:
                return key
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()  # pass on the wake-up that this worker will not use
                raise
        raise ShutDownError

    def done(self, key: K) -> None:
        """Work on ``key`` ended; it waits again if it was added meanwhile."""
        self._processing.pop(key, None)
        if key in self._dirty and not self._closed:
            self._order.append(key)
            self._wake()

    def age_seconds(self, key: K) -> float:
        """How long ago the key that is being worked on was first added."""
        return self._clock.time() - self._processing[key][0]

    def shut_down(self) -> None:
        """Drop what waits; workers end after their current key."""
        self._closed = True
        self._order.clear()
        self._dirty.clear()
        for _, handle in self._later.values():
            handle.cancel()
        self._later.clear()
        while self._waiters:
            self._wake()

    def __len__(self) -> int:
        return len(self._order)

    @property
    def processing(self) -> int:
        """Keys being worked on."""
        return len(self._processing)

    def oldest_age_seconds(self) -> float:
        """How long the oldest key waits or is being worked on; 0 when there is none."""
        times = [*self._dirty.values(), *(since for since, _ in self._processing.values())]
        return self._clock.time() - min(times) if times else 0.0

    def stalled_seconds(self) -> float:
        """How long the longest piece of work has taken or, where keys wait, none was begun."""
        times = [begun for _, begun in self._processing.values()]
        if self._order:
            times.append(max(self._last_taken, self._dirty[self._order[0]]))
        return self._clock.time() - min(times) if times else 0.0

    def _due(self, key: K) -> None:
        self._later.pop(key, None)
        self.add(key)

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
