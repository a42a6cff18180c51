"""Hand-made plans on a toy card, so that expected values can be read without the planner.

The toy: activations are 256 KiB per batched token, the sampler 4 MiB per sequence, a KV token is
128 KiB in blocks of 64, and 0.5 GiB stay outside the budget.
"""

from collections.abc import Mapping
from dataclasses import replace

from xpullm.healing.situation import GIB, MIB, Pool, Situation, Wish
from xpullm.healing.types import PastStep, Policy
from xpullm.planner.types import Arguments, HostMemory, Ledger, Plan
from xpullm_runtime.diagnosis.types import Diagnosis

VISIBLE = 16 * GIB
TOKEN = 128 * 1024
BLOCK = 64


def ledger(arguments: Arguments, pool: Pool, weights: int = 5 * GIB) -> Ledger:
    activation = max(
        arguments.max_num_batched_tokens * 256 * 1024, arguments.max_num_seqs * 4 * MIB
    )
    context, runtime, outside, reserve = GIB // 4, GIB // 4, GIB // 2, GIB // 4
    budget = int((arguments.gpu_memory_utilization or 0) * VISIBLE)
    if arguments.num_gpu_blocks_override is not None:
        kv = arguments.num_gpu_blocks_override * BLOCK * TOKEN
    elif arguments.kv_cache_memory_bytes is not None:
        kv = arguments.kv_cache_memory_bytes
    elif pool is Pool.OUTSIDE:
        kv = budget - weights
    else:
        kv = budget - weights - activation - runtime
    tokens = (2 if arguments.kv_cache_dtype == "fp8" else 1) * kv // TOKEN
    used = context + weights + activation + runtime + kv + outside + reserve
    return Ledger(
        visible_bytes=VISIBLE,
        context_bytes=context,
        weights_bytes=weights,
        activation_bytes=activation,
        non_torch_bytes=runtime,
        graph_bytes=0,
        kv_cache_bytes=kv,
        outside_bytes=outside,
        reserve_bytes=reserve,
        free_bytes=VISIBLE - used,
        kv_bytes_per_token=TOKEN,
        kv_cache_tokens=max(0, tokens),
        max_model_len_fits=max(0, tokens),
        block_size=BLOCK,
    )


def plan_of(arguments: Arguments, pool: Pool = Pool.PINNED, **changes: object) -> Plan:
    sums = ledger(arguments, pool)
    plan = Plan(
        model="acme/model",
        revision="main",
        quantization="sym_int4",
        engine="vllm",
        engine_version="0.25",
        image="example.org/vllm:0.25",
        command=("vllm", "serve"),
        gpu="arc-a770-16g",
        gpu_count=1,
        arguments=arguments,
        flags=(),
        ledger=sums,
        host=HostMemory(8 * GIB, 16 * GIB, 2 * GIB),
        context_length=arguments.max_model_len,
        concurrency=arguments.max_num_seqs,
        utilization_percent=100 * (VISIBLE - sums.free_bytes - sums.reserve_bytes) // VISIBLE,
    )
    return replace(plan, **changes)


def arguments(**changes: object) -> Arguments:
    return replace(
        Arguments(
            max_model_len=8192,
            max_num_seqs=16,
            max_num_batched_tokens=4096,
            gpu_memory_utilization=0.90,
        ),
        **changes,
    )


def pinned(gib: float = 7.0, **changes: object) -> Arguments:
    return arguments(kv_cache_memory_bytes=int(gib * GIB), **changes)


def situation(
    plan: Plan,
    diagnosis: Diagnosis,
    pool: Pool = Pool.PINNED,
    *,
    history: tuple[PastStep, ...] = (),
    policy: Policy | None = None,
    wish: Wish | None = None,
    **changes: object,
) -> Situation:
    def replan(
        arguments: Arguments,
        *,
        host: HostMemory | None = None,
        env: Mapping[str, str] | None = None,
        avoid_nodes: tuple[str, ...] | None = None,
        startup_deadline_seconds: int | None = None,
    ) -> Plan:
        other: dict[str, object] = {
            "host": host,
            "env": env,
            "avoid_nodes": avoid_nodes,
            "startup_deadline_seconds": startup_deadline_seconds,
        }
        kept = {
            "host": plan.host,
            "env": plan.env,
            "avoid_nodes": plan.avoid_nodes,
            "startup_deadline_seconds": plan.startup_deadline_seconds,
        }
        given = {name: value for name, value in other.items() if value is not None}
        return plan_of(arguments, pool, **(kept | given))

    return replace(
        Situation(
            plan=plan,
            diagnosis=diagnosis,
            history=history,
            policy=policy or Policy(),
            pool=pool,
            wish=wish or Wish(None, 2048, None, 1),
            replan=replan,
            remake=lambda lever: None,
        ),
        **changes,
    )


def failure(
    cause: str, phase: str = "runtime", *evidence: str, actionable: bool = True, **figures: int
) -> Diagnosis:
    return Diagnosis(
        cause=cause, phase=phase, evidence=evidence, figures=figures, actionable=actionable
    )


def past(lever: str, before: object, after: object, **changes: object) -> PastStep:
    step = PastStep(
        attempt=1,
        time="2026-11-23T02:00:00Z",
        cause="device_oom_runtime",
        phase="runtime",
        lever=lever,
        before=str(before),
        after=str(after),
    )
    return replace(step, **changes)
