"""heal(plan, diagnosis, history, policy, request) -> Step | Wait | Stop. Pure."""

from __future__ import annotations

from xpullm.healing.border import situation_of
from xpullm.healing.decide import decide
from xpullm.healing.judge import judge
from xpullm.healing.types import PastStep, Policy, Step, Stop, Wait
from xpullm.planner import PlanRequest
from xpullm.planner.types import Plan
from xpullm_runtime.diagnosis.types import Diagnosis


def heal(
    plan: Plan,
    diagnosis: Diagnosis,
    history: tuple[PastStep, ...],
    policy: Policy,
    request: PlanRequest,
    *,
    failures: int = 1,
    node: str = "",
) -> Step | Wait | Stop:
    """What to do about a failure.

    `history`: the steps taken for this spec, oldest first, the last one judged or not.
    `failures`: how often pods of this very plan failed this way (restart count + 1): waits and
    plain restarts are counted by it, so they need no memory of their own. `node`: where it failed.
    """
    if policy.mode == "Off":
        return Stop("HealingOff", "healing.mode is Off: nothing is changed")
    judged = judge(history, diagnosis, node)
    answer = decide(situation_of(plan, diagnosis, judged, policy, request, failures, node))
    if policy.mode == "Observe" and isinstance(answer, Step):
        return Stop("ObserveOnly", f"healing.mode is Observe; proposed: {answer.text}")
    return answer
