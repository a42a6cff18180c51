"""Laws of estimate and plan, over models, cards, formats, engines and wishes."""

import re
from dataclasses import replace
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.examples import examples

from xpullm.catalog import GPU, engines, gpus, models, quantizations
from xpullm.planner import (
    Arguments,
    Infeasible,
    Plan,
    PlanRequest,
    Serving,
    decode,
    encode,
    explain,
    parse_config,
    plan,
)
from xpullm.planner.build import target_of
from xpullm.planner.combine import incompatible, own_format
from xpullm.planner.estimate import judge
from xpullm.planner.request import Choice, UserArguments
from xpullm.planner.search import Search, wish_of
from xpullm.planner.shape import room
from xpullm.planner.sizes import sizes
from xpullm.planner.types import Learned, LearnedEntry

MIB = 1 << 20
GIB = 1 << 30
MODELS = sorted(models())
CONTEXTS = st.none() | st.integers(1, 64).map(lambda n: n * 512)
SEQUENCES = st.none() | st.integers(1, 64)


@st.composite
def choices(draw: st.DrawFn) -> tuple[str, Choice]:
    name = draw(st.sampled_from(MODELS))
    facts = parse_config(models()[name]["config"])
    gpu = draw(st.sampled_from(sorted(gpus().values(), key=lambda g: g.name)))
    versions = [
        e for family in engines().values() for e in family if gpu.architecture in e.architectures
    ]
    engine = draw(st.sampled_from(versions))
    formats = {*engine.quantizations, own_format(facts, gpu, engine)} & set(quantizations())
    possible = sorted(q for q in formats if incompatible(facts, gpu, engine, q) is None)
    assume(possible)
    return name, Choice(gpu, engine, quantizations()[draw(st.sampled_from(possible))])


@st.composite
def requests(draw: st.DrawFn) -> PlanRequest:
    name, choice = draw(choices())
    facts = parse_config(models()[name]["config"])
    context, least = draw(CONTEXTS), draw(CONTEXTS)
    context = min(context, facts.max_position) if context else None
    least = min(least, context or facts.max_position) if least else None
    wanted, floor = draw(SEQUENCES), draw(SEQUENCES)
    floor = min(floor, wanted or 8) if floor else None
    return PlanRequest(
        model=name,
        revision="main",
        facts=facts,
        choices=(choice,),
        count=draw(st.sampled_from([None, 1, 2, 4])),
        serving=Serving(context, least, wanted, floor),
    )


def larger(gpu: GPU, more: int) -> GPU:
    return replace(
        gpu,
        visible_bytes=gpu.visible_bytes + more,
        usable_bytes=gpu.usable_bytes + more,
        torch_total_bytes=gpu.torch_total_bytes + more,
    )


def on(request: PlanRequest, gpu: GPU) -> PlanRequest:
    (choice,) = request.choices
    return replace(request, choices=(replace(choice, gpu=gpu),))


@st.composite
def own_flags(draw: st.DrawFn) -> UserArguments:
    """Flags of the user's that set the size of the KV cache: none, one, or a size and the share."""
    flags: list[tuple[str, str | None]] = []
    fields: dict[str, Any] = {}
    if draw(st.booleans()):
        share = draw(st.integers(1, 100)) / 100
        flags.append(("gpu-memory-utilization", f"{share}"))
        fields["gpu_memory_utilization"] = share
    kind = draw(st.sampled_from(["", "bytes", "blocks"]))
    if kind == "bytes":
        size = draw(st.integers(1, 2000)) * 16 * MIB
        flags.append(("kv-cache-memory-bytes", f"{size}"))
        fields["kv_cache_memory_bytes"] = size
    if kind == "blocks":
        blocks = draw(st.integers(1, 4000)) * 10
        flags.append(("num-gpu-blocks-override", f"{blocks}"))
        fields["num_gpu_blocks_override"] = blocks
    return replace(UserArguments(tuple(flags)), **fields)


@given(requests(), own_flags())
def test_a_plans_own_estimate_starts_and_is_safe(request: PlanRequest, user: UserArguments) -> None:
    made = plan(replace(request, user=user))
    if isinstance(made, Infeasible):
        return
    (choice,) = request.choices
    answer = judge(target_of(request, choice, made.arguments.dtype), made.arguments)
    assert (answer.starts, answer.safe) == (True, True), answer.reason


