"""`estimate`: what an engine will allocate for given arguments, whether it starts, whether it is
safe. Nothing else knows a formula; `plan` searches over this."""

from __future__ import annotations

from math import ceil

from xpullm.catalog import GPU, Engine, Quantization
from xpullm.planner.division import EXPERT_PARALLEL, undivided
from xpullm.planner.explain import explained
from xpullm.planner.facts import ModelFacts
from xpullm.planner.host import host_memory
from xpullm.planner.sizes import Sizes, batched_tokens, prefix_caching, sizes, utilization
from xpullm.planner.speculation import FLAG, contradiction, speculation
from xpullm.planner.target import Target, target
from xpullm.planner.types import Arguments, Estimate, Ledger

GIB = 1 << 30
MIB = 1 << 20

# A profile run with a very large batch runs out before the sum says so: 0.6 GiB at 4.7 GiB of
# activations (measured by us, vLLM 0.25).
_PROFILE_FRAGMENTATION = 0.13


def estimate(
    facts: ModelFacts,
    quantization: Quantization,
    gpu: GPU | None,
    engine: Engine,
    arguments: Arguments,
    *,
    platform: str = "xpu",
    visible_bytes: int | None = None,
    context_bytes: int | None = None,
    explain: bool = False,
) -> Estimate:
    """The ledger of one rank, and whether the engine comes up and survives its worst load.

    `visible_bytes` and `context_bytes` replace the card's (a card emulated, shared, or measured).
    With `explain` the ledger has terms that name formula, inputs and source.
    """
    where = target(
        facts,
        quantization,
        gpu,
        engine,
        platform=platform,
        visible_bytes=visible_bytes,
        context_bytes=context_bytes,
        dtype=arguments.dtype,
    )
    return judge(where, arguments, explain=explain)


def judge(where: Target, arguments: Arguments, *, explain: bool = False) -> Estimate:
    """As `estimate`, for a target that is already gathered."""
    asked = speculation(arguments.extra)
    if asked.problem:
        return Estimate(None, None, f"{FLAG}: {asked.problem}", None)
    all_sizes = sizes(where, arguments)
    ledger = ledger_of(where, arguments, all_sizes)
    if explain:
        ledger = explained(where, arguments, all_sizes, ledger)
    failure = _start_failure(where, arguments, all_sizes)
    host = host_memory(where, arguments, all_sizes) if explain else None
    doubts = assumed(where)
    if failure is not None:
        limiting, missing, reason = failure
        reason = f"{reason}; {doubts}" if doubts else reason
        return Estimate(False, False, reason, ledger, host, limiting, missing)
    if ledger.free_bytes < 0:
        missing = -ledger.free_bytes
        reason = (
            f"starts, but may run out of memory under full load: {_gib(missing)} GiB short of what"
            " it allocates outside its own accounting"
        )
        reason = f"{reason}; {doubts}" if doubts else reason
        return Estimate(True, False, reason, ledger, host, "reserve", missing)
    if where.facts.unmodelled:
        return Estimate(True, False, f"can't be called safe; {doubts}", ledger, host, "activation")
    return Estimate(True, True, doubts, ledger, host)


def assumed(where: Target) -> str:
    """What the answer rests on without being told: "" or "assumed: ..." for people."""
    facts = where.facts
    if not facts.unsure and not facts.unmodelled and not where.engine.assumed:
        return ""
    doubts = list(facts.unsure)
    if facts.unmodelled:
        doubts.append(f"nothing is counted for {facts.unmodelled}")
    if where.engine.assumed:
        doubts.append(
            f"{where.engine.name} {where.engine.version} isn't in the catalogue; counted as"
            f" {where.accounting.title}"
        )
    return f"assumed: {'; '.join(doubts)}"


def ledger_of(where: Target, arguments: Arguments, s: Sizes) -> Ledger:
    """The ledger of these sizes."""
    pool = max(0, s.pool)
    free = where.visible_bytes - where.context_bytes - s.used - pool - s.margin
    limit = where.facts.max_position
    return Ledger(
        visible_bytes=where.visible_bytes,
        context_bytes=where.context_bytes,
        weights_bytes=s.weights.resident,
        activation_bytes=s.activation.peak,
        non_torch_bytes=s.runtime,
        graph_bytes=s.graphs,
        kv_cache_bytes=pool,
        outside_bytes=s.hole,
        reserve_bytes=s.margin,
        free_bytes=free,
        kv_bytes_per_token=s.layout.token_bytes,
        kv_cache_tokens=s.layout.capacity(
            pool, arguments.max_model_len, where.accounting.tokens_from_concurrency
        ),
        max_model_len_fits=s.layout.longest(pool, limit),
        block_size=s.layout.block_size,
    )


