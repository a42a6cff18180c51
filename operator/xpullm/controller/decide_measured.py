"""`status.measured`: what the engine of the plan in force printed, and how far the plan was off;
and `status.modelRevision`, the commit that it loaded.

One pod speaks for all: the oldest that is Ready. Its figures are those of its start, which never
change within a run, so they are written once, by whatever operator comes to ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpullm.api import LLMDeployment
from xpullm.controller.decide_pods import dig, latest_report
from xpullm.controller.decide_status import LEDGER
from xpullm.controller.engine_figures import MOST_BYTES, known, serving
from xpullm.controller.types import EngineFigures, Snapshot
from xpullm.planner.resolve import revision_of
from xpullm.planner.types import Plan
from xpullm_runtime.report import Report

_COMPARED = ("weights_bytes", "activation_bytes", "non_torch_bytes", "kv_cache_bytes")


def measured(snapshot: Snapshot, plan: Plan) -> Mapping[str, Any] | None:
    """Of the engine that serves; else of the newest run that ended; else what is stored stays."""
    before = dig(snapshot.llmd, "status", "measured")
    stored = before if isinstance(before, Mapping) and before.get("planHash") == plan.hash else None
    pods = serving(snapshot.pods, plan.hash)
    if pods:
        told = known(snapshot.runtime, pods[0], plan.hash)
        if told is not None:
            return of_running(told, plan) or stored
        if stored is not None:  # not asked yet, as after a restart of the operator
            return stored
    report = latest_report(snapshot.pods, plan.hash)
    if report is None or report.plan_hash not in ("", plan.hash):
        return stored
    return of_ended(report, plan)


def model_revision(snapshot: Snapshot, llmd: LLMDeployment, plan: Plan) -> str | None:
    """The commit that the engine which serves has loaded; while it was not asked, what is stored of
    this plan. None where the spec asks for another model by now, which no plan exists for."""
    if (plan.model, plan.revision) != (llmd.spec.model.id, revision_of(llmd.spec)):
        return None
    pods = serving(snapshot.pods, plan.hash)
    told = known(snapshot.runtime, pods[0], plan.hash) if pods else None
    if told is not None:
        return told.model_revision or None
    before = dig(snapshot.llmd, "status")
    return dig(before, "modelRevision") if dig(before, "plan", "hash") == plan.hash else None


def of_running(told: EngineFigures, plan: Plan) -> dict[str, Any] | None:
    return _measured(
        plan,
        told.figures,
        vram=told.start_vram_peak_bytes,
        host=told.host_peak_bytes,
        seconds=told.start_seconds,
    )


def of_ended(report: Report, plan: Plan) -> dict[str, Any] | None:
    used = report.figures.get("host_held_peak_bytes", 0)
    return _measured(
        plan,
        report.figures,
        vram=report.vram_peak_bytes,
        host=used if used > 0 else report.host_peak_bytes,
    )


def _measured(
    plan: Plan, figures: Mapping[str, int], *, vram: int, host: int, seconds: int = 0
) -> dict[str, Any] | None:
    sizes = _sizes(plan, figures)
    found = {LEDGER[name]: size for name, size in sizes.items() if name in _COMPARED}
    found |= {
        "kvCacheTokens": sizes.get("kv_cache_tokens", 0),
        "vramPeakBytes": min(MOST_BYTES, vram),
        "hostPeakBytes": min(MOST_BYTES, host),
        "startSeconds": seconds,
    }
    found = {name: value for name, value in found.items() if value > 0}
    if not found:
        return None
    errors = {
        LEDGER[name]: sizes[name] - getattr(plan.ledger, name)
        for name in _COMPARED
        if name in sizes
    }
    if host > 0:
        errors["hostBytes"] = min(MOST_BYTES, host) - plan.host.request_bytes
    return {"planHash": plan.hash, **found, **({"predictionErrors": errors} if errors else {})}


def _sizes(plan: Plan, figures: Mapping[str, int]) -> dict[str, int]:
    """What was printed, under the ledger's names.

    A pinned pool is not what the engine prints as available, but what its tokens or blocks take.
    """
    good = {name: min(MOST_BYTES, size) for name, size in figures.items() if size > 0}
    ledger, arguments = plan.ledger, plan.arguments
    tokens = good.get("kv_cache_tokens") or good.get("gpu_blocks", 0) * ledger.block_size
    pinned = arguments.kv_cache_memory_bytes or arguments.num_gpu_blocks_override
    pool = 0 if pinned else good.get("kv_available_bytes", 0)
    pool = pool or tokens * ledger.kv_bytes_per_token
    sizes = {name: good[name] for name in _COMPARED[:-1] if name in good}
    sizes |= {"kv_cache_bytes": min(MOST_BYTES, pool), "kv_cache_tokens": min(MOST_BYTES, tokens)}
    return {name: size for name, size in sizes.items() if size > 0}
