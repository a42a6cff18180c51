"""What the model is stored and run as: KV type, data type, quantization, number of GPUs."""

from __future__ import annotations

from dataclasses import replace

from xpullm.healing.ladder import Move
from xpullm.healing.levers.common import Answer, follow, proposal, relief, user_rejection
from xpullm.healing.situation import Rejection, Situation, Why


def kv_cache_dtype(situation: Situation, _move: Move) -> Answer:
    """8-bit KV cache: twice the tokens in the same bytes."""
    arguments, lever = situation.arguments, "kv-cache-dtype"
    if owned := user_rejection(situation, lever, arguments.kv_cache_dtype):
        return owned
    eight = [name for name in situation.kv_cache_dtypes if name.startswith("fp8")]
    if not eight or arguments.kv_cache_dtype.startswith("fp8"):
        return Rejection(lever, Why.NOT_APPLICABLE, "the engine offers no smaller KV type")
    if not situation.may("KVCacheType"):
        return Rejection(
            lever, Why.NOT_ALLOWED, "add KVCacheType to spec.healing.mayChange to halve KV bytes"
        )
    plan = follow(situation, replace(arguments, kv_cache_dtype=eight[0]))
    if isinstance(plan, Rejection):
        return plan
    return proposal(lever, arguments.kv_cache_dtype, eight[0], plan, "twice the tokens per byte")


def dtype(situation: Situation, move: Move) -> Answer:
    """The one data type that every Arc card runs."""
    arguments, value = situation.arguments, str(move.data["value"])
    if owned := user_rejection(situation, "dtype", arguments.dtype):
        return owned
    if arguments.dtype == value:
        return Rejection("dtype", Why.USED_UP, f"it already runs as {value}")
    plan = situation.replan(replace(arguments, dtype=value))
    return proposal("dtype", arguments.dtype or "auto", value, plan, "the card refuses the other")


def enforce_eager(situation: Situation, _move: Move) -> Answer:
    """No graphs and no compiled kernels."""
    if situation.arguments.enforce_eager:
        return Rejection("enforce-eager", Why.USED_UP, "it already runs eagerly")
    if owned := user_rejection(situation, "enforce-eager", "off"):
        return owned
    plan = situation.replan(replace(situation.arguments, enforce_eager=True))
    return proposal(
        "enforce-eager",
        "off",
        "on",
        plan,
        "no kernel has to be compiled at start",
        relief_bytes=max(0, relief(situation, plan)),
    )


def quantization(situation: Situation, _move: Move) -> Answer:
    """The nearest smaller format whose plan fits; needs the user's leave."""
    return _remade(situation, "quantization", "Quantization")


def gpu_count(situation: Situation, _move: Move) -> Answer:
    """The next GPU count whose plan fits; needs the user's leave."""
    return _remade(situation, "gpu-count", "GPUCount")


def _remade(situation: Situation, lever: str, permission: str) -> Answer:
    remade = situation.remake(lever)
    if remade is None:
        return Rejection(lever, Why.UNPLANNABLE, f"no other {lever} fits this card")
    before, after, plan = remade
    if not situation.may(permission):
        return Rejection(
            lever,
            Why.NOT_ALLOWED,
            f"{lever} {after} would fit: set it in the spec, or add {permission} to "
            "spec.healing.mayChange",
        )
    return proposal(lever, before, after, plan, "less memory per card", relief_bytes=1)
