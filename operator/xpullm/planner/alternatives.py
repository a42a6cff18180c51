"""That nothing fits, and the nearest changes to the request that were proven to fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

from xpullm.planner.changes import (
    SIZE_FLAGS,
    Change,
    combinations,
    dropped,
    roomiest,
    small_changes,
    softer,
)
from xpullm.planner.changes import without as without_flags
from xpullm.planner.choose import proven
from xpullm.planner.division import COUNTS, indivisible, possible
from xpullm.planner.request import Choice, PlanRequest
from xpullm.planner.search import Found, Wish, wish_of
from xpullm.planner.types import Alternative, Infeasible, Learned
from xpullm.planner.userargs import check_together
from xpullm.planner.why import POOL_FLAGS, why

_WANTED = 5
_PROMISED = 3
_OF_ONE_KIND = 2
_LEAST_CONTEXT = 2048
_PROBED, _TRIED = 3, 80


def infeasible(request: PlanRequest, wish: Wish, learned: Learned) -> Infeasible:
    """Names what takes the memory of the nearest choice, what is missing there, and what fits."""
    undivided = indivisible(request)
    if undivided is not None:
        return Infeasible("Infeasible", undivided.message, "arguments", 0)
    choice, count = _nearest(request)
    told = why(request, choice, count, wish, learned)
    found = tuple(_Alternatives(request, choice, wish, learned).run())
    message = told.message
    if len(found) < _PROMISED:
        most = f"on up to {COUNTS[-1]} of any card of the catalogue, in any format"
        message += f"; {'only what follows fits' if found else 'nothing fits'} {most}"
    return replace(told, message=message, alternatives=found)


def _nearest(request: PlanRequest) -> tuple[Choice, int]:
    """The choice with most memory: the one that misses least. Of a card that the user named it is
    told for the smallest number."""
    able = possible(request)
    count = able[0 if request.gpu_fixed else -1][1]
    choices = [choice for choice, number in able if number == count]
    return max(choices, key=lambda c: c.gpu.visible_bytes * c.gpu.devices_per_unit), count


class _Alternatives:
    """Collects proven alternatives, the smallest change first."""

    def __init__(self, request: PlanRequest, choice: Choice, wish: Wish, learned: Learned) -> None:
        self._request, self._choice, self._wish = request, choice, wish
        self._learned = learned
        self._found: dict[tuple[str, ...], Alternative] = {}

    def run(self) -> list[Alternative]:
        """At most two of one kind, so that people see different ways out; where these are too few,
        combinations of any kind, at last with nothing asked for but a short context."""
        self._small()
        for changes in (self._softer, self._combined, self._least, self._small_cache):
            if len(self._found) < _PROMISED:
                self._collect(changes(), _PROMISED)
        return list(self._found.values())

    def _small(self) -> None:
        request, kinds = self._request, dict[str, int]()
        for change in small_changes(request, self._choice, self._wish):
            if kinds.get(change.field, 0) < _OF_ONE_KIND and self._add(change):
                kinds[change.field] = kinds.get(change.field, 0) + 1
            if len(self._found) >= _WANTED:
                return

    def _softer(self) -> Iterator[Change]:
        """More of the small changes."""
        counts = (self._request.count,) if self._request.count else COUNTS
        return softer(self._request, self._choice, self._wish, counts)

    def _combined(self) -> Iterator[Change]:
        """Any card, number of cards and format, without the user's own size of the KV cache; none
        where not even the roomiest fit, and not all where less can be asked for, too."""
        free = without_flags(self._request, self._choice.engine, tuple(POOL_FLAGS))
        if free is None:
            return
        best = roomiest(free, self._choice, _PROBED)
        if any(self._fits(change) for change in best):
            tried = None if self._freed() == free else _TRIED
            yield from islice(self._combinations(free, ""), tried)

    def _least(self) -> Iterator[Change]:
        """The same for one request of a short context, without any size of the user's."""
        free = self._freed()
        if free is not None:
            yield from self._combinations(free, self._floors_told())

    def _small_cache(self) -> Iterator[Change]:
        """The same with an 8-bit KV cache: more room where only the largest cards hold the
        weights."""
        free = self._freed()
        if free is None or free.user.kv_cache_dtype is not None:
            return
        flags = (*free.user.flags, ("kv-cache-dtype", "fp8"))
        small = replace(free, user=replace(free.user, flags=flags, kv_cache_dtype="fp8"))
        told = f", spec.engine.args[kv-cache-dtype] fp8{self._floors_told()}"
        for change in self._combinations(small, told):
            if "fp8" in change.choice.engine.kv_cache_dtypes:
                yield change

    def _freed(self) -> PlanRequest | None:
        """The request with least floors and none of the user's sizes."""
        serving, wish = self._request.serving, self._wish
        if wish.min_context > _LEAST_CONTEXT:
            serving = replace(serving, min_context_length=_LEAST_CONTEXT)
        if wish.min_concurrency > 1:
            serving = replace(serving, min_concurrency=1)
        least = replace(self._request, serving=serving)
        return without_flags(least, self._choice.engine, SIZE_FLAGS)

    def _floors_told(self) -> str:
        wish, told = self._wish, ""
        if wish.min_context > _LEAST_CONTEXT:
            told += f", spec.serving.minContextLength {_LEAST_CONTEXT}"
        if wish.min_concurrency > 1:
            told += ", spec.serving.minConcurrency 1"
        return told

    def _combinations(self, free: PlanRequest, told: str) -> Iterator[Change]:
        told += dropped(self._request, free)
        for change in combinations(free, self._choice):
            yield replace(change, value=change.value + told)

    def _collect(self, changes: Iterable[Change], enough: int) -> None:
        for change in changes:
            self._add(change)
            if len(self._found) >= enough:
                return

    def _add(self, change: Change) -> bool:
        """Whether it is another one, and fits."""
        key = (change.field, change.value)
        fits = self._fits(change) if key not in self._found else None
        if fits is not None:
            self._found[key] = fits
        return fits is not None

    def _fits(self, change: Change) -> Alternative | None:
        """The alternative where the changed request has a plan."""
        request = change.request
        if check_together(request.user, request.serving) is not None:
            return None
        goal = wish_of(request.serving, request.user, request.facts.max_position)
        for count in change.counts:
            found = proven(request, change.choice, count, goal, self._learned)
            if found is not None:
                return _alternative(change, count, found)
        return None


def _alternative(change: Change, count: int, found: Found) -> Alternative:
    choice = change.choice
    text = (
        f"{change.field}: {change.value} (context {found.context}, {found.concurrency} full-length"
        f" request(s) on {count} x {choice.gpu.name} with {choice.engine.name})"
    )
    return Alternative(change.field, change.value, found.context, found.concurrency, text)
