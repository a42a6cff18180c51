"""Memory-relevant arguments as flags of a TuningRecord, and back. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from xpullm.planner.types import Arguments

# Field of Arguments -> (vLLM's flag, how to read it).
_FLAGS: Mapping[str, tuple[str, type]] = {
    "max_model_len": ("max-model-len", int),
    "max_num_seqs": ("max-num-seqs", int),
    "max_num_batched_tokens": ("max-num-batched-tokens", int),
    "gpu_memory_utilization": ("gpu-memory-utilization", float),
    "kv_cache_memory_bytes": ("kv-cache-memory-bytes", int),
    "num_gpu_blocks_override": ("num-gpu-blocks-override", int),
    "tensor_parallel_size": ("tensor-parallel-size", int),
    "pipeline_parallel_size": ("pipeline-parallel-size", int),
    "kv_cache_dtype": ("kv-cache-dtype", str),
    "block_size": ("block-size", int),
    "dtype": ("dtype", str),
    "enforce_eager": ("enforce-eager", bool),
    "enable_chunked_prefill": ("enable-chunked-prefill", bool),
    "swap_space_gib": ("swap-space", float),
    "cpu_offload_gib": ("cpu-offload-gb", float),
}
_REQUIRED = ("max_model_len", "max_num_seqs", "max_num_batched_tokens")


def to_flags(arguments: Arguments) -> list[dict[str, str]]:
    """One row per argument that is set, in a fixed order; a bare flag has no value."""
    rows: list[dict[str, str]] = []
    for field, (flag, kind) in _FLAGS.items():
        value = getattr(arguments, field)
        if value is None:
            continue
        if kind is bool:
            rows.append({"name": flag if value else f"no-{flag}"})
        else:
            rows.append({"name": flag, "value": f"{value:g}" if kind is float else str(value)})
    return rows


def from_flags(rows: object) -> Arguments | None:
    """Arguments from rows; None where a required one is missing or a value cannot be read."""
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        return None
    given: dict[str, str | None] = {}
    for row in rows:
        if not isinstance(row, Mapping) or not isinstance(row.get("name"), str):
            return None
        value = row.get("value")
        given[row["name"]] = value if isinstance(value, str) else None
    values: dict[str, Any] = {}
    for field, (flag, kind) in _FLAGS.items():
        if kind is bool:
            if flag in given or f"no-{flag}" in given:
                values[field] = flag in given
        elif (text := given.get(flag)) is not None:
            try:
                values[field] = kind(text)
            except ValueError:
                return None
    if any(field not in values for field in _REQUIRED):
        return None
    values.setdefault("enforce_eager", False)
    numbers = [value for value in values.values() if type(value) in (int, float)]
    if any(value < 0 or not math.isfinite(value) for value in numbers):
        return None
    return Arguments(**values)


assert set(_FLAGS) | {"extra", "user"} == {field.name for field in fields(Arguments)}  # noqa: S101
