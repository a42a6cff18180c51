"""Changes to a request that may make it fit, in the order of what they cost the user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from xpullm.catalog import GPU, Engine, default_engine, engines, gpus, quantizations
from xpullm.planner.combine import incompatible, own_format
from xpullm.planner.division import COUNTS
from xpullm.planner.request import Choice, PlanRequest, UserArguments
from xpullm.planner.search import SMALLEST_BATCH, Wish
from xpullm.planner.types import Refusal
from xpullm.planner.userargs import read_arguments
from xpullm.planner.weights import checkpoint_bytes
from xpullm.planner.why import POOL_FLAGS

TEXT_ONLY = '{"image":0,"video":0}'
# The user's own sizes that the planner would choose by itself.
SIZE_FLAGS = (*POOL_FLAGS, "max-num-seqs", "max-num-batched-tokens", "max-model-len")
_PARALLEL = ("tensor-parallel-size", "pipeline-parallel-size")
_LEAST_CONTEXT = 512
# vLLM's own defaults on the largest cards (vLLM engine/arg_utils.py): more is no way out.
_MOST_SEQUENCES, _MOST_TOKENS = 1024, 8192


@dataclass(frozen=True, slots=True)
class Change:
    """What to write where, and the request that results. `counts` are the numbers of cards to try,
    the nearest first."""

    field: str
    value: str
    request: PlanRequest
    choice: Choice
    counts: tuple[int, ...]


def small_changes(request: PlanRequest, choice: Choice, wish: Wish) -> Iterator[Change]:
    """Changes to one thing, and of the number of cards together with the format or the card."""
    asked = request.count or 1
    counts = (request.count,) if request.count else COUNTS
    yield from softer(request, choice, wish, counts)
    if "fp8" in choice.engine.kv_cache_dtypes and request.user.kv_cache_dtype is None:
        yield from _with_flag(request, choice, counts, "kv-cache-dtype", "fp8")
    if request.facts.multimodal and "limit-mm-per-prompt" not in request.user.names:
        yield from _with_flag(request, choice, counts, "limit-mm-per-prompt", TEXT_ONLY)
    mine = choice.quantization.precision
    formats = [
        c for c in formats_on(request, choice, choice.gpu) if c.quantization.precision < mine
    ]
    for smaller in formats:
        yield from _moved(request, choice, smaller, request.count, counts)
    more = [n for n in COUNTS if n > asked] if request.count else []
    for other in (choice, *formats):
        for count in more:
            yield from _moved(request, choice, other, count, (count,))
    larger = tuple(_larger_cards(request, choice))
    for other in larger:
        yield from _moved(request, choice, other, request.count, counts)
    for count in more:
        for other in larger:
            yield from _moved(request, choice, other, count, (count,))


def softer(
    request: PlanRequest, choice: Choice, wish: Wish, counts: tuple[int, ...]
) -> Iterator[Change]:
    """Without the user's own sizes, or with lower ones; lower floors, where the request has some
    above the least useful."""
    user, serving = request.user, request.serving
    for name in POOL_FLAGS:
        if name in user.names:
            yield from _with_flag(request, choice, counts, name, None)
    for name, given, least, most in (
        ("max-num-seqs", user.max_num_seqs, wish.min_concurrency, _MOST_SEQUENCES),
        ("max-num-batched-tokens", user.max_num_batched_tokens, SMALLEST_BATCH, _MOST_TOKENS),
    ):
        if given:
            yield from _with_flag(request, choice, counts, name, None)
            for lower in _lower(min(given, 2 * most), least):
                yield from _with_flag(request, choice, counts, name, str(lower))
    for lower in _lower(wish.min_concurrency, 1):
        floor = replace(serving, min_concurrency=lower)
        changed = replace(request, serving=floor)
        yield Change("spec.serving.minConcurrency", str(lower), changed, choice, counts)
    for lower in _lower(wish.min_context, _LEAST_CONTEXT):
        if user.max_model_len is None:
            changed = replace(request, serving=replace(serving, min_context_length=lower))
            yield Change("spec.serving.minContextLength", str(lower), changed, choice, counts)
            continue
        told = {"context_length": "contextLength", "min_context_length": "minContextLength"}
        above = {f: n for f, n in told.items() if (getattr(serving, f) or 0) > lower}
        fields: dict[str, Any] = dict.fromkeys(above, lower)
        changed = replace(request, serving=replace(serving, **fields))
        also = "".join(f", spec.serving.{name} {lower}" for name in above.values())
        yield from _with_flag(changed, choice, counts, "max-model-len", str(lower), also)


def _lower(value: int, least: int) -> Iterator[int]:
    """The powers of two below a value, down to the least."""
    while value > least:
        value = max(least, 1 << ((value - 1).bit_length() - 1))
        yield value


def combinations(request: PlanRequest, choice: Choice) -> Iterator[Change]:
    """Every card of the catalogue x number of cards x format that may hold the weights, the fewest
    changes and cards first."""
    mine = choice.quantization
    own = {c.gpu.name for c in request.choices}

    def cost(pair: tuple[Choice, int]) -> tuple[int, int, int, int, str, str]:
        (gpu, q), count = (pair[0].gpu, pair[0].quantization), pair[1]
        lower = max(0, mine.precision // 10 - q.precision // 10)
        changes = (gpu.name not in own) + (count != (request.count or count)) + bool(lower)
        return changes, count, lower, gpu.visible_bytes, gpu.name, q.name

    for other, count in sorted(_pairs(request, choice), key=cost):
        yield from _moved(request, choice, other, count, (count,))


def roomiest(request: PlanRequest, choice: Choice, number: int) -> Iterator[Change]:
    """Of these the ones with most device memory for each bit of a weight."""

    def room(pair: tuple[Choice, int]) -> int:
        gpu, bits = pair[0].gpu, pair[0].quantization.precision
        return pair[1] * gpu.devices_per_unit * gpu.visible_bytes // bits

    for other, count in sorted(_pairs(request, choice), key=room, reverse=True)[:number]:
        yield from _moved(request, choice, other, count, (count,))


def _pairs(request: PlanRequest, choice: Choice) -> Iterator[tuple[Choice, int]]:
    """Cards and formats, and numbers of cards that may hold the weights."""
    bits = request.facts.stored.bits if request.facts.stored else 0
    # No rank holds less than its share; a tenth less, as no format is that exact.
    least = 0 if request.user.cpu_offload_gib else checkpoint_bytes(request.facts) * 9 // 10
    formats: dict[tuple[str, bool], tuple[Choice, ...]] = {}
    for gpu in gpus().values():
        kind = (gpu.architecture, gpu.bfloat16)
        if kind not in formats:
            formats[kind] = tuple(formats_on(request, choice, gpu))
        for other in formats[kind]:
            share = least * (bits * 10 or other.quantization.precision) // 160
            for count in COUNTS:
                if share <= count * gpu.devices_per_unit * gpu.visible_bytes:
                    yield replace(other, gpu=gpu), count


def formats_on(request: PlanRequest, choice: Choice, gpu: GPU) -> Iterator[Choice]:
    """The formats that a card can be served with, the highest precision first: by the request's
    engine where it can, else by the card's own, else by another. Of the 16-bit ones only the
    checkpoint's own."""
    facts, user = request.facts, request.user
    on_card = _engines_on(choice, gpu)
    candidates = [e for e in on_card if user_on(user, choice.engine, e) is not None]
    for q in sorted(quantizations().values(), key=lambda q: -q.precision):
        for engine in candidates:
            if q.name not in engine.quantizations:
                continue
            if q.name in ("fp16", "bf16") and q.name != own_format(facts, gpu, engine):
                continue
            if incompatible(facts, gpu, engine, q.name) is None:
                yield Choice(gpu, engine, q)
                break


