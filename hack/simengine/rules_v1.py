"""How vLLM's V1 engine (0.25 and later, V2 runner) spends a card.

u·M is asked for at start; the pool is what weights, the profile's peak and the runtime leave of
it, or is pinned. What the first real sampling allocates is in none of these
(vLLM 0.26 v1/worker/gpu_worker.py, v1/worker/gpu/).
"""

import math

from .card import Card, DeviceOutOfMemoryError, forward_buffers
from .model import Model, method_bytes
from .plan import Arguments, Pool
from .truth import GIB, MIB, Truth
from .wording import (
    EngineError,
    busy,
    no_cache_memory,
    sampler_warm_up,
    too_long_v1,
    torch_out_of_memory,
)

ROOT = "/opt/venv/lib/python3.12/site-packages"
# Logits of the profile run without top-k and top-p: 16 bit and their 32-bit copy.
_PROFILE_UNITS = 1.5
# A real sampling step: logits twice, the sorted copy, what the filter writes.
_SAMPLING_UNITS = 3.0
# Stays after the first one: counters of the penalties, and the Triton kernel's buffer per program.
_COUNTER_UNITS = 1.03
_KERNEL_PROGRAMS = 132
_KERNELS = 50 * MIB  # compiled at first use
_OOM = "torch.OutOfMemoryError"
_LOAD = (
    ("vllm/v1/engine/core.py", 125, "__init__", "self.model_executor = executor_class(config)"),
    ("vllm/v1/worker/gpu/model_runner.py", 286, "load_model",
     "self.model = model_loader.load_model("),
    ("vllm/model_executor/layers/linear.py", 488, "create_weights", "torch.empty("),
)  # fmt: skip
_PROFILE = (
    ("vllm/v1/engine/core.py", 250, "_initialize_kv_caches",
     "available_gpu_memory = self.model_executor.determine_available_memory()"),
    ("vllm/v1/worker/gpu_worker.py", 492, "determine_available_memory",
     "self.model_runner.profile_run()"),
    ("vllm/v1/worker/gpu/model_runner.py", 640, "profile_run", "hidden_states = self._dummy_run("),
)  # fmt: skip
_CACHE = (
    ("vllm/v1/engine/core.py", 290, "_initialize_kv_caches",
     "self.model_executor.initialize_from_config(kv_cache_configs)"),
    ("vllm/v1/worker/gpu/attn_utils.py", 112, "_allocate_kv_cache_tensors",
     "tensor = torch.zeros("),
)  # fmt: skip
_WARM_UP = (
    ("vllm/v1/worker/gpu_worker.py", 861, "compile_or_warm_up_model",
     "warmup_kernels(self.model_runner, self.execute_model, self.sample_tokens)"),
)  # fmt: skip
_CHECK = (
    ("vllm/v1/core/kv_cache_utils.py", 2126, "get_kv_cache_configs",
     "_check_enough_kv_cache_memory("),
)  # fmt: skip
_GATE = (
    ("vllm/v1/worker/gpu_worker.py", 345, "init_device",
     "self.requested_memory = request_memory(init_snapshot, self.cache_config)"),
)  # fmt: skip
RUN = (
    ("vllm/v1/engine/core.py", 1280, "run_engine_core", "engine_core.run_busy_loop()"),
    ("vllm/v1/worker/gpu/model_runner.py", 980, "execute_model",
     "model_output = self.model(**model_inputs)"),
    ("vllm/model_executor/models/qwen2.py", 114, "forward", "gate_up, _ = self.gate_up_proj(x)"),
)  # fmt: skip


class Account:
    """What the engine measured of itself while it started."""

    def __init__(self) -> None:
        self.requested = 0
        self.free_at_start = 0
        self.weights = 0
        self.peak = 0
        self.non_torch = 0


def open_card(card: Card, arguments: Arguments, account: Account) -> None:
    """The start-up gate: u·M must be free, as far as anybody can see.

    Raises:
        EngineError: it is not.
    """
    account.requested = math.ceil(card.total * arguments.utilization)
    account.free_at_start = card.reported_free()
    if arguments.pinned_pool is None and account.free_at_start < account.requested:
        text = busy(account.free_at_start, card.total, arguments.utilization, account.requested)
        raise EngineError("ValueError", text, _GATE)


def load(card: Card, model: Model, arguments: Arguments, account: Account) -> None:
    """Put the weights on the card."""
    account.weights = int(method_bytes(model, arguments.method) / arguments.ranks)
    try:
        card.hold("weights", account.weights)
    except DeviceOutOfMemoryError as error:
        raise EngineError(_OOM, torch_out_of_memory(error), _LOAD) from error


