"""Searches arguments for one target: the furthest point on the way from the floors to the wishes.

The way is fixed before memory is looked at, and its coordinates only grow along it, so more memory
never yields a smaller context or concurrency: first what the user asked for (context before
concurrency), then the batch shape, then what nobody asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor

from xpullm.planner.learned import cap
from xpullm.planner.request import UserArguments
from xpullm.planner.sizes import Sizes, sizes
from xpullm.planner.target import Target
from xpullm.planner.types import Arguments, Learned, Serving

GIB = 1 << 30
MIB = 1 << 20

DEFAULT_CONCURRENCY = 8
DEFAULT_BATCHED_TOKENS = 2048  # enough for serving; larger steps only cost activations
SMALLEST_BATCH = 512
CONTEXT_STEP = 256
# A plan leaves this much free at start: XPU KV tensors failed after an accepted profile
# (llm-scaler#578, #672).
_FREE_AT_START = 1 * GIB
# Beyond the measured margin: the rule is 0.3 GiB over what is held outside the profile.
_FURTHER_RESERVE = 31 * MIB


@dataclass(frozen=True, slots=True)
class Wish:
    """Floors and wishes with their defaults filled in."""

    context: int
    min_context: int
    concurrency: int
    min_concurrency: int
    context_first: bool
    concurrency_asked: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Arguments with what they give. `reached` orders points on the way; `complete`: everything
    that the user asked for is reached."""

    arguments: Arguments
    sizes: Sizes
    context: int
    concurrency: int
    reached: tuple[int, ...]
    complete: bool


def wish_of(serving: Serving, user: UserArguments, max_position: int) -> Wish:
    """Fills in defaults: the model's own context, min(2048, context), 8 sequences, 1."""
    context = user.max_model_len or serving.context_length or max_position
    floor_context = min(serving.min_context_length or min(2048, context), context)
    concurrency = serving.concurrency or user.max_num_seqs or DEFAULT_CONCURRENCY
    if user.max_num_seqs:
        concurrency = min(concurrency, user.max_num_seqs)
    floor_concurrency = min(serving.min_concurrency or 1, concurrency)
    if user.max_model_len:
        floor_context = context
    return Wish(
        context,
        floor_context,
        concurrency,
        floor_concurrency,
        bool(serving.context_length or user.max_model_len),
        bool(serving.concurrency),
    )


def room(where: Target, s: Sizes) -> int:
    """Bytes that the KV cache may take: the strictest of the reserve rules."""
    free = where.visible_bytes - where.context_bytes
    inside = s.weights.resident + s.activation.peak + s.runtime + s.outside
    graphs_inside = s.graphs - s.graphs_outside
    outside = s.hole + s.graphs_outside + s.margin + _FURTHER_RESERVE
    outside = max(outside, s.warmup + s.graphs_outside - s.activation.peak)
    limits = (
        free - outside,
        free - _FREE_AT_START,
        where.visible_bytes * where.runtime.share_percent(s.ranks) // 100 - where.context_bytes,
    )
    return min(limits) - inside - graphs_inside


def search(
    where: Target,
    user: UserArguments,
    wish: Wish,
    learned: Learned,
    tensor: int,
    pipeline: int,
) -> Found | None:
    """The furthest point that is safe, or None where not even the floors are reached."""
    shapes = _shapes(user, wish)
    largest = _furthest(
        where, user, wish, learned, _base(where, user, wish, shapes[0], tensor, pipeline), True
    )
    if largest is not None and largest.complete:
        return largest
    smallest = _furthest(
        where,
        user,
        wish,
        learned,
        _base(where, user, wish, shapes[-1], tensor, pipeline),
        len(shapes) == 1,
    )
    if smallest is None:
        return largest
    best = smallest if largest is None or smallest.reached > largest.reached else largest
    for shape in shapes[1:-1]:
        base = _base(where, user, wish, shape, tensor, pipeline)
        found = _furthest(where, user, wish, learned, base, False)
        if found is not None and found.reached > best.reached:
            best = found
    return best