@given(requests())
def test_a_plan_keeps_the_floors_and_the_models_limit(request: PlanRequest) -> None:
    made = plan(request)
    if isinstance(made, Infeasible):
        return
    wish = wish_of(request.serving, request.user, request.facts.max_position)
    assert wish.min_context <= made.context_length <= wish.context
    assert wish.min_concurrency <= made.concurrency <= wish.concurrency
    assert {name for name, _ in made.flags} <= request.choices[0].engine.flags


@given(requests(), st.none() | st.integers(1, 9), own_flags(), st.integers(0, 48))
def test_what_is_infeasible_says_what_is_missing(
    request: PlanRequest, count: int | None, user: UserArguments, failed_gib: int
) -> None:
    request = replace(request, count=count, user=user)
    failed = LearnedEntry(
        Arguments(512, 1, 512), "Failed", "device_oom_runtime", planned_bytes=failed_gib * GIB
    )
    made = plan(request, Learned((failed,)))
    if isinstance(made, Plan):
        return
    if made.term == "arguments":  # a contradiction: no memory is missing, and none is said to be
        assert made.missing_bytes == 0
        assert made.ledger is None
        assert "missing" not in made.message
        return
    assert made.missing_bytes > 0
    assert made.term in made.message
    assert not re.search(r"(?<![\d.])0(\.0)? [GM]iB are", made.message)
    assert made.ledger is not None
    terms = {t.name: t.bytes for t in made.ledger.terms}
    assert sum(terms.values()) == made.ledger.visible_bytes
    assert (terms["free"], terms["reserve"]) == (made.ledger.free_bytes, made.ledger.reserve_bytes)
    if " leaves " in made.message:  # the user's own flag does, and the card has more
        assert made.term in request.user.names
    else:
        assert made.ledger.free_bytes <= -made.missing_bytes


@given(requests(), st.integers(1, 16), st.none() | st.integers(1, 16))
def test_every_rank_of_a_plan_takes_whole_heads(
    request: PlanRequest, count: int, tensor: int | None
) -> None:
    """vLLM config/model.py and layers/linear.py: heads are cut among ranks, or, of key-value heads
    fewer than ranks, each is held by equally many."""
    made = plan(replace(request, count=count, user=UserArguments(tensor_parallel_size=tensor)))
    facts = request.facts
    if isinstance(made, Infeasible):
        return
    ranks = made.arguments.tensor_parallel_size
    assert facts.heads % ranks == facts.intermediate % ranks == 0
    if not facts.is_mla:
        kv_heads = facts.kv_heads
        assert (ranks % kv_heads if ranks > kv_heads else kv_heads % ranks) == 0


@given(requests(), st.integers(1, 8 * GIB))
def test_more_memory_never_yields_less(request: PlanRequest, more: int) -> None:
    request = replace(request, count=request.count or 1)
    (choice,) = request.choices
    small = plan(request)
    large = plan(on(request, larger(choice.gpu, more)))
    if isinstance(small, Infeasible):
        return
    assert isinstance(large, Plan)
    assert large.context_length >= small.context_length
    assert large.concurrency >= small.concurrency


@given(requests(), st.integers(2, 8))
def test_a_stronger_wish_never_yields_less_of_it(request: PlanRequest, factor: int) -> None:
    request = replace(request, count=request.count or 1)
    serving = request.serving
    weak = plan(request)
    if isinstance(weak, Infeasible):
        return
    if serving.context_length:
        longer = min(serving.context_length * factor, request.facts.max_position)
        least = serving.min_context_length or min(2048, serving.context_length)
        wish = replace(serving, context_length=longer, min_context_length=least)
        strong = plan(replace(request, serving=wish))
        assert isinstance(strong, Plan)
        assert strong.context_length >= weak.context_length
    if serving.concurrency:
        wish = replace(serving, concurrency=serving.concurrency * factor)
        strong = plan(replace(request, serving=wish))
        assert isinstance(strong, Plan)
        assert strong.concurrency >= weak.concurrency


