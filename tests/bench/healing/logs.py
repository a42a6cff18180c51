"""What an engine of a world prints: lines as vLLM V0 and V1 print them on XPU."""

from __future__ import annotations

from tests.bench.healing.world import GIB, MIB, Flags, Result, World

V0 = "INFO 11-23 02:00:00 "
V1 = "(EngineCore_DP0 pid=183) INFO 11-23 02:00:00 "
E0 = "ERROR 11-23 02:00:09 [engine.py:448] "
E1 = "(EngineCore_DP0 pid=183) ERROR 11-23 02:00:09 [core.py:1141] "

_FRAMES = {
    "weights": ("model_loader/default_loader.py", "load_weights"),
    "profile": ("v1/worker/gpu_model_runner.py", "profile_run"),
    "kv_alloc": ("v1/worker/gpu_model_runner.py", "_allocate_kv_cache_tensors"),
    "warm_up": ("v1/worker/gpu_model_runner.py", "_dummy_sampler_run"),
    "runtime": ("v1/worker/gpu_model_runner.py", "execute_model"),
}
_FRAMES_V0 = {
    "weights": ("model_executor/model_loader.py", "load_weights"),
    "profile": ("worker/model_runner.py", "profile_run"),
    "kv_alloc": ("worker/cache_engine.py", "_allocate_kv_cache"),
    "warm_up": ("worker/model_runner.py", "profile_run"),
    "runtime": ("worker/model_runner.py", "execute_model"),
}

_OTHER = {
    "device_lost": "RuntimeError: level_zero backend failed with error: 20 "
    "(UR_RESULT_ERROR_DEVICE_LOST)",
    "ccl": "RuntimeError: oneCCL: coll_param.cpp:432 validate: EXCEPTION: unknown memory type",
    "gated": "huggingface_hub.errors.GatedRepoError: 403 Client Error. Cannot access gated repo "
    "for url https://huggingface.co/acme/model/resolve/main/config.json.",
    "missing": "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error. Repository "
    "Not Found for url: https://huggingface.co/acme/model/resolve/main/config.json.",
    "driver": "ImportError: libsycl.so.8: cannot open shared object file: No such file or "
    "directory",
    "shape": "ValueError: Model architectures ['AcmeForCausalLM'] are not supported for now.",
}


def render(world: World, flags: Flags, result: Result) -> str:
    """The log of one run up to its death."""
    v1 = world.truth.pool == "v1"
    info, error = (V1, E1) if v1 else (V0, E0)
    lines = [f"{info}[model_runner.py:1110] Starting to load model {world.geometry.name}..."]
    if result.failure in _OTHER:
        return "\n".join(
            [*lines, *_traceback(error, v1, "weights"), error + _OTHER[result.failure]]
        )
    if result.failure == "busy":
        lines.append(_busy(error, world, flags, result))
        return "\n".join(lines)
    if result.phase == "weights":
        lines.append("Loading safetensors checkpoint shards:  25% Completed | 1/4")
    else:
        lines.append(
            f"{info}[gpu_model_runner.py:4577] Model loading took {_gib(world.weights)} and "
            "9.1 seconds"
            if v1
            else f"{info}[model_runner.py:1115] Loading model weights took {_gb(world.weights)}"
        )
    if result.phase in ("kv_alloc", "warm_up", "runtime"):
        lines += _pool(info, world, result)
    if result.phase == "runtime":
        lines += [
            "INFO:     Application startup complete.",
            'INFO:     127.0.0.1:41234 - "POST /v1/chat/completions HTTP/1.1" 200 OK',
        ]
    if result.failure == "no_kv":
        return "\n".join([*lines, error + _NO_KV])
    if result.failure == "too_long":
        return "\n".join([*lines, error + _too_long(v1, flags, result)])
    lines += _traceback(error, v1, result.phase)
    lines.append(error + _memory_error(world, result))
    if result.phase == "warm_up":
        lines.append(
            f"{error}RuntimeError: CUDA out of memory occurred when warming up sampler with "
            f"{flags.seqs} dummy requests. Please try lowering `max_num_seqs` or "
            "`gpu_memory_utilization` when initializing the engine."
        )
    return "\n".join(lines)


