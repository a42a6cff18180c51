"""`estimate --batch`: one JSON row in, one JSON row out; a row that can't be answered says why."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from xpullm.catalog import Engine, Quantization, find_engine, gpus, quantizations
from xpullm.planner.estimate import judge
from xpullm.planner.facts import ModelFacts, parse_config
from xpullm.planner.fields import FactsError
from xpullm.planner.target import target
from xpullm.planner.types import Arguments

GIB = 1 << 30
_ALIASES = {
    "bf16": "bf16",
    "bfloat16": "bf16",
    "float16": "fp16",
    "none": "bf16",
}
_ANSWER = (
    "weights_gib", "activation_peak_gib", "non_torch_gib", "kv_cache_gib", "kv_cache_tokens",
    "max_model_len_fits",
)  # fmt: skip


class RowError(ValueError):
    """A row that can't be answered: the message names the field and the way out."""


def estimate_row(row: object) -> dict[str, Any]:
    """Answers one row shaped like the measurements; never raises for what a row may hold."""
    name = row.get("id") if isinstance(row, Mapping) else None
    try:
        if not isinstance(row, Mapping):
            raise RowError("a row must be a JSON object")
        return {"id": name, **_answer(row)}
    except (RowError, FactsError, RecursionError, TypeError) as error:
        return unanswered(str(error), name)


def unanswered(reason: str, name: object = None) -> dict[str, Any]:
    """The answer to a row that can't be answered."""
    return {"id": name, "starts": None, "safe": None, "reason": reason} | dict.fromkeys(_ANSWER)


def _answer(row: Mapping[str, Any]) -> dict[str, Any]:
    config = row.get("config")
    if not isinstance(config, Mapping):
        raise RowError("config must be the model's config.json as an object")
    facts = _facts(json.dumps(_with_stored(row, config), sort_keys=True))
    args = row.get("args", {})
    if not isinstance(args, Mapping):
        raise RowError("args must be an object of engine arguments")
    engine = _engine(row)
    quantization = _quantization(row, facts)
    gpu = gpus().get(str(row.get("gpu")))
    visible = _gib(row, "device_total_gib")
    if visible is None and gpu is None:
        raise RowError("device_total_gib is missing (or gpu, a card of the catalogue)")
    where = target(
        facts,
        quantization,
        gpu,
        engine,
        platform=_platform(row, engine, gpu is not None),
        visible_bytes=visible,
        context_bytes=_gib(row, "context_gib"),
        dtype=_text(args, "dtype"),
    )
    estimate = judge(where, arguments_of(args, facts, engine))
    ledger = estimate.ledger
    if ledger is None:
        raise RowError(estimate.reason)
    return {
        "starts": estimate.starts,
        "safe": estimate.safe,
        "reason": estimate.reason,
        "weights_gib": round(ledger.weights_bytes / GIB, 4),
        "activation_peak_gib": round(ledger.activation_bytes / GIB, 4),
        "non_torch_gib": round(ledger.non_torch_bytes / GIB, 4),
        "kv_cache_gib": round(ledger.kv_cache_bytes / GIB, 4),
        "kv_cache_tokens": ledger.kv_cache_tokens,
        "max_model_len_fits": ledger.max_model_len_fits,
    }


