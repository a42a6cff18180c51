"""Reads and checks the user's own engine flags against one engine version and each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from xpullm.catalog import Engine, nearest
from xpullm.planner.request import UserArguments
from xpullm.planner.speculation import FLAG, speculation
from xpullm.planner.types import Refusal, Serving

_INTEGERS = {
    "max-model-len": "max_model_len",
    "max-num-seqs": "max_num_seqs",
    "max-num-batched-tokens": "max_num_batched_tokens",
    "kv-cache-memory-bytes": "kv_cache_memory_bytes",
    "num-gpu-blocks-override": "num_gpu_blocks_override",
    "tensor-parallel-size": "tensor_parallel_size",
    "pipeline-parallel-size": "pipeline_parallel_size",
    "data-parallel-size": "data_parallel_size",
    "block-size": "block_size",
}
_SHARES = {"gpu-memory-utilization": "gpu_memory_utilization"}
_GIGABYTES = {"swap-space": "swap_space_gib", "cpu-offload-gb": "cpu_offload_gib"}
_WORDS = {"kv-cache-dtype": "kv_cache_dtype", "dtype": "dtype"}
_SWITCHES = {
    "enforce-eager": ("enforce_eager", True),
    "no-enforce-eager": ("enforce_eager", False),
    "enable-chunked-prefill": ("enable_chunked_prefill", True),
    "no-enable-chunked-prefill": ("enable_chunked_prefill", False),
}
# Flags that another field of the spec says, and that field.
_ELSEWHERE = {
    "quantization": "spec.quantization",
    "load-in-low-bit": "spec.quantization",
    "device": "spec.gpu.type",
}
# Flags that spread one engine over several pods; a replica is one pod (vLLM config/parallel.py).
_OTHER_PODS = (
    "data-parallel-address",
    "data-parallel-external-lb",
    "data-parallel-hybrid-lb",
    "data-parallel-multi-port-external-lb",
    "data-parallel-rank",
    "data-parallel-rpc-port",
    "data-parallel-size-local",
    "data-parallel-start-rank",
    "headless",
    "master-addr",
    "master-port",
    "nnodes",
    "node-rank",
)
# Ranks, or shares of the KV cache, that no plan counts (vLLM config/parallel.py world_size).
_UNPLANNED = ("decode-context-parallel-size", "prefill-context-parallel-size")
_SUFFIXES = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}


def read_arguments(
    rows: Iterable[tuple[str, str | None]], engine: Engine
) -> UserArguments | Refusal:
    """The user's flags as values, or the first one that this engine version can't take."""
    flags: list[tuple[str, str | None]] = []
    values: dict[str, Any] = {}
    extra: list[tuple[str, str | None]] = []
    for name, value in rows:
        flags.append((name, value))
        problem = _not_taken(name, value, engine) or _wrong_value(name, value, engine)
        problem = problem or _read(name, value, values, extra)
        if problem:
            return _refuse(name, value, problem)
    dtype = values.get("kv_cache_dtype")
    if dtype is not None and dtype not in engine.kv_cache_dtypes:
        allowed = ", ".join(engine.kv_cache_dtypes)
        return _refuse("kv-cache-dtype", dtype, f"isn't supported by {engine.key}; use {allowed}")
    if values.get("enforce_eager") is False and engine.eager_only:
        return _refuse("no-enforce-eager", None, f"graphs aren't available on {engine.key}")
    if values.get("enable_chunked_prefill") and engine.chunked_prefill == "none":
        return _refuse(
            "enable-chunked-prefill", None, f"isn't supported by {engine.key} on Intel GPUs"
        )
    asked = speculation(tuple(extra))
    if asked.problem:
        name, value = next((r for r in extra if r[0].startswith("speculative-")), (FLAG, ""))
        return Refusal(
            "InvalidArgument",
            f"spec.engine.args[{name}]",
            (value or "")[:80],
            f"--{name}: {asked.problem}",
        )
    return UserArguments(flags=tuple(flags), extra=tuple(extra), **values)


def _not_taken(name: str, value: str | None, engine: Engine) -> str:
    """Why a flag of this name can't be given, or ""."""
    if name in _ELSEWHERE:
        return f"is set by the operator: use {_ELSEWHERE[name]}"
    if name in _OTHER_PODS:
        return "spreads an engine over pods: use spec.replicas"
    if name in _UNPLANNED and value != "1":
        return "can't be planned for; leave it out"
    if name.split(".", 1)[0] not in engine.flags:
        near = ", ".join(f"--{n}" for n in nearest(name, sorted(engine.flags)))
        return f"isn't a flag of {engine.key}; nearest: {near}"
    return ""