@given(requests())
def test_the_ledger_is_additive_and_not_negative(request: PlanRequest) -> None:
    made = plan(request)
    if isinstance(made, Infeasible):
        return
    ledger = explain(made, request).ledger
    parts = [t.bytes for t in ledger.terms]
    assert sum(parts) == ledger.visible_bytes
    assert min(parts) >= 0


@given(requests())
def test_a_plan_survives_json(request: PlanRequest) -> None:
    made = plan(request)
    if isinstance(made, Plan):
        assert decode(encode(made)) == made


@given(requests())
def test_the_pool_is_as_large_as_any_safe_one(request: PlanRequest) -> None:
    """Against every larger pool of the same arguments: none that the reserve allows is more than
    2 % larger, and a plan's own pool is never above it."""
    made = plan(request)
    (choice,) = request.choices
    if isinstance(made, Infeasible):
        return
    where = target_of(request, choice, made.arguments.dtype)
    s = sizes(where, made.arguments)
    allowed = room(where, s)
    assert s.pool <= allowed
    block = s.layout.block_bytes
    # An engine that can't be pinned takes utilization in steps of 0.001 of its total.
    step = block if s.pinned else block + where.total_bytes // 1000 + 2 * MIB
    largest = allowed - step
    assert s.pool >= min(largest, allowed * 98 // 100)


def exhaustive(request: PlanRequest, wanted: int, least: int, needed: int) -> int:
    """The longest context that any batch shape holds `needed` times, by trying them all."""
    (choice,) = request.choices
    where = target_of(request, choice)
    best = 0
    for tokens in (512, 640, 768, 1024, 1536, 2048):
        for sequences in range(needed, 9):
            for context in (wanted, *range(wanted // 256 * 256, least - 1, -256)):
                shape = UserArguments(max_num_batched_tokens=tokens, max_num_seqs=sequences)
                wish = wish_of(Serving(context, context, None, needed), shape, context)
                if context > best and Search(where, shape, wish, Learned(), 1, 1).run() is not None:
                    best = context
                    break
    return best


@examples(15)
@given(requests(), st.integers(2, 40), st.integers(1, 4))
def test_an_exhaustive_search_finds_nothing_better(
    request: PlanRequest, steps: int, needed: int
) -> None:
    limit = request.facts.max_position
    wanted = min(steps * 256, limit)
    least = min(256, wanted)
    request = replace(request, count=1, serving=Serving(wanted, least, 8, needed))
    (choice,) = request.choices
    assume(choice.gpu.devices_per_unit == 1)
    best = exhaustive(request, wanted, least, needed)
    made = plan(request)
    if isinstance(made, Infeasible):
        assert best == 0
    else:
        assert made.context_length == best


@given(
    choices(),
    st.integers(1, 64),
    st.sampled_from([512, 1024, 2048, 8192]),
    st.integers(1, 16),
    st.floats(0.3, 0.99),
)
def test_estimate_is_monotone(
    chosen: tuple[str, Choice], sequences: int, tokens: int, steps: int, share: float
) -> None:
    """More sequences, tokens or context never need less; more memory never starts less."""
    name, choice = chosen
    facts = parse_config(models()[name]["config"])
    request = PlanRequest(name, "main", facts, (choice,), 1, Serving())
    where = target_of(request, choice)
    length = min(256 * steps, facts.max_position)
    base = Arguments(length, sequences, max(tokens, sequences), share, enable_chunked_prefill=True)
    s = sizes(where, base)
    for changed in (
        replace(
            base, max_num_seqs=sequences * 2, max_num_batched_tokens=max(tokens, sequences * 2)
        ),
        replace(base, max_num_batched_tokens=base.max_num_batched_tokens * 2),
        replace(base, max_model_len=min(length * 2, facts.max_position)),
    ):
        more = sizes(where, changed)
        assert more.activation.peak >= s.activation.peak
        assert more.hole >= s.hole
        assert more.layout.need_bytes(changed.max_model_len) >= s.layout.need_bytes(length)
    bigger = target_of(request, replace(choice, gpu=larger(choice.gpu, GIB)))
    assert sizes(bigger, base).pool >= s.pool
