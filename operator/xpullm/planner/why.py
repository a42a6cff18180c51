"""Why not even the floors fit one choice: what takes the memory, and how much is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xpullm.planner.build import target_of
from xpullm.planner.division import ranks
from xpullm.planner.estimate import judge, over_at_start
from xpullm.planner.learned import cap
from xpullm.planner.request import Choice, PlanRequest, UserArguments
from xpullm.planner.search import Found, Search, Wish
from xpullm.planner.shape import room, with_pool
from xpullm.planner.sizes import Sizes, sizes
from xpullm.planner.target import Target
from xpullm.planner.types import Arguments, Infeasible, Learned, Ledger

GIB = 1 << 30
MIB = 1 << 20
# The user's own flags that set the size of the KV cache, and their fields.
POOL_FLAGS = {
    "kv-cache-memory-bytes": "kv_cache_memory_bytes",
    "num-gpu-blocks-override": "num_gpu_blocks_override",
    "gpu-memory-utilization": "gpu_memory_utilization",
}


def why(
    request: PlanRequest, choice: Choice, count: int, wish: Wish, learned: Learned
) -> Infeasible:
    """`missing_bytes` is above 0: so much less is left than the least that was asked for needs, or
    so much more is asked for than is safe."""
    where = target_of(request, choice)
    tensor, pipeline = next(ranks(request, choice, count))
    least = Search(where, request.user, wish, learned, tensor, pipeline).least()
    arguments, s, pool = least
    need = s.layout.pool_bytes(wish.min_context, wish.min_concurrency)
    safe = room(where, s)
    allowed = min(safe, cap(learned, where, arguments, s))
    asked = f"{wish.min_concurrency} request(s) of {wish.min_context} tokens"
    own = _own_pool(request.user, s)
    told = request.user.gpu_memory_utilization
    if s.pinned and told is not None and (over := over_at_start(where, s)):
        term, missing = "gpu-memory-utilization", over
        most = (s.budget - over) * 1000 // where.total_bytes / 1000
        said = (
            f"--{term} {told:.4g} asks for {_size(over)} more than is free at start; lower it to at"
            f" most {most}, or leave it out"
        )
        ledger = _short_of(judge(where, arguments, explain=True).ledger, missing)
    elif own and need <= allowed:
        term = own
        missing, said = _of_own_pool(own, request.user, s, need, allowed, asked)
        ledger = judge(where, arguments, explain=True).ledger
        if s.pool > allowed:
            ledger = _short_of(ledger, missing)
    else:
        missing = need - (allowed if own else pool)
        ledger = _short_of(_with_least(where, arguments, need), missing)
        if allowed < need <= safe:
            term = "earlier failures"
            said = f"{term} (TuningRecord) forbid it: {_size(missing)} are missing for {asked}"
        else:
            term, size = _biggest(ledger, need)
            takes = f"{term} take" if term.endswith("s") else f"the {term} takes"
            said = (
                f"{takes} {_size(size)} of"
                f" {where.visible_bytes / GIB:.1f} GiB visible per device; {_size(missing)} are"
                f" missing for {asked}"
            )
    cards = f"{count} x {choice.gpu.name}" if count > 1 else choice.gpu.name
    message = (
        f"{request.model} as {choice.quantization.name} doesn't fit {cards} with"
        f" {choice.engine.key}: {said}"
    )
    return Infeasible("Infeasible", message, term, missing, ledger)


def unproven(request: PlanRequest, choice: Choice, found: Found) -> Infeasible | None:
    """Why a point that the search found must not be planned: the engine refuses its arguments, or
    they don't start or aren't safe after all. None where they are good."""
    where = target_of(request, choice, found.arguments.dtype)
    answer = judge(where, found.arguments)
    if answer.starts and answer.safe:
        return None
    if answer.limiting == "arguments":  # a contradiction, not a lack of memory
        said = f"{choice.engine.key} refuses its arguments: {answer.reason}"
        return Infeasible("Infeasible", said, "arguments", 0)
    own = [f"--{n} {v}" for n, v in request.user.flags if n in POOL_FLAGS]
    told = f"; leave out {' and '.join(own)}" if own else ""
    term = answer.limiting.replace("_", "-")
    said = f"{choice.engine.key} runs out of {term}: {answer.reason}{told}"
    ledger = _short_of(judge(where, found.arguments, explain=True).ledger, answer.missing_bytes)
    return Infeasible("Infeasible", said, term, answer.missing_bytes, ledger)


def _own_pool(user: UserArguments, s: Sizes) -> str:
    """The user's own flag that sets the size of the KV cache, or ""."""
    if s.pinned:
        return "kv-cache-memory-bytes" if user.kv_cache_memory_bytes else "num-gpu-blocks-override"
    return "gpu-memory-utilization" if user.gpu_memory_utilization is not None else ""


def _of_own_pool(
    flag: str, user: UserArguments, s: Sizes, need: int, allowed: int, asked: str
) -> tuple[int, str]:
    """What was asked for would fit, but not with the size that the user gave the KV cache."""
    told = f"--{flag} {dict(user.flags)[flag]}"
    if s.pool > allowed:
        over = s.pool - allowed
        return over, f"{told} makes the KV cache {_size(over)} larger than is safe"
    missing = need - s.sure_pool
    left = _size(max(0, s.sure_pool))
    said = f"{told} leaves {left} for the KV cache; {_size(missing)} are missing for {asked}"
    return missing, said


def _with_least(where: Target, arguments: Arguments, need: int) -> Ledger | None:
    """The ledger with a KV cache that holds just what was asked for at least."""
    nothing: dict[str, Any] = dict.fromkeys(POOL_FLAGS.values())
    bare = replace(arguments, **nothing)
    told = with_pool(where, UserArguments(), bare, sizes(where, bare), need)
    return judge(where, told, explain=True).ledger


def _short_of(ledger: Ledger | None, missing: int) -> Ledger | None:
    """With all that a plan leaves free (`shape.room`) as reserve: what is missing is missing."""
    if ledger is None or ledger.free_bytes <= -missing:
        return ledger
    reserve = ledger.reserve_bytes + ledger.free_bytes + missing
    kept = {"reserve": reserve, "free": -missing}
    return replace(
        ledger,
        reserve_bytes=reserve,
        free_bytes=-missing,
        terms=tuple(replace(t, bytes=kept.get(t.name, t.bytes)) for t in ledger.terms),
    )


def _biggest(ledger: Ledger | None, need: int) -> tuple[str, int]:
    if ledger is None:
        return "weights", 0
    terms = {
        "weights": ledger.weights_bytes,
        "activations": ledger.activation_bytes,
        "KV cache": need,
        "runtime": ledger.non_torch_bytes,
    }
    name = max(terms, key=lambda n: terms[n])
    return name, terms[name]


def _size(count: int) -> str:
    """One decimal of GiB, or MiB where that would say nothing."""
    return f"{count / GIB:.1f} GiB" if count >= GIB // 10 else f"{-(-count // MIB)} MiB"
