"""Arguments around one batch shape, and the room that its reserve rules leave for the KV cache."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from xpullm.planner.request import UserArguments
from xpullm.planner.sizes import UNCERTAIN, Sizes
from xpullm.planner.target import Target
from xpullm.planner.types import Arguments

GIB = 1 << 30
MIB = 1 << 20

# A plan leaves this much free at start: XPU KV tensors failed after an accepted profile
# (llm-scaler#578, #672).
_FREE_AT_START = 1 * GIB
# Beyond the measured margin: the rule is 0.3 GiB over what is held outside the profile.
_FURTHER_RESERVE = 52 * MIB


def room(where: Target, s: Sizes) -> int:
    """Bytes that the KV cache may take: the strictest of the reserve rules."""
    free = where.visible_bytes - where.context_bytes
    inside = s.weights.resident + s.activation.peak + s.runtime
    graphs_inside = s.graphs - s.graphs_outside
    outside = s.hole + s.graphs_outside + s.margin + _FURTHER_RESERVE
    outside = max(outside, s.warmup + s.graphs_outside - s.activation.peak)
    limits = (
        free - outside,
        free - _FREE_AT_START,
        where.visible_bytes * where.runtime.share_percent(s.ranks) // 100 - where.context_bytes,
    )
    return min(limits) - inside - graphs_inside


def base_arguments(
    where: Target,
    user: UserArguments,
    context: int,
    tokens: int,
    sequences: int,
    tensor: int,
    pipeline: int,
) -> Arguments:
    """Everything but the size of the pool, and what follows the context (`shaped`)."""
    engine = where.engine
    eager = True if user.enforce_eager is None else user.enforce_eager
    swap = user.swap_space_gib
    if swap is None and "swap-space" in engine.flags and engine.swap_space_gib:
        swap = engine.swap_space_gib
    return Arguments(
        max_model_len=context,
        max_num_seqs=sequences,
        max_num_batched_tokens=max(tokens, sequences),
        gpu_memory_utilization=user.gpu_memory_utilization,
        kv_cache_memory_bytes=user.kv_cache_memory_bytes,
        num_gpu_blocks_override=user.num_gpu_blocks_override,
        tensor_parallel_size=tensor,
        pipeline_parallel_size=pipeline,
        kv_cache_dtype=user.kv_cache_dtype or "auto",
        block_size=user.block_size or (engine.block_size if engine.block_size_flag else None),
        dtype=user.dtype or _dtype(where),
        enforce_eager=eager,
        enable_chunked_prefill=False
        if engine.chunked_prefill == "none"
        else user.enable_chunked_prefill,
        swap_space_gib=swap,
        cpu_offload_gib=user.cpu_offload_gib,
        extra=user.extra,
        user=user.names,
    )


def _dtype(where: Target) -> str | None:
    """float16 where the card or the format needs it; else the checkpoint's own. bfloat16 where the
    engine refuses float16 for the model."""
    allowed = where.quantization.dtypes
    if where.facts.model_type in where.engine.float16_refused:
        allowed = tuple(d for d in allowed if d != "float16")
    if allowed[0] == "float16" or not where.bfloat16:
        return "float16"
    return None if where.facts.dtype in allowed else allowed[0]


def shaped(where: Target, user: UserArguments, base: Arguments, context: int) -> Arguments:
    """The arguments for one context. Where chunked prefill is a flag it is set, so that the batch
    needn't follow the context; where it is off the batch has the context's length."""
    chunked = base.enable_chunked_prefill
    tokens = base.max_num_batched_tokens
    if where.engine.chunked_prefill == "flag" and chunked is None:
        chunked = True
    if chunked is False and user.max_num_batched_tokens is None:
        tokens = max(tokens, context)
    return replace(
        base,
        max_model_len=context,
        enable_chunked_prefill=chunked,
        max_num_batched_tokens=tokens,
    )


def with_pool(
    where: Target, user: UserArguments, arguments: Arguments, s: Sizes, pool: int
) -> Arguments:
    """Tells the engine the size of its pool, which it is sure to have: pinned where it can be, else
    by utilization."""
    if user.gpu_memory_utilization is not None:
        return replace(arguments, gpu_memory_utilization=user.gpu_memory_utilization)
    blocks = max(0, pool) // s.layout.block_bytes
    pinned = replace(
        arguments, gpu_memory_utilization=share_of(where, s, blocks * s.layout.block_bytes)
    )
    if s.pinned:
        return pinned
    match pin_of(where):
        case "kv-cache-memory-bytes":
            return replace(pinned, kv_cache_memory_bytes=blocks * s.layout.block_bytes)
        case "num-gpu-blocks-override":
            return replace(pinned, num_gpu_blocks_override=blocks)
    return replace(arguments, gpu_memory_utilization=share_of(where, s, pool + UNCERTAIN))


def pin_of(where: Target) -> str:
    """The flag that sets the pool's size exactly; "" where the engine has none."""
    pin = where.accounting.pin
    return pin if pin in where.engine.flags else ""


def in_grains(where: Target, s: Sizes, pool: int) -> int:
    """What is left of a pool that can be told by utilization alone, which is rounded down."""
    told = ceil(share_of(where, s, pool) * where.total_bytes)  # as `sizes` reads it
    return pool - max(0, _budget(where, s, pool) - told)


def share_of(where: Target, s: Sizes, pool: int) -> float:
    """Utilization for this pool by the engine's own accounting, rounded down to 0.001."""
    return max(1, _budget(where, s, pool) * 1000 // where.total_bytes) / 1000


def _budget(where: Target, s: Sizes, pool: int) -> int:
    budget = s.weights.resident + pool
    if where.accounting.pool == "peak":
        runtime = s.runtime
        if where.accounting.runtime == "assumed":
            runtime = where.accounting.runtime_assumed_bytes
        budget += s.activation.peak + runtime + s.graphs - s.graphs_outside
    return budget
