"""The best point of one combination of card, format and number of cards."""

from __future__ import annotations

from xpullm.planner.build import target_of
from xpullm.planner.division import ranks
from xpullm.planner.estimate import judge
from xpullm.planner.request import Choice, PlanRequest
from xpullm.planner.search import Found, Search, Wish
from xpullm.planner.types import Learned


def search_choice(
    request: PlanRequest, choice: Choice, count: int, wish: Wish, learned: Learned
) -> Found | None:
    """The best point of one choice on so many cards."""
    where = target_of(request, choice)
    best: Found | None = None
    for tensor, pipeline in ranks(request, choice, count):
        found = Search(where, request.user, wish, learned, tensor, pipeline).run()
        if found is not None and (best is None or found.reached > best.reached):
            best = found
        if best is not None and best.complete and best.context == wish.context:
            break
    return best


def proven(
    request: PlanRequest, choice: Choice, count: int, wish: Wish, learned: Learned
) -> Found | None:
    """As `search_choice`, with an estimate that starts and is safe: what `plan` answers with."""
    found = search_choice(request, choice, count, wish, learned)
    if found is None:
        return None
    answer = judge(target_of(request, choice, found.arguments.dtype), found.arguments)
    return found if answer.starts and answer.safe else None
