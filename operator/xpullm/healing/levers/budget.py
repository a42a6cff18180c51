"""The memory budget of the KV pool: pinned bytes, pinned blocks, or utilization."""

from __future__ import annotations

import math
from dataclasses import replace

from xpullm.healing.ladder import Move
from xpullm.healing.levers.common import Answer, follow, proposal, relief, user_rejection
from xpullm.healing.need import needed_kv_bytes, pool_error_bytes
from xpullm.healing.shortfall import shortfall
from xpullm.healing.situation import (
    UTILIZATION_CEILING,
    UTILIZATION_FLOOR,
    Pool,
    Proposal,
    Rejection,
    Situation,
    Why,
    budget_lever,
    torch_peak_bytes,
)
from xpullm.planner.types import Arguments, Plan

HOPELESS = 4  # a cut of less than a quarter of what lacks is a re-roll for nothing (own rule)
GRAIN = 1000  # utilization moves in steps of 1/1000: 16 MiB of a 16 GiB card


def lower(situation: Situation, move: Move) -> Answer:
    """Cut the pool by what is missing, not below what the minimum context needs."""
    arguments, ledger = situation.arguments, situation.plan.ledger
    lever = budget_lever(arguments)
    if owned := user_rejection(situation, lever, shown(arguments, lever)):
        return owned
    if move.when == "full" and not _card_was_full(situation):
        return Rejection(lever, Why.NOT_APPLICABLE, "the card had room for the allocation")
    missing = shortfall(situation)
    floor = _floor_bytes(situation)
    pool = max(ledger.kv_cache_bytes - missing.bytes, floor, _shortage_bytes(situation, lever))
    cut = ledger.kv_cache_bytes - pool
    if cut < missing.at_least_bytes or cut <= 0:
        return Rejection(
            lever,
            Why.FLOOR,
            f"the KV cache of {_gib(ledger.kv_cache_bytes)} cannot give back "
            f"{_gib(missing.bytes)} and still hold {situation.wish.min_context} tokens for "
            f"{situation.wish.min_concurrency} sequences",
        )
    if not missing.at_least_bytes and cut < missing.bytes // HOPELESS:
        return Rejection(lever, Why.FLOOR, f"only {_gib(cut)} of the KV cache could be given back")
    smaller = _moved(situation, lever, -cut, floor)
    if smaller is None:
        return Rejection(lever, Why.FLOOR, f"utilization would fall below {UTILIZATION_FLOOR:.2f}")
    plan = follow(situation, smaller)
    if isinstance(plan, Rejection):
        return plan
    if move.when == "spare" and not _keeps_wish(situation, plan):
        return Rejection(lever, Why.NOT_APPLICABLE, "it would cut the wished context x concurrency")
    used = plan.utilization_percent * ledger.visible_bytes // 100 + _unplanned_bytes(situation)
    if used < UTILIZATION_FLOOR * ledger.visible_bytes:
        return Rejection(lever, Why.FLOOR, f"utilization would fall below {UTILIZATION_FLOOR:.2f}")
    gained = relief(situation, plan)
    return proposal(
        lever,
        shown(arguments, lever),
        shown(plan.arguments, lever),
        plan,
        missing.basis,
        direction=-1,
        enough=gained >= missing.bytes * 0.9,  # what rounding to blocks and 1/200 may take
        relief_bytes=gained,
    )


def raise_(situation: Situation, move: Move) -> Answer:
    """Give the pool what the engine said it lacks, as far as the reserve allows."""
    arguments, ledger = situation.arguments, situation.plan.ledger
    lever = budget_lever(arguments)
    if move.when == "wished" and situation.wish.context is None:
        return Rejection(lever, Why.NOT_APPLICABLE, "no context length was asked for")
    if owned := user_rejection(situation, lever, shown(arguments, lever)):
        return owned
    room = _room_bytes(situation, lever)
    whole = needed_kv_bytes(situation, arguments.max_model_len)
    least = needed_kv_bytes(situation, situation.wish.min_context)
    if move.when == "wished":
        least = whole
    if room < least:
        return Rejection(
            lever,
            Why.FLOOR,
            f"{_gib(least)} more are needed and only {_gib(max(0, room))} of the card are not "
            "held back for what the engine allocates outside its budget",
        )
    larger = _moved(situation, lever, min(room, whole))
    if larger is None:
        return Rejection(lever, Why.FLOOR, f"utilization is at {UTILIZATION_CEILING:.2f}")
    plan = situation.replan(larger)
    if room < whole:  # less than wished: the context follows what the engine can hold
        tokens = _tokens_after(situation, room)
        shorter = max(situation.wish.min_context, tokens)
        if situation.owned_by_user("max-model-len"):
            return Rejection(lever, Why.USER, "max-model-len is yours and would have to fall")
        plan = situation.replan(replace(larger, max_model_len=shorter))
    return proposal(
        lever,
        shown(arguments, lever),
        shown(plan.arguments, lever),
        plan,
        f"the KV cache lacks {_gib(min(room, whole))}",
        direction=+1,
        relief_bytes=plan.ledger.kv_cache_bytes - ledger.kv_cache_bytes,
    )


