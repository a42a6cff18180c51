"""Searches arguments for one target: the furthest point on the way from the floors to the wishes.

The way is fixed before memory is looked at, and its coordinates only grow along it, so more memory
never yields a smaller context or concurrency: first what the user asked for (context before
concurrency), then the batch shape, then what nobody asked for: a useful context, then room for
several such requests, then a longer context.
"""

from __future__ import annotations

from dataclasses import dataclass

from xpullm.planner.estimate import over_at_start
from xpullm.planner.learned import cap
from xpullm.planner.request import UserArguments
from xpullm.planner.shape import (
    base_arguments,
    in_grains,
    pin_of,
    room,
    shaped,
    with_pool,
)
from xpullm.planner.sizes import UNCERTAIN, Sizes, sizes
from xpullm.planner.target import Target
from xpullm.planner.types import Arguments, Learned, Serving

DEFAULT_CONCURRENCY = 8
DEFAULT_BATCHED_TOKENS = 2048  # enough for serving; larger steps only cost activations
SMALLEST_BATCH = 512
CONTEXT_STEP = 256
# Where nobody asked, one request may be this long before room is made for several: a conversation
# or a reasoning model's answer. Requests below it share the cache all the same.
USEFUL_CONTEXT = 8192


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
    """Fills in defaults: the model's own context, min(2048, context), 8 sequences or the floor
    where that is higher, 1."""
    context = user.max_model_len or serving.context_length or max_position
    if user.enable_chunked_prefill is False and user.max_num_batched_tokens:
        context = min(context, user.max_num_batched_tokens)  # prompts run whole
    floor_context = min(serving.min_context_length or min(2048, context), context)
    least = serving.min_concurrency or 1
    concurrency = serving.concurrency or user.max_num_seqs or max(DEFAULT_CONCURRENCY, least)
    if user.max_num_seqs:
        concurrency = min(concurrency, user.max_num_seqs)
    floor_concurrency = min(least, concurrency)
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


