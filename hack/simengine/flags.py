"""Command lines of the two programs; what they do not know they refuse as argparse does."""

import argparse
import json
from pathlib import Path

_HERE = Path(__file__).parent
_INTEGERS = {
    "max_model_len", "max_num_seqs", "max_num_batched_tokens", "block_size", "port",
    "tensor_parallel_size", "num_gpu_blocks_override", "kv_cache_memory_bytes",
}  # fmt: skip
_DEFAULTS: dict[str, object] = {
    "max_model_len": None, "max_num_seqs": None, "max_num_batched_tokens": None,
    "block_size": None, "port": 8000, "host": None, "tensor_parallel_size": 1,
    "num_gpu_blocks_override": None, "kv_cache_memory_bytes": None, "kv_cache_dtype": "auto",
    "gpu_memory_utilization": None, "swap_space": 4.0, "quantization": None, "api_key": None,
    "served_model_name": None, "enable_chunked_prefill": None, "dtype": "auto",
    "load_in_low_bit": "sym_int4", "disable_log_requests": False, "enable_log_requests": False,
    "model": None, "revision": None, "enforce_eager": False,
}  # fmt: skip
_SHORT = {"-tp": "tensor_parallel_size", "-pp": "pipeline_parallel_size", "-q": "quantization"}
_SUFFIXES = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parser(program: str, table: str, rejected: str = "") -> argparse.ArgumentParser:
    """An argument parser that knows the flags of a table.

    Args:
        program: As printed in errors.
        table: ``vllm-0.26`` or ``ipex-llm-0.8.3``: the file of flags beside this one.
        rejected: Comma separated flags that this build does not have after all.
    """
    flags = json.loads((_HERE / f"flags-{table}.json").read_text())
    missing = {word.strip() for word in rejected.split(",") if word.strip()}
    made = argparse.ArgumentParser(prog=program)
    for arity, names in flags.items():
        for name in names:
            if name in missing or name in ("-h", "--help"):
                continue
            dest = _SHORT.get(name) or name.lstrip("-").replace("-", "_")
            options: dict[str, object] = {"dest": dest, "default": argparse.SUPPRESS}
            if arity == "flag":
                options["action"] = "store_true"
            elif arity == "bool" and name.startswith("--"):
                options["action"] = argparse.BooleanOptionalAction
            elif arity == "list":
                options["nargs"] = "+"
            elif arity == "value":
                options["type"] = _kind(dest)
            else:
                options["action"] = "store_true"
            made.add_argument(name, **options)  # type: ignore[arg-type]
    return made


def parse(made: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """Parse; argparse itself prints ``error: unrecognized arguments`` and leaves with 2."""
    return made.parse_args(words, argparse.Namespace(**_DEFAULTS))


def _kind(dest: str) -> object:
    if dest in _INTEGERS:
        return _integer
    return float if dest in ("gpu_memory_utilization", "swap_space") else str


def _integer(text: str) -> int:
    """vLLM takes ``8k`` and ``2G``, and ``auto`` for the model length."""
    if text == "auto":
        return -1
    if text and text[-1] in _SUFFIXES:
        return int(float(text[:-1]) * _SUFFIXES[text[-1]])
    return int(text)