def free_share(situation: Situation, move: Move) -> Answer:
    """On a shared card: plan with what is free of it, where most of it is."""
    arguments, ledger = situation.arguments, situation.plan.ledger
    lever = budget_lever(arguments)
    free, total = situation.figure("free_bytes"), situation.figure("total_bytes")
    share = float(move.data.get("share", 1.0))
    if free is None or total is None or free < share * total:
        return Rejection(
            lever, Why.NOT_APPLICABLE, f"less than {share:.0%} of the card is free for this pod"
        )
    # One per cent so that the gate (free >= utilization x total) is not met exactly.
    gate = math.floor((free / total - 0.01) * GRAIN) / GRAIN
    for flag in {lever, "gpu-memory-utilization"}:
        if owned := user_rejection(situation, flag, shown(arguments, flag)):
            return owned
    if gate < UTILIZATION_FLOOR:
        return Rejection(lever, Why.FLOOR, f"utilization would fall below {UTILIZATION_FLOOR:.2f}")
    # The engine looks at what is free when its own context is there already.
    needs = ledger.visible_bytes - ledger.free_bytes - ledger.context_bytes
    over = max(0, needs - free)
    if ledger.kv_cache_bytes - over < _floor_bytes(situation):
        return Rejection(lever, Why.FLOOR, "the rest of the card is too small for the context")
    changed = _moved(situation, lever, -over) if over else arguments
    if changed is None:
        return Rejection(lever, Why.FLOOR, f"utilization would fall below {UTILIZATION_FLOOR:.2f}")
    if (current := changed.gpu_memory_utilization) is None or current > gate:
        changed = replace(changed, gpu_memory_utilization=gate)
    if shown(changed, lever) == shown(arguments, lever):
        lever = "gpu-memory-utilization"
    plan = follow(situation, changed)
    if isinstance(plan, Rejection):
        return plan
    return proposal(
        lever,
        shown(arguments, lever),
        shown(plan.arguments, lever),
        plan,
        f"{_gib(free)} of {_gib(total)} are free",
        direction=-1,
        relief_bytes=over,
    )


