"""A supervisor's /status as figures. Whoever runs code in the engine's container can answer there:
what comes is hostile input, bounded and checked field by field. Pure.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from xpullm.controller.decide_pods import dig, entries, of_plan, ready, text, whole
from xpullm.controller.types import EngineFigures, Object
from xpullm.resources import names

BODY_BYTES = 64 << 10  # eight lines of evidence, 32 notes and all figures take less than 20 KiB
MOST_BYTES = 1 << 53  # what the CRD's byte counts allow
MOST_COUNT = (1 << 31) - 1
COMMIT = re.compile("[0-9a-f]{40}")  # REGEX_COMMIT_HASH of huggingface_hub, file_download.py
# The figures of a start that anything here reads (xpullm_runtime.diagnosis.figures).
NAMES = (
    "weights_bytes", "activation_bytes", "non_torch_bytes", "kv_available_bytes",
    "kv_cache_tokens", "gpu_blocks",
)  # fmt: skip


def decode(data: bytes, *, plan_hash: str, restarts: int, fetched: float) -> EngineFigures | None:
    """The figures of a started engine of this very plan; None for anything else."""
    if len(data) > BODY_BYTES:
        return None
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        return None
    start = dig(raw, "start")
    if dig(raw, "planHash") != plan_hash or dig(raw, "startedUp") is not True:
        return None
    seconds = _real(dig(start, "seconds"))
    if seconds is None:
        return None
    told = dig(start, "figures")
    figures = {name: _size(dig(told, name)) for name in NAMES}
    used = _size(dig(start, "hostHeldPeakBytes")) or _size(dig(start, "hostPeakBytes"))
    usage = dig(raw, "load", "kvCacheUsagePeakPercent")
    return EngineFigures(
        plan_hash=plan_hash,
        restarts=restarts,
        fetched=fetched,
        start_seconds=min(MOST_COUNT, math.ceil(seconds)),
        host_peak_bytes=used,
        start_vram_peak_bytes=_size(dig(start, "vramPeakBytes")),
        figures={name: size for name, size in figures.items() if size},
        vram_peak_bytes=_size(dig(raw, "gpu", "peakBytes")),
        kv_usage_percent=min(100, _size(usage)) if _is_whole(usage) else None,
        preemptions=min(MOST_COUNT, _size(dig(raw, "load", "preemptions"))),
        model_revision=_commit(dig(start, "modelRevision")),
    )


def restarts(pod: Object) -> int:
    """How often the engine's container was restarted: with the pod's UID it names one run."""
    return next(
        (
            whole(status, "restartCount")
            for status in entries(pod, "status", "containerStatuses")
            if status.get("name") == names.ENGINE_CONTAINER
        ),
        0,
    )


def serving(pods: tuple[Object, ...], plan_hash: str) -> tuple[Object, ...]:
    """The Ready pods of a plan, the oldest first: the first is the one that status speaks of, so
    that another replica's arrival changes nothing."""
    found = [pod for pod in of_plan(pods, plan_hash) if ready(pod)]
    return tuple(
        sorted(
            found,
            key=lambda p: (text(p, "metadata", "creationTimestamp"), text(p, "metadata", "uid")),
        )
    )


def known(
    runtime: Mapping[str, EngineFigures], pod: Object, plan_hash: str
) -> EngineFigures | None:
    """What this pod's present run told, if anything."""
    told = runtime.get(text(pod, "metadata", "uid"))
    if told is None or (told.plan_hash, told.restarts) != (plan_hash, restarts(pod)):
        return None
    return told


def _commit(value: Any) -> str:
    return value if isinstance(value, str) and COMMIT.fullmatch(value) else ""


def _size(value: Any) -> int:
    return max(0, min(MOST_BYTES, value)) if _is_whole(value) else 0


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _real(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= MOST_COUNT and math.isfinite(value) else None
