"""From the hits of a log to the one that is the cause: root causes before their follow-ons."""

from __future__ import annotations

from collections.abc import Sequence

from .matching import Hit
from .phases import Course

_WRAPPER = 4  # the first rank that names no cause
_TRACEBACK = 80  # lines within which hits belong to one failure
_FOLLOW_ON_CCL = ("Broken pipe", "pmi", "kvs", "Connection reset", "ccl::v1::exception")


def root(found: Sequence[Hit], course: Course) -> Hit | None:
    """Choose the cause among the hits (in the order of the log)."""
    alive = [hit for hit in found if not course.survived(hit.line.index)]
    if any(not hit.weak and hit.signature.rank < _WRAPPER for hit in alive):
        alive = [hit for hit in alive if not hit.weak or hit.signature.where == "frame"]
    hard = [hit for hit in alive if not hit.signature.soft]
    if hard and not all(hit.signature.rank >= 2 for hit in hard):
        alive = hard
    for rank in (0, 1, 2, 3, 4, 5):
        group = [hit for hit in alive if hit.signature.rank == rank]
        if rank == 1:
            group = _without_follow_ons(group, alive)
        if rank == 0:
            group = [hit for hit in group if not _failed_before(hit, alive)]
        if group:
            return _first(group)
    return None


def _first(group: Sequence[Hit]) -> Hit:
    """The earliest; within its traceback the most specific; at once, the lowest process."""
    earliest = group[0]
    near = [hit for hit in group if hit.line.index - earliest.line.index <= _TRACEBACK]
    same_line = [hit for hit in near if hit.line.index == earliest.line.index]
    best = min(same_line, key=lambda hit: hit.signature.order)
    same_cause = [hit for hit in same_line if hit.signature.cause == best.signature.cause]
    # Of two signatures that say the same, the one at the message's head can be trusted.
    best = next((hit for hit in same_cause if hit.signature.where == "head"), best)
    if best.signature.phase == "starting":
        starting = [hit for hit in near if hit.signature.phase == "starting"]
        best = min(starting, key=lambda hit: (hit.signature.order, hit.line.index))
    if best.line.process == 2:
        lower = [hit for hit in near if hit.line.process < 2 and hit.line.tag]
        best = lower[0] if lower else best
    return best


def _without_follow_ons(group: list[Hit], alive: Sequence[Hit]) -> list[Hit]:
    died = [hit.line.index for hit in alive if hit.signature.cause == "worker_died"]
    return [
        hit
        for hit in group
        if not (
            hit.signature.cause == "ccl_error" and any(index < hit.line.index for index in died)
        )
    ]


def _failed_before(stop: Hit, alive: Sequence[Hit]) -> bool:
    """A root cause before SIGTERM is what led to it; after it, it is shutdown noise."""
    return any(
        hit.signature.rank == 1 and not hit.weak and hit.line.index < stop.line.index
        for hit in alive
    )
