"""From plan and request to a situation: the only place where healing meets the planner. Pure."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from xpullm.catalog import find_engine, gpus, quantizations
from xpullm.catalog.types import Engine
from xpullm.healing.situation import Pool, Situation, Wish
from xpullm.healing.types import PastStep, Policy
from xpullm.planner import PlanRequest, with_arguments
from xpullm.planner import plan as make_plan
from xpullm.planner.combine import incompatible
from xpullm.planner.request import Choice
from xpullm.planner.types import Arguments, Learned, Plan
from xpullm_runtime.diagnosis.types import Diagnosis

MIN_CONTEXT = 2048  # spec.serving.minContextLength when it is absent


def situation_of(
    plan: Plan,
    diagnosis: Diagnosis,
    history: tuple[PastStep, ...],
    policy: Policy,
    request: PlanRequest,
    failures: int = 1,
    node: str = "",
) -> Situation:
    """Everything a decision may look at. `history` is judged already."""
    engine = find_engine(plan.engine, plan.engine_version)
    request = _widened(plan, request)
    return Situation(
        plan=plan,
        diagnosis=diagnosis,
        history=history,
        policy=policy,
        pool=pool_of(plan.arguments, engine),
        wish=wish_of(plan, request),
        replan=partial(with_arguments, plan, request),
        remake=partial(remake, plan, request),
        chunked_prefill=_chunked(plan.arguments, engine),
        kv_cache_dtypes=engine.kv_cache_dtypes if engine else ("auto",),
        user_env=frozenset(request.env),
        failures=failures,
        node=node,
    )


def pool_of(arguments: Arguments, engine: Engine | None) -> Pool:
    """How the KV pool is sized: pinned by a flag, else by the engine's own accounting."""
    if arguments.kv_cache_memory_bytes is not None or arguments.num_gpu_blocks_override is not None:
        return Pool.PINNED
    if engine is not None and engine.accounting.pool == "current":
        return Pool.OUTSIDE
    return Pool.LEFTOVER


def wish_of(plan: Plan, request: PlanRequest) -> Wish:
    """What was asked for; absent minimums are the API's: min(2048, context) and 1."""
    serving = request.serving
    context = serving.context_length or request.user.max_model_len
    least = serving.min_context_length
    if least is None:
        least = min(MIN_CONTEXT, context or plan.arguments.max_model_len)
    return Wish(context, least, serving.concurrency, serving.min_concurrency or 1)


def remake(plan: Plan, request: PlanRequest, lever: str) -> tuple[str, str, Plan] | None:
    """(before, after, plan) for the nearest smaller format, or for more GPUs; None if none fits."""
    choice = next(
        (c for c in request.choices if c.gpu.name == plan.gpu and c.engine.name == plan.engine),
        None,
    )
    if choice is None:
        return None
    if lever == "gpu-count":
        for count in (2, 4, 8):
            if count <= plan.gpu_count:
                continue
            other = make_plan(replace(request, choices=(choice,), count=count), Learned())
            if isinstance(other, Plan):
                return str(plan.gpu_count), str(count), other
        return None
    known = quantizations()
    now = known.get(plan.quantization)
    smaller = [
        known[name]
        for name in choice.engine.quantizations
        if name in known
        and (now is None or known[name].precision < now.precision)
        and incompatible(request.facts, choice.gpu, choice.engine, name) is None
    ]
    for candidate in sorted(smaller, key=lambda q: (-q.precision, q.name)):
        changed = replace(
            request,
            choices=(Choice(choice.gpu, choice.engine, candidate),),
            count=plan.gpu_count,
        )
        other = make_plan(changed, Learned())
        if isinstance(other, Plan) and other.ledger.weights_bytes < plan.ledger.weights_bytes:
            return plan.quantization, candidate.name, other
    return None


def _widened(plan: Plan, request: PlanRequest) -> PlanRequest:
    """The request with the plan's own combination among its choices: a step may have left them."""
    if any(
        (c.gpu.name, c.engine.name, c.quantization.name)
        == (plan.gpu, plan.engine, plan.quantization)
        for c in request.choices
    ):
        return request
    card, engine = gpus().get(plan.gpu), find_engine(plan.engine, plan.engine_version)
    stored = quantizations().get(plan.quantization)
    if card is None or engine is None or stored is None:
        return request
    return replace(request, choices=(*request.choices, Choice(card, engine, stored)))


def _chunked(arguments: Arguments, engine: Engine | None) -> bool:
    """Whether prompts may be longer than one batch."""
    if arguments.enable_chunked_prefill is not None:
        return arguments.enable_chunked_prefill
    return engine is None or engine.chunked_prefill == "default"