def _wrong_value(name: str, value: str | None, engine: Engine) -> str:
    """Why this version's own parser, or its attention on Intel GPUs, refuses the value, or ""."""
    kind = engine.values.get(name)
    if isinstance(kind, tuple) and name != "kv-cache-dtype":  # of these not all are for Intel GPUs
        if value not in kind:
            return f"must be one of {', '.join(kind)}"
    elif name in _INTEGERS or name in _SHARES or name in _GIGABYTES:
        pass  # read with bounds of our own
    elif kind == "int" and not _is(int, value):
        return "must be a whole number"
    elif kind == "float" and not _is(float, value):
        return "must be a number"
    if name == "block-size" and engine.accounting.pool == "peak":
        # vLLM v1/attention/backends/flash_attn.py get_kv_cache_shape.
        size = _integer(value) if value else None
        if size is not None and size % 16:
            return "must be a multiple of 16"
    return ""


def _is(kind: Callable[[str], object], value: str | None) -> bool:
    try:
        kind(value or "")
    except ValueError:
        return False
    return True


def _read(
    name: str,
    value: str | None,
    values: dict[str, Any],
    extra: list[tuple[str, str | None]],
) -> str:
    """Puts one flag where it belongs; returns what is wrong with it, or ""."""
    readers: tuple[tuple[dict[str, str], Callable[[str], Any], str], ...] = (
        (_INTEGERS, _integer, "must be a whole number of at least 1"),
        (_SHARES, _share, "must be above 0 and at most 1"),
        (_GIGABYTES, _gigabytes, "must be a number of GiB, 0 or more"),
        (_WORDS, str, "must have a value"),
    )
    for names, read, rule in readers:
        if name in names:
            parsed = read(value) if value else None
            if parsed is None:
                return rule
            values[names[name]] = parsed
            if name == "data-parallel-size":  # no argument of a plan, but passed on
                extra.append((name, str(parsed)))
            return ""
    if name in _SWITCHES:
        field, setting = _SWITCHES[name]
        if value is not None and value.casefold() not in ("true", "false"):
            return "takes no value"
        values[field] = setting if value is None or value.casefold() == "true" else not setting
        return ""
    extra.append((name, value))
    return ""


def _integer(text: str) -> int | None:
    digits, factor = text, 1
    if text[-1] in _SUFFIXES:
        digits, factor = text[:-1], _SUFFIXES[text[-1]]
    if not digits.isdecimal() or len(digits) > 18:
        return None
    return int(digits) * factor or None


def _share(text: str) -> float | None:
    number = _float(text)
    return number if number is not None and 0 < number <= 1 else None


def _gigabytes(text: str) -> float | None:
    number = _float(text)
    return number if number is not None and 0 <= number < 2**20 else None


def _float(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number else None


def check_together(user: UserArguments, serving: Serving) -> Refusal | None:
    """Contradictions between the user's own flags, and with the wishes and floors."""
    for name in sorted(user.names):
        if f"no-{name}" in user.names:
            return _refuse(f"no-{name}", None, f"contradicts --{name}; keep one of them")
    context = serving.context_length
    tokens, sequences, length = (
        user.max_num_batched_tokens,
        user.max_num_seqs,
        user.max_model_len or context,
    )
    if tokens and sequences and tokens < sequences:
        return _refuse(
            "max-num-batched-tokens",
            str(tokens),
            f"is below max-num-seqs {sequences}; raise it to at least that",
        )
    chunked = user.enable_chunked_prefill
    if tokens and length and chunked is False and tokens < length:
        return _refuse(
            "max-num-batched-tokens",
            str(tokens),
            f"is below the model length {length} without chunked prefill; raise it to {length},"
            " or set enable-chunked-prefill",
        )
    if user.max_model_len and context and user.max_model_len != context:
        return _refuse(
            "max-model-len",
            str(user.max_model_len),
            f"contradicts spec.serving.contextLength {context}; keep one of them",
        )
    for name, given, field, floor in (
        ("max-model-len", user.max_model_len, "minContextLength", serving.min_context_length),
        ("max-num-seqs", user.max_num_seqs, "minConcurrency", serving.min_concurrency),
    ):
        if given and floor and given < floor:
            return _refuse(
                name, str(given), f"is below spec.serving.{field} {floor}; raise it, or lower that"
            )
    if user.kv_cache_memory_bytes and user.num_gpu_blocks_override:
        return _refuse(
            "num-gpu-blocks-override",
            str(user.num_gpu_blocks_override),
            "contradicts kv-cache-memory-bytes; keep one of them",
        )
    return None


def _refuse(name: str, value: str | None, problem: str) -> Refusal:
    shown = f"--{name}" + (f" {value[:80]}" if value else "")
    return Refusal(
        "InvalidArgument", f"spec.engine.args[{name}]", (value or "")[:80], f"{shown} {problem}"
    )
