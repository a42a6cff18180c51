"""Where a model runs: the facts that do not change while arguments are searched."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from xpullm.catalog import GPU, Accounting, Engine, Quantization, Runtime, quantization_for
from xpullm.planner.facts import ModelFacts
from xpullm.planner.stored import Stored
from xpullm.planner.weights import WeightFormat


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Model, format, engine and device of one rank. Bytes.

    `total_bytes` is what the engine multiplies utilization with, `visible_bytes` what there is, as
    `visible_source` says.
    """

    facts: ModelFacts
    quantization: Quantization
    form: WeightFormat
    engine: Engine
    accounting: Accounting
    runtime: Runtime
    visible_bytes: int
    visible_source: str
    total_bytes: int
    context_bytes: int
    compute_units: int
    max_allocation_bytes: int
    activations_8bit: bool
    bfloat16: bool
    host_mirror: bool


@lru_cache(maxsize=4096)
def target(
    facts: ModelFacts,
    quantization: Quantization,
    gpu: GPU | None,
    engine: Engine,
    *,
    platform: str = "xpu",
    visible_bytes: int | None = None,
    context_bytes: int | None = None,
    dtype: str | None = None,
) -> Target:
    """Gathers what applies. Without a GPU, `visible_bytes` must be given. On CUDA the engine's
    CUDA generation counts, where it has one."""
    accounting = engine.accounting
    if platform == "cuda" and engine.accounting_cuda is not None:
        accounting = engine.accounting_cuda
    runtime = accounting.runtimes.get(platform) or next(iter(accounting.runtimes.values()))
    quantization = quantization_for(quantization.name, engine.name)
    visible = visible_bytes if visible_bytes is not None else gpu.visible_bytes if gpu else 0
    torch_total = gpu is not None and visible_bytes is None and accounting.total == "torch"
    # "auto" casts a float32 checkpoint to 16 bit (vLLM config/model.py _resolve_auto_dtype).
    element = 4 if dtype in ("float32", "float") else 2
    return Target(
        facts=facts,
        quantization=quantization,
        form=weight_format(
            quantization,
            facts.stored,
            engine,
            runtime,
            element,
            accounting.expert_multiples.get(platform, (1, 1)),
        ),
        engine=engine,
        accounting=accounting,
        runtime=runtime,
        visible_bytes=visible,
        visible_source=gpu.source if gpu and visible_bytes is None else "as it was given",
        total_bytes=gpu.torch_total_bytes if torch_total and gpu else visible,
        context_bytes=context_bytes if context_bytes is not None else runtime.context_bytes,
        compute_units=gpu.compute_units if gpu else runtime.compute_units,
        max_allocation_bytes=gpu.max_allocation_bytes if gpu and visible_bytes is None else 0,
        activations_8bit=platform == "cuda" and quantization.name == "fp8",
        bfloat16=gpu.bfloat16 if gpu else True,
        host_mirror=gpu.host_mirror if gpu else False,
    )


def weight_format(
    quantization: Quantization,
    stored: Stored | None,
    engine: Engine,
    runtime: Runtime,
    element: int,
    expert_multiples: tuple[int, int] = (1, 1),
) -> WeightFormat:
    """The layout of one quantization: the checkpoint's own numbers where it has them."""
    bits, group = quantization.weight_bits, quantization.group_size
    asymmetric = quantization.zero_bits > 0
    if stored is not None and stored.name == quantization.name and not quantization.moe_only:
        grouped = quantization.weight_bits > 0 or stored.bits < 8
        bits, group = (stored.bits, stored.group_size) if grouped else (0, 0)
        asymmetric = not stored.symmetric
    return WeightFormat(
        quantization=quantization,
        bits=bits,
        group=group,
        zero_bits=(runtime.zero_point_bits or bits) if asymmetric else bits,
        kept=stored.kept if stored is not None else frozenset(),
        element=element,
        lm_head=quantization.lm_head or bool(stored and stored.lm_head),
        on_device=engine.host_staging != "full",
        max_split=runtime.max_split_bytes,
        expert_multiples=expert_multiples if quantization.moe_only else (1, 1),
    )
