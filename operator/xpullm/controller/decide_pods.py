"""What the pods show: who serves, who failed, and with which plan. Every field is untrusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from xpullm.controller.timestamps import epoch
from xpullm.controller.types import Object
from xpullm.resources import names
from xpullm_runtime import report as reports
from xpullm_runtime.diagnosis import classify
from xpullm_runtime.diagnosis.pod import killed_by
from xpullm_runtime.diagnosis.types import Diagnosis, Evidence
from xpullm_runtime.report import Report

# Waiting reasons behind which something is wrong (kubelet, pkg/kubelet/images/types.go and
# kuberuntime_manager.go); CrashLoopBackOff and ContainerCreating say nothing of a cause.
WAITING = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "ImageInspectError",
        "InvalidImageName",
        "RegistryUnavailable",
        "CreateContainerConfigError",
        "CreateContainerError",
        "PreCreateHookError",
        "PreStartHookError",
        "RunContainerError",
    }
)
UNSCHEDULABLE = "Unschedulable"
# How a run ended that neither runtime nor kubelet saw the end of, as when the node went down
# (containerd internal/cri/server/helpers.go; kubernetes pkg/kubelet/kubelet_pods.go).
LOST = frozenset({"Unknown", "ContainerStatusUnknown"})
# A container that ended is started again at once, then 10 s later, twice as long after each further
# end (kubernetes pkg/kubelet/kubelet.go, initialCrashLoopBackOff and its maximum).
BACK_OFF_SECONDS, MOST_BACK_OFF_SECONDS = 10.0, 300.0
ENOUGH_RUNS = 64  # no rule counts so far: old times in a status must cost no time
FLAP_SECONDS = 5.0  # between what a kubelet sees and what it tells; own rule
# Admission webhooks add containers of others (a service mesh's proxy): how those end says nothing
# about the engine.
OURS = frozenset({names.ENGINE_CONTAINER, names.INSTALL_CONTAINER})


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure of one pod. `ended`: a container ended (else it never came so far).

    `earlier`: when the run before this one failed, as far as the pod still shows it; with it, two
    failures within a window can be seen in one moment of one pod, and nothing needs to be
    remembered. `runs`: how many runs of this pod have failed in a row, at most. `lost`: nobody saw
    how the run ended.
    """

    id: str
    pod: Object
    ended: bool
    time: float | None
    finished: str
    report: Report | None
    diagnosis: Diagnosis
    was_ready: bool
    earlier: float | None
    runs: int
    lost: bool = False

    @property
    def node(self) -> str:
        return text(self.pod, "spec", "nodeName")

    @property
    def unplaced(self) -> bool:
        """The scheduler finds no node for the pod."""
        return self.id.endswith(f"/{UNSCHEDULABLE}")

    @property
    def waits(self) -> bool:
        """A container is not made, and the kubelet goes on trying."""
        return not self.ended and self.id.rpartition("/")[2] in WAITING


def dig(obj: Any, *path: str) -> Any:
    """A nested value; None where anything on the way is missing or of another kind."""
    for key in path:
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(key)
    return obj


def text(obj: Any, *path: str) -> str:
    value = dig(obj, *path)
    return value if isinstance(value, str) else ""


def entries(obj: Any, *path: str) -> list[Mapping[str, Any]]:
    """The mappings of a nested list."""
    value = dig(obj, *path)
    items = value if isinstance(value, (list, tuple)) else ()
    return [item for item in items if isinstance(item, Mapping)]


def whole(obj: Any, *path: str) -> int:
    value = dig(obj, *path)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def condition(obj: Any, kind: str, status: str = "") -> Mapping[str, Any]:
    """The condition of this type in an object's status, and with this status where one is given;
    empty where there is none."""
    return next(
        (
            item
            for item in entries(obj, "status", "conditions")
            if item.get("type") == kind and (not status or item.get("status") == status)
        ),
        {},
    )


def plan_hash(pod: Object) -> str:
    return text(pod, "metadata", "labels", names.LABEL_PLAN)


def leaving(pod: Object) -> bool:
    return bool(dig(pod, "metadata", "deletionTimestamp"))


