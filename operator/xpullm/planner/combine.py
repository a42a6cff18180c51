"""Which combinations of card, engine and storage format are possible, and why others are not."""

from __future__ import annotations

from collections.abc import Sequence

from xpullm.catalog import GPU, Engine, Quantization, engines, quantizations
from xpullm.planner.facts import ModelFacts
from xpullm.planner.request import Choice
from xpullm.planner.types import Refusal


def combine(
    facts: ModelFacts,
    pairs: Sequence[tuple[GPU, Engine]],
    quantization: str | None,
    *,
    named_card: str | None,
    engine: str | None,
) -> tuple[Choice, ...] | Refusal:
    """All possible choices, in the order of `pairs`; else the refusal of the first pair."""
    choices: list[Choice] = []
    refusal: Refusal | None = None
    for gpu, candidate in pairs:
        name = quantization or own_format(facts, gpu, candidate)
        problem = incompatible(facts, gpu, candidate, name)
        if problem is None:
            choices.append(Choice(gpu, candidate, quantizations()[name]))
        elif refusal is None or problem.reason == "IncompatibleQuantization":
            refusal = refusal or problem
    if choices:
        return tuple(choices)
    return refusal or Refusal(
        "IncompatibleEngine",
        "spec.engine.name",
        engine or "",
        f"no engine of the catalogue runs on {named_card or 'the cards of this cluster'}",
    )


def own_format(facts: ModelFacts, gpu: GPU, engine: Engine) -> str:
    """The checkpoint's own format on this card: its quantization, else 16 bit."""
    if facts.stored is not None:
        return facts.stored.name
    half = not gpu.bfloat16 or facts.dtype == "float16" or "bf16" not in engine.quantizations
    return "fp16" if half else "bf16"


def incompatible(facts: ModelFacts, gpu: GPU, engine: Engine, name: str) -> Refusal | None:
    """Why this combination can't be served, or None."""
    if gpu.architecture not in engine.architectures:
        return Refusal(
            "IncompatibleEngine",
            "spec.engine.name",
            engine.name,
            f"{engine.key} doesn't run on {gpu.name}; use {gpu.default_engine}",
        )
    if facts.is_mla and not engine.mla:
        able = [e.version for e in engines()[engine.name] if e.mla and not e.experimental]
        way = f"use version {able[-1]}" if able else "use a card that vllm 0.21.0 or newer runs on"
        return Refusal(
            "IncompatibleEngine",
            "spec.engine.version",
            engine.version,
            f"{engine.key} can't serve models with latent attention (MLA) on Intel GPUs; {way}",
        )
    if facts.unmodelled:
        return Refusal(
            "IncompatibleEngine",
            "spec.model.name",
            facts.model_type,
            f"no plan can be proven safe: the estimate leaves out {facts.unmodelled}; use another"
            " model that sees images, such as Qwen/Qwen2.5-VL-7B-Instruct",
        )
    known = quantizations()
    served = [n for n in engine.quantizations if n in known and engine.name in known[n].flags]
    if name not in known or name not in served:
        return Refusal(
            "IncompatibleQuantization",
            "spec.quantization",
            name,
            f"{engine.key} can't serve {name}; it serves {', '.join(served)}",
        )
    quantization = known[name]
    if quantization.methods and not _is_stored(facts, quantization):
        online = ", ".join(n for n in served if not known[n].methods)
        return Refusal(
            "IncompatibleQuantization",
            "spec.quantization",
            name,
            f"{name} is read from a checkpoint and this one isn't stored so; use {online}, or a"
            " checkpoint in that format (its quantization_config can be given in spec.model.facts)",
        )
    if facts.stored is not None and name != facts.stored.name:
        return Refusal(
            "IncompatibleQuantization",
            "spec.quantization",
            name,
            f"the checkpoint is stored as {facts.stored.name}; leave spec.quantization out, or use"
            " the unquantized checkpoint",
        )
    if facts.model_type in engine.float16_refused and "bfloat16" not in quantization.dtypes:
        able = [n for n in served if "bfloat16" in known[n].dtypes and not known[n].methods]
        return Refusal(
            "IncompatibleQuantization",
            "spec.quantization",
            name,
            f"{name} computes in float16, which {engine.key} refuses for {facts.model_type} models;"
            f" use {', '.join(able)}",
        )
    if not gpu.bfloat16 and quantization.dtypes == ("bfloat16",):
        return Refusal(
            "IncompatibleQuantization",
            "spec.quantization",
            name,
            f"{gpu.name} has no usable bfloat16; use fp16 or a quantization",
        )
    return None


def _is_stored(facts: ModelFacts, quantization: Quantization) -> bool:
    return facts.stored is not None and facts.stored.name == quantization.name