def shown(arguments: Arguments, lever: str) -> str:
    """A budget flag's value as people and histories see it."""
    value = {
        "kv-cache-memory-bytes": arguments.kv_cache_memory_bytes,
        "num-gpu-blocks-override": arguments.num_gpu_blocks_override,
        "gpu-memory-utilization": arguments.gpu_memory_utilization,
    }[lever]
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _moved(
    situation: Situation, lever: str, change_bytes: int, floor_bytes: int = 0
) -> Arguments | None:
    """The arguments with the pool changed by so many bytes, rounded to the safe side; a cut goes
    to no less than `floor_bytes`."""
    arguments, ledger = situation.arguments, situation.plan.ledger
    block_bytes = max(1, ledger.kv_bytes_per_token * ledger.block_size)
    if arguments.kv_cache_memory_bytes is not None and lever == "kv-cache-memory-bytes":
        size = arguments.kv_cache_memory_bytes + change_bytes
        return replace(arguments, kv_cache_memory_bytes=size // block_bytes * block_bytes)
    if arguments.num_gpu_blocks_override is not None and lever == "num-gpu-blocks-override":
        blocks = arguments.num_gpu_blocks_override + change_bytes // block_bytes
        return replace(arguments, num_gpu_blocks_override=blocks)
    current = arguments.gpu_memory_utilization
    if current is None:
        return None
    # By what is visible, so that it is at least so much whatever the engine takes for the whole.
    exact = current + change_bytes / ledger.visible_bytes
    step = math.floor(exact * GRAIN + 1e-6) / GRAIN
    if change_bytes < 0:
        deepest = current - (ledger.kv_cache_bytes - floor_bytes) / _whole_bytes(situation)
        step = max(step, math.ceil(deepest * GRAIN - 1e-6) / GRAIN)
        if step >= current:
            return None
    if change_bytes > 0:  # a raise must give at least what lacks
        step = min(math.ceil(exact * GRAIN - 1e-6) / GRAIN, UTILIZATION_CEILING)
    if step < UTILIZATION_FLOOR or (change_bytes > 0 and step <= current):
        return None
    return replace(arguments, gpu_memory_utilization=step)


def _floor_bytes(situation: Situation) -> int:
    """What the user's minimum or own context needs of KV cache, one block more, and what the
    engine's pool is smaller than planned."""
    ledger, wish = situation.plan.ledger, situation.wish
    tokens = wish.min_context * wish.min_concurrency + ledger.block_size
    if situation.owned_by_user("max-model-len"):
        tokens = max(tokens, situation.arguments.max_model_len + ledger.block_size)
    return tokens * ledger.kv_bytes_per_token + max(0, -pool_error_bytes(situation))


def _unplanned_bytes(situation: Situation) -> int:
    """What the engine held and tried beyond all that was planned for this moment: pinned blocks
    that are larger than ours fill more of the card than the plan says."""
    held = situation.figure("reserved_bytes") or situation.figure("allocated_bytes") or 0
    seen = held + (situation.figure("tried_bytes") or 0)
    return max(0, seen - torch_peak_bytes(situation.plan.ledger, situation.diagnosis.phase))


def _card_was_full(situation: Situation) -> bool:
    """True where the pool was there already, and what the engine held and tried together is more
    than the card has: then the pool gives way, whatever the size of that one allocation."""
    ledger, figure = situation.plan.ledger, situation.figure
    held = figure("reserved_bytes") or figure("allocated_bytes")
    tried = figure("tried_bytes")
    if situation.diagnosis.phase not in ("kv_alloc", "runtime") or held is None or tried is None:
        return False
    return held + tried + ledger.context_bytes + ledger.non_torch_bytes > ledger.visible_bytes


def _shortage_bytes(situation: Situation, lever: str) -> int:
    """Above the budgets that were too small before: a cut must not go back there."""
    ledger = situation.plan.ledger
    lowest = 0
    for step in situation.history:
        if step.lever == "max-model-len":
            lowest = 0  # a shorter context needs less
        if step.lever != lever or step.effect != "Worse":
            continue
        try:
            short, now = float(step.before), float(shown(situation.arguments, lever) or 0)
        except ValueError:
            continue
        if short >= now:
            continue
        middle = _as_bytes(situation, lever, now - (now - short) / 2)
        lowest = max(lowest, middle)
    return min(lowest, ledger.kv_cache_bytes)


def _as_bytes(situation: Situation, lever: str, value: float) -> int:
    """The pool's size in bytes when the budget flag has this value."""
    ledger, arguments = situation.plan.ledger, situation.arguments
    if lever == "kv-cache-memory-bytes":
        return int(value)
    if lever == "num-gpu-blocks-override":
        return int(value) * ledger.kv_bytes_per_token * ledger.block_size
    current = arguments.gpu_memory_utilization or value
    return ledger.kv_cache_bytes - int((current - value) * _whole_bytes(situation))


def _whole_bytes(situation: Situation) -> int:
    """What utilization 1.0 means to the engine: its total may be more than is visible (torch's
    total on Battlemage), as the plan itself reckons."""
    arguments, ledger = situation.arguments, situation.plan.ledger
    current = arguments.gpu_memory_utilization
    if current is None or situation.pool is Pool.PINNED or ledger.kv_cache_bytes <= 0:
        return ledger.visible_bytes
    more = situation.replan(replace(arguments, gpu_memory_utilization=current + 0.25))
    return max(ledger.visible_bytes, 4 * (more.ledger.kv_cache_bytes - ledger.kv_cache_bytes))


def _room_bytes(situation: Situation, lever: str) -> int:
    """What the pool may grow by: to the reserve; after memory ran out there, half of the way back
    to where it ran out."""
    room = situation.plan.ledger.free_bytes
    for step in situation.history:
        if step.lever != lever or not step.cause.startswith("device_"):
            continue
        if step.cause == "device_memory_busy":
            return 0  # what others leave of the card was printed, not guessed
        try:
            failed = _as_bytes(situation, lever, float(step.before))
        except ValueError:
            return 0
        room = min(room, (failed - situation.plan.ledger.kv_cache_bytes) // 2)
    return max(0, room)


def _tokens_after(situation: Situation, gained: int) -> int:
    """The context that the pool holds after growing by so many bytes, whole blocks."""
    ledger = situation.plan.ledger
    per_token = max(1, ledger.kv_bytes_per_token)
    lacking = needed_kv_bytes(situation, situation.arguments.max_model_len) - gained
    tokens = situation.arguments.max_model_len - math.ceil(lacking / per_token)
    return max(0, tokens // ledger.block_size * ledger.block_size)


def _keeps_wish(situation: Situation, plan: Plan) -> bool:
    wish = situation.wish
    context = wish.context or plan.arguments.max_model_len
    concurrency = wish.concurrency or 1
    return (
        plan.arguments.max_model_len >= min(context, situation.arguments.max_model_len)
        and plan.ledger.kv_cache_tokens >= context * concurrency
    )


def _gib(value: int) -> str:
    return f"{value / (1 << 30):.2f} GiB"


def set_to(situation: Situation, lever: str, value: str) -> Proposal | None:
    """Put a budget flag back to an earlier value: a growth step that failed is undone."""
    arguments = situation.arguments
    try:
        if lever == "gpu-memory-utilization":
            changed = replace(arguments, gpu_memory_utilization=float(value))
        elif lever == "kv-cache-memory-bytes":
            changed = replace(arguments, kv_cache_memory_bytes=int(value))
        elif lever == "num-gpu-blocks-override":
            changed = replace(arguments, num_gpu_blocks_override=int(value))
        else:
            return None
    except ValueError:
        return None
    plan = follow(situation, changed)
    if isinstance(plan, Rejection):
        return None
    before = shown(arguments, lever)
    return Proposal(
        lever=lever,
        before=before,
        after=shown(plan.arguments, lever),
        plan=plan,
        text=f"{lever} {before} → {value}: growth did not hold and is taken back",
        direction=-1,
        relief_bytes=relief(situation, plan),
    )
