"""By how many bytes a plan missed: the engine's own figures first, then ours. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from xpullm.healing.judge import BUDGET, axis, elsewhere, episode, same_size
from xpullm.healing.situation import (
    BLIND_SHARE,
    MARGIN_BYTES,
    Pool,
    Situation,
    torch_peak_bytes,
)


@dataclass(frozen=True, slots=True)
class Shortfall:
    """`bytes` to free at the peak, margin included; less than `at_least_bytes` cannot help. `basis`
    says for people where it comes from."""

    bytes: int
    at_least_bytes: int
    basis: str
    blind: bool = False


def shortfall(situation: Situation) -> Shortfall:
    """How much less the next plan must need.

    1. Tried, free and reserved: what the card can give is reserved + free.
    2. Tried and reserved (older texts print no free memory; on Arc without PERFMON the driver calls
       everything free): what was reserved when it failed is the ceiling.
    3. Tried alone: that much, and no less than without figures.
    4. No figures (Level Zero codes): 5 % of the card, doubled when the same step was not enough.
    """
    tried = situation.figure("tried_bytes")
    if tried is None:
        return _blind(situation)
    free = situation.diagnosis.figures.get("free_bytes")
    believable = free if free is not None and 0 <= free < tried else None
    lacking = tried - (believable or 0)
    at_least = lacking if believable is not None else 0
    held = situation.figure("reserved_bytes") or situation.figure("allocated_bytes")
    if held is None:
        # The last of many allocations says nothing of what the rest lacks.
        least = int(situation.plan.ledger.visible_bytes * BLIND_SHARE)
        missing = max(lacking + MARGIN_BYTES, least) * 2 ** refilled(situation, tried)
        return Shortfall(missing, at_least, f"{_mib(tried)} could not be allocated")
    ceiling = held + (believable or 0)
    peak = torch_peak_bytes(situation.plan.ledger, situation.diagnosis.phase)
    peak += max(0, weights_error_bytes(situation)) + torn_bytes(situation)
    if held + tried > peak:  # more than ever planned, and the same pass has further allocations
        lacking += max(0, situation.plan.ledger.activation_bytes - tried)
    return Shortfall(
        (max(peak - ceiling, lacking) + MARGIN_BYTES) * 2 ** refilled(situation, tried),
        at_least,
        f"{_mib(tried)} could not be allocated beyond {_mib(ceiling)}",
    )


def torn_bytes(situation: Situation) -> int:
    """Reserved memory that could not serve the failed allocation: fragmentation, under load."""
    reserved, allocated = situation.figure("reserved_bytes"), situation.figure("allocated_bytes")
    if situation.diagnosis.phase != "runtime" or not reserved or not allocated:
        return 0
    return max(0, reserved - allocated)


def refilled(situation: Situation, tried: int) -> int:
    """How often in a row a cut helped, and then the same allocation failed again later: something
    grows with time (a leak, fragmentation), so each further cut is twice as large."""
    count = 0
    for step in reversed(episode(situation.history, situation.diagnosis)):
        same = same_size(step, situation.diagnosis.phase, tried)
        if axis(step.lever) != BUDGET or not same or elsewhere(step, situation.node):
            break
        count += 1
    return count


def _blind(situation: Situation) -> Shortfall:
    tries = [
        step
        for step in episode(situation.history, situation.diagnosis)
        if step.effect == "Unclear" and axis(step.lever) == BUDGET
    ]
    share = BLIND_SHARE * 2 ** len(tries)
    return Shortfall(
        int(situation.plan.ledger.visible_bytes * share),
        0,
        f"the engine printed no figures; {share:.0%} of the card",
        blind=True,
    )


def _mib(value: int) -> str:
    return f"{value / (1 << 20):.0f} MiB"


def activation_scale(situation: Situation) -> float:
    """How much larger activations are than planned, where the engine's figures say so (≥ 1).

    Printed activation figures are taken as they are; else, when memory ran out in the profile run,
    activations are at least what was held and tried beyond the weights.
    """
    ledger = situation.plan.ledger
    planned = max(1, ledger.activation_bytes)
    if printed := situation.figure("activation_bytes"):
        return max(1.0, printed / planned)
    tried, held = situation.figure("tried_bytes"), situation.figure("allocated_bytes")
    if tried is None:
        return 1.0
    least = tried  # one allocation of the batch that is larger than all that was planned
    if held is not None and situation.diagnosis.phase == "profile":
        least = held + tried - (situation.figure("weights_bytes") or ledger.weights_bytes)
    return max(1.0, least / planned)


def weights_error_bytes(situation: Situation) -> int:
    """How much heavier the weights are than planned, as printed; a pool that the engine sizes
    takes that error, so it counts only where the pool is pinned."""
    if situation.pool is not Pool.PINNED:
        return 0
    printed = situation.figure("weights_bytes")
    return printed - situation.plan.ledger.weights_bytes if printed else 0
