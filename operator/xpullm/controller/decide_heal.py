"""What to do about the failures of the current plan's pods.

Before this plan was ever Ready one failure is enough. After that two failures within six hours are
needed: one may be a single request or a flaky card, and the kubelet restarts the engine anyway
(out-of-memory under load comes back within minutes to hours: intel/ipex-llm#12080). Both failures
are read off the pod, so nothing needs to be remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from xpullm.controller.decide_pods import (
    Failure,
    dig,
    entries,
    over,
    ready,
    scheduled_since,
    text,
    unschedulable_since,
    whole,
)
from xpullm.controller.decide_silence import PATIENCE_SECONDS
from xpullm.controller.types import Object, Snapshot
from xpullm.healing.judge import FROM_OUTSIDE
from xpullm.healing.types import PastStep, Step, Stop, Wait
from xpullm.planner.types import Plan

RUNTIME_FAILURES = 2
RUNTIME_WINDOW_SECONDS = 6 * 3600
WATCH_SECONDS = 60
UNSEEN_SECONDS = 5  # its own change brings the deployment here sooner
# kube-scheduler tries a pod again at most 10 s after one that left made room
# (podMaxBackoffSeconds, pkg/scheduler/apis/config/v1/defaults.go); the rest is for its work.
RETRY_SECONDS = 15


def ever_ready(deployment: Object | None, pods: Sequence[Object], found: Sequence[Failure]) -> bool:
    """Whether this plan's pods ever served. The Deployment remembers it: once a rollout was
    complete, Progressing keeps the reason NewReplicaSetAvailable until the next template
    (kubernetes pkg/controller/deployment/progress.go)."""
    if any(ready(pod) for pod in pods) or any(failure.was_ready for failure in found):
        return True
    status = dig(deployment, "status")
    if whole(status, "observedGeneration") != whole(deployment, "metadata", "generation"):
        return False
    return any(
        item.get("type") == "Progressing" and item.get("reason") == "NewReplicaSetAvailable"
        for item in entries(status, "conditions")
    )


def newest(found: Sequence[Failure], history: Sequence[PastStep]) -> Failure | None:
    """The failure to answer: the first that no step has answered yet."""
    answered = {step.failure_id for step in history if step.failure_id}
    return next((failure for failure in found if failure.id not in answered), None)


def too_few(found: Sequence[Failure], failure: Failure, served: bool) -> Wait | None:
    """A single failure of an engine that has served is no reason for a step."""
    if not served or not failure.ended:
        return None
    now, cause = failure.time or 0.0, failure.diagnosis.cause
    ends = [f for f in found if f.ended and (f is failure or not _from_outside(f, cause))]
    times = [time for f in ends for time in (f.time, f.earlier) if time is not None]
    recent = [time for time in times if now - time <= RUNTIME_WINDOW_SECONDS]
    if len(recent) >= RUNTIME_FAILURES:
        return None
    return Wait(
        WATCH_SECONDS,
        f"{failure.diagnosis.cause}: the engine has served and is restarted unchanged; a second"
        f" failure within {RUNTIME_WINDOW_SECONDS // 3600} hours is answered with a step",
    )


def _from_outside(failure: Failure, cause: str) -> bool:
    """An eviction, or a node that went down, says nothing beside a failure of another cause."""
    other = failure.diagnosis.cause
    return failure.lost or (other in FROM_OUTSIDE and other != cause)


def unseen(deployment: Object | None, failure: Failure, served: bool) -> Wait | None:
    """While the Deployment's controller has not looked at the newest version, be it only another
    number of replicas, the Deployment does not say whether this plan served. Pods of a new plan
    come after that look."""
    observed = whole(deployment, "status", "observedGeneration")
    if served or not failure.ended or observed >= whole(deployment, "metadata", "generation"):
        return None
    return Wait(
        UNSEEN_SECONDS,
        f"{failure.diagnosis.cause}: the Deployment's controller has yet to look at it",
    )


def replaced(failure: Failure) -> Wait | None:
    """A pod that was refused or evicted stays as a record, whatever its node has become since, and
    says no time: its ReplicaSet makes another, and the scheduler finds that one's node."""
    if not over(failure.pod) or failure.diagnosis.cause not in FROM_OUTSIDE:
        return None
    told = f"{failure.diagnosis.cause}: Kubernetes replaces the pod, and nothing is changed"
    return Wait(WATCH_SECONDS, told)


def too_young(failure: Failure, now: float) -> Wait | None:
    """What a new pod refers to may come after it, as a Secret that another controller makes: no
    person is called before a pod has had its node for a while."""
    if not failure.waits:
        return None
    told = (
        "tried again by the kubelet; a person is due when the pod has had its node for"
        f" {PATIENCE_SECONDS} s"
    )
    return _until(scheduled_since(failure.pod), PATIENCE_SECONDS, now, failure, told)


def too_early(failure: Failure, now: float) -> Wait | None:
    """A pod without a node is no reason for a step while the one that it replaces may still hold
    the room: until that has been given its time to end, and the scheduler has tried again."""
    if not failure.unplaced:
        return None
    nominated = text(failure.pod, "status", "nominatedNodeName")
    if nominated:  # those that it preempts have grace periods of their own
        told = f"the scheduler makes room on node {nominated}"
        return Wait(WATCH_SECONDS, f"{failure.diagnosis.cause}: {told}")
    patience = whole(failure.pod, "spec", "terminationGracePeriodSeconds") + RETRY_SECONDS
    told = (
        f"pods that end may still hold the room; a step is due {patience} s after the scheduler"
        " first found none"
    )
    return _until(unschedulable_since(failure.pod), patience, now, failure, told)


def _until(
    since: float | None, patience: int, now: float, failure: Failure, told: str
) -> Wait | None:
    """Wait for what is left of `patience` seconds, and no longer whatever the clocks say; not at
    all where nobody knows since when."""
    if since is None or now >= since + patience:
        return None
    seconds = min(patience, ceil(since + patience - now))
    return Wait(seconds, f"{failure.diagnosis.cause}: {told}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a failure happened. `kernel` stands for the driver; "" where the node is not known."""

    node: str
    kernel: str


def place(snapshot: Snapshot, pod: Object) -> Place:
    node = text(pod, "spec", "nodeName")
    kernel = next(
        (
            text(item, "status", "nodeInfo", "kernelVersion")
            for item in snapshot.nodes
            if text(item, "metadata", "name") == node
        ),
        "",
    )
    return Place(node, kernel)


def proposal(step: Step | Wait | Stop | None, message: str = "") -> dict[str, str] | None:
    """What status shows of a step that is not taken now."""
    if not isinstance(step, Step):
        return None
    return {
        "argument": step.lever,
        "from": step.before,
        "to": step.after,
        "message": message or step.text,
    }


def sentence(plan: Plan, failure: Failure) -> str:
    """Cause, phase, where, and the deciding line."""
    diagnosis = failure.diagnosis
    where = f" on node {failure.node}" if failure.node else ""
    line = next((f": {line}" for line in diagnosis.evidence[:1] if line), "")
    return (
        f"{diagnosis.cause} in phase {diagnosis.phase}{where} (plan {plan.hash}, {plan.gpu}){line}"
    )
