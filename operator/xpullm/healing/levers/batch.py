"""Batched tokens, sequences, context: what one forward pass is made of."""

from __future__ import annotations

from dataclasses import replace

from xpullm.healing.judge import SHORTAGE
from xpullm.healing.ladder import Move
from xpullm.healing.levers.common import (
    Answer,
    follow,
    proposal,
    relief,
    user_rejection,
    with_field,
)
from xpullm.healing.need import fitting_tokens, needed_kv_bytes
from xpullm.healing.shortfall import Shortfall, activation_scale, shortfall
from xpullm.healing.situation import TOKENS_FLOOR, Rejection, Situation, Why
from xpullm.planner.types import Arguments, Plan

# vLLM's own estimate varied 33664 to 34944 between runs (vllm-xpu-kernels CI), so never all of it.
LENGTH_SHARE = 0.95
LENGTH_SHARE_AGAIN = 0.90
# compute-runtime, ALLOCATIONS_GREATER_THAN_4GB.md
SINGLE_ALLOCATION_BYTES = 4 << 30
SINGLE = "device_oom_single_alloc"


def batched_tokens(situation: Situation, move: Move) -> Answer:
    """Halve, as often as this failure needs; the floor is 1024 or the block size."""
    arguments, field = situation.arguments, "max_num_batched_tokens"
    floor = max(TOKENS_FLOOR, situation.plan.ledger.block_size)
    if not situation.chunked_prefill:
        floor = max(floor, arguments.max_model_len)
    return _halved(situation, move, field, _halvings(arguments, field, floor))


def sequences(situation: Situation, move: Move) -> Answer:
    """Halve, as often as this failure needs; the floor is the user's minimum concurrency."""
    field, floor = "max_num_seqs", max(1, situation.wish.min_concurrency)
    return _halved(situation, move, field, _halvings(situation.arguments, field, floor))


def model_len(situation: Situation, move: Move) -> Answer:
    """The context: to 95 % of what the engine says fits; else halved where the batch follows it."""
    arguments, wish = situation.arguments, situation.wish
    lever, now = "max-model-len", arguments.max_model_len
    if situation.diagnosis.cause not in SHORTAGE:
        shorter = [
            replace(
                half,
                max_num_batched_tokens=min(
                    half.max_num_batched_tokens, max(half.max_model_len, TOKENS_FLOOR)
                ),
            )
            for half in _halvings(arguments, "max_model_len", wish.min_context)
        ]
        candidates = [] if situation.chunked_prefill else shorter
        return _halved(situation, move, "max_model_len", candidates)
    if owned := user_rejection(situation, lever, now):
        return owned
    fits = fitting_tokens(situation)
    again = any(step.lever == lever for step in situation.history)
    share = LENGTH_SHARE_AGAIN if again else LENGTH_SHARE
    block = max(1, situation.plan.ledger.block_size)
    length = min(int(fits * share), now - block) // block * block
    if length < wish.min_context:
        return Rejection(
            lever,
            Why.FLOOR,
            f"only {fits} tokens fit, and the minimum is {wish.min_context}",
        )
    plan = situation.replan(replace(arguments, max_model_len=length))
    return proposal(
        lever,
        now,
        length,
        plan,
        f"the engine says that {fits} tokens fit",
        direction=-1,
        relief_bytes=(now - length) * plan.ledger.kv_bytes_per_token,
    )


def _halvings(arguments: Arguments, field: str, floor: int) -> list[Arguments]:
    """With a half of the field, a quarter, ... and last the floor itself."""
    now: int = getattr(arguments, field)
    values, value = [], now // 2
    while value > floor:
        values.append(value)
        value //= 2
    if floor < now:
        values.append(floor)
    return [with_field(arguments, field, value) for value in values]


def _halved(situation: Situation, move: Move, field: str, candidates: list[Arguments]) -> Answer:
    """The first candidate that frees enough, else the one that frees most."""
    lever, now = field.replace("_", "-"), getattr(situation.arguments, field)
    if owned := user_rejection(situation, lever, now):
        return owned
    if move.when == "wished" and situation.wish.context is None:
        return Rejection(lever, Why.NOT_APPLICABLE, "no context length was asked for")
    if not candidates:
        return Rejection(lever, Why.FLOOR, f"{lever} {now} is at its floor")
    goal = _goal(situation)
    scale = activation_scale(situation) if lever == "max-num-batched-tokens" else 1.0
    best: tuple[int, Plan] | None = None
    refused: Rejection | None = None
    for arguments in candidates:
        plan = follow(situation, arguments)
        if isinstance(plan, Rejection):
            refused = plan
            continue
        gained = _gained(situation, plan, scale)
        if best is None or gained > best[0]:
            best = gained, plan
        if gained >= goal.bytes:
            break
    if best is None:
        return refused or Rejection(lever, Why.FLOOR, f"{lever} {now} is at its floor")
    gained, plan = best
    if gained <= 0 or gained < goal.at_least_bytes:
        return Rejection(lever, Why.USELESS, f"{lever} would free {max(0, gained) >> 20} MiB")
    return proposal(
        lever,
        now,
        getattr(plan.arguments, field),
        plan,
        goal.basis,
        direction=-1,
        enough=gained >= goal.bytes,
        relief_bytes=gained,
    )


def _goal(situation: Situation) -> Shortfall:
    """What a smaller batch must give back, in bytes of what is missing."""
    cause = situation.diagnosis.cause
    if cause in SHORTAGE:
        tokens = situation.wish.context or situation.wish.min_context
        lacking = needed_kv_bytes(situation, tokens)
        return Shortfall(lacking, 0, "activations give memory to the KV cache")
    if cause == SINGLE:
        over = (situation.figure("tried_bytes") or 0) - SINGLE_ALLOCATION_BYTES
        return Shortfall(max(1, over), 0, "one allocation is larger than the driver permits")
    return shortfall(situation)


def _gained(situation: Situation, plan: Plan, scale: float) -> int:
    """What a plan gives back of it."""
    if situation.diagnosis.cause != SINGLE:
        return int(relief(situation, plan) * scale)
    tried = situation.figure("tried_bytes") or 1  # this buffer shrinks with the batch, or faster
    fewer = plan.arguments.max_num_batched_tokens
    return tried - tried * fewer // situation.arguments.max_num_batched_tokens
