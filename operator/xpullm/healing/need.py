"""How much KV cache is missing when the engine says that its pool is too small. Pure."""

from __future__ import annotations

from xpullm.healing.situation import Pool, Situation


def needed_kv_bytes(situation: Situation, tokens: int) -> int:
    """Bytes that the pool must grow by to hold one request of `tokens`; the engine's figures first.

    vLLM prints what it needs and has (V1), how many tokens fit (V0 and V1), or only a negative
    rest ("Available KV cache memory: -0.61 GiB").
    """
    ledger, figures = situation.plan.ledger, situation.diagnosis.figures
    per_token = ledger.kv_bytes_per_token
    wanted = (tokens + 2 * ledger.block_size) * per_token  # one block rounding, one null block
    if (available := figures.get("kv_available_bytes")) is not None:
        needed, length = figures.get("kv_needed_bytes"), situation.arguments.max_model_len
        if needed and length:
            wanted = max(wanted, needed * tokens // length)
        return max(0, wanted - available)
    if fits := situation.figure("max_model_len_fits"):
        return max(0, wanted - fits * per_token)
    return wanted


def fitting_tokens(situation: Situation) -> int:
    """The longest context that the pool holds: the engine's estimate, be it 0; else its pool; else
    ours."""
    ledger, figures = situation.plan.ledger, situation.diagnosis.figures
    if (estimate := figures.get("max_model_len_fits")) is not None:
        return max(0, estimate)
    if (available := figures.get("kv_available_bytes")) is not None:
        held = max(0, available) // max(1, ledger.kv_bytes_per_token)
        return min(held, ledger.max_model_len_fits)
    return ledger.max_model_len_fits


def pool_error_bytes(situation: Situation) -> int:
    """How much larger the engine's pool was than planned, as it printed it; 0 where it is pinned.

    A pool that the engine sizes itself takes the error of weights and activations.
    """
    if situation.pool is Pool.PINNED:
        return 0
    ledger = situation.plan.ledger
    printed = situation.diagnosis.figures.get("kv_available_bytes")
    if printed is None and (blocks := situation.figure("gpu_blocks")):
        printed = blocks * ledger.block_size * ledger.kv_bytes_per_token
    if printed is None and (tokens := situation.figure("kv_cache_tokens")):
        printed = tokens * ledger.kv_bytes_per_token
    return 0 if printed is None else printed - ledger.kv_cache_bytes
