"""Test objects: an LLMDeployment as the API server returns it, and a plan made by hand."""

from __future__ import annotations

from typing import Any

from xpullm.api import LLMDeployment, parse
from xpullm.planner.types import Arguments, HostMemory, Ledger, Plan

GIB = 1 << 30


def manifest(**spec: Any) -> dict[str, Any]:
    """The seed's deployment; `spec` fields are laid over it."""
    return {
        "apiVersion": "xpullm.io/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {
            "name": "qwen2-7b",
            "namespace": "default",
            "uid": "11111111-2222-3333-4444-555555555555",
            "generation": 1,
            "resourceVersion": "7",
        },
        "spec": {
            "model": {"id": "Qwen/Qwen2-7B-Instruct"},
            "quantization": "sym_int4",
            "gpu": {"type": "arc-a770-16g"},
            **spec,
        },
    }


def llmd(**spec: Any) -> LLMDeployment:
    return parse(manifest(**spec))


def plan(**changes: Any) -> Plan:
    """A plan for the seed's deployment, with round figures."""
    values: dict[str, Any] = {
        "model": "Qwen/Qwen2-7B-Instruct",
        "revision": "main",
        "quantization": "sym_int4",
        "engine": "ipex-llm",
        "engine_version": "0.8.3-b18",
        "image": "intelanalytics/ipex-llm-serving-xpu:0.8.3-b18",
        "command": ("python3", "-m", "ipex_llm.vllm.xpu.entrypoints.openai.api_server"),
        "gpu": "arc-a770-16g",
        "gpu_count": 1,
        "arguments": Arguments(max_model_len=8192, max_num_seqs=4, max_num_batched_tokens=8192),
        "flags": (
            ("load-in-low-bit", "sym_int4"),
            ("max-model-len", "8192"),
            ("max-num-seqs", "4"),
            ("enforce-eager", None),
        ),
        "ledger": Ledger(
            visible_bytes=15 * GIB,
            context_bytes=GIB // 2,
            weights_bytes=5 * GIB,
            activation_bytes=2 * GIB,
            non_torch_bytes=0,
            graph_bytes=0,
            kv_cache_bytes=4 * GIB,
            outside_bytes=GIB // 2,
            reserve_bytes=GIB,
            free_bytes=2 * GIB,
            kv_bytes_per_token=57344,
            kv_cache_tokens=74_000,
            max_model_len_fits=74_000,
            block_size=8,
        ),
        "host": HostMemory(20 * GIB, 24 * GIB, 2 * GIB),
        "context_length": 8192,
        "concurrency": 4,
        "utilization_percent": 76,
        "env": {"USE_XETLA": "OFF", "FI_PROVIDER": "shm"},
        "env_scripts": ("/opt/intel/1ccl-wks/setvars.sh",),
        "hash": "0123456789abcdef",
    }
    return Plan(**(values | changes))