def ready(pod: Object) -> bool:
    return not leaving(pod) and bool(condition(pod, "Ready", "True"))


def over(pod: Object) -> bool:
    """Evicted, refused by the kubelet, or ended: no container of it will start again."""
    return dig(pod, "status", "phase") in ("Failed", "Succeeded")


def of_plan(pods: Sequence[Object], wanted: str) -> tuple[Object, ...]:
    """The pods that run this plan and stay. Those of other plans are history."""
    return tuple(pod for pod in pods if plan_hash(pod) == wanted and not leaving(pod))


def failures(
    pods: Sequence[Object], wanted: str, events: Sequence[Object] = ()
) -> tuple[Failure, ...]:
    """The failures of this plan's pods that are not over: pods that serve again don't count.

    Those of containers that ended come first, newest first; then by id, so that every pass sees
    the same order.
    """
    making_room = any(leaving(pod) for pod in pods)  # it still holds the card for a while
    current = of_plan(pods, wanted)
    alive = [pod for pod in current if not over(pod)]
    # A pod that was evicted stays as a record; where all others serve, it was replaced.
    counted = alive if alive and all(map(ready, alive)) else current
    found = [
        failure
        for pod in counted
        if not ready(pod)
        for failure in _of_pod(pod, events)
        if not (making_room and failure.unplaced)
    ]
    return tuple(sorted(found, key=lambda f: (not f.ended, -(f.time or 0.0), f.id)))


def _of_pod(pod: Object, events: Sequence[Object]) -> Iterator[Failure]:
    """At most one: the first of how a container ended, why it waits, why the pod has none."""
    about = [e for e in events if text(e, "regarding", "uid") == text(pod, "metadata", "uid")]
    containers = [
        *entries(pod, "status", "containerStatuses"),
        *entries(pod, "status", "initContainerStatuses"),
    ]
    for status in containers:
        failure = _ended(pod, status, about) if status.get("name") in OURS else None
        if failure is not None:
            yield failure
            return
    reason = next(
        (why for s in containers if (why := text(s, "state", "waiting", "reason")) in WAITING), ""
    )
    if not reason and dig(pod, "status", "phase") == "Failed":
        reason = text(pod, "status", "reason") or "Failed"
    if not reason and _unschedulable(pod):
        reason = UNSCHEDULABLE
    if reason:
        diagnosis = classify(Evidence(pod=pod, events=about, was_ready=False))
        yield not_started(pod, reason, diagnosis)


def not_started(pod: Object, reason: str, diagnosis: Diagnosis) -> Failure:
    """What keeps a pod from its first run; `reason`: Kubernetes' word for it."""
    return Failure(
        id=f"{text(pod, 'metadata', 'uid')}/{reason}",
        pod=pod,
        ended=False,
        time=None,
        finished="",
        report=None,
        diagnosis=diagnosis,
        was_ready=False,
        earlier=None,
        runs=1,
    )


