"""When a step may go out: a budget for re-rolls that replace Ready pods, canaries for dead ones.

A bad driver or image must not roll a fleet: of the deployments with one image, card and kernel the
first three are healed at once; the others follow when one of these holds, or after ten minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

from xpullm.api import Reason
from xpullm.controller.types import Fleet

CANARIES = 3
CANARY_SECONDS = 600
BUSY_SECONDS = 15  # how soon to look again when the budget is used up


@dataclass(frozen=True, slots=True)
class Hold:
    """The step waits. It is shown in status as a proposal."""

    reason: Reason
    text: str
    seconds: float


def hold(
    fleet: Fleet,
    canary: tuple[str, str, str],
    *,
    replaces_ready: bool,
    max_rerolls: int,
    now: float,
) -> Hold | None:
    """None: go. `canary` is (image, card, kernel of the node that failed)."""
    if replaces_ready and fleet.rerolling >= max_rerolls:
        return Hold(
            Reason.BACKING_OFF,
            f"{fleet.rerolling} other re-rolls replace Ready pods; at most {max_rerolls} may",
            BUSY_SECONDS,
        )
    under_way, held, oldest = (fleet.canaries or {}).get(canary, (0, 0, 0.0))
    waited = now - oldest
    if not replaces_ready and under_way >= CANARIES and not held and waited < CANARY_SECONDS:
        image, card, kernel = canary
        return Hold(
            Reason.WAITING_FOR_CANARY,
            f"{under_way} deployments with {image} on {card}, kernel {kernel or 'unknown'}, are"
            " tried first",
            max(1.0, CANARY_SECONDS - waited),
        )
    return None
