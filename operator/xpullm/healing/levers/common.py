"""What every argument lever does the same way: dependents follow, floors hold, relief counts."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from xpullm.healing.judge import SHORTAGE
from xpullm.healing.need import pool_error_bytes
from xpullm.healing.situation import (
    Proposal,
    Rejection,
    Situation,
    Why,
    peak_bytes,
)
from xpullm.planner.types import Arguments, Plan


def follow(situation: Situation, arguments: Arguments) -> Plan | Rejection:
    """The plan for `arguments` after the dependents followed by fixed rules.

    Context at most what the KV pool holds; sequences at most batched tokens; batched tokens at
    least the context without chunked prefill (vLLM config/scheduler.py refuses it otherwise).
    """
    if arguments.max_num_seqs > arguments.max_num_batched_tokens:
        arguments = replace(arguments, max_num_seqs=arguments.max_num_batched_tokens)
    plan = situation.replan(arguments)
    fits = plan.ledger.max_model_len_fits
    if (lacking := -pool_error_bytes(situation)) > 0:
        lost = -(-lacking // max(1, plan.ledger.kv_bytes_per_token))
        fits = min(fits, plan.ledger.kv_cache_tokens - lost)
    if fits < arguments.max_model_len:
        block = max(1, plan.ledger.block_size)
        shorter = fits // block * block
        if shorter < situation.wish.min_context:
            return Rejection(
                "max-model-len",
                Why.FLOOR,
                f"the context would fall to {max(0, shorter)}, below the minimum of "
                f"{situation.wish.min_context} tokens",
            )
        if situation.owned_by_user("max-model-len"):
            return Rejection(
                "max-model-len",
                Why.USER,
                f"max-model-len {arguments.max_model_len} is yours and would have to fall to "
                f"{shorter}",
            )
        plan = situation.replan(replace(arguments, max_model_len=shorter))
    if not situation.chunked_prefill and (
        plan.arguments.max_num_batched_tokens < plan.arguments.max_model_len
    ):
        return Rejection(
            "max-num-batched-tokens",
            Why.FLOOR,
            f"without chunked prefill batched tokens must hold the context of "
            f"{plan.arguments.max_model_len} tokens",
        )
    return plan


def with_field(arguments: Arguments, field: str, value: int | None) -> Arguments:
    """The arguments with one field, known by name, set to another value."""
    change: dict[str, Any] = {field: value}
    return replace(arguments, **change)


def relief(situation: Situation, plan: Plan) -> int:
    """What a plan gives back of device memory, or, where KV cache is short, gains of it; bytes."""
    before, after = situation.plan.ledger, plan.ledger
    if situation.diagnosis.cause in SHORTAGE:
        return after.kv_cache_bytes - before.kv_cache_bytes
    phase = situation.diagnosis.phase
    return peak_bytes(before, phase) - peak_bytes(after, phase)


def proposal(
    lever: str,
    before: object,
    after: object,
    plan: Plan,
    why: str,
    *,
    direction: int = 0,
    enough: bool = True,
    relief_bytes: int = 0,
) -> Proposal:
    """A change that people read in events and status as what moves, and why."""
    text = f"{lever} {before} → {after}: {why}"
    return Proposal(lever, str(before), str(after), plan, text, direction, enough, relief_bytes)


def user_rejection(situation: Situation, lever: str, value: object) -> Rejection | None:
    """The user's own argument stays."""
    if not situation.owned_by_user(lever):
        return None
    return Rejection(
        lever,
        Why.USER,
        f"{lever} {value} is yours: change it in spec.engine.args, or add UserArguments to "
        "spec.healing.mayChange",
    )


def users_own(situation: Situation, after: Arguments) -> Rejection | None:
    """An argument of the user's that a step would change, be it as a dependent."""
    before = situation.arguments
    for field in fields(Arguments):
        flag = FLAGS.get(field.name, field.name).replace("_", "-")
        if getattr(before, field.name) != getattr(after, field.name):
            owned = user_rejection(situation, flag, getattr(before, field.name))
            if owned is not None:
                return owned
    return None


# Flags whose name is not the field's.
FLAGS = {"swap_space_gib": "swap-space", "cpu_offload_gib": "cpu-offload-gb"}
Answer = Proposal | Rejection