_NO_KV = (
    "ValueError: No available memory for the cache blocks. Try increasing "
    "`gpu_memory_utilization` when initializing the engine."
)


def _pool(info: str, world: World, result: Result) -> list[str]:
    tokens = max(0, result.pool) // world.geometry.token_bytes
    if world.truth.pool == "v1":
        lines = [f"{info}[gpu_worker.py:356] Available KV cache memory: {_gib(result.pool)}"]
        if result.pool > 0 and result.failure not in ("no_kv", "too_long"):
            lines.append(f"{info}[kv_cache_utils.py:1305] GPU KV cache size: {tokens:,} tokens")
        return lines
    blocks = max(0, result.pool) // (world.truth.block * world.geometry.token_bytes)
    return [f"{info}[executor_base.py:111] # xpu blocks: {blocks}, # CPU blocks: 512"]


def _too_long(v1: bool, flags: Flags, result: Result) -> str:
    if v1:
        return (
            f"ValueError: To serve at least one request with the models's max seq len "
            f"({flags.length}), ({_gib(result.needed)} KV cache is needed, which is larger than "
            f"the available KV cache memory ({_gib(result.available)}). Based on the available "
            "memory, "
            f"the estimated maximum model length is {result.fits}. Try increasing "
            "`gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine."
        )
    return (
        f"ValueError: The model's max seq len ({flags.length}) is larger than the maximum number "
        f"of tokens that can be stored in KV cache ({result.fits}). Try increasing "
        "`gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine."
    )


def _busy(error: str, world: World, flags: Flags, result: Result) -> str:
    u, total = flags.utilization or 0.9, world.truth.total
    return (
        f"{error}ValueError: Free memory on device xpu:0 ({result.free / GIB:.2f}/"
        f"{total / GIB:.2f} GiB) on startup is less than desired GPU memory utilization "
        f"({u}, {u * total / GIB:.2f} GiB). Decrease GPU memory utilization or reduce GPU memory "
        "used by other processes."
    )


def _memory_error(world: World, result: Result) -> str:
    total = world.truth.total
    if result.failure == "single":
        return (
            "RuntimeError: Current platform can NOT allocate memory block with size larger than "
            f"4GB! Tried to allocate {_size(result.tried)} (GPU  0; {_gib(total)} total capacity; "
            f"{_gib(result.allocated)} already allocated; {_gib(result.reserved)} reserved in "
            "total by PyTorch)"
        )
    if world.truth.figures == "none":
        return (
            "RuntimeError: UR backend failed. UR backend returns:39 "
            "(UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"
        )
    if world.truth.figures == "reserved":
        return (
            f"torch.OutOfMemoryError: XPU out of memory. Tried to allocate {_size(result.tried)} "
            f"(GPU 0; {_gib(total)} total capacity; {_gib(result.allocated)} already allocated; "
            f"{_gib(result.reserved)} reserved in total by PyTorch)"
        )
    free = result.free if world.truth.figures == "free" else total
    return (
        f"torch.OutOfMemoryError: XPU out of memory. Tried to allocate {_size(result.tried)}. GPU "
        f"0 has a total capacity of {_gib(total)} of which {_size(free)} is free. Of the allocated "
        f"memory {_gib(result.allocated)} is allocated by PyTorch, and "
        f"{_size(result.reserved - result.allocated)} is reserved by PyTorch but unallocated. "
        "Please use `empty_cache` to release all unoccupied cached memory."
    )


def _traceback(error: str, v1: bool, phase: str) -> list[str]:
    path, name = (_FRAMES if v1 else _FRAMES_V0)[phase]
    return [
        f"{error}Traceback (most recent call last):",
        f'{error}  File "/opt/venv/lib/python3.12/site-packages/vllm/{path}", line 697, in {name}',
    ]


def _size(value: int) -> str:
    return _gib(value) if value >= GIB else f"{value / MIB:.2f} MiB"


def _gib(value: int) -> str:
    return f"{value / GIB:.2f} GiB"


def _gb(value: int) -> str:
    return f"{value / GIB:.4f} GB"