def _shapes(user: UserArguments, wish: Wish) -> tuple[tuple[int, int], ...]:
    """(batched tokens, sequences) from the wanted to the least, the user's own where given."""
    batches: tuple[int, ...] = (DEFAULT_BATCHED_TOKENS, DEFAULT_BATCHED_TOKENS // 2, SMALLEST_BATCH)
    if user.max_num_batched_tokens is not None:
        batches = (user.max_num_batched_tokens,)
    sequences = [user.max_num_seqs or wish.concurrency]
    while user.max_num_seqs is None and sequences[-1] > wish.min_concurrency:
        sequences.append(max(wish.min_concurrency, sequences[-1] // 2))
    return tuple(
        dict.fromkeys(
            (t if user.max_num_batched_tokens else max(t, s), s) for t in batches for s in sequences
        )
    )


def _base(
    where: Target,
    user: UserArguments,
    wish: Wish,
    shape: tuple[int, int],
    tensor: int,
    pipeline: int,
) -> Arguments:
    return base_arguments(where, user, wish, shape[0], shape[1], tensor, pipeline)


def base_arguments(
    where: Target,
    user: UserArguments,
    wish: Wish,
    tokens: int,
    sequences: int,
    tensor: int,
    pipeline: int,
) -> Arguments:
    """Everything but the context and the size of the pool."""
    engine = where.engine
    eager = True if user.enforce_eager is None else user.enforce_eager
    swap = user.swap_space_gib
    if swap is None and "swap-space" in engine.flags and engine.swap_space_gib:
        swap = engine.swap_space_gib
    return Arguments(
        max_model_len=wish.min_context,
        max_num_seqs=sequences,
        max_num_batched_tokens=max(tokens, sequences),
        gpu_memory_utilization=user.gpu_memory_utilization,
        kv_cache_memory_bytes=user.kv_cache_memory_bytes,
        num_gpu_blocks_override=user.num_gpu_blocks_override,
        tensor_parallel_size=tensor,
        pipeline_parallel_size=pipeline,
        kv_cache_dtype=user.kv_cache_dtype or "auto",
        block_size=user.block_size or (engine.block_size if engine.block_size_flag else None),
        dtype=user.dtype or _dtype(where),
        enforce_eager=eager,
        enable_chunked_prefill=user.enable_chunked_prefill,
        swap_space_gib=swap,
        cpu_offload_gib=user.cpu_offload_gib,
        extra=user.extra,
        user=user.names,
    )


def _dtype(where: Target) -> str | None:
    """float16 where the card or the format needs it; else the checkpoint's own."""
    allowed = where.quantization.dtypes
    if allowed[0] == "float16" or not where.bfloat16:
        return "float16"
    return None if where.facts.dtype in allowed else allowed[0]


def shaped(where: Target, user: UserArguments, base: Arguments, context: int) -> Arguments:
    """The arguments for one context. Where chunked prefill is a flag it is set, so that the batch
    needn't follow the context; a user who turned it off gets a batch of the context's length."""
    chunked = user.enable_chunked_prefill
    tokens = base.max_num_batched_tokens
    if where.engine.chunked_prefill == "flag" and chunked is None:
        chunked = True
    if chunked is False and user.max_num_batched_tokens is None:
        tokens = max(tokens, context)
    return replace(
        base,
        max_model_len=context,
        enable_chunked_prefill=chunked,
        max_num_batched_tokens=tokens,
    )


@dataclass(frozen=True, slots=True)
class _Shape:
    """One batch shape on one target: how many requests of a length it holds."""

    where: Target
    user: UserArguments
    learned: Learned
    base: Arguments

    def at(self, context: int) -> tuple[Arguments, Sizes, int]:
        """Arguments, sizes and the room for the KV cache (negative: unsafe) at this context."""
        arguments = shaped(self.where, self.user, self.base, context)
        s = sizes(self.where, arguments)
        pool = min(room(self.where, s), cap(self.learned, self.where, arguments, s))
        if s.pinned or arguments.gpu_memory_utilization is not None:
            pool = s.pool if s.pool <= pool else -1
        return arguments, s, pool

    def held(self, context: int) -> int:
        """Requests of this length that fit at once."""
        _, s, pool = self.at(context)
        return s.layout.blocks(pool) // s.layout.blocks_for(context)

    def longest(self, wish: Wish, concurrency: int) -> int:
        """The longest context at which so many requests fit; whole steps unless it is the wish."""
        if self.held(wish.context) >= concurrency:
            return wish.context
        low, high = wish.min_context // CONTEXT_STEP, wish.context // CONTEXT_STEP
        if not self.where.facts.is_mla and self.base.enable_chunked_prefill is not False:
            _, s, pool = self.at(wish.min_context)
            share = s.layout.blocks(pool) // concurrency * s.layout.block_bytes
            return max(
                wish.min_context,
                s.layout.longest(share, wish.context) // CONTEXT_STEP * CONTEXT_STEP,
            )
        while low < high:
            middle = (low + high + 1) // 2
            if self.held(middle * CONTEXT_STEP) >= concurrency:
                low = middle
            else:
                high = middle - 1
        return max(wish.min_context, low * CONTEXT_STEP)


def _furthest(
    where: Target,
    user: UserArguments,
    wish: Wish,
    learned: Learned,
    base: Arguments,
    full_shape: bool,
) -> Found | None:
    """The furthest point for one batch shape. What the user didn't ask for grows only once the
    shape is the wanted one (`full_shape`), so that every coordinate only grows with memory."""
    shape = _Shape(where, user, learned, base)
    if shape.held(wish.min_context) < wish.min_concurrency:
        return None
    sequences = min(wish.concurrency, base.max_num_seqs)
    context, concurrency = wish.min_context, wish.min_concurrency
    explicit: tuple[int, ...] = ()
    complete = True
    if wish.context_first:
        context = shape.longest(wish, wish.min_concurrency)
        complete = context == wish.context
        explicit = (context,)
    if complete and (wish.concurrency_asked or full_shape):
        concurrency = min(sequences, shape.held(context))
    if wish.concurrency_asked:
        complete = complete and concurrency == wish.concurrency
        explicit = (*explicit, concurrency)
    if not wish.context_first and full_shape and concurrency == sequences:
        context = shape.longest(wish, concurrency)
    batch = (base.max_num_batched_tokens, base.max_num_seqs)
    arguments, s, pool = shape.at(context)
    final = with_pool(where, user, arguments, s, pool)
    return Found(
        final,
        sizes(where, final),
        context,
        concurrency,
        (*explicit, *batch, concurrency, context),
        complete,
    )


def with_pool(
    where: Target, user: UserArguments, arguments: Arguments, s: Sizes, pool: int
) -> Arguments:
    """Tells the engine the size of its pool: pinned where it can, else by utilization."""
    blocks = s.layout.blocks(pool)
    share = share_of(where, s, blocks * s.layout.block_bytes)
    if user.gpu_memory_utilization is not None or s.pinned:
        return replace(arguments, gpu_memory_utilization=user.gpu_memory_utilization or share)
    pin = where.accounting.pin
    if pin not in where.engine.flags:
        pin = ""
    if pin == "kv-cache-memory-bytes":
        return replace(
            arguments,
            gpu_memory_utilization=share,
            kv_cache_memory_bytes=blocks * s.layout.block_bytes,
        )
    if pin == "num-gpu-blocks-override":
        return replace(arguments, gpu_memory_utilization=share, num_gpu_blocks_override=blocks)
    return replace(arguments, gpu_memory_utilization=share)


def share_of(where: Target, s: Sizes, pool: int) -> float:
    """Utilization for this pool by the engine's own accounting, rounded down to 0.001."""
    budget = s.weights.resident + pool
    if where.accounting.pool == "peak":
        runtime = s.runtime
        if where.accounting.runtime == "assumed":
            runtime = where.accounting.runtime_assumed_bytes
        budget += s.activation.peak + runtime + s.graphs - s.graphs_outside
    return max(0.001, floor(budget / where.total_bytes * 1000) / 1000)
