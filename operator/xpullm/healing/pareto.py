"""The Pareto list of a TuningRecord: the largest that held, the smallest that failed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from xpullm.planner.types import Arguments

LIMIT = 32
EXPIRY = timedelta(days=30)
HEALTHY, FAILED = "Healthy", "Failed"


@dataclass(frozen=True, slots=True)
class Observation:
    """One set of arguments and what came of it. `time` is RFC 3339."""

    arguments: Arguments
    outcome: str
    time: str
    cause: str = ""
    phase: str = ""
    node: str = ""
    kernel: str = ""
    planned_bytes: int = 0


def merge(
    entries: Sequence[Observation], new: Iterable[Observation], now: datetime
) -> tuple[Observation, ...]:
    """Entries with new ones: unexpired, Pareto-best, at most 32, in a canonical order.

    Kept are the largest sets that held and the smallest that failed, per node. What was seen later
    about the same arguments on the same node replaces what was seen before. Merging twice changes
    nothing.
    """
    latest: dict[tuple[Any, ...], Observation] = {}
    for entry in sorted((*entries, *new), key=order):
        if not expired(entry, now):
            latest[(entry.arguments, entry.node)] = entry
    kept = [
        entry
        for entry in latest.values()
        if not any(
            _dominates(other, entry) or _outdates(other, entry)
            for other in latest.values()
            if other is not entry
        )
    ]
    kept.sort(key=order)
    while len(kept) > LIMIT:  # the oldest of whichever outcome has more entries
        healthy = sum(entry.outcome == HEALTHY for entry in kept)
        drop = HEALTHY if healthy * 2 >= len(kept) else FAILED
        kept.remove(next(entry for entry in kept if entry.outcome == drop))
    return tuple(kept)


def expired(entry: Observation, now: datetime) -> bool:
    """Entries of people may have no time: they do not expire."""
    if not entry.time:
        return False
    try:
        seen = datetime.fromisoformat(entry.time)
    except ValueError:
        return True
    if seen.tzinfo is None:
        return True
    return now - seen > EXPIRY


def _sizes(entry: Observation) -> tuple[float, ...]:
    a = entry.arguments
    return (
        a.max_model_len,
        a.max_num_seqs,
        a.max_num_batched_tokens,
        a.gpu_memory_utilization or 0.0,
        a.kv_cache_memory_bytes or 0,
        a.num_gpu_blocks_override or 0,
        entry.planned_bytes,
    )


def _kind(entry: Observation) -> tuple[Any, ...]:
    """Arguments that are not larger or smaller than others, only different."""
    a = entry.arguments
    return (
        a.tensor_parallel_size,
        a.pipeline_parallel_size,
        a.kv_cache_dtype,
        a.block_size,
        a.dtype,
        a.enforce_eager,
        a.enable_chunked_prefill,
        a.gpu_memory_utilization is None,
        a.kv_cache_memory_bytes is None,
        a.num_gpu_blocks_override is None,
    )


def at_most(small: Observation, large: Observation) -> bool:
    return _kind(small) == _kind(large) and all(
        a <= b for a, b in zip(_sizes(small), _sizes(large), strict=True)
    )


def _dominates(other: Observation, entry: Observation) -> bool:
    """True where `other` says all that `entry` says, and more."""
    if other.outcome != entry.outcome:
        return False
    if _sizes(other) == _sizes(entry) or other.node != entry.node:
        return False
    if entry.outcome == HEALTHY:
        return at_most(entry, other)
    return at_most(other, entry) and (other.cause, other.phase) == (entry.cause, entry.phase)


def _outdates(other: Observation, entry: Observation) -> bool:
    """True where more than what failed here has held on the same node since."""
    return (
        (entry.outcome, other.outcome) == (FAILED, HEALTHY)
        and other.node == entry.node
        and other.time > entry.time
        and at_most(entry, other)
    )


def order(entry: Observation) -> tuple[Any, ...]:
    return (
        entry.time,
        entry.outcome,
        entry.node,
        entry.cause,
        entry.phase,
        _sizes(entry),
        repr(entry.arguments),
    )
