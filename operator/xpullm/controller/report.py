"""Status: once, last, only if changed. No time of the pass is in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from xpullm.api.reasons import ConditionType, Reason
from xpullm.controller.apply import Applier, NotOursError
from xpullm.controller.errors import ForbiddenError, RejectedError
from xpullm.controller.types import Object

_MESSAGE_LIMIT = 1024


async def report(applier: Applier, llmd: Object, status: Object | None) -> bool:
    """Write status if it differs; returns whether it was written.

    Raises:
        ConflictError: the LLMDeployment changed meanwhile; the store has the new one.
    """
    if status is None or status == llmd.get("status"):
        return False
    await applier.write_status(llmd, status)
    return True


def cause_alone(llmd: Object, status: Object | None) -> dict[str, Any] | None:
    """The live status with the newly decided cause in it; None if it says so already.

    For bursts: a few re-rolls are under way, and of what waits for them the cause is told.
    """
    decided = (status or {}).get("healing") or {}
    live = llmd.get("status", {})
    healing = live.get("healing", {})
    if not decided.get("lastCause") or healing.get("lastCause") == decided["lastCause"]:
        return None
    told = {key: decided[key] for key in ("lastCause", "lastPhase") if key in decided}
    return {**live, "healing": {**healing, **told}}


def refused(
    status: Object | None, llmd: Object, error: RejectedError, now: float
) -> dict[str, Any]:
    """The status that was decided, with the API server's refusal as its conditions.

    A refusal of the content, or a name that is taken, needs a person: Stalled. One by a quota or
    by RBAC may end without a change here: Reconciling.
    """
    base = dict(status or llmd.get("status", {}))
    old = {c["type"]: c for c in llmd.get("status", {}).get("conditions", ())}
    kept = [
        c
        for c in base.get("conditions", ())
        if c["type"] not in (ConditionType.RECONCILING, ConditionType.STALLED, ConditionType.READY)
    ]
    waits = isinstance(error, ForbiddenError)
    reason = (
        Reason.RETRYING
        if waits
        else Reason.NAME_CONFLICT
        if isinstance(error, NotOursError)
        else Reason.INVALID_SPEC
    )
    abnormal = ConditionType.RECONCILING if waits else ConditionType.STALLED
    generation = llmd["metadata"].get("generation", 0)
    new = [
        _condition(kind, value, reason, error.message, generation, old.get(kind), now)
        for kind, value in ((ConditionType.READY, "False"), (abnormal, "True"))
    ]
    conditions = sorted((*kept, *new), key=lambda c: str(c["type"]))
    return {**base, "observedGeneration": generation, "conditions": conditions}


def _condition(
    kind: str,
    value: str,
    reason: str,
    message: str,
    generation: int,
    old: Mapping[str, Any] | None,
    now: float,
) -> dict[str, Any]:
    time = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if old is not None and old.get("status") == value:
        time = old.get("lastTransitionTime", time)
    return {
        "type": str(kind),
        "status": value,
        "reason": str(reason),
        "message": message[:_MESSAGE_LIMIT],
        "lastTransitionTime": time,
        "observedGeneration": generation,
    }
