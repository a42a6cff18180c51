"""decide(Snapshot, now) -> Decision: the order in which questions are asked. Pure.

Everything is derived from one moment of the cluster. What must be remembered between passes stands
in the Deployment's annotations, written in the same write as the pod template that follows from it;
status, Events and TuningRecords are projections of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from xpullm import catalog
from xpullm.api import LLMDeployment, ManifestError, Reason, parse
from xpullm.controller import decide_records, decide_status
from xpullm.controller.decide_answer import Answer, answer
from xpullm.controller.decide_conditions import Health, Said
from xpullm.controller.decide_events import events_of, no_plan_events, node_events
from xpullm.controller.decide_growth import GROWN, grow_now, proven
from xpullm.controller.decide_heal import WATCH_SECONDS, place
from xpullm.controller.decide_health import counts, health, no_plan, rolled_out, was_ready
from xpullm.controller.decide_measured import measured, model_revision
from xpullm.controller.decide_news import Seen, untold, with_news
from xpullm.controller.decide_plan import (
    Standing,
    stand,
    standing,
    stored,
    with_history,
    with_same_memory,
)
from xpullm.controller.decide_pods import dig, entries, of_plan, ready, text
from xpullm.controller.timestamps import rfc3339
from xpullm.controller.types import Decision, Object, Snapshot
from xpullm.healing.history import past_step
from xpullm.healing.judge import judge, judge_healthy
from xpullm.planner.types import Infeasible, Refusal
from xpullm.resources import others
from xpullm.resources.deployment import deployment, rolls_all_at_once
from xpullm.resources.settings import PodSettings

_PODS = PodSettings()


@dataclass(frozen=True, slots=True)
class Settings:
    """`max_rerolls`: how many re-rolls may replace Ready pods at the same time, in all."""

    pods: PodSettings = _PODS
    max_rerolls: int = 3


def decide(snapshot: Snapshot, now: float, settings: Settings | None = None) -> Decision:
    """What is to be written for one LLMDeployment. `now`: seconds since the epoch.

    Deciding again on what a decision wrote gives nothing new to write.
    """
    settings = settings or Settings()
    live = snapshot.llmd
    if live is None or dig(live, "metadata", "deletionTimestamp"):
        return Decision()
    if dig(live, "spec", "suspend") is True:
        return _suspended(live, snapshot, now)
    try:
        llmd = parse(live, check=False)
    except ManifestError as error:
        first = error.problems[0]
        refusal = Refusal(Reason.INVALID_SPEC, first.path, first.value, first.message)
        return _without_plan(live, None, snapshot, refusal, now)
    found = standing(llmd, snapshot, settings.pods, now)
    if isinstance(found, Refusal | Infeasible):
        return _without_plan(live, llmd, snapshot, found, now)
    return _with_plan(live, llmd, snapshot, found, now, settings)


def _suspended(live: Object, snapshot: Snapshot, now: float) -> Decision:
    """Nothing is changed; Ready keeps its value and says why it may be out of date."""
    before = {item.get("type"): item for item in entries(live, "status", "conditions")}

    def kept(kind: str) -> Said:
        status = "True" if dig(before.get(kind), "status") == "True" else "False"
        return Said(status, Reason.SUSPENDED, "spec.suspend is true: nothing is changed")

    told = Health(kept("Ready"), kept("Planned"), kept("Available"))
    pods, serving = counts(snapshot.deployment)
    return Decision(status=decide_status.frozen(live, told, now, pods, serving))


def _without_plan(
    live: Object,
    llmd: LLMDeployment | None,
    snapshot: Snapshot,
    problem: Refusal | Infeasible,
    now: float,
) -> Decision:
    """What runs keeps running on its old plan; only its number of replicas still follows."""
    before = stored(snapshot)
    news = untold(live, before)
    told = no_plan(problem, snapshot.deployment, llmd.spec.replicas if llmd is not None else 1)
    pods, serving = counts(snapshot.deployment)
    objects: tuple[Object, ...] = ()
    if llmd is None:
        status = decide_status.frozen(live, told, now, pods, serving)
    else:
        if before is not None:
            objects = (_deployment(live, llmd, snapshot, before, changed=False),)
        status = decide_status.status(
            live,
            told,
            now,
            llmd=llmd,
            plan=before.plan if before is not None else None,
            history=before.history if before is not None else (),
            measured=measured(snapshot, before.plan) if before is not None else None,
            model_revision=model_revision(snapshot, llmd, before.plan) if before else None,
            replicas=pods,
            ready_replicas=serving,
        )
    waiting = told.progress == "Reconciling"
    return Decision(
        apply=objects,
        events=(*news.events, *no_plan_events(live, problem, told)),
        records=_records(live, snapshot, news.seen, now),
        status=status,
        requeue_after_seconds=WATCH_SECONDS if waiting else None,
    )


def _with_plan(
    live: Object,
    llmd: LLMDeployment,
    snapshot: Snapshot,
    found: Standing,
    now: float,
    settings: Settings,
) -> Decision:
    wanted = llmd.spec.replicas
    reply, news = Answer(), untold(live, stored(snapshot) if found.fresh else found)
    if not found.fresh and wanted > 0 and not news:
        reply = answer(llmd, snapshot, found, settings.max_rerolls, now)
        if reply.failure is None and rolled_out(snapshot.deployment, wanted):
            reply = grow_now(llmd, snapshot, found, settings.max_rerolls, now)
    after, changed = found, found.fresh
    lessons, seen = list(news.seen), []
    if reply.step is not None:
        after, changed = _stepped(llmd, snapshot, found, reply, now, settings), True
    if reply.step is not None and reply.failure is not None:
        diagnosis = reply.failure.diagnosis
        if diagnosis.actionable and diagnosis.helps == "arguments" and reply.matter is None:
            node, kernel = reply.place.node, reply.place.kernel
            lessons.append(
                decide_records.failed(
                    found.plan, node, kernel, now, cause=diagnosis.cause, phase=diagnosis.phase
                )
            )
    serves = (
        not changed
        and reply.failure is None
        and wanted > 0
        and rolled_out(snapshot.deployment, wanted)
    )
    if serves:
        if not news and proven(llmd, snapshot, found, now):
            judged = judge_healthy(found.history)
            after = with_history(found, judged) if judged != found.history else found
        where = next(
            (place(snapshot, pod) for pod in of_plan(snapshot.pods, found.plan.hash) if ready(pod)),
            None,
        )
        if where is not None:
            seen.append(decide_records.healthy(found.plan, where.node, where.kernel, now))
    attempts = llmd.spec.healing.max_attempts
    told = health(after, reply, snapshot.deployment, wanted, attempts, ready_before=was_ready(live))
    events = (
        *news.events,
        *events_of(live, found, after, reply, told, attempts),
        *node_events(live, snapshot.nodes, found, reply, told),
    )
    if changed or after.history != found.history:
        after = with_news(after, events, lessons)
    diagnosed = reply.failure.diagnosis if reply.failure is not None else None
    pods, serving = counts(snapshot.deployment)
    status = decide_status.status(
        live,
        told,
        now,
        llmd=llmd,
        plan=after.plan,
        history=after.history,
        cause=diagnosed.cause if diagnosed is not None else "",
        phase=diagnosed.phase if diagnosed is not None else "",
        proposal=reply.proposed,
        measured=measured(snapshot, after.plan),
        model_revision=model_revision(snapshot, llmd, after.plan),
        replicas=pods,
        ready_replicas=serving,
    )
    return Decision(
        apply=_objects(live, llmd, snapshot, after, changed),
        delete=_leftovers(live, llmd, snapshot, after, settled=serves),
        events=events,
        records=_records(live, snapshot, (*lessons, *seen), now),
        status=status,
        requeue_after_seconds=0.0 if news else _look_again(told, reply),
        cause_seen=diagnosed.cause if diagnosed is not None else "",
        rerolled=reply.step is not None,
        replaces_ready=reply.replaces_ready,
    )


def _records(
    live: Object, snapshot: Snapshot, seen: Iterable[Seen], now: float
) -> tuple[Object, ...]:
    return decide_records.updated(snapshot.records, live["metadata"]["namespace"], seen, now)


def _stepped(
    llmd: LLMDeployment,
    snapshot: Snapshot,
    found: Standing,
    reply: Answer,
    now: float,
    settings: Settings,
) -> Standing:
    """The next plan with the step that led to it in its history: one object, one write."""
    assert reply.step is not None  # noqa: S101
    failure = reply.failure
    if failure is None:
        diagnosis, judged = GROWN, judge_healthy(found.history)
    else:
        diagnosis = failure.diagnosis
        judged = judge(found.history, diagnosis, reply.place.node)
    taken = past_step(
        reply.step,
        diagnosis,
        judged,
        time=rfc3339(failure.time if failure and failure.time is not None else now),
        failure_id=failure.id if failure else "",
        plan_hash=found.plan.hash,
        node=reply.place.node,
    )
    return stand(
        llmd,
        snapshot,
        settings.pods,
        with_same_memory(llmd, found.plan, reply.step.plan, reply.step.lever),
        (*judged, taken),
        found.truth.inputs_hash,
        before=found,
    )


def _objects(
    live: Object, llmd: LLMDeployment, snapshot: Snapshot, after: Standing, changed: bool
) -> tuple[Object, ...]:
    """All that should exist, what pods wait for first."""
    cards = catalog.gpus()
    card = cards.get(after.plan.gpu)
    claim = others.cache_claim(live, llmd, snapshot.claim)
    template = (
        others.claim_template(
            live, after.claim_template, card, after.plan.gpu_count, cards.values()
        )
        if after.claim_template and card is not None
        else None
    )
    objects = (
        claim,
        template,
        others.service(live, llmd),
        _deployment(live, llmd, snapshot, after, changed=changed),
    )
    return tuple(obj for obj in objects if obj is not None)


def _deployment(
    live: Object, llmd: LLMDeployment, snapshot: Snapshot, after: Standing, *, changed: bool
) -> dict[str, Any]:
    """The strategy changes only together with the template: it is part of the same write."""
    if changed and snapshot.deployment is not None:
        at_once = not any(ready(pod) for pod in snapshot.pods)
    else:
        at_once = rolls_all_at_once(snapshot.deployment)
    return deployment(live, after.truth, replicas=llmd.spec.replicas, all_at_once=at_once)


def _leftovers(
    live: Object, llmd: LLMDeployment, snapshot: Snapshot, after: Standing, *, settled: bool
) -> tuple[tuple[str, str, str, str], ...]:
    """A cache that the spec no longer asks for; claim templates that no pod refers to any more."""
    gone = []
    if snapshot.claim is not None and others.cache_claim(live, llmd, None) is None:
        gone.append(("v1", "PersistentVolumeClaim", snapshot.claim))
    if settled:
        gone += [
            ("resource.k8s.io/v1", "ResourceClaimTemplate", item)
            for item in snapshot.claim_templates
            if text(item, "metadata", "name") != after.claim_template
        ]
    return tuple(
        (version, kind, text(item, "metadata", "name"), text(item, "metadata", "uid"))
        for version, kind, item in gone
        if not dig(item, "metadata", "deletionTimestamp")
    )


def _look_again(told: Health, reply: Answer) -> float | None:
    """Most news comes by watch; a wait ends by time, and what is not Ready is looked at anyway."""
    if told.progress != "Reconciling":
        return None
    if reply.hold is not None:
        return reply.hold.seconds
    if reply.wait is not None:
        return float(max(1, reply.wait.seconds))
    return float(WATCH_SECONDS)
