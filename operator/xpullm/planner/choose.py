"""Combinations of card, format and number of cards, and the best point of each."""

from __future__ import annotations

from collections.abc import Iterator

from xpullm.planner.build import target_of
from xpullm.planner.request import Choice, PlanRequest
from xpullm.planner.search import Found, Wish, search
from xpullm.planner.types import Learned

COUNTS = (1, 2, 4, 8)


def candidates(request: PlanRequest) -> Iterator[tuple[Choice, int]]:
    """Choices and card counts, the smallest memory first."""
    counts = (request.count,) if request.count is not None else COUNTS
    for count in counts:
        for choice in request.choices:
            yield choice, count


def ranks(request: PlanRequest, choice: Choice, count: int) -> Iterator[tuple[int, int]]:
    """(tensor, pipeline) sizes for so many cards: all devices, or as the user says."""
    user = request.user
    devices = count * choice.gpu.devices_per_unit
    pipeline = user.pipeline_parallel_size or 1
    if user.tensor_parallel_size is not None:
        if user.tensor_parallel_size * pipeline <= devices:
            yield user.tensor_parallel_size, pipeline
        return
    if count == 1 and devices > 1 and pipeline == 1:
        yield 1, 1
    tensor = devices // pipeline
    if tensor >= 1 and request.facts.heads % tensor == 0:
        yield tensor, pipeline


def search_choice(
    request: PlanRequest, choice: Choice, count: int, wish: Wish, learned: Learned
) -> Found | None:
    """The best point of one choice on so many cards."""
    where = target_of(request, choice)
    best: Found | None = None
    for tensor, pipeline in ranks(request, choice, count):
        found = search(where, request.user, wish, learned, tensor, pipeline)
        if found is not None and (best is None or found.reached > best.reached):
            best = found
        if best is not None and best.complete and best.context == wish.context:
            break
    return best
