"""Plans for a representative set: model geometry x card x format, with one engine version."""

from __future__ import annotations

from functools import cache

from xpullm.api.llmdeployment import LLMDeploymentSpec
from xpullm.catalog import Engine, gpus
from xpullm.planner import Plan, PlanRequest, plan, resolve

MODELS = (
    "Qwen/Qwen2-7B-Instruct",  # dense, grouped heads
    "Qwen/Qwen2.5-0.5B-Instruct",  # tied embeddings
    "Qwen/Qwen3-30B-A3B",  # mixture of experts
    "deepseek-ai/DeepSeek-V2-Lite",  # latent attention
    "google/gemma-3-12b-it",  # sliding window, vision tower
    "mistralai/Mistral-7B-v0.1",  # sliding window in every layer
    "openai/gpt-oss-20b",  # MXFP4 experts
    "Qwen/Qwen3.5-27B",  # linear attention hybrid
)
CARDS = (("arc-a770-16g", 1), ("arc-a770-16g", 2), ("arc-pro-b60", 1), ("arc-pro-b60", 4))


@cache
def all_plans(engine: Engine) -> tuple[Plan, ...]:
    """Every feasible plan of the set that this engine version serves."""
    return tuple(
        found
        for model in MODELS
        for card, count in CARDS
        if gpus()[card].architecture in engine.architectures
        for quantization in engine.quantizations
        if (found := _plan(engine, model, card, count, quantization))
    )


def _plan(engine: Engine, model: str, card: str, count: int, quantization: str) -> Plan | None:
    spec = LLMDeploymentSpec.model_validate(
        {
            "model": {"id": model},
            "quantization": quantization,
            "gpu": {"type": card, "count": count},
            # A version outside the catalogue is planned for too, with an image of its own.
            "engine": {"name": engine.name, "version": engine.version, "image": engine.image},
        }
    )
    request = resolve(spec)
    made = plan(request) if isinstance(request, PlanRequest) else None
    return made if isinstance(made, Plan) else None