def profile(card: Card, model: Model, arguments: Arguments, account: Account, truth: Truth) -> None:
    """The dummy run: one pass of all tokens, then logits of all sequences."""
    sequences = min(arguments.sequences, arguments.batched_tokens)
    try:
        with card.while_in(_widest(model, arguments, arguments.batched_tokens)) as forward:
            pass
        logits = int(_PROFILE_UNITS * sequences * model.vocabulary * 4)
        hidden = arguments.batched_tokens * model.hidden * 2
        with card.while_in([("hidden", hidden), ("logits", logits)]) as sampling:
            pass
    except DeviceOutOfMemoryError as error:
        raise EngineError(_OOM, torch_out_of_memory(error), _PROFILE) from error
    account.peak = max(forward, sampling)
    account.non_torch = truth.context // 2  # the rest was there before the first snapshot


def available(arguments: Arguments, account: Account) -> int:
    """Bytes for the pool; negative where u·M is too small for the rest."""
    if arguments.pinned_pool is not None:
        return arguments.pinned_pool
    return account.requested - account.weights - account.peak - account.non_torch


def size_pool(model: Model, arguments: Arguments, memory: int) -> Pool:
    """Blocks for that memory.

    Raises:
        EngineError: the gates of kv_cache_utils.py.
    """
    block = arguments.block_size * model.kv_bytes_per_token(arguments.kv_bytes, arguments.ranks)
    if arguments.blocks_override is not None:
        memory = arguments.blocks_override * block
    if memory <= 0:
        raise EngineError("ValueError", no_cache_memory(new=True), _CHECK)
    needed = math.ceil(arguments.longest / arguments.block_size) * block
    fits = memory // block * arguments.block_size
    if needed > memory and not (arguments.fit_longest and fits):
        text = too_long_v1(arguments.longest, needed, memory, fits)
        raise EngineError("ValueError", text, _CHECK)
    return Pool(memory // block, arguments.block_size, memory // block * block)


def allocate_pool(card: Card, model: Model, pool: Pool) -> None:
    """Take the pool from the card, one tensor for each layer."""
    try:
        for _ in range(model.layers):
            card.hold("kv", pool.size // model.layers)
    except DeviceOutOfMemoryError as error:
        raise EngineError(_OOM, torch_out_of_memory(error), _CACHE) from error


def warm_up(card: Card, model: Model, arguments: Arguments) -> None:
    """The first real sampling: what it compiles and counts with stays.

    Raises:
        EngineError: out of memory after the pool was sized.
    """
    unit = min(arguments.sequences, arguments.batched_tokens) * model.vocabulary * 4
    try:
        card.hold("kernels", _KERNELS)
        card.hold("counters", _COUNTER_UNITS * unit)
        card.hold("kernel buffer", _KERNEL_PROGRAMS * model.vocabulary * 4)
        with card.while_in([("sampler", int(_SAMPLING_UNITS * unit))]):
            pass
    except DeviceOutOfMemoryError as error:
        if error.tried > GIB // 8:  # the sampler itself: vLLM words it anew
            raise EngineError(
                "RuntimeError", sampler_warm_up(arguments.sequences), _WARM_UP
            ) from error
        raise EngineError(_OOM, torch_out_of_memory(error), _WARM_UP) from error


def step(card: Card, model: Model, arguments: Arguments, tokens: int, sampled: int) -> None:
    """One step: the pass of its tokens, then the sampling of its sequences.

    Raises:
        EngineError: out of memory under load.
    """
    unit = sampled * model.vocabulary * 4
    try:
        with card.while_in(_widest(model, arguments, tokens)):
            pass
        with card.while_in(
            [("hidden", tokens * model.hidden * 2), ("sampler", int(_SAMPLING_UNITS * unit))]
        ):
            pass
    except DeviceOutOfMemoryError as error:
        raise EngineError(_OOM, torch_out_of_memory(error), RUN) from error


def leak(card: Card, size: int) -> None:
    """Memory that a request leaves behind for good."""
    try:
        card.hold("leaked", size)
    except DeviceOutOfMemoryError as error:
        raise EngineError(_OOM, torch_out_of_memory(error), RUN) from error


def _widest(model: Model, arguments: Arguments, tokens: int) -> list[tuple[str, int]]:
    width = model.intermediate * max(1, min(2, model.experts))
    return forward_buffers(tokens, model.hidden, width, arguments.ranks)
