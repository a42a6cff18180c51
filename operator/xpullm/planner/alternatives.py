"""That nothing fits, and the nearest changes to the request that were proven to fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from xpullm.catalog import default_engine, engines, gpus, quantizations
from xpullm.planner.choose import search_choice
from xpullm.planner.combine import incompatible, own_format
from xpullm.planner.division import COUNTS, indivisible, possible
from xpullm.planner.request import Choice, PlanRequest, UserArguments
from xpullm.planner.search import Found, Wish, wish_of
from xpullm.planner.types import Alternative, Infeasible, Learned
from xpullm.planner.why import POOL_FLAGS, why

TEXT_ONLY = '{"image":0,"video":0}'
_WANTED = 5
_OF_ONE_KIND = 2


def infeasible(request: PlanRequest, wish: Wish, learned: Learned) -> Infeasible:
    """Names what takes the memory of the nearest choice, what is missing there, and what fits."""
    undivided = indivisible(request)
    if undivided is not None:
        return Infeasible("Infeasible", undivided.message, "arguments", 0)
    choice, count = _nearest(request)
    found = tuple(_alternatives(request, choice, wish, learned))
    return replace(why(request, choice, count, wish, learned), alternatives=found)


def _nearest(request: PlanRequest) -> tuple[Choice, int]:
    """The choice with most memory: the one that misses least. Of a card that the user named it is
    told for the smallest number."""
    able = possible(request)
    count = able[0 if request.gpu_fixed else -1][1]
    choices = [choice for choice, number in able if number == count]
    return max(choices, key=lambda c: c.gpu.visible_bytes * c.gpu.devices_per_unit), count


def _alternatives(
    request: PlanRequest, choice: Choice, wish: Wish, learned: Learned
) -> list[Alternative]:
    """Proven alternatives, the smallest change first; at most two of one kind, so that people see
    different ways out."""
    result: list[Alternative] = []
    kinds: dict[str, int] = {}
    for field, value, changed, candidate, count in _changes(request, choice, wish):
        if kinds.get(field, 0) >= _OF_ONE_KIND:
            continue
        goal = wish_of(changed.serving, changed.user, changed.facts.max_position)
        found = search_choice(changed, candidate, count, goal, learned)
        if found is not None:
            kinds[field] = kinds.get(field, 0) + 1
            result.append(_alternative(field, value, candidate, count, found))
        if len(result) >= _WANTED:
            break
    return result


def _alternative(field: str, value: str, choice: Choice, count: int, found: Found) -> Alternative:
    text = (
        f"{field}: {value} (context {found.context}, {found.concurrency} full-length request(s)"
        f" on {count} x {choice.gpu.name} with {choice.engine.name})"
    )
    return Alternative(field, value, found.context, found.concurrency, text)


Change = tuple[str, str, PlanRequest, Choice, int]


def _changes(request: PlanRequest, choice: Choice, wish: Wish) -> Iterator[Change]:
    """Changes to one field of the spec, in order of what they cost the user."""
    count = request.count or 1
    yield from _softer(request, choice, wish, count)
    if "fp8" in choice.engine.kv_cache_dtypes and request.user.kv_cache_dtype is None:
        user = replace(request.user, kv_cache_dtype="fp8")
        yield "spec.engine.args[kv-cache-dtype]", "fp8", replace(request, user=user), choice, count
    if request.facts.multimodal and "limit-mm-per-prompt" not in request.user.names:
        text_only = replace(request, user=_text_only(request.user))
        yield "spec.engine.args[limit-mm-per-prompt]", TEXT_ONLY, text_only, choice, count
    for other in _smaller_formats(request, choice):
        yield "spec.quantization", _format_text(other, choice), request, other, count
    free = replace(request, user=replace(request.user, tensor_parallel_size=None))
    for more in COUNTS:
        if more > count:
            yield "spec.gpu.count", str(more), free, choice, more
    formats = tuple(_smaller_formats(request, choice))
    for more in COUNTS:
        for smaller in formats:
            if more > count:
                value = f"{more}, spec.quantization {_format_text(smaller, choice)}"
                yield "spec.gpu.count", value, free, smaller, more
    larger = tuple(_larger_cards(request, choice))
    for more in dict.fromkeys((count, *(n for n in COUNTS if n > count))):
        for other in larger:
            value = other.gpu.name if more == count else f"{other.gpu.name}, count {more}"
            yield "spec.gpu.type", value, free, other, more


def _text_only(user: UserArguments) -> UserArguments:
    flag = ("limit-mm-per-prompt", TEXT_ONLY)
    return replace(user, flags=(*user.flags, flag), extra=(*user.extra, flag))


def _format_text(other: Choice, choice: Choice) -> str:
    """The format, and the engine where it is another."""
    name = other.quantization.name
    if other.engine.name == choice.engine.name:
        return name
    return f"{name}, spec.engine.name {other.engine.name}"


def _softer(request: PlanRequest, choice: Choice, wish: Wish, count: int) -> Iterator[Change]:
    """Without the user's own size of the KV cache; lower floors, where the request has some above
    the least useful."""
    serving, user = request.serving, request.user
    for name, field in POOL_FLAGS.items():
        if getattr(user, field) is not None:
            nothing: dict[str, Any] = {field: None}
            flags = tuple(flag for flag in user.flags if flag[0] != name)
            without = replace(request, user=replace(user, flags=flags, **nothing))
            yield f"spec.engine.args[{name}]", "(leave it out)", without, choice, count
    if wish.min_concurrency > 1:
        lower = replace(serving, min_concurrency=1)
        yield "spec.serving.minConcurrency", "1", replace(request, serving=lower), choice, count
    floor = wish.min_context
    while floor > 512:
        floor //= 2
        lower = replace(serving, min_context_length=floor, context_length=floor)
        changed = replace(request, serving=lower, user=replace(user, max_model_len=None))
        yield "spec.serving.minContextLength", str(floor), changed, choice, count


def _smaller_formats(request: PlanRequest, choice: Choice) -> Iterator[Choice]:
    """Formats of lower precision that this card can be served with, the best first; another engine
    only for formats that this one hasn't."""
    mine = choice.quantization.precision
    others = [default_engine(name, choice.gpu.architecture) for name in engines()]
    candidates = [choice.engine, *(e for e in others if e and e.name != choice.engine.name)]
    for q in sorted(quantizations().values(), key=lambda q: -q.precision):
        for engine in candidates:
            if (
                q.precision < mine
                and incompatible(request.facts, choice.gpu, engine, q.name) is None
            ):
                yield Choice(choice.gpu, engine, q)
                break


def _larger_cards(request: PlanRequest, choice: Choice) -> Iterator[Choice]:
    """Cards with more memory, the nearest first, with the same format where they can serve it."""
    for gpu in sorted(gpus().values(), key=lambda g: (g.visible_bytes, g.name)):
        if gpu.visible_bytes <= choice.gpu.visible_bytes:
            continue
        same = choice.engine if gpu.architecture in choice.engine.architectures else None
        engine = same or default_engine(gpu.default_engine, gpu.architecture)
        if engine is None:
            continue
        name = choice.quantization.name
        if incompatible(request.facts, gpu, engine, name) is not None:
            name = own_format(request.facts, gpu, engine)
        if incompatible(request.facts, gpu, engine, name) is None:
            yield Choice(gpu, engine, quantizations()[name])