def _with_stored(row: Mapping[str, Any], config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with what "gptq8" or "awq4" say of the checkpoint, where it doesn't itself."""
    match = re.fullmatch(r"(gptq|awq)([2348])", str(row.get("quantization") or ""))
    if match is None or "quantization_config" in config:
        return config
    stored = {"quant_method": match[1], "bits": int(match[2]), "group_size": 128}
    return {**config, "quantization_config": {**stored, "zero_point": match[1] == "awq"}}


@lru_cache(maxsize=4096)
def _facts(config: str) -> ModelFacts:
    return parse_config(json.loads(config))


def _engine(row: Mapping[str, Any]) -> Engine:
    name = str(row.get("engine") or "vllm")
    version = str(row.get("engine_version") or "")
    if name == "vllm" and "llm-scaler" in version:
        name, version = "llm-scaler", version.rpartition(":")[2]
    if name.startswith("vllm"):
        name = "ipex-llm" if "ipex" in name else "vllm"
    engine = find_engine(name, version) if version else None
    if engine is None:
        raise RowError(f"engine {name!r} version {version!r} isn't in the catalogue")
    return engine


def _quantization(row: Mapping[str, Any], facts: ModelFacts) -> Quantization:
    known = quantizations()
    value = row.get("quantization")
    if value is None:
        name = facts.stored.name if facts.stored else "fp16" if facts.dtype == "float16" else "bf16"
    else:
        name = _ALIASES.get(str(value), re.sub(r"^(gptq|awq)[2348]$", r"\1", str(value)))
    if name not in known:
        raise RowError(f"quantization {name!r} isn't in the catalogue: {', '.join(known)}")
    return known[name]


def _platform(row: Mapping[str, Any], engine: Engine, intel: bool) -> str:
    """XPU for Intel's engines and cards; rows without a platform are as the measurements: CUDA."""
    given = str(row.get("platform") or "").casefold()
    if given.startswith(("xpu", "cuda")):
        return given[: 4 if given.startswith("cuda") else 3]
    return "xpu" if intel or engine.name != "vllm" else "cuda"


def arguments_of(args: Mapping[str, Any], facts: ModelFacts, engine: Engine) -> Arguments:
    """Engine arguments of a row; what is missing takes the engine's defaults."""
    values = {str(k).replace("-", "_"): v for k, v in args.items()}
    length = _count(values, "max_model_len") or facts.max_position
    sequences = _count(values, "max_num_seqs") or 256
    tokens = _count(values, "max_num_batched_tokens")
    if not tokens:
        tokens = 2048 if engine.chunked_prefill == "default" else max(2048, length)
    return Arguments(
        max_model_len=length,
        max_num_seqs=sequences,
        max_num_batched_tokens=tokens,
        gpu_memory_utilization=_share(values, "gpu_memory_utilization"),
        kv_cache_memory_bytes=_count(values, "kv_cache_memory_bytes"),
        num_gpu_blocks_override=_count(values, "num_gpu_blocks_override"),
        tensor_parallel_size=_count(values, "tensor_parallel_size") or 1,
        pipeline_parallel_size=_count(values, "pipeline_parallel_size") or 1,
        kv_cache_dtype=_text(values, "kv_cache_dtype") or "auto",
        block_size=_count(values, "block_size"),
        dtype=_text(values, "dtype"),
        enforce_eager=_flag(values, "enforce_eager") or False,
        enable_chunked_prefill=_flag(values, "enable_chunked_prefill"),
        cpu_offload_gib=_number(values, "cpu_offload_gb"),
        extra=tuple(_extra(values)),
    )


_READ = frozenset(
    {
        "max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization",
        "kv_cache_memory_bytes", "num_gpu_blocks_override", "tensor_parallel_size",
        "pipeline_parallel_size", "kv_cache_dtype", "block_size", "dtype", "enforce_eager",
        "enable_chunked_prefill", "cpu_offload_gb",
    }
)  # fmt: skip


def _extra(values: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """The other flags, as a command line has them; a false switch is not there."""
    for name, value in values.items():
        if name not in _READ and value is not None and value is not False:
            yield name.replace("_", "-"), None if value is True else _told(value)


def _told(value: object) -> str:
    """A value as a command line has it: objects and lists as JSON."""
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def _count(values: Mapping[str, Any], name: str) -> int | None:
    value = values.get(name)
    if value is None:
        return None
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise RowError(f"args.{name} must be a whole number, not {value!r:.40}")
    if not 1 <= value < 2**50:
        raise RowError(f"args.{name} must be at least 1, not {value!r:.40}")
    return int(value)


def _number(values: Mapping[str, Any], name: str) -> float | None:
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**20:
        raise RowError(f"{name} must be a number of at least 0, not {value!r:.40}")
    return float(value)


def _share(values: Mapping[str, Any], name: str) -> float | None:
    value = _number(values, name)
    if value is not None and not 0 < value <= 1:
        raise RowError(f"args.{name} must be above 0 and at most 1, not {value!r:.40}")
    return value


def _gib(row: Mapping[str, Any], name: str) -> int | None:
    value = _number(row, name)
    return None if value is None else int(value * GIB)


def _text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    return value if isinstance(value, str) and value else None


def _flag(values: Mapping[str, Any], name: str) -> bool | None:
    """True or False, also as the words or numbers that stand for them; None is not given."""
    value = values.get(name)
    if value is None:
        return None
    known = {"true": True, "1": True, "false": False, "0": False}
    flag = known.get(str(value).casefold())
    if flag is None:
        raise RowError(f"args.{name} must be true or false, not {value!r:.40}")
    return flag
