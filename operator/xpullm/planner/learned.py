"""What earlier failures forbid: every plan that needs as much or more of what failed."""

from __future__ import annotations

from xpullm.planner.sizes import Sizes
from xpullm.planner.target import Target
from xpullm.planner.types import Arguments, Learned, LearnedEntry

# A step down that a measured run showed to help: 0.02 to 0.03 of utilization (vLLM 0.25).
_STEP_PERCENT = 2
_UNLIMITED = 1 << 62
# Failures that say something about device memory (the diagnosis' words).
_DEVICE = ("device_oom", "kv_cache_no_memory", "device_memory_busy")


def binds(entry: LearnedEntry) -> bool:
    """A failure of device memory with a known size."""
    return entry.outcome == "Failed" and entry.planned_bytes > 0 and entry.cause.startswith(_DEVICE)


def cap(learned: Learned, where: Target, arguments: Arguments, s: Sizes) -> int:
    """The largest pool that no binding failure forbids: a shape at least as demanding as one that
    failed must use less memory than that did, by a step."""
    limit = _UNLIMITED
    for entry in learned.entries:
        failed = entry.arguments
        as_demanding = (
            binds(entry)
            and arguments.max_num_seqs >= failed.max_num_seqs
            and arguments.max_num_batched_tokens >= failed.max_num_batched_tokens
            and arguments.tensor_parallel_size <= failed.tensor_parallel_size
        )
        if as_demanding:
            step = where.visible_bytes * _STEP_PERCENT // 100
            inside = s.weights.resident + s.activation.peak + s.runtime + s.graphs
            limit = min(limit, entry.planned_bytes - step - inside)
    return limit
