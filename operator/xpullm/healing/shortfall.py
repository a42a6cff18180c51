"""By how many bytes a plan missed: the engine's own figures first, then ours. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from xpullm.healing.judge import BUDGET, axis, episode
from xpullm.healing.situation import BLIND_SHARE, MARGIN_BYTES, Situation, torch_peak_bytes


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
    3. Tried alone: that much.
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
        basis = f"{_mib(tried)} could not be allocated"
        return Shortfall(lacking + MARGIN_BYTES, at_least, basis)
    ceiling = held + (believable or 0)
    peak = torch_peak_bytes(situation.plan.ledger, situation.diagnosis.phase)
    return Shortfall(
        max(peak - ceiling, lacking) + MARGIN_BYTES,
        at_least,
        f"{_mib(tried)} could not be allocated beyond {_mib(ceiling)}",
    )


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
    if tried is None or held is None or situation.diagnosis.phase != "profile":
        return 1.0
    weights = situation.figure("weights_bytes") or ledger.weights_bytes
    return max(1.0, (held + tried - weights) / planned)
