"""From the failures of the current plan to one answer: step, hold, wait, stop, or nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xpullm.api import LLMDeployment
from xpullm.controller.decide_heal import (
    Place,
    ever_ready,
    newest,
    place,
    proposal,
    replaced,
    too_early,
    too_few,
    too_young,
    unseen,
)
from xpullm.controller.decide_node import to_blame
from xpullm.controller.decide_plan import Standing, request_behind
from xpullm.controller.decide_pods import Failure, failures, of_plan, ready
from xpullm.controller.decide_rollout import Hold, hold
from xpullm.controller.decide_room import largest_memory, room_elsewhere
from xpullm.controller.decide_silence import delay, stuck
from xpullm.controller.types import Snapshot
from xpullm.healing.growth import on_probation
from xpullm.healing.heal import heal
from xpullm.healing.judge import outgrown
from xpullm.healing.policy import policy_of
from xpullm.healing.types import NodeMatter, Policy, Step, Stop, Wait
from xpullm.planner.types import Refusal

NOWHERE = Place("", "")


@dataclass(frozen=True, slots=True)
class Answer:
    """`step` is taken now; `proposed` is shown; `hold`, `wait` and `stop` say why nothing is.
    `matter`: the failure is its node's. `delay`: no failure, but a pod is late."""

    failure: Failure | None = None
    place: Place = NOWHERE
    matter: NodeMatter | None = None
    step: Step | None = None
    hold: Hold | None = None
    wait: Wait | None = None
    stop: Stop | None = None
    proposed: dict[str, str] | None = None
    replaces_ready: bool = False
    delay: str = ""


def answer(
    llmd: LLMDeployment, snapshot: Snapshot, standing: Standing, max_rerolls: int, now: float
) -> Answer:
    """What to do about the newest failure of this plan's pods."""
    plan, history = standing.plan, standing.history
    pods = of_plan(snapshot.pods, plan.hash)
    found = failures(snapshot.pods, plan.hash, snapshot.events)
    found += stuck(pods, found, snapshot.events)
    failure = newest(found, history)
    if failure is None:
        return Answer(delay=delay(pods, snapshot.events, now))
    where = place(snapshot, failure.pod)
    seen = Answer(failure=failure, place=where)
    mode = llmd.spec.healing.mode
    if mode == "Off":
        return replace(seen, stop=_off(failure))
    served = ever_ready(snapshot.deployment, pods, found)
    patience = unseen(snapshot.deployment, failure, served) or too_few(found, failure, served)
    too_much = on_probation(history) and outgrown(failure.diagnosis)
    if patience is not None and not too_much:
        return replace(seen, wait=patience)
    request = request_behind(llmd, plan)
    if isinstance(request, Refusal):  # the catalogue lost what the stored plan was made from
        return replace(seen, stop=Stop(request.reason, f"{request.field}: {request.message}"))
    matter = None if too_much else to_blame(snapshot, standing, found, failure, where)
    seen = replace(seen, matter=matter)
    template = standing.truth.template
    policy = policy_of(
        llmd.spec,
        room_elsewhere=room_elsewhere(plan, template, snapshot, where.node),
        node_memory_bytes=largest_memory(plan, template, snapshot),
        node_matter=matter,
    )
    same = [f for f in found if f.diagnosis.cause == failure.diagnosis.cause]
    times = max((f.runs for f in same), default=1)

    def healed(policy: Policy) -> Step | Wait | Stop:
        return heal(
            plan, failure.diagnosis, history, policy, request, failures=times, node=where.node
        )

    outcome = healed(policy)
    if not isinstance(outcome, Wait):
        outcome = replaced(failure) or too_young(failure, now) or outcome
    if isinstance(outcome, Wait):
        return replace(seen, wait=outcome)
    if isinstance(outcome, Stop):
        shown = healed(replace(policy, mode="Auto")) if mode == "Observe" else None
        return replace(seen, stop=outcome, proposed=proposal(shown))
    if (early := too_early(failure, now)) is not None:
        return replace(seen, wait=early)
    replaces = any(ready(pod) for pod in snapshot.pods)
    canary = (plan.image, plan.gpu, where.kernel)
    held = hold(snapshot.fleet, canary, replaces_ready=replaces, max_rerolls=max_rerolls, now=now)
    if held is not None:
        return replace(seen, hold=held, proposed=proposal(outcome))
    return replace(seen, step=outcome, replaces_ready=replaces)


def _off(failure: Failure) -> Stop:
    return Stop(
        "HealingOff",
        f"{failure.diagnosis.cause}: spec.healing.mode is Off, so nothing is changed; set it to"
        " Auto or Observe, or change the spec",
    )
