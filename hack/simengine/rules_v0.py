"""How ipex-llm's V0 engine spends a card.

The pool is u·M less what is allocated *after* the profile run: weights, nothing else. Whatever a
forward pass needs comes on top of u·M, and nobody kept it free (vLLM 0.8 worker/xpu_worker.py).
"""

from .card import Card, DeviceOutOfMemoryError, TooLargeAtOnceError, forward_buffers
from .model import Model, low_bit_bytes
from .plan import Arguments, Pool
from .wording import EngineError, ipex_out_of_memory, no_cache_memory, too_long_v0

ROOT = "/usr/local/lib/python3.11/dist-packages"
# Sorting sampler on XPU: 16-bit logits, their 32-bit copy, sorted values, 64-bit indices,
# probabilities, cumulated sums: 0.5 + 1 + 1 + 2 + 1 + 1 units of sequences x vocabulary x 4.
_SAMPLER_UNITS = 6.5
_LOAD = (
    ("ipex_llm/vllm/xpu/model_convert.py", 113, "_ipex_llm_load_model",
     "self.model_runner.model = self.model.to(device=device)"),
)  # fmt: skip
_PROFILE = (
    ("vllm/worker/xpu_worker.py", 108, "determine_num_available_blocks",
     "self.model_runner.profile_run()"),
    ("vllm/worker/xpu_model_runner.py", 502, "profile_run",
     "self.execute_model(model_input, kv_caches, intermediate_tensors)"),
)  # fmt: skip
_CACHE = (
    ("vllm/worker/xpu_worker.py", 89, "_init_cache_engine", "self.cache_engine = ["),
    ("vllm/worker/cache_engine.py", 96, "_allocate_kv_cache",
     "layer_kv_cache = torch.zeros(kv_cache_shape,"),
)  # fmt: skip
RUN = (
    ("vllm/engine/multiprocessing/engine.py", 158, "start", "self.run_engine_loop()"),
    ("vllm/worker/xpu_model_runner.py", 583, "execute_model",
     "hidden_or_intermediate_states = model_executable("),
    ("vllm/model_executor/models/qwen2.py", 98, "forward",
     "gate_up, _ = self.gate_up_proj(x)"),
)  # fmt: skip


def load(card: Card, model: Model, arguments: Arguments) -> int:
    """Put the weights on the card; returns their bytes."""
    weights = int(low_bit_bytes(model, arguments.low_bit) / arguments.ranks)
    try:
        card.hold("weights", weights)
    except DeviceOutOfMemoryError as error:
        raise _failed(error, _LOAD) from error
    return weights


def profile(card: Card, model: Model, arguments: Arguments) -> None:
    """The dummy run: all sequences, all tokens. It must fit once, and is then forgotten."""
    try:
        _forward(card, model, arguments, arguments.batched_tokens, arguments.sequences)
    except DeviceOutOfMemoryError as error:
        raise _failed(error, _PROFILE) from error


def size_pool(card: Card, model: Model, arguments: Arguments) -> Pool:
    """Blocks for what u·M has left after the weights.

    Raises:
        EngineError: no block at all, or fewer tokens than the longest sequence.
    """
    block = arguments.block_size * model.kv_bytes_per_token(arguments.kv_bytes, arguments.ranks)
    if arguments.blocks_override is not None:
        blocks = arguments.blocks_override
    else:
        budget = arguments.utilization * card.total - card.allocated
        blocks = max(0, int(budget // block))
    if blocks <= 0:
        raise EngineError("ValueError", no_cache_memory(new=False))
    tokens = blocks * arguments.block_size
    if arguments.longest > tokens:
        raise EngineError("ValueError", too_long_v0(arguments.longest, tokens))
    return Pool(blocks, arguments.block_size, blocks * block)


def allocate_pool(card: Card, model: Model, pool: Pool) -> None:
    """Take the pool from the card layer by layer, as the cache engine does."""
    try:
        for _ in range(model.layers):
            card.hold("kv", pool.size // model.layers)
    except DeviceOutOfMemoryError as error:
        raise _failed(error, _CACHE) from error


def step(card: Card, model: Model, arguments: Arguments, tokens: int, sampled: int) -> None:
    """One step of the engine: buffers of the batch and of the sampler.

    Raises:
        EngineError: out of memory, in IPEX's words.
    """
    try:
        _forward(card, model, arguments, tokens, sampled)
    except DeviceOutOfMemoryError as error:
        raise _failed(error, RUN) from error


def leak(card: Card, size: int) -> None:
    """Memory that a request leaves behind for good."""
    try:
        card.hold("leaked", size)
    except DeviceOutOfMemoryError as error:
        raise _failed(error, RUN) from error


def _forward(card: Card, model: Model, arguments: Arguments, tokens: int, sampled: int) -> None:
    width = model.intermediate * max(1, min(2, model.experts))
    with card.while_in(forward_buffers(tokens, model.hidden, width, arguments.ranks)):
        pass
    unit = sampled * model.vocabulary * 4
    hidden = 2 * tokens * model.hidden * 2
    with card.while_in([("hidden", hidden), ("sampler", int(_SAMPLER_UNITS * unit))]):
        pass


def _failed(
    error: DeviceOutOfMemoryError, frames: tuple[tuple[str, int, str, str], ...]
) -> EngineError:
    kind = "RuntimeError" if isinstance(error, TooLargeAtOnceError) else "torch.OutOfMemoryError"
    return EngineError(kind, ipex_out_of_memory(error), frames)