def _start_failure(where: Target, arguments: Arguments, s: Sizes) -> tuple[str, int, str] | None:
    """(limiting term, missing bytes, sentence) of the first thing that stops the engine."""
    free = where.visible_bytes - where.context_bytes
    if problem := argument_problem(where, arguments, s):
        return "arguments", 0, problem
    loading = s.weights.peak + s.runtime
    if loading > free:
        return (
            "weights",
            loading - free,
            f"weights do not fit: loading needs {_gib(loading)} GiB of {_gib(free)} GiB free",
        )
    if over := over_at_start(where, s):
        return (
            "gpu_memory_utilization",
            over,
            f"free memory at start ({_gib(free)} GiB) is less than utilization x total"
            f" ({_gib(s.budget)} GiB)",
        )
    profiling = (
        s.weights.resident + s.runtime + ceil(s.activation.peak * (1 + _PROFILE_FRAGMENTATION))
    )
    if profiling > free:
        return (
            "activation",
            profiling - free,
            f"the profile run does not fit: {_gib(profiling)} GiB of {_gib(free)} GiB free",
        )
    need = s.layout.need_bytes(arguments.max_model_len)
    lacking = need - s.sure_pool
    if lacking > 0:
        return (
            "kv_cache",
            lacking,
            f"one request of {arguments.max_model_len} tokens needs {_gib(need)} GiB of KV cache,"
            f" {_gib(max(0, s.pool))} GiB are left for it",
        )
    after = free - s.weights.resident - s.runtime - s.pool
    starting = max(s.warmup, 0) + s.graphs
    if starting > after:
        word = "graph capture and warm-up need" if s.graphs else "the sampler's warm-up needs"
        return (
            "warmup",
            starting - after,
            f"{word} {_gib(starting)} GiB, {_gib(max(0, after))} GiB are left after the KV cache",
        )
    return None


def over_at_start(where: Target, s: Sizes) -> int:
    """Bytes by which utilization x total is above what is free at start, where the engine then
    refuses to start, pinned KV cache or not (vLLM v1/worker/utils.py request_memory)."""
    if not where.accounting.start_gate:
        return 0
    return max(0, s.budget - (where.visible_bytes - where.context_bytes))


def argument_problem(where: Target, arguments: Arguments, s: Sizes) -> str:
    """A contradiction that the engine refuses at once; "" where there is none."""
    facts = where.facts
    chunked = arguments.enable_chunked_prefill
    if chunked is None:
        chunked = where.engine.chunked_prefill == "default"
    if arguments.max_model_len > facts.max_position:
        return (
            f"max-model-len {arguments.max_model_len} is above the model's own"
            f" {facts.max_position} tokens"
        )
    if arguments.max_num_batched_tokens < arguments.max_num_seqs:
        return (
            f"max-num-batched-tokens {arguments.max_num_batched_tokens} is below max-num-seqs"
            f" {arguments.max_num_seqs}"
        )
    if not chunked and arguments.max_num_batched_tokens < arguments.max_model_len:
        return (
            f"without chunked prefill max-num-batched-tokens {arguments.max_num_batched_tokens}"
            f" must be at least max-model-len {arguments.max_model_len}"
        )
    block = s.layout.block_size
    if facts.is_hybrid and prefix_caching(arguments) and arguments.max_num_batched_tokens < block:
        return (
            f"with prefix caching max-num-batched-tokens {arguments.max_num_batched_tokens} must"
            f" hold one cache block of {block} tokens; raise it to at least that"
        )
    tensor, extra = arguments.tensor_parallel_size, arguments.extra
    if tensor > 1 and (problem := undivided(facts, tensor, EXPERT_PARALLEL in dict(extra))):
        return f"tensor-parallel-size {tensor}: {problem}"
    if problem := contradiction(speculation(arguments.extra), facts, tensor):
        return problem
    if facts.layers < arguments.pipeline_parallel_size:
        return f"{facts.layers} layers are fewer than pipeline stages"
    if not 0 < utilization(where, arguments) <= 1:
        return "gpu-memory-utilization must be above 0 and at most 1"
    return ""


def _gib(value: int) -> str:
    return f"{value / GIB:.2f}"


__all__ = ["Estimate", "batched_tokens", "estimate", "judge", "ledger_of", "target"]
