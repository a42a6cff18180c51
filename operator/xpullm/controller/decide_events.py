"""Events: news only, named so that the same news is told once however often it is decided."""

from __future__ import annotations

from collections.abc import Sequence

from xpullm.api import EventReason
from xpullm.controller.decide_answer import Answer
from xpullm.controller.decide_conditions import Health, shorten
from xpullm.controller.decide_heal import sentence
from xpullm.controller.decide_health import summary, told_before
from xpullm.controller.decide_plan import Standing
from xpullm.controller.types import EventSpec, Object
from xpullm.healing.growth import CAUSE
from xpullm.healing.node import accusers
from xpullm.planner.types import Infeasible, Refusal
from xpullm.resources import codec


def no_plan_events(
    live: Object, problem: Refusal | Infeasible, told: Health
) -> tuple[EventSpec, ...]:
    if told_before(live, told):
        return ()
    reason = (
        EventReason.SPEC_REFUSED if isinstance(problem, Refusal) else EventReason.PLAN_INFEASIBLE
    )
    message = told.ready.message
    return (_event("Warning", reason, "Plan", message, codec.digest(message)),)


def events_of(
    live: Object,
    found: Standing,
    after: Standing,
    reply: Answer,
    told: Health,
    max_attempts: int,
) -> tuple[EventSpec, ...]:
    """`found`: the plan in force before this pass; `after`: the one that is written in it."""
    events = []
    if found.fresh:
        mark = f"{found.plan.hash}/{found.truth.inputs_hash}"
        events.append(_event("Normal", EventReason.PLANNED, "Plan", summary(found), mark))
    news = not told_before(live, told)
    ended = reply.failure is not None and reply.failure.ended
    if reply.failure is not None and ended and (news or reply.step is not None):
        cause = reply.failure.diagnosis.cause
        mark = f"{found.plan.hash}/{cause}/{reply.failure.diagnosis.phase}"
        message = sentence(found.plan, reply.failure)
        events.append(_event("Warning", EventReason.ENGINE_FAILED, "Diagnose", message, mark))
    last = after.history[-1] if after.history else None
    if reply.step is not None and reply.failure is None:
        mark = f"{after.plan.hash}/{len(after.history)}"
        raised = EventReason.UTILIZATION_RAISED
        events.append(_event("Normal", raised, "Grow", f"growth: {reply.step.text}", mark))
    elif reply.step is not None and last is not None:
        text = reply.step.text
        if last.lever not in text or "→" not in text:
            text = f"{last.lever} {last.before} → {last.after}: {text}"
        number = f", attempt {last.attempt} of {max_attempts}" if last.attempt else ""
        message = f"{last.cause} in phase {last.phase}{number}: {text}"
        mark = f"{after.plan.hash}/{len(after.history)}"
        events.append(_event("Warning", EventReason.ARGUMENT_CHANGED, "Heal", message, mark))
    if reply.proposed is not None and news:
        change = reply.proposed
        mark = f"{found.plan.hash}/{change['argument']}/{change['to']}"
        message = f"{change['argument']} {change['from']} → {change['to']}: {change['message']}"
        events.append(_event("Warning", EventReason.CHANGE_PROPOSED, "Heal", message, mark))
    if reply.stop is not None and news:
        mark = f"{found.plan.hash}/{reply.stop.reason}"
        message = told.ready.message
        events.append(_event("Warning", EventReason.HEALING_STOPPED, "Heal", message, mark))
    judged = last is not None and last.effect == "Helped" and found.history != after.history
    healed = judged and last is not None and last.cause != CAUSE
    if healed and reply.step is None and last is not None:
        message = (
            f"Ready after {last.lever} {last.before} → {last.after} against {last.cause}"
            f" (attempt {last.attempt})"
        )
        mark = f"{after.plan.hash}/{len(after.history)}"
        events.append(_event("Normal", EventReason.HEALED, "Heal", message, mark))
    return tuple(events)


def node_events(
    live: Object, nodes: Sequence[Object], found: Standing, reply: Answer, told: Health
) -> tuple[EventSpec, ...]:
    """A failing card or node is the node's matter: said there, once for each failure."""
    failure = reply.failure
    if failure is None or not (failure.ended or reply.matter):
        return ()
    if reply.step is None and told_before(live, told):
        return ()
    moved = reply.step is not None and reply.step.lever == "node"
    node = next((n for n in nodes if n["metadata"]["name"] == failure.node), None)
    matter = reply.matter if reply.wait is None else None  # first it is only started again
    if node is None or not (moved or matter or failure.diagnosis.cause in accusers().alone):
        return ()
    who = f"LLMDeployment {live['metadata']['namespace']}/{live['metadata']['name']}"
    message, mark = f"{sentence(found.plan, failure)}; {who}", failure.id
    if matter is not None:  # the names first: an engine's line may be long
        what = sentence(found.plan, failure)
        message = f"{who}: its node or card fails, not its arguments: {matter.named}; {what}"
        mark = f"{failure.id}/node"  # the failure may have been told before the others failed
    metadata = {"name": failure.node, "uid": node["metadata"]["uid"]}
    regarding = {"apiVersion": "v1", "kind": "Node", "metadata": metadata}
    reason = str(EventReason.DEVICE_SUSPECT)
    return (EventSpec("Warning", reason, "Diagnose", shorten(message), mark, regarding),)


def _event(kind: str, reason: EventReason, action: str, message: str, mark: str) -> EventSpec:
    return EventSpec(kind, str(reason), action, shorten(message), mark)
