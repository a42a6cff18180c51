"""What could have been reached in a world: exhaustive search with full knowledge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.bench.healing.world import Flags, World

TOKENS_FLOOR = 1024
GRAIN = 200  # utilization in steps of 1/200, as an operator could set it


def best_pool(world: World, first: Flags, length: int, seqs: int) -> int:
    """The largest KV pool that holds the worst load, over batched tokens and sequences down to the
    floors and every memory budget; 0 where nothing holds. `length` and `seqs` are the user's
    minimum."""
    best = 0
    for tokens in _down(first.tokens, min(first.tokens, TOKENS_FLOOR)):
        for running in _down(first.seqs, min(first.seqs, seqs)):
            flags = replace(first, tokens=tokens, seqs=running, length=length)
            best = max(best, _largest(world, flags))
    return best


def best_pool_as_is(world: World, flags: Flags, length: int) -> int:
    """The same with only the memory budget free."""
    return _largest(world, replace(flags, length=length))


def _largest(world: World, flags: Flags) -> int:
    """Whether a load holds is monotone in the pool's size, so a search by halves is exhaustive."""
    if flags.kv_bytes is None and flags.blocks is None:
        return max(
            (world.pool(f) for f in _utilizations(flags) if not world.run(f).failure), default=0
        )
    block = world.truth.block * world.geometry.token_bytes
    low, high = world.need(flags.length) // block, world.truth.total // block
    if world.run(_pinned(flags, low, block)).failure:
        return 0
    while low + 1 < high:
        middle = (low + high) // 2
        if world.run(_pinned(flags, middle, block)).failure:
            high = middle
        else:
            low = middle
    return low * block


def _utilizations(flags: Flags) -> Iterator[Flags]:
    for step in range(GRAIN // 2, 191):
        yield replace(flags, utilization=step / GRAIN)


def _pinned(flags: Flags, blocks: int, block: int) -> Flags:
    if flags.blocks is not None:
        return replace(flags, blocks=blocks)
    # The gate at start is satisfied by whatever the pinned pool leaves to it.
    return replace(flags, kv_bytes=blocks * block, utilization=0.5)


def _down(first: int, floor: int) -> Iterator[int]:
    value = first
    while value > floor:
        yield value
        value //= 2
    yield floor
