"""From nothing to a pool: the phases of a start, with the lines each generation prints."""

import time
from dataclasses import dataclass, replace
from types import ModuleType

from . import rules_v0, rules_v1
from .card import Card
from .log import Log
from .model import Model, find
from .plan import Arguments, Pool
from .truth import GIB, Truth
from .wording import gib


@dataclass(frozen=True)
class Engine:
    """A started engine."""

    rules: ModuleType
    card: Card
    model: Model
    arguments: Arguments
    pool: Pool

    @property
    def longest(self) -> int:
        """The longest sequence it accepts, tokens."""
        return self.arguments.longest


def rules(line: str) -> ModuleType:
    """The rules of a generation: ``v0`` or ``v1``."""
    return rules_v1 if line == "v1" else rules_v0


def start(line: str, truth: Truth, arguments: Arguments, model_name: str, log: Log) -> Engine:
    """Start an engine.

    Raises:
        EngineError: it does not come up; the error is the engine's own.
    """
    model = find(model_name)
    card = Card(truth)
    if truth.hang_at_start:
        time.sleep(1 << 30)
    if line == "v1":
        return _start_v1(card, model, truth, arguments, log)
    return _start_v0(card, model, truth, arguments, log)


def _start_v0(card: Card, model: Model, truth: Truth, arguments: Arguments, log: Log) -> Engine:
    log.info(
        "llm_engine.py:241",
        f"Initializing a V0 LLM engine (v{truth.version}) with config: model='{model.name}', "
        f"max_seq_len={arguments.longest}, device_config=xpu, enforce_eager=True, ",
    )
    _shards(log, truth, model)
    log.root_logger(f"Converting the current model to {arguments.low_bit} format......")
    weights = rules_v0.load(card, model, arguments)
    log.info("xpu_model_runner.py:414", f"Loading model weights took {weights / GIB:.4f} GiB")
    began = time.monotonic()
    rules_v0.profile(card, model, arguments)
    pool = rules_v0.size_pool(card, model, arguments)
    swap = int(arguments.swap_bytes // (pool.size // pool.blocks))
    log.info("executor_base.py:112", f"# xpu blocks: {pool.blocks}, # CPU blocks: {swap}")
    concurrency = pool.tokens / arguments.longest
    log.info(
        "executor_base.py:117",
        f"Maximum concurrency for {arguments.longest} tokens per request: {concurrency:.2f}x",
    )
    rules_v0.allocate_pool(card, model, pool)
    seconds = time.monotonic() - began
    log.info(
        "llm_engine.py:437",
        f"init engine (profile, create kv cache, warmup model) took {seconds:.2f} seconds",
    )
    card.begin_to_serve()
    return Engine(rules_v0, card, model, arguments, pool)


def _start_v1(card: Card, model: Model, truth: Truth, arguments: Arguments, log: Log) -> Engine:
    log.info(
        "core.py:116",
        f"Initializing a V1 LLM engine (v{truth.version}) with config: model='{model.name}', "
        f"max_seq_len={arguments.longest}, tensor_parallel_size={arguments.ranks}, ",
    )
    account = rules_v1.Account()
    rules_v1.open_card(card, arguments, account)
    log.info("gpu_worker.py:378", "Using V2 Model Runner")
    log.info("model_runner.py:284", "Loading model from scratch...")
    began = time.monotonic()
    _shards(log, truth, model)
    seconds = time.monotonic() - began
    log.info("default_loader.py:430", f"Loading weights took {seconds:.2f} seconds")
    rules_v1.load(card, model, arguments, account)
    log.info(
        "model_runner.py:305",
        f"Model loading took {gib(account.weights)} GiB and {seconds:.6f} seconds",
    )
    began = time.monotonic()
    rules_v1.profile(card, model, arguments, account, truth)
    memory = rules_v1.available(arguments, account)
    if arguments.pinned_pool is None:
        log.info("gpu_worker.py:560", f"Available KV cache memory: {gib(memory)} GiB")
    else:
        log.info(
            "gpu_worker.py:479",
            f"Initial free memory {gib(account.free_at_start)} GiB, reserved {gib(memory)} GiB "
            "memory for KV Cache as specified by kv_cache_memory_bytes config and skipped memory "
            "profiling. This does not respect the gpu_memory_utilization config. Only use "
            "kv_cache_memory_bytes config when you want manual control of KV cache memory size.",
        )
    pool = rules_v1.size_pool(model, arguments, memory)
    if arguments.fit_longest and pool.tokens < arguments.longest:
        log.info(
            "kv_cache_utils.py:1985",
            f"Auto-fit max_model_len: reduced from {arguments.longest} to {pool.tokens} to fit in "
            f"available GPU memory ({gib(memory)} GiB available for KV cache)",
        )
        arguments = replace(arguments, longest=pool.tokens)
    log.info("kv_cache_utils.py:2177", f"GPU KV cache size: {pool.tokens:,} tokens")
    log.info(
        "kv_cache_utils.py:2178",
        f"Maximum concurrency for {arguments.longest:,} tokens per request: "
        f"{pool.tokens / arguments.longest:.2f}x",
    )
    rules_v1.allocate_pool(card, model, pool)
    if arguments.pinned_pool is None:
        log.info("gpu_worker.py:857", _usage(card, account, arguments, memory))
    rules_v1.warm_up(card, model, arguments)
    seconds = time.monotonic() - began
    log.info(
        "core.py:330",
        f"init engine (profile, create kv cache, warmup model) took {seconds:.2f} s "
        "(compilation: 0.00 s)",
    )
    card.begin_to_serve()
    return Engine(rules_v1, card, model, arguments, pool)


def _usage(card: Card, account: rules_v1.Account, arguments: Arguments, memory: int) -> str:
    spent = account.weights + account.peak + account.non_torch
    buffer = 150 << 20  # vLLM's own
    limit, full = (bound - spent - buffer for bound in (account.requested, account.free_at_start))
    return (
        f"Free memory on device ({gib(account.free_at_start)}/{gib(card.total)} GiB) on startup. "
        f"Desired GPU memory utilization is ({arguments.utilization}, {gib(account.requested)} "
        f"GiB). Actual usage is {gib(account.weights)} GiB for weight, {gib(account.peak)} GiB for "
        f"peak activation, {gib(account.non_torch)} GiB for non-torch memory, and 0.0 GiB for "
        "CUDAGraph memory. Replace gpu_memory_utilization config with "
        f"`--kv-cache-memory={limit}` ({gib(limit)} GiB) to fit into requested memory, or "
        f"`--kv-cache-memory={full}` ({gib(full)} GiB) to fully utilize gpu memory. Current kv "
        f"cache memory in use is {gib(memory)} GiB."
    )


def _shards(log: Log, truth: Truth, model: Model) -> None:
    """Read the checkpoint: takes time, and real host memory where the truth says so."""
    count = max(1, round(model.sixteen_bit_bytes() / (4 * GIB)))
    held = []
    for done in range(count + 1):
        share = 100 * done // count
        log.raw(
            f"Loading safetensors checkpoint shards: {share:3d}% Completed | {done}/{count} "
            f"[00:{done:02d}<00:{count - done:02d},  1.00it/s]"
        )
        if done < count:
            held.append(b"x" * (truth.host_load // count))  # touches its pages, bytearray may not
            time.sleep(truth.start_seconds / count)
    del held
