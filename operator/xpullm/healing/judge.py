"""What came of past steps, and which levers and directions they leave open. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from xpullm.healing.types import PastStep
from xpullm_runtime.diagnosis.types import Diagnosis

SAME_SIZE = 0.10  # a failed allocation within 10 % of the last one is the same failure

# Levers that move the same thing: the memory budget of the KV pool.
BUDGET = "budget"
_AXES = {
    "gpu-memory-utilization": BUDGET,
    "kv-cache-memory-bytes": BUDGET,
    "num-gpu-blocks-override": BUDGET,
}
# What happens to a pod from outside says nothing about the step before.
FROM_OUTSIDE = frozenset(
    {
        "admission_error",
        "evicted",
        "image_pull",
        "model_offline",
        "node_plugin_failure",
        "port_in_use",
        "sigterm",
        "unschedulable_gpu",
    }
)
# Too little KV cache and too much memory in use pull the budget in opposite directions.
SHORTAGE = frozenset({"kv_cache_no_memory", "max_model_len_exceeds_kv"})


def axis(lever: str) -> str:
    """What a lever moves; levers on one axis share their directions."""
    return _AXES.get(lever, lever)


def direction(step: PastStep) -> int:
    """+1 raised, -1 lowered, 0 where before and after are no numbers."""
    try:
        before, after = float(step.before), float(step.after)
    except ValueError:
        return 0
    return (after > before) - (after < before)


def judge(
    history: Sequence[PastStep], diagnosis: Diagnosis, node: str = ""
) -> tuple[PastStep, ...]:
    """The history with the effect of its open steps marked by the failure that came after them, on
    `node`. More than the last one is open where a step answered what happened from outside, as a
    raised memory request that no node had free: that judged nothing, but its answer is a step."""
    if diagnosis.cause in FROM_OUTSIDE:
        return tuple(history)
    judged: list[PastStep] = []
    for step in history:
        effect = step.effect or _effect(step, tuple(judged), diagnosis, node)
        judged.append(replace(step, effect=effect))
    return tuple(judged)


def judge_healthy(history: Sequence[PastStep]) -> tuple[PastStep, ...]:
    """The history with its open steps marked as having helped."""
    return tuple(replace(step, effect=step.effect or "Helped") for step in history)


def _effect(last: PastStep, before: tuple[PastStep, ...], now: Diagnosis, node: str) -> str:
    overshot = (last.cause in SHORTAGE) != (now.cause in SHORTAGE)
    if axis(last.lever) == BUDGET and overshot and _memory(last.cause) and _memory(now.cause):
        return "Worse"
    if last.cause == "growth":
        return "Worse" if outgrown(now) else "Unclear"
    if (last.cause, last.phase) != (now.cause, now.phase):
        return "Helped"
    if now.cause.startswith("device_") and last.lever != "node" and elsewhere(last, node):
        return "Unclear"
    tried = max(0, now.figures.get("tried_bytes", 0))
    if tried and last.tried_bytes:
        if not same_size(last, now.phase, tried) or _refilled(last, now) or _nearer(last, now):
            return "Helped"
        if not _blind_cut(last, now):
            return "NoEffect"
    if last.lever in _SIZELESS:
        return "Helped"  # a count of tries limits these, not what the log prints
    return "NoEffect" if _repeated(last, before) or not _memory(last.cause) else "Unclear"


def _repeated(last: PastStep, before: tuple[PastStep, ...]) -> bool:
    """True where this was the last try that nothing can judge: the second one; the third where the
    pool itself is refused, since then nothing but its size is in question."""
    tries = 2 if last.phase == "kv_alloc" and axis(last.lever) == BUDGET else 1
    recent = before[-tries:]
    return len(recent) == tries and all(
        step.effect == "Unclear" and axis(step.lever) == axis(last.lever) for step in recent
    )


def _nearer(last: PastStep, now: Diagnosis) -> bool:
    """True where the engine held less by then and a believable rest of the card was still too
    small: what the step gave back is there, and more is missing."""
    held, free = held_bytes(now.figures), now.figures.get("free_bytes")
    if not (held and last.held_bytes and last.relief_bytes) or free is None:
        return False
    less = held <= last.held_bytes - last.relief_bytes // 2
    return less and 0 <= free < now.figures.get("tried_bytes", 0)


def elsewhere(step: PastStep, node: str) -> bool:
    """True where the step answered a failure on another node: its card may hold more or less of
    others, so neither sizes nor moments compare."""
    return bool(step.node and node and step.node != node)


def same_size(step: PastStep, phase: str, tried: int) -> bool:
    """Whether the allocation that the step answered failed again. While the pool is allocated its
    tensors shrink with the pool, so their size tells nothing after a cut of it."""
    if phase == "kv_alloc" and axis(step.lever) == BUDGET:
        return True
    return abs(tried - step.tried_bytes) < SAME_SIZE * max(tried, step.tried_bytes)


def _blind_cut(last: PastStep, now: Diagnosis) -> bool:
    """True for a cut of the pool whose effect the sizes cannot show: nothing says what was held,
    or the failed tensor is a part of the pool that has become smaller."""
    if axis(last.lever) != BUDGET:
        return False
    if not (last.held_bytes and held_bytes(now.figures)):
        return True
    return now.phase == "kv_alloc" and now.figures.get("tried_bytes", 0) < last.tried_bytes


def outgrown(now: Diagnosis) -> bool:
    """Whether a failure after a growth step can be that step's: the device's memory ran out, or the
    engine's gate found less of it free than its new share."""
    return now.cause.startswith("device_oom") or now.cause == "device_memory_busy"


def _refilled(last: PastStep, now: Diagnosis) -> bool:
    """True where the card filled up again: the same allocation failed, but at a later moment.

    Had it failed at the same moment, the engine would hold less by what the step gave back.
    """
    held = held_bytes(now.figures)
    if not (held and last.held_bytes and last.relief_bytes):
        return False
    return held > last.held_bytes - last.relief_bytes // 2


def held_bytes(figures: Mapping[str, int]) -> int:
    """What the engine's allocator held when an allocation failed; 0 where it is not printed."""
    return figures.get("reserved_bytes") or figures.get("allocated_bytes") or 0


_SIZELESS = frozenset(
    {"memory-limit", "memory-request", "shm-size", "startup-deadline", "node", "max-model-len"}
)


def _memory(cause: str) -> bool:
    return cause in SHORTAGE or cause.startswith("device_oom")


def episode(history: Sequence[PastStep], diagnosis: Diagnosis) -> tuple[PastStep, ...]:
    """The newest steps that answered this same cause and phase, oldest first; what happened from
    outside in between does not end it."""
    steps: list[PastStep] = []
    for step in reversed(history):
        if (step.cause, step.phase) == (diagnosis.cause, diagnosis.phase):
            steps.append(step)
        elif step.cause not in FROM_OUTSIDE:
            break
    return tuple(reversed(steps))


def without_effect(steps: Sequence[PastStep]) -> frozenset[str]:
    """The axes whose step did nothing against this failure."""
    return frozenset(axis(step.lever) for step in steps if step.effect == "NoEffect")


def reversed_before(history: Sequence[PastStep], lever: str, wanted: int) -> bool:
    """True where moving `lever` in direction `wanted` would reverse its axis a second time."""
    signs = [direction(step) for step in history if axis(step.lever) == axis(lever)]
    signs = [sign for sign in signs if sign]
    flips = sum(a != b for a, b in pairwise(signs))
    return bool(signs) and wanted not in (0, signs[-1]) and flips >= 1
