"""The highest host memory that the kernel could not give back, from looks at a memory cgroup.

Wanted is the peak of `held` = usage - page cache. The kernel keeps the peak of usage alone, in
which the cache of the weights' files would count as if the engine needed it. But it tells more:
where that record rose between two looks, usage stood exactly there at some moment between them,
and the cache of that moment lies between those of the two looks. So

    held at that moment >= record - the larger of the two caches

with nothing lost but what the cache grew between two looks. And while no cache is given back,
every new peak of `held` is a new record of usage, so none is missed, however short it was and
however late the look. Peaks are seen by looking alone only where cache was given back (at the
limit it makes room for the engine while usage stands still), on kernels without a record, and in
a group that is older than the supervisor and once held more: that is why the supervisor looks
often while the engine starts (observer.py).

Why not the sum of the processes' VmHWM (proc(5)): it counts mapped weights, which the kernel can
give back, counts what forked processes share once for each, and adds peaks of different moments.
Why not reset the record at each look (memory.peak, Linux 6.12): a container sees its cgroup
read-only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reading:
    """One look, in bytes, read in this order, so that a cache that grows meanwhile makes `held`
    smaller, never larger. `record_bytes`: the kernel's peak of usage, 0 where it keeps none.
    """

    record_bytes: int
    usage_bytes: int
    cache_bytes: int


class HeldPeak:
    """Give it each reading; `bytes` is the highest `held` since the first one."""

    def __init__(self) -> None:
        self.bytes = 0
        self._before: Reading | None = None

    def add(self, now: Reading) -> None:
        """The next look."""
        held = now.usage_bytes - now.cache_bytes
        before, self._before = self._before, now
        if before is not None and now.record_bytes > before.record_bytes:
            held = max(held, now.record_bytes - max(before.cache_bytes, now.cache_bytes))
        self.bytes = max(self.bytes, held)
