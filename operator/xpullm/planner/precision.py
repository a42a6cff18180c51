"""The nearest plan of higher precision beside a plan, and what it costs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from xpullm.catalog import Quantization, find_model, quantizations
from xpullm.planner.choose import proven
from xpullm.planner.combine import incompatible, own_format
from xpullm.planner.division import COUNTS
from xpullm.planner.facts import parse_config
from xpullm.planner.request import Choice, PlanRequest
from xpullm.planner.search import Found, Wish
from xpullm.planner.types import Learned

GIB = 1 << 30

_HALF = ("fp16", "bf16")
# What publishers append to the name of a checkpoint that they quantized themselves.
_SUFFIX = re.compile(r"-(AWQ|GPTQ|FP8|AutoRound|Int[48]|W\dA\d+|quantized)\b.*", re.IGNORECASE)
_PUBLISHED_ONLY_SO = "mxfp4"  # gpt-oss: there is no checkpoint of higher precision


def higher_precision(
    request: PlanRequest, choice: Choice, count: int, wish: Wish, found: Found, learned: Learned
) -> str:
    """The nearest format of higher precision that fits: on the same cards, else on the fewest that
    it needs. Of a quantized checkpoint, the unquantized one's. "" where nothing is of higher."""
    original, source = _unquantized(request)
    better = list(_better(original, choice))
    if not better:
        return ""
    for quantization in better:
        other = Choice(choice.gpu, choice.engine, quantization)
        if result := proven(original, other, count, wish, learned):
            said = f"{quantization.name}{source} fits too and is of higher precision"
            return f"{said}: {_cost(choice, found, result)}"
    counts = [n for n in COUNTS if n > count]
    if request.user.tensor_parallel_size is not None:
        counts = []  # more cards would stay idle
    for more in counts:
        for quantization in _one_of_each_size(better):
            other = Choice(choice.gpu, choice.engine, quantization)
            if result := proven(original, other, more, wish, learned):
                said = f"{quantization.name}{source} is of higher precision and needs {more} cards"
                return f"{said}: {_cost(choice, found, result)}"
    cards = f"{counts[-1] if counts else count} x {choice.gpu.name}"
    return f"nothing of higher precision than {choice.quantization.name} fits up to {cards}"


def _unquantized(request: PlanRequest) -> tuple[PlanRequest, str]:
    """The request for the model before it was quantized, and where to find it."""
    stored = request.facts.stored
    if stored is None or stored.name == _PUBLISHED_ONLY_SO:
        return request, ""
    plain = replace(request.facts, stored=None)
    name = _SUFFIX.sub("", request.model)
    entry = find_model(name) if name != request.model else None
    if entry is not None:
        known = parse_config(entry["config"])
        same = (known.hidden, known.layers, known.vocab) == (
            plain.hidden,
            plain.layers,
            plain.vocab,
        )
        if same and known.stored is None:
            return replace(request, facts=replace(plain, dtype=known.dtype)), f" of {name}"
    return replace(request, facts=plain), " of the unquantized checkpoint, where one is published,"


def _better(request: PlanRequest, choice: Choice) -> Iterator[Quantization]:
    """Formats of more bits that the engine serves of this model on this card, the nearest first.
    The bits are the tens of `precision`; the rest orders formats of as many."""
    own = own_format(request.facts, choice.gpu, choice.engine)
    mine = choice.quantization.precision // 10
    for quantization in sorted(quantizations().values(), key=lambda q: q.precision):
        name = quantization.name
        if quantization.precision // 10 <= mine or name not in choice.engine.quantizations:
            continue
        if name in _HALF and name != own:
            continue  # of the 16-bit formats the checkpoint's own
        if incompatible(request.facts, choice.gpu, choice.engine, name) is None:
            yield quantization


def _one_of_each_size(formats: list[Quantization]) -> list[Quantization]:
    """The first of those with as many bits: they need as many cards."""
    return list({q.precision // 10: q for q in reversed(formats)}.values())[::-1]


def _cost(choice: Choice, found: Found, result: Found) -> str:
    """Weights of all ranks together: the two may be divided among different numbers of them."""
    total = result.sizes.weights.resident * result.sizes.ranks
    cost = (total - found.sizes.weights.resident * found.sizes.ranks) / GIB
    ranks = result.sizes.ranks
    device = "tiles" if choice.gpu.devices_per_unit > 1 else "cards"
    spread = f" in all, on {ranks} {device}" if ranks > 1 else ""
    return (
        f"context {result.context}, {result.concurrency} full-length requests; its weights take"
        f" {cost:.1f} GiB more{spread}"
    )