def _engines_on(choice: Choice, gpu: GPU) -> Iterator[Engine]:
    """The request's engine in the release that this card gets, then the card's own default, then
    the others."""
    first = choice.engine
    stays = _version_named(choice) or gpu.architecture == choice.gpu.architecture
    if stays and gpu.architecture in first.architectures:
        yield first
    for name in dict.fromkeys((first.name, gpu.default_engine, *engines())):
        engine = default_engine(name, gpu.architecture)
        if engine is not None and not (stays and engine.name == first.name):
            yield engine


def _version_named(choice: Choice) -> bool:
    """Whether the engine's release is another than the one that this card gets by itself."""
    usual = default_engine(choice.engine.name, choice.gpu.architecture)
    return usual is None or usual.key != choice.engine.key


def _larger_cards(request: PlanRequest, choice: Choice) -> Iterator[Choice]:
    """Cards with more memory, the nearest first, with the same format where they can serve it."""
    for gpu in sorted(gpus().values(), key=lambda g: (g.visible_bytes, g.name)):
        if gpu.visible_bytes <= choice.gpu.visible_bytes:
            continue
        engine = next(_engines_on(choice, gpu), None)
        if engine is None:
            continue
        for name in (choice.quantization.name, own_format(request.facts, gpu, engine)):
            if incompatible(request.facts, gpu, engine, name) is None:
                yield Choice(gpu, engine, quantizations()[name])
                break


