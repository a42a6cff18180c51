"""Builds a complete `Plan` around arguments: ledger, flags, environment, host memory, hash."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from xpullm.planner.codec import plan_hash
from xpullm.planner.estimate import judge
from xpullm.planner.flags import render
from xpullm.planner.host import host_memory
from xpullm.planner.request import Choice, PlanRequest
from xpullm.planner.sizes import Sizes, sizes
from xpullm.planner.target import Target, target
from xpullm.planner.types import Arguments, HostMemory, Plan

# Start-up took up to 5 minutes from a warm cache (27B, two cards); downloads come on top.
STARTUP_DEADLINE_SECONDS = 3600


def target_of(request: PlanRequest, choice: Choice, dtype: str | None = None) -> Target:
    """Where this choice runs."""
    return target(
        request.facts,
        choice.quantization,
        choice.gpu,
        choice.engine,
        dtype=dtype or request.user.dtype,
    )


def build(
    request: PlanRequest,
    choice: Choice,
    count: int,
    arguments: Arguments,
    *,
    notes: tuple[str, ...] = (),
    host: HostMemory | None = None,
    env: Mapping[str, str] | None = None,
    avoid_nodes: tuple[str, ...] = (),
    startup_deadline_seconds: int = STARTUP_DEADLINE_SECONDS,
    promised: int | None = None,
) -> Plan:
    """The plan for these arguments, whatever they are worth. `promised`: the full-length requests
    that it may promise, where more only fit because the context is a rounded one."""
    where = target_of(request, choice, arguments.dtype)
    all_sizes = sizes(where, arguments)
    ledger = judge(where, arguments).ledger
    assert ledger is not None  # noqa: S101 - judge always gives one for a target
    engine = choice.engine
    planned = ledger.weights_bytes + ledger.activation_bytes + ledger.non_torch_bytes
    planned += ledger.kv_cache_bytes + ledger.graph_bytes
    full = all_sizes.layout.blocks(all_sizes.pool) // all_sizes.layout.blocks_for(
        arguments.max_model_len
    )
    plan = Plan(
        model=request.model,
        revision=request.revision,
        quantization=choice.quantization.name,
        engine=engine.name,
        engine_version=engine.version,
        image=request.image or engine.image,
        command=request.command or engine.command,
        gpu=choice.gpu.name,
        gpu_count=count,
        arguments=arguments,
        flags=render(engine, choice.quantization, arguments),
        ledger=ledger,
        host=host or host_memory(where, arguments, all_sizes),
        context_length=arguments.max_model_len,
        concurrency=max(1, min(arguments.max_num_seqs, full, promised or full)),
        utilization_percent=round(planned * 100 / where.visible_bytes),
        env=env if env is not None else environment(request, choice, where, all_sizes),
        env_scripts=engine.env_scripts,
        avoid_nodes=avoid_nodes,
        startup_deadline_seconds=startup_deadline_seconds,
        notes=notes,
    )
    return plan_hash(plan)


def environment(request: PlanRequest, choice: Choice, where: Target, s: Sizes) -> Mapping[str, str]:
    """The engine's environment; the user's own entries win."""
    env = dict(choice.engine.env)
    if s.ranks > 1:
        env.update(choice.engine.tensor_parallel_env)
    if choice.engine.name == "ipex-llm":
        flags = dict(choice.quantization.flags.get("ipex-llm", ()))
        env["IPEX_LLM_LOWBIT"] = flags.get("load-in-low-bit") or "fp16"
    if over_single_allocation(where, s):
        env["UR_L0_ENABLE_RELAXED_ALLOCATION_LIMITS"] = "1"
    env.update(request.env)
    return MappingProxyType(dict(sorted(env.items())))


def over_single_allocation(where: Target, s: Sizes) -> bool:
    """Whether one tensor is above what the card allocates at once (compute-runtime,
    ALLOCATIONS_GREATER_THAN_4GB.md): the vocabulary, a layer's KV cache, or the MLP's output."""
    limit = where.max_allocation_bytes
    if not limit:
        return False
    per_layer = max(0, s.pool) // max(1, s.layout.group_layers)
    return max(s.weights.embedding, s.weights.head, per_layer, s.activation.mlp) > limit


def explain(plan: Plan, request: PlanRequest) -> Plan:
    """The same plan with a ledger whose lines name formula, inputs and source."""
    from dataclasses import replace

    where = target_of(request, choice_of(plan, request), plan.arguments.dtype)
    ledger = judge(where, plan.arguments, explain=True).ledger
    return replace(plan, ledger=ledger or plan.ledger)


def with_arguments(
    plan: Plan,
    request: PlanRequest,
    arguments: Arguments,
    *,
    host: HostMemory | None = None,
    env: Mapping[str, str] | None = None,
    avoid_nodes: tuple[str, ...] | None = None,
    startup_deadline_seconds: int | None = None,
    gpu_count: int | None = None,
) -> Plan:
    """The same plan with other arguments: ledger, flags, host memory and hash follow.

    What is not given is kept; with another `gpu_count` the tensor-parallel size follows it. Host
    memory is kept as it is unless the number of ranks changes or `host` is given. Raises
    LookupError when the request no longer has the plan's card, engine and quantization.
    """
    from dataclasses import replace

    choice = choice_of(plan, request)
    count = plan.gpu_count if gpu_count is None else gpu_count
    if gpu_count is not None and gpu_count != plan.gpu_count:
        stages = arguments.pipeline_parallel_size
        ranks = max(1, gpu_count * choice.gpu.devices_per_unit // stages)
        arguments = replace(arguments, tensor_parallel_size=ranks)
    same_ranks = (
        arguments.tensor_parallel_size == plan.arguments.tensor_parallel_size
        and arguments.pipeline_parallel_size == plan.arguments.pipeline_parallel_size
        and arguments.swap_space_gib == plan.arguments.swap_space_gib
        and arguments.cpu_offload_gib == plan.arguments.cpu_offload_gib
    )
    return build(
        request,
        choice,
        count,
        arguments,
        notes=plan.notes,
        host=host or (plan.host if same_ranks else None),
        env=plan.env if env is None else env,
        avoid_nodes=plan.avoid_nodes if avoid_nodes is None else avoid_nodes,
        startup_deadline_seconds=startup_deadline_seconds or plan.startup_deadline_seconds,
    )


def choice_of(plan: Plan, request: PlanRequest) -> Choice:
    """The request's choice that a plan was made for. Raises LookupError."""
    for choice in request.choices:
        if (choice.gpu.name, choice.engine.name, choice.quantization.name) == (
            plan.gpu,
            plan.engine,
            plan.quantization,
        ):
            return choice
    raise LookupError(f"the request has no {plan.engine} with {plan.quantization} on {plan.gpu}")