def ended_run(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """How a container's last run ended, unless the run after it has started up."""
    state = dig(status, "state")
    if isinstance(dig(state, "running"), Mapping) and status.get("started") is True:
        return None  # the startup probe passed again; not Ready now has another reason
    for terminated in (dig(state, "terminated"), dig(status, "lastState", "terminated")):
        if isinstance(terminated, Mapping):
            return terminated
    return None


def _ended(pod: Object, status: Mapping[str, Any], events: Sequence[Object]) -> Failure | None:
    terminated = ended_run(status)
    if terminated is None or _served_since(pod, status):
        return None
    state, engine = dig(status, "state"), status.get("name") == names.ENGINE_CONTAINER
    if not engine and whole(terminated, "exitCode") == 0:
        return None  # an init container that did its work
    began = epoch(text(terminated, "startedAt")) or 0.0
    about = [e for e in events if began <= (epoch(text(e, "eventTime")) or began)]
    restarts = whole(status, "restartCount")
    run = restarts - 1 if isinstance(dig(state, "running"), Mapping) else restarts
    finished = text(terminated, "finishedAt")
    report = reports.decode(text(terminated, "message")) if engine else None
    # The kubelet asks the liveness probe only once the startup probe has passed (prober/worker.go).
    served = killed_by(about)[0] == "probe-liveness"
    was_ready = report.was_ready if report is not None else served
    diagnosis = classify(
        Evidence(
            log="" if report is not None else text(terminated, "message"),
            exit_code=whole(terminated, "exitCode"),
            pod=pod,
            container=text(status, "name"),
            report=asdict(report) if report is not None else None,
            events=about,
            host_oom_kills=report.oom_kills if report is not None else None,
            was_ready=was_ready if report is not None or served else None,
        )
    )
    lost = text(terminated, "reason") in LOST and diagnosis.cause == "unknown"
    return Failure(
        id=f"{text(pod, 'metadata', 'uid')}/{max(0, run)}/{finished}",
        pod=pod,
        ended=True,
        time=epoch(finished),
        finished=finished,
        report=report,
        diagnosis=diagnosis,
        was_ready=was_ready,
        earlier=epoch(text(terminated, "startedAt")) if run >= 1 else None,
        runs=1 if lost else _in_a_row(pod, terminated, max(0, run) + 1),
        lost=lost,
    )


def _unready_since(pod: Object) -> float | None:
    """Since when a pod is not Ready, as seconds since the epoch; None where it does not say."""
    told = condition(pod, "Ready")
    return None if told.get("status") == "True" else epoch(told.get("lastTransitionTime"))


def _served_since(pod: Object, status: Mapping[str, Any]) -> bool:
    """Whether the run after the one that ended was Ready already. A kubelet that was restarted
    calls it not started until it has asked the startup probe again
    (kubernetes pkg/kubelet/prober/prober_manager.go, UpdatePodStatus)."""
    began = epoch(text(status, "state", "running", "startedAt"))
    since = _unready_since(pod)
    return began is not None and since is not None and since > began + FLAP_SECONDS


def _in_a_row(pod: Object, terminated: Mapping[str, Any], runs: int) -> int:
    """How many of all its runs can have failed since the pod was last Ready; of those that served
    the last two. A restart count never goes down: what ended weeks ago is no try of today."""
    since, began = _unready_since(pod), epoch(text(terminated, "startedAt"))
    finished, first = epoch(text(terminated, "finishedAt")), epoch(text(pod, "status", "startTime"))
    if since is None or began is None or finished is None:
        return runs
    if first is None or since <= first + FLAP_SECONDS:
        return runs  # it was never Ready
    if began < since - FLAP_SECONDS:
        return min(runs, 2)  # it served; whether the one before is recent, `earlier` tells
    each, wait, possible = max(0.0, finished - began), BACK_OFF_SECONDS, 2
    end = since + each
    while (
        possible < min(runs, ENOUGH_RUNS) and (end := end + wait + each) <= finished + FLAP_SECONDS
    ):
        possible, wait = possible + 1, min(2 * wait, MOST_BACK_OFF_SECONDS)
    return min(runs, possible)


def _unschedulable(pod: Object) -> bool:
    return condition(pod, "PodScheduled", "False").get("reason") == UNSCHEDULABLE


def unschedulable_since(pod: Object) -> float | None:
    """When the scheduler first found no node, in seconds since the epoch; None where it says no
    time, or where the pod has a node."""
    return epoch(condition(pod, "PodScheduled", "False").get("lastTransitionTime"))


def scheduled_since(pod: Object) -> float | None:
    """Since when a pod has its node, as far as it says; else since when it exists."""
    since = epoch(condition(pod, "PodScheduled").get("lastTransitionTime"))
    return since or epoch(dig(pod, "metadata", "creationTimestamp"))


def latest_report(pods: Sequence[Object], wanted: str) -> Report | None:
    """The newest report of a run of this plan, Ready again or not: what the engine measured."""
    newest: tuple[float, Report] | None = None
    for pod in of_plan(pods, wanted):
        for status in entries(pod, "status", "containerStatuses"):
            if status.get("name") != names.ENGINE_CONTAINER:
                continue
            for state in ("state", "lastState"):
                report = reports.decode(text(status, state, "terminated", "message"))
                time = epoch(text(status, state, "terminated", "finishedAt")) or 0.0
                if report is not None and (newest is None or time > newest[0]):
                    newest = (time, report)
    return newest[1] if newest is not None else None
