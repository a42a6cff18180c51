"""Measured rows and start-up logs as the estimator takes them."""

import json
import re
from pathlib import Path
from typing import Any

from xpullm.catalog import gpus, models

DATA = Path(__file__).parents[2] / "data"
Row = dict[str, Any]
_ASKED = (
    "id", "engine", "engine_version", "config", "quantization", "device_total_gib", "context_gib",
    "args",
)  # fmt: skip
# What a log calls a format, and the checkpoint's quantization_config that means it.
_STORED = {
    "fp8-dynamic": {"quant_method": "fp8"},
    "fp8dyn": {"quant_method": "fp8"},
    "w8a8": {"quant_method": "compressed-tensors"},
    "compressed-tensors": {"quant_method": "compressed-tensors"},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
    "mxfp4": {"quant_method": "mxfp4"},
}


def load(name: str) -> list[Row]:
    text = (DATA / f"{name}.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return [_completed(row) for row in rows] if name == "engine_logs" else rows


def _completed(row: Row) -> Row:
    """A log with what follows from its own lines: tokens from blocks, V0 from its format."""
    extra = row["extra"] or {}
    if row["kv_cache_tokens"] is None and row["gpu_blocks"] and row["platform"] == "cuda":
        row["kv_cache_tokens"] = row["gpu_blocks"] * (row["block_size"] or 16)
    if row["engine_version"] is None and extra.get("engine_gen") == "V0":
        row["engine_version"] = "0.8.5"
    return row


def asked(row: Row) -> Row:
    """Only what the estimator may see of a measured row."""
    return {key: row[key] for key in _ASKED}


def from_log(row: Row, *, weights_matter: bool = True) -> Row | None:
    """The question that a log answers, or None where it doesn't say enough: model, format, version
    and memory must be known. A compressed-tensors checkpoint of a hybrid model doesn't say which
    layers it keeps in 16 bit; that is enough only where weights don't matter."""
    config = _config(str(row["model"] or ""))
    version = row["engine_version"]
    if config is None or version is None or row["max_model_len"] is None:
        return None
    quantization, stored = _format(str(row["quantization"] or "").casefold())
    if quantization == "unknown":
        return None
    if weights_matter and config.get("full_attention_interval") and stored == _STORED["w8a8"]:
        return None
    if stored:
        config = {**config, "quantization_config": stored}
    question: Row = {
        "id": row["id"],
        "engine": row["engine"],
        "engine_version": version,
        "platform": row["platform"],
        "config": config,
        "quantization": quantization,
        "args": _arguments(row),
    }
    if row["gpu_total_gib"] is not None:
        return {**question, "device_total_gib": row["gpu_total_gib"]}
    card = _card(str(row["gpu"] or ""))
    return {**question, "gpu": card} if card else None


def _arguments(row: Row) -> Row:
    """Printed arguments; silent ones take the engine's defaults for that memory size."""
    large = (row["gpu_total_gib"] or 0) >= 70
    arguments = {
        "max_model_len": row["max_model_len"],
        "max_num_seqs": row["max_num_seqs"] or (1024 if large else 256),
        "max_num_batched_tokens": row["max_num_batched_tokens"] or _silent_batch(row, large),
        "gpu_memory_utilization": row["gpu_memory_utilization"],
        "tensor_parallel_size": row["tp"] or 1,
        "pipeline_parallel_size": row["pp"] or 1,
        "kv_cache_dtype": row["kv_cache_dtype"],
        "enforce_eager": bool(row["enforce_eager"]) or row["platform"] == "xpu",
        "dtype": row["dtype"],
    }
    offload = re.search(r"cpu[_-]offload[_-]gb[ =](\d+)", row["notes"] or "")
    if offload:
        arguments["cpu_offload_gb"] = int(offload[1])
    draft = re.search(r"MTP (?:speculative |spec=)?(\d+)", row["notes"] or "")
    if draft:
        speculative = {"method": "mtp", "num_speculative_tokens": int(draft[1])}
        arguments["speculative_config"] = json.dumps(speculative)
    return {k: v for k, v in arguments.items() if v is not None}


def _silent_batch(row: Row, large: bool) -> int:
    if str(row["engine_version"]).startswith("0.8"):  # V0 without chunked prefill
        return max(2048, row["max_model_len"])
    return 8192 if large else 2048


def _format(text: str) -> tuple[str | None, Row | None]:
    if not text:
        return None, None
    if text == "fp8":
        return "fp8", None
    for word, stored in _STORED.items():
        if word in text and not re.search(r"w4a|bitsandbytes|modelopt", text):
            return None, stored
    return "unknown", None


def _config(name: str) -> Row | None:
    if name in models():
        return dict(models()[name]["config"])
    return _by_stem().get(_stem(name))


def _by_stem() -> dict[str, Row]:
    return {_stem(name): dict(entry["config"]) for name, entry in reversed(models().items())}


def _stem(name: str) -> str:
    stem = name.casefold().rpartition("/")[2].partition(" ")[0]
    stem = re.sub(r"-(fp8|w8a8|w4a16|w4a8|quantized|awq|gptq|nvfp4).*$", "", stem)
    return re.sub(r"^meta-|-(hf|instruct|chat|it|i)\b", "", stem)


def _card(text: str) -> str | None:
    """The catalogue's name of a card that a log names."""
    for name, gpu in gpus().items():
        title = gpu.title.removeprefix("Intel ").partition(" (")[0]
        if re.search(rf"\b{re.escape(title)}\b", text):
            return name
    return None
