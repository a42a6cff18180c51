"""A card's memory: who holds how much, and when an allocation fails."""

from collections.abc import Iterator
from contextlib import contextmanager

from .truth import Truth


class DeviceOutOfMemoryError(Exception):
    """An allocation did not fit. Carries the figures that the allocators print."""

    def __init__(self, tried: int, card: "Card") -> None:
        super().__init__(f"{tried} bytes do not fit")
        self.tried, self.total = tried, card.total
        self.allocated, self.reserved = card.allocated, card.reserved
        self.free = card.reported_free()


class TooLargeAtOnceError(DeviceOutOfMemoryError):
    """One block larger than the driver gives, whatever is free."""


class Card:
    """One device as this process sees it, and what is truly free on it."""

    def __init__(self, truth: Truth) -> None:
        self.total = truth.device_total
        self._truth = truth
        self._blocks: dict[str, int] = {}
        self._cached = 0  # what the caching allocator keeps of freed blocks
        self._lost = 0  # between blocks, since it serves

    @property
    def allocated(self) -> int:
        """Bytes in live tensors."""
        return sum(self._blocks.values())

    @property
    def reserved(self) -> int:
        """Bytes the allocator holds from the driver."""
        return self.allocated + max(self._cached, self._lost)

    def truly_free(self) -> int:
        """What an allocation can still get, whatever anybody reports."""
        others = self._truth.foreign + self._truth.context + self._lost
        return self.total - others - self.allocated

    def begin_to_serve(self) -> None:
        """From now on sizes vary, and what lies between blocks is lost."""
        self._lost = self._truth.fragmentation

    def reported_free(self) -> int:
        """What the driver says; without PERFMON it does not know of other processes."""
        others = self._truth.foreign if self._truth.foreign_visible else 0
        return max(0, self.total - others - self._truth.context - self.reserved)

    def hold(self, label: str, size: float) -> None:
        """Allocate and keep; the same label again adds to it.

        Raises:
            DeviceOutOfMemoryError: it does not fit.
        """
        wanted = int(size)
        limit = self._truth.single_allocation_limit
        if limit and wanted > limit and label.startswith("one:"):
            raise TooLargeAtOnceError(wanted, self)
        if wanted > self.truly_free():
            raise DeviceOutOfMemoryError(wanted, self)
        self._cached = max(0, self._cached - wanted)
        self._blocks[label] = self._blocks.get(label, 0) + wanted

    def release(self, label: str) -> None:
        """Free what a label holds; the allocator caches a little of it."""
        size = self._blocks.pop(label, 0)
        self._cached = min(self._cached + size, self._truth.fragmentation)

    @contextmanager
    def while_in(self, buffers: list[tuple[str, int]]) -> Iterator[int]:
        """Hold buffers one after the other, give their sum, free them all.

        Raises:
            DeviceOutOfMemoryError: one does not fit; those before it are freed.
        """
        done: list[str] = []
        try:
            for label, size in buffers:
                self.hold(label, size)
                done.append(label)
            yield sum(size for _, size in buffers)
        finally:
            for label in done:
                self.release(label)


def forward_buffers(
    tokens: int, hidden: int, intermediate: int, ranks: int
) -> list[tuple[str, int]]:
    """Tensors alive at the widest point of a layer: the feed-forward, 16 bit.

    Residual, normed and current hidden states, the merged gate and up projection, its product.
    """
    return [
        ("hidden", 3 * tokens * hidden * 2),
        ("one:gate_up", 4 * tokens * intermediate // ranks),
        ("act", 2 * tokens * intermediate // ranks),
    ]
