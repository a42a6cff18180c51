"""The opening move in a world: a manifest as a user writes it, and the plan made of it."""

from __future__ import annotations

from dataclasses import replace

from tests.bench.healing.draw import Case

from xpullm.api import LLMDeployment
from xpullm.planner import PlanRequest, plan, resolve, with_arguments
from xpullm.planner.types import Learned, Plan, Refusal


def opening(case: Case) -> tuple[PlanRequest, Plan] | None:
    """Request and first plan; None where the planner refuses (nothing to heal then)."""
    serving = {"contextLength": case.context, "concurrency": case.concurrency}
    manifest = LLMDeployment.model_validate(
        {
            "metadata": {"name": "world", "namespace": "game"},
            "spec": {
                "model": {"id": case.geometry.name, "facts": dict(case.facts)},
                "quantization": case.quantization,
                "gpu": {"type": case.setup.gpu, "count": 1},
                "engine": {"name": case.setup.engine, "version": case.setup.version},
                "serving": {name: value for name, value in serving.items() if value},
            },
        }
    )
    request = resolve(manifest.spec, cards=(case.setup.gpu,), facts=None)
    if isinstance(request, Refusal):
        return None
    made = plan(request, Learned())
    if not isinstance(made, Plan):
        return None
    if case.setup.sizing == "free":
        return request, _unpinned(made, request)
    return request, made


def _unpinned(pinned: Plan, request: PlanRequest) -> Plan:
    """The same plan for an engine that cannot pin its pool: utilization is the lever."""
    best = pinned
    for step in range(100, 191):
        arguments = replace(
            pinned.arguments,
            kv_cache_memory_bytes=None,
            num_gpu_blocks_override=None,
            gpu_memory_utilization=step / 200,
        )
        tried = with_arguments(pinned, request, arguments)
        if best is pinned or tried.ledger.free_bytes >= 0:
            best = tried
    return best
