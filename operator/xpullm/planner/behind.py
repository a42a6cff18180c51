"""The request that a plan in force answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpullm.planner.request import PlanRequest
from xpullm.planner.resolve import resolve
from xpullm.planner.types import Plan, Refusal

if TYPE_CHECKING:
    from xpullm.api import LLMDeploymentSpec


def resolve_behind(spec: LLMDeploymentSpec, plan: Plan) -> PlanRequest | Refusal:
    """What was chosen then stays chosen, whatever this version of the catalogue or the cluster of
    today would choose."""
    engine = spec.engine.model_copy(
        update={"name": plan.engine, "version": plan.engine_version, "image": plan.image}
    )
    gpu_then = spec.gpu.model_copy(update={"type": plan.gpu})
    pinned = spec.model_copy(update={"engine": engine, "gpu": gpu_then})
    request = resolve(pinned)
    if isinstance(request, PlanRequest) and _has(request, plan):
        return request
    # A step of healing may have changed the quantization.
    request = resolve(pinned.model_copy(update={"quantization": plan.quantization}))
    if isinstance(request, PlanRequest) and not _has(request, plan):
        return Refusal(
            "IncompatibleEngine",
            "spec.engine",
            f"{plan.engine} {plan.engine_version}",
            f"the catalogue no longer runs {plan.quantization} with it on {plan.gpu}",
        )
    return request


def _has(request: PlanRequest, plan: Plan) -> bool:
    wanted = (plan.gpu, plan.engine, plan.quantization)
    return any((c.gpu.name, c.engine.name, c.quantization.name) == wanted for c in request.choices)