def _moved(
    request: PlanRequest,
    choice: Choice,
    other: Choice,
    count: int | None,
    counts: tuple[int, ...],
) -> Iterator[Change]:
    """Another card, number of cards, format or engine; without the user's parallel sizes where the
    devices are others. Nothing where the engine refuses the user's flags."""
    parts = []
    if other.gpu.name != choice.gpu.name:
        parts.append(("spec.gpu.type", other.gpu.name))
    if count != request.count:
        parts.append(("spec.gpu.count", str(count)))
    if _format_differs(request, choice, other):
        parts.append(("spec.quantization", other.quantization.name))
    parts += _engine_parts(choice, other)
    same = count == request.count and other.gpu.devices_per_unit == choice.gpu.devices_per_unit
    changed = request if same else without(request, choice.engine, _PARALLEL)
    user = user_on(changed.user, choice.engine, other.engine) if changed else None
    if changed is None or user is None or not parts:
        return
    (field, value), *rest = parts
    value += "".join(f", {name} {told}" for name, told in rest)
    changed = replace(changed, user=user)
    if request.image and other.engine.key != choice.engine.key:
        changed = replace(changed, image=None)
        value += ", without spec.engine.image"
    yield Change(field, value + dropped(request, changed), changed, other, counts)


def _engine_parts(choice: Choice, other: Choice) -> Iterator[tuple[str, str]]:
    """The engine, where it is another or not the card's own; its version, where one was named."""
    own = choice.engine.name == other.engine.name == other.gpu.default_engine
    same = choice.gpu.name == other.gpu.name and choice.engine.name == other.engine.name
    if not own and not same:
        yield "spec.engine.name", other.engine.name
    if other.engine.key != choice.engine.key and _version_named(choice):
        yield "spec.engine.version", other.engine.version


def _format_differs(request: PlanRequest, choice: Choice, other: Choice) -> bool:
    """Whether the format must be written: a checkpoint's own is what an empty field means."""
    name = other.quantization.name
    if request.quantization_fixed:
        return name != choice.quantization.name
    return name != own_format(request.facts, other.gpu, other.engine)


def without(request: PlanRequest, engine: Engine, names: Iterable[str]) -> PlanRequest | None:
    """The request without these flags of the user's."""
    names = tuple(names)
    if not request.user.names.intersection(names):
        return request
    flags = tuple(flag for flag in request.user.flags if flag[0] not in names)
    user = user_on(replace(request.user, flags=flags), None, engine)
    return replace(request, user=user) if user is not None else None


def dropped(before: PlanRequest, after: PlanRequest) -> str:
    """The user's flags that the changed request no longer has, as words."""
    gone = [name for name, _ in before.user.flags if name not in after.user.names]
    return "".join(f", without spec.engine.args[{name}]" for name in gone)


def user_on(user: UserArguments, had: Engine | None, engine: Engine) -> UserArguments | None:
    """The user's flags as this engine takes them, or None where it refuses one."""
    if had is not None and had.key == engine.key:
        return user
    if any(name.partition(".")[0] not in engine.flags for name in user.names):
        return None  # without the search for a name like it
    read = read_arguments(user.flags, engine)
    if isinstance(read, Refusal):
        return None
    if engine.chunked_prefill == "none":
        return replace(read, enable_chunked_prefill=False)
    return read


def _with_flag(
    request: PlanRequest,
    choice: Choice,
    counts: tuple[int, ...],
    name: str,
    value: str | None,
    also: str = "",
) -> Iterator[Change]:
    """The user's flag with another value, or (None) left out."""
    flags = tuple(flag for flag in request.user.flags if flag[0] != name)
    if value is not None:
        flags = (*flags, (name, value))
    user = user_on(replace(request.user, flags=flags), None, choice.engine)
    if user is not None:
        told = ("(leave it out)" if value is None else value) + also
        changed = replace(request, user=user)
        yield Change(f"spec.engine.args[{name}]", told, changed, choice, counts)
