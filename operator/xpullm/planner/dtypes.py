"""The user's own --dtype against cards, formats and models."""

from __future__ import annotations

from xpullm.catalog import quantization_for
from xpullm.planner.facts import ModelFacts
from xpullm.planner.request import Choice, UserArguments
from xpullm.planner.types import Refusal

_SAME = {"half": "float16", "float": "float32"}  # vLLM config/model.py ModelDType
_WIDTH_16 = ("fp16", "bf16")


def with_dtype(
    facts: ModelFacts, user: UserArguments, choices: tuple[Choice, ...]
) -> tuple[Choice, ...] | Refusal:
    """The choices that compute in the user's type; else the first one's refusal."""
    given = user.dtype
    if given is None or given == "auto":
        return choices
    problems = [_problem(facts, _SAME.get(given, given), choice) for choice in choices]
    able = tuple(c for c, problem in zip(choices, problems, strict=True) if not problem)
    if able:
        return able
    said = f"--dtype {given} {problems[0]}"
    return Refusal("InvalidArgument", "spec.engine.args[dtype]", given, said)


def _problem(facts: ModelFacts, dtype: str, choice: Choice) -> str:
    """Why this choice can't compute in the type, with the way out; "" where it can."""
    gpu, engine = choice.gpu, choice.engine
    if dtype == "bfloat16" and not gpu.bfloat16:
        return f"isn't usable on {gpu.name}; use float16"
    if dtype == "float16" and facts.model_type in engine.float16_refused:
        return f"is refused by {engine.key} for {facts.model_type} models; use bfloat16"
    # vLLM config/vllm.py: "is not supported for quantization method".
    able = quantization_for(choice.quantization.name, engine.name).dtypes
    if choice.quantization.name not in _WIDTH_16 and dtype not in able:
        return f"isn't supported for {choice.quantization.name}; use {' or '.join(able)}"
    return ""
