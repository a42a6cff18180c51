"""Pieces of engine logs, as vLLM and its libraries print them."""

from __future__ import annotations

READY = "INFO:     Application startup complete."
SERVING = (
    "INFO 10-10 11:00:00 [loggers.py:127] Engine 000: Avg prompt throughput: 902.1 tokens/s, "
    "Avg generation throughput: 55.5 tokens/s, Running: 12 reqs, Waiting: 0 reqs"
)
OOM = (
    "torch.OutOfMemoryError: XPU out of memory. Tried to allocate 772.00 MiB. GPU 0 has a total "
    "capacity of 15.11 GiB of which 118.00 MiB is free. Of the allocated memory 14.40 GiB is "
    "allocated by PyTorch, and 105.60 MiB is reserved by PyTorch but unallocated."
)
SEED_OOM = (
    "RuntimeError: XPU out of memory. Tried to allocate 130.00 MiB (GPU 0; 15.11 GiB total "
    "capacity; 11.09 GiB already allocated; 11.23 GiB reserved in total by PyTorch)"
)
TOO_LONG = (
    "ValueError: To serve at least one request with the model's max seq len (40960), (5.62 GiB KV "
    "cache is needed, which is larger than the available KV cache memory (3.60 GiB). Based on the "
    "available memory, the estimated maximum model length is 26208."
)
DEAD = (
    "(APIServer pid=1) ERROR 07-01 10:00:02 [async_llm.py:480] vllm.v1.engine.exceptions."
    "EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause."
)


def core(text: str, level: str = "ERROR") -> str:
    """A line of the engine core's logger."""
    return f"(EngineCore_DP0 pid=271) {level} 07-01 10:00:00 [core.py:866] {text}"


def traceback(exception: str, *frames: str) -> str:
    """An uncaught exception; frames are function names."""
    lines = ["Traceback (most recent call last):"]
    for frame in frames:
        lines += [f'  File "/opt/venv/lib/vllm/x.py", line 12, in {frame}', "    call()"]
    return "\n".join([*lines, exception])


def log(*lines: str) -> str:
    return "\n".join(lines)
