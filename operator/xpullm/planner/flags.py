"""Renders arguments as the flags of one engine version: only flags that this version knows."""

from __future__ import annotations

from collections.abc import Iterable

from xpullm.catalog import Engine, Quantization
from xpullm.planner.types import Arguments

Flag = tuple[str, str | None]


def render(engine: Engine, quantization: Quantization, arguments: Arguments) -> tuple[Flag, ...]:
    """The complete flag list in a fixed order; the user's other flags come last."""
    result: list[Flag] = []
    own = {name for name, _ in arguments.extra}

    def add(rows: Iterable[Flag]) -> None:
        for name, value in rows:
            if name in engine.flags and name not in own:
                result.append((name, value))

    add(row for row in engine.defaults if row[0] != "enforce-eager")
    add([("enforce-eager", None)] if arguments.enforce_eager else [])
    add(quantization.flags.get(engine.name, ()))
    add(_numbers(arguments))
    add(_chunked(engine, arguments))
    if arguments.tensor_parallel_size * arguments.pipeline_parallel_size > 1:
        add([("tensor-parallel-size", str(arguments.tensor_parallel_size))])
        if arguments.pipeline_parallel_size > 1:
            add([("pipeline-parallel-size", str(arguments.pipeline_parallel_size))])
        add(engine.tensor_parallel)
    add(engine.request_logging_off)
    return (*result, *arguments.extra)


def _numbers(a: Arguments) -> list[Flag]:
    rows: list[tuple[str, object]] = [
        ("dtype", a.dtype),
        ("max-model-len", a.max_model_len),
        ("max-num-seqs", a.max_num_seqs),
        ("max-num-batched-tokens", a.max_num_batched_tokens),
        ("gpu-memory-utilization", _short(a.gpu_memory_utilization)),
        ("kv-cache-memory-bytes", a.kv_cache_memory_bytes),
        ("num-gpu-blocks-override", a.num_gpu_blocks_override),
        ("kv-cache-dtype", None if a.kv_cache_dtype == "auto" else a.kv_cache_dtype),
        ("block-size", a.block_size),
        ("swap-space", _short(a.swap_space_gib)),
        ("cpu-offload-gb", _short(a.cpu_offload_gib)),
    ]
    return [(name, str(value)) for name, value in rows if value is not None]


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _chunked(engine: Engine, arguments: Arguments) -> list[Flag]:
    if arguments.enable_chunked_prefill is None:
        return []
    if arguments.enable_chunked_prefill:
        return [("enable-chunked-prefill", None)]
    if "no-enable-chunked-prefill" in engine.flags:
        return [("no-enable-chunked-prefill", None)]
    return []
