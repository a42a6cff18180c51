"""A model of torch's caching allocator while weights are loaded.

Sizes of large blocks are rounded to 2 MiB; a block is split only when more than 1 MiB is left, and
not at all from `max_split` on (PyTorch c10/cuda/CUDACachingAllocator.cpp: kRoundLarge, kSmallSize,
kMinLargeAlloc, should_split, get_free_block). What a weight occupies is its block, so the resident
size depends on which freed temporaries it was put into.
"""

from __future__ import annotations

MIB = 1 << 20
_ROUND_LARGE = 2 * MIB
_MIN_LARGE = 10 * MIB
_SMALL = 1 * MIB
_NON_SPLIT_ROUNDING = 20 * MIB  # kLargeBuffer


class Allocator:
    """Counts allocated bytes block by block; freed blocks are kept for reuse."""

    def __init__(self, max_split: int) -> None:
        self._max_split = max_split
        self._free: list[int] = []
        self.allocated = 0
        self.peak = 0

    def take(self, size: int) -> int:
        """Allocates `size` bytes; returns the size of the block that holds them."""
        size = -(-size // 512) * 512
        block = self._reuse(size) if size >= _SMALL else 0
        if not block:
            block = self._fresh(size)
        self.allocated += block
        self.peak = max(self.peak, self.allocated)
        return block

    def give(self, block: int) -> None:
        """Frees a block."""
        self.allocated -= block
        if block >= _SMALL:
            self._free.append(block)

    def _fresh(self, size: int) -> int:
        if size < _MIN_LARGE:
            return size
        rounded = -(-size // _ROUND_LARGE) * _ROUND_LARGE
        return rounded if self._unsplit(size, rounded) else size

    def _unsplit(self, size: int, block: int) -> bool:
        return block - size <= _SMALL or bool(self._max_split and size >= self._max_split)

    def _reuse(self, size: int) -> int:
        best = 0
        for block in self._free:
            if block < size or (best and block >= best):
                continue
            if self._max_split:
                if size < self._max_split <= block:
                    continue
                if size >= self._max_split and block >= size + _NON_SPLIT_ROUNDING:
                    continue
            best = block
        if not best:
            return 0
        self._free.remove(best)
        if self._unsplit(size, best):
            return best
        if best - size >= _SMALL:
            self._free.append(best - size)
        return size
