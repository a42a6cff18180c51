"""`plan`: the best safe arguments for a request, or why there are none and what would fit."""

from __future__ import annotations

from xpullm.planner.alternatives import infeasible
from xpullm.planner.build import build, over_single_allocation, target_of
from xpullm.planner.changes import TEXT_ONLY
from xpullm.planner.choose import search_choice
from xpullm.planner.division import idle, possible
from xpullm.planner.precision import higher_precision
from xpullm.planner.request import Choice, PlanRequest
from xpullm.planner.search import Found, Wish, wish_of
from xpullm.planner.types import Infeasible, Learned, Plan
from xpullm.planner.why import unproven

GIB = 1 << 30


NOTHING_LEARNED = Learned()


def plan(request: PlanRequest, learned: Learned = NOTHING_LEARNED) -> Plan | Infeasible:
    """The first choice, and the smallest number of cards, that reaches the wishes; where none
    does, the one that comes nearest; where not even the floors fit, `Infeasible`."""
    wish = wish_of(request.serving, request.user, request.facts.max_position)
    best: tuple[Found, Choice, int] | None = None
    refused: Infeasible | None = None
    for choice, count in possible(request):
        found = search_choice(request, choice, count, wish, learned)
        if found is None:
            continue
        problem = unproven(request, choice, found)
        if problem is not None:  # another engine may take the same flags
            refused = refused or problem
            continue
        if found.complete:
            best = (found, choice, count)
            break
        if best is None or found.reached > best[0].reached:
            best = (found, choice, count)
        if request.gpu_fixed and request.count is not None:
            break
    if best is None:
        return refused or infeasible(request, wish, learned)
    found, choice, count = best
    notes = _notes(request, choice, count, wish, found, learned)
    # A context short of the wished one comes first: the sequences must not fall when it is reached.
    promised = found.concurrency if wish.context_first and found.context < wish.context else None
    return build(request, choice, count, found.arguments, notes=notes, promised=promised)


def _notes(
    request: PlanRequest, choice: Choice, count: int, wish: Wish, found: Found, learned: Learned
) -> tuple[str, ...]:
    notes = [f"assumed: {text}" for text in request.facts.unsure]
    if choice.engine.assumed:
        notes.append(
            f"{choice.engine.name} {choice.engine.version} isn't in the catalogue; counted as the"
            f" nearest release known, vLLM {choice.engine.vllm_version}"
        )
    serving = request.serving
    if serving.context_length and found.context < wish.context:
        notes.append(f"context {found.context} instead of the wished {wish.context} tokens")
    if serving.concurrency and found.concurrency < wish.concurrency:
        notes.append(
            f"room for {found.concurrency} full-length requests at once instead of the wished"
            f" {wish.concurrency}; more of them share the cache when they are shorter"
        )
    used = found.arguments.tensor_parallel_size * found.arguments.pipeline_parallel_size
    if unused := idle(request, choice, count, used):
        notes.append(unused)
    where = target_of(request, choice)
    if over_single_allocation(where, found.sizes):
        notes.append("one tensor is above the card's limit for a single allocation; it is lifted")
    if not where.facts.is_moe and where.accounting.pool == "current":
        notes.append(
            "this engine doesn't reserve activations; the plan leaves them outside its budget"
        )
    encoder = found.sizes.activation.encoder
    if encoder > GIB:
        notes.append(
            f"{encoder / GIB:.1f} GiB are kept for images; a text-only service saves them with"
            f" limit-mm-per-prompt {TEXT_ONLY} in spec.engine.args"
        )
    higher = higher_precision(request, choice, count, wish, found, learned)
    if higher:
        notes.append(higher)
    return tuple(notes)