@dataclass(frozen=True, slots=True)
class Search:
    """One target, one request, and how many ranks and stages share the model."""

    where: Target
    user: UserArguments
    wish: Wish
    learned: Learned
    tensor: int
    pipeline: int

    def run(self) -> Found | None:
        """The furthest point that is safe, or None where not even the floors are reached: the
        wanted batch shape where it reaches everything asked for, else the best of all."""
        batches = self._batches()
        wanted, least = self._most(), self._least()
        largest = self._furthest(self._shape(batches[0], wanted), full=True)
        if largest is not None and largest.complete:
            return largest
        only = len(batches) == 1 and wanted == least
        best = self._furthest(self._smallest(), full=only)
        if best is None:
            return largest
        shapes = [(t, s) for t in batches for s in {least, self._most_held(t), wanted}]
        for found in (largest, *(self._furthest(self._shape(*s), full=False) for s in shapes)):
            if found is not None and found.reached > best.reached:
                best = found
        return best

    def least(self) -> tuple[Arguments, Sizes, int]:
        """The floors with the least batch shape: arguments, sizes, and the room for the KV cache
        (negative: unsafe). Where these hold too few requests, nothing that was asked for fits."""
        return self._smallest().at(self.wish.min_context)

    def _smallest(self) -> _Shape:
        """The batch shape that needs least."""
        return self._shape(self._batches()[-1], self._least())

    def _batches(self) -> tuple[int, ...]:
        if self.user.max_num_batched_tokens is not None:
            return (self.user.max_num_batched_tokens,)
        if self.where.facts.is_hybrid:  # a batch must hold one of their large blocks (align mode)
            _, s, _ = self._shape(DEFAULT_BATCHED_TOKENS, 1).at(self.wish.min_context)
            return (max(DEFAULT_BATCHED_TOKENS, s.layout.block_size),)
        return (DEFAULT_BATCHED_TOKENS, DEFAULT_BATCHED_TOKENS // 2, SMALLEST_BATCH)

    def _most(self) -> int:
        return self.user.max_num_seqs or self.wish.concurrency

    def _least(self) -> int:
        return self.user.max_num_seqs or self.wish.min_concurrency

    def _most_held(self, tokens: int) -> int:
        """The largest number of sequences that are all held at once at full length."""
        low, high = self._least(), self._most()
        context = self.wish.context if self.wish.context_first else self.wish.min_context
        while low < high:
            middle = (low + high + 1) // 2
            if self._shape(tokens, middle).held(context) >= middle:
                low = middle
            else:
                high = middle - 1
        return low

    def _shape(self, tokens: int, sequences: int) -> _Shape:
        base = base_arguments(
            self.where,
            self.user,
            self.wish.min_context,
            tokens,
            sequences,
            self.tensor,
            self.pipeline,
        )
        return _Shape(self.where, self.user, self.learned, base)

    def _furthest(self, shape: _Shape, *, full: bool) -> Found | None:
        """The furthest point for one batch shape. What the user didn't ask for grows only once the
        shape is the wanted one (`full`), so that every coordinate only grows with memory."""
        wish = self.wish
        if shape.held(wish.min_context) < wish.min_concurrency:
            return None
        sequences = min(wish.concurrency, shape.base.max_num_seqs)
        context, concurrency = wish.min_context, wish.min_concurrency
        explicit: tuple[int, ...] = ()
        complete = True
        if wish.context_first:
            context = shape.longest(wish.min_context, wish.context, wish.min_concurrency)
            complete = context == wish.context
            explicit = (context,)
        useful = min(wish.context, max(wish.min_context, USEFUL_CONTEXT))
        nothing_asked = not (wish.context_first or wish.concurrency_asked)
        if nothing_asked and full:
            context = shape.longest(wish.min_context, useful, wish.min_concurrency)
        enough = context == useful or not nothing_asked
        if complete and (wish.concurrency_asked or full) and enough:
            concurrency = min(sequences, shape.held(context))
        if wish.concurrency_asked:
            complete = complete and concurrency == wish.concurrency
            explicit = (*explicit, concurrency)
        if not wish.context_first and full and concurrency == sequences:
            context = shape.longest(context, wish.context, concurrency)
        batch = (shape.base.max_num_batched_tokens, shape.base.max_num_seqs)
        arguments, s, pool = shape.at(context)
        final = with_pool(self.where, self.user, arguments, s, pool)
        return Found(
            final,
            sizes(self.where, final),
            context,
            concurrency,
            (*explicit, *batch, concurrency, context),
            complete,
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
            safe = s.pool <= pool and not over_at_start(self.where, s)
            pool = s.sure_pool if safe else -1
        elif not pin_of(self.where):
            pool = in_grains(self.where, s, pool) - UNCERTAIN
        return arguments, s, pool

    def held(self, context: int) -> int:
        """Requests of this length that fit at once."""
        _, s, pool = self.at(context)
        return s.layout.blocks(pool) // s.layout.blocks_for(context)

    def longest(self, least: int, wanted: int, concurrency: int) -> int:
        """The longest context from `least` to `wanted` at which so many requests fit; whole steps
        unless it is one of these."""
        if self.held(wanted) >= concurrency:
            return wanted
        low, high = least // CONTEXT_STEP, wanted // CONTEXT_STEP
        if not self.where.facts.is_mla and self.base.enable_chunked_prefill is not False:
            _, s, pool = self.at(least)
            share = s.layout.blocks(pool) // concurrency * s.layout.block_bytes
            return max(least, s.layout.longest(share, wanted) // CONTEXT_STEP * CONTEXT_STEP)
        while low < high:
            middle = (low + high + 1) // 2
            if self.held(middle * CONTEXT_STEP) >= concurrency:
                low = middle
            else:
                high = middle - 1
        return max(least, low * CONTEXT_STEP)
