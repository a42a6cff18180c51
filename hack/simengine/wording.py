"""Error texts as PyTorch, IPEX, vLLM and the hub client word them, and their traceback frames.

Sources: vLLM 0.8.5 and 0.26.0 (worker/worker.py, v1/core/kv_cache_utils.py, v1/worker/utils.py,
v1/worker/gpu_model_runner.py), intel/ipex-llm#12080 and #11798, intel/llm-scaler#672.
"""

from .card import DeviceOutOfMemoryError, TooLargeAtOnceError
from .truth import GIB, MIB

DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
_DOCS = "See https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more details."


class EngineError(Exception):
    """An error that ends the engine, as its traceback shows it.

    Args:
        kind: Exception class as printed.
        message: Its text.
        frames: Last frames: (file below site-packages, line, function, source line).
    """

    def __init__(
        self, kind: str, message: str, frames: tuple[tuple[str, int, str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.kind, self.message, self.frames = kind, message, frames

    def traceback(self, root: str) -> list[str]:
        """The lines Python prints for it."""
        lines = ["Traceback (most recent call last):"]
        for file, number, function, source in self.frames:
            lines += [f'  File "{root}/{file}", line {number}, in {function}', f"    {source}"]
        return [*lines, *f"{self.kind}: {self.message}".splitlines()]


def size(count: int) -> str:
    """As PyTorch's allocator formats bytes."""
    if count >= GIB:
        return f"{count / GIB:.2f} GiB"
    if count >= MIB:
        return f"{count / MIB:.2f} MiB"
    return f"{count / 1024:.2f} KiB" if count >= 1024 else f"{count} bytes"


def gib(count: float) -> str:
    """As vLLM's ``format_gib``."""
    return str(round(count / GIB, 2))


def ipex_out_of_memory(error: DeviceOutOfMemoryError) -> str:
    """The allocator of IPEX up to torch 2.3 (ipex-llm#12080, #11798)."""
    held = (
        f"(GPU 0; {size(error.total)} total capacity; {size(error.allocated)} already allocated; "
        f"{size(error.reserved)} reserved in total by PyTorch)"
    )
    if isinstance(error, TooLargeAtOnceError):
        return (
            "Current platform can NOT allocate memory block with size larger than 4GB! "
            f"Tried to allocate {size(error.tried)} {held}"
        )
    return f"XPU out of memory. Tried to allocate {size(error.tried)} {held}"


def torch_out_of_memory(error: DeviceOutOfMemoryError) -> str:
    """PyTorch's own XPU allocator (2.8 and later)."""
    return (
        f"XPU out of memory. Tried to allocate {size(error.tried)}. GPU 0 has a total capacity of "
        f"{size(error.total)} of which {size(error.free)} is free. Of the allocated memory "
        f"{size(error.allocated)} is allocated by PyTorch, and "
        f"{size(error.reserved - error.allocated)} is reserved by PyTorch but unallocated. Please "
        "use `empty_cache` to release all unoccupied cached memory."
    )


def no_cache_memory(new: bool) -> str:
    """The pool is empty or negative."""
    text = (
        "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when "
        "initializing the engine"
    )
    if not new:
        return text + "."
    note = "this flag also controls CPU memory reservation on the CPU backend, despite its name"
    return f"{text} ({note}). {_DOCS}"


def too_long_v0(wanted: int, tokens: int) -> str:
    """V0: fewer tokens in the cache than the longest sequence."""
    return (
        f"The model's max seq len ({wanted}) is larger than the maximum number of tokens that can "
        f"be stored in KV cache ({tokens}). Try increasing `gpu_memory_utilization` or decreasing "
        "`max_model_len` when initializing the engine."
    )


def too_long_v1(wanted: int, needed: float, available: float, fits: int) -> str:
    """V1: the same with the engine's estimate of what fits."""
    estimate = (
        f"Based on the available memory, the estimated maximum model length is {fits}. "
        if fits > 0
        else ""
    )
    return (
        f"To serve at least one request with the model's max seq len ({wanted}), ({gib(needed)} "
        "GiB KV cache is needed, which is larger than the available KV cache memory "
        f"({gib(available)} GiB). {estimate}Try increasing `gpu_memory_utilization` (which also "
        "controls CPU memory on the CPU backend) or decreasing `max_model_len` when initializing "
        f"the engine. {_DOCS}"
    )


def busy(free: float, total: float, utilization: float, wanted: float) -> str:
    """V1 unified: somebody else is on the card."""
    return (
        f"Free memory on device xpu:0 ({gib(free)}/{gib(total)} GiB) on startup is less than "
        f"desired GPU memory utilization ({utilization}, {gib(wanted)} GiB). Decrease GPU memory "
        "utilization or reduce GPU memory used by other processes."
    )


def sampler_warm_up(sequences: int) -> str:
    """The text says CUDA on every platform."""
    return (
        f"CUDA out of memory occurred when warming up sampler with {sequences} dummy requests. "
        "Please try lowering `max_num_seqs` or `gpu_memory_utilization` when initializing the "
        "engine."
    )


def gated(model: str) -> list[str]:
    """huggingface_hub's and transformers' texts for a model whose licence is not accepted."""
    url = f"https://huggingface.co/{model}"
    return [
        "huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-65f0a1b2)",
        "",
        f"Cannot access gated repo for url {url}/resolve/main/config.json.",
        f"Access to model {model} is restricted. You must have access to it and be authenticated "
        "to access it. Please log in.",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        "OSError: You are trying to access a gated repo.",
        f"Make sure to have access to it at {url}.",
    ]


def not_found(model: str) -> list[str]:
    """huggingface_hub's text for a model that is not there (or hidden)."""
    return [
        "huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error. "
        "(Request ID: Root=1-65f0a1b3)",
        "",
        f"Repository Not Found for url: https://huggingface.co/api/models/{model}/tree/main.",
        "Please make sure you specified the correct `repo_id` and `repo_type`.",
        "If you are trying to access a private or gated repo, make sure you are authenticated.",
        "Invalid username or password.",
    ]
