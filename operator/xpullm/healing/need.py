"""How much KV cache is missing when the engine says that its pool is too small. Pure."""

from __future__ import annotations

from xpullm.healing.situation import Situation


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
