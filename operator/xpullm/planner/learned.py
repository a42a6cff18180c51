"""What was learned: failures forbid every plan that needs as much or more of what failed, and once
something failed, what held is where the next plan starts."""

from __future__ import annotations

from xpullm.planner.sizes import Sizes
from xpullm.planner.target import Target
from xpullm.planner.types import Arguments, Learned, LearnedEntry

# A step down that a measured run showed to help: 0.02 to 0.03 of utilization (vLLM 0.25).
_STEP_PERCENT = 2
_UNLIMITED = 1 << 62
# Failures of too much device memory (the diagnosis' words); too small a pool asks for more.
_DEVICE = ("device_oom", "device_memory_busy")


def binds(entry: LearnedEntry) -> bool:
    """A failure of device memory with a known size."""
    return entry.outcome == "Failed" and entry.planned_bytes > 0 and entry.cause.startswith(_DEVICE)


def cap(learned: Learned, where: Target, arguments: Arguments, s: Sizes) -> int:
    """The largest pool that no binding failure forbids: a shape at least as demanding as one that
    failed must use less memory than that did: what a shape as demanding as this one held with, or
    a step less where nothing is known to hold."""
    failed = [
        entry.planned_bytes
        for entry in learned.entries
        if binds(entry) and _as_demanding(arguments, entry.arguments)
    ]
    if not failed:
        return _UNLIMITED
    held = [
        entry.planned_bytes
        for entry in learned.entries
        if entry.outcome == "Healthy"
        and 0 < entry.planned_bytes < min(failed)
        and _as_demanding(entry.arguments, arguments)
    ]
    step = where.visible_bytes * _STEP_PERCENT // 100
    most = max(held) if held else min(failed) - step
    return most - (s.weights.resident + s.activation.peak + s.runtime + s.graphs)


def _as_demanding(one: Arguments, other: Arguments) -> bool:
    """Whether a batch of `one` needs at least the memory that one of `other` does."""
    return (
        one.max_num_seqs >= other.max_num_seqs
        and one.max_num_batched_tokens >= other.max_num_batched_tokens
        and one.tensor_parallel_size <= other.tensor_parallel_size
    )
