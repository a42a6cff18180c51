"""Requests for tests, from specs as users write them."""

from typing import Any

from xpullm.api.llmdeployment import LLMDeploymentSpec
from xpullm.planner import Infeasible, Plan, PlanRequest, Refusal, plan, resolve

GIB = 1 << 30
QWEN2 = "Qwen/Qwen2-7B-Instruct"


def spec(model: str = QWEN2, **fields: Any) -> LLMDeploymentSpec:
    return LLMDeploymentSpec.model_validate({"model": {"id": model}, **fields})


def seed_spec(**fields: Any) -> LLMDeploymentSpec:
    """Qwen2-7B-Instruct in 4 bit on one Arc A770 16 GB with ipex-llm."""
    return spec(
        quantization="sym_int4",
        gpu={"type": "arc-a770-16g", "count": 1},
        engine={"name": "ipex-llm", **fields.pop("engine", {})},
        **fields,
    )


def request_of(given: LLMDeploymentSpec, **options: Any) -> PlanRequest:
    result = resolve(given, **options)
    assert isinstance(result, PlanRequest), result
    return result


def refusal_of(given: LLMDeploymentSpec, **options: Any) -> Refusal:
    result = resolve(given, **options)
    assert isinstance(result, Refusal), result
    return result


def planned(given: LLMDeploymentSpec, **options: Any) -> Plan:
    result = plan(request_of(given, **options))
    assert isinstance(result, Plan), result
    return result


def impossible(given: LLMDeploymentSpec) -> Infeasible:
    result = plan(request_of(given))
    assert isinstance(result, Infeasible), result
    return result


def flag(made: Plan, name: str) -> str | None:
    return dict(made.flags)[name]
