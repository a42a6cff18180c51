"""What Events add where a pod itself says nothing: it does not start, or was killed without a word.

Whoever may create Events in the namespace writes these texts: they are bounded, and none of them
ever changes an argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from xpullm.controller.decide_conditions import shorten
from xpullm.controller.decide_pods import (
    WAITING,
    Failure,
    dig,
    ended_run,
    entries,
    leaving,
    not_started,
    over,
    ready,
    scheduled_since,
    text,
    whole,
)
from xpullm.controller.timestamps import epoch, rfc3339
from xpullm.controller.types import Object
from xpullm.resources import names
from xpullm_runtime import report as reports
from xpullm_runtime.diagnosis import classify
from xpullm_runtime.diagnosis.types import Diagnosis, Evidence

PATIENCE_SECONDS = 30  # own rule: mounts that are tried twice and small images are done by then
LATE_SECONDS = 600
MOST = 20  # Events of one pod that are kept, the newest
REASON_CHARS, NOTE_CHARS = 128, 1024  # events.k8s.io/v1: reason 128 characters, note 1 kB
_KILLED = (137, 143)  # 128 + SIGKILL, SIGTERM: all that a probe's kill leaves
# The kubelet comes to these only with every volume mounted and the sandbox made
# (kubernetes pkg/kubelet/events/event.go, pkg/kubelet/kuberuntime).
_GOES_ON = frozenset({"Pulling", "Pulled", "Created", "Started"})
# Told every two minutes whatever the reason is (pkg/kubelet/volumemanager/volume_manager.go).
_FOLLOWS = ("Unable to attach or mount volumes", "Unable to mount volumes")
# What may be wrong with a pod before any engine has run; none of them is a matter of arguments.
_CAUSES = frozenset({"bad_pod_spec", "image_pull", "admission_error", "node_plugin_failure"})
_SANDBOX = re.compile(r"\b[0-9a-f]{64}\b")  # another one at each attempt: no news
_TIMES = ("eventTime", "deprecatedFirstTimestamp", "deprecatedLastTimestamp")


def placed(pod: Object) -> float | None:
    """Since when a pod has its node while its engine has not run at all and nothing in its status
    says why, in seconds since the epoch; None for other pods."""
    if not text(pod, "spec", "nodeName") or over(pod) or leaving(pod):
        return None
    for status in entries(pod, "status", "containerStatuses"):
        if status.get("name") != names.ENGINE_CONTAINER:
            continue
        runs = dig(status, "state", "running") is not None or ended_run(status) is not None
        if runs or text(status, "state", "waiting", "reason") in WAITING:
            return None
    return scheduled_since(pod)


def silent(pod: Object) -> bool:
    """Whether it failed and neither its status nor its own report says why."""
    if ready(pod) or leaving(pod) or (over(pod) and text(pod, "status", "reason")):
        return False
    for status in entries(pod, "status", "containerStatuses"):
        end = ended_run(status) if status.get("name") == names.ENGINE_CONTAINER else None
        if end is None:
            continue
        message = text(end, "message")
        report = reports.decode(message)
        if text(end, "reason") == "OOMKilled" or (report and report.cause not in ("", "unknown")):
            return False
        return whole(end, "exitCode") in _KILLED or not message
    return dig(pod, "status", "phase") == "Failed" and not text(pod, "status", "message")


def ask_from(pod: Object) -> float | None:
    """From when on the pod's Events are worth a question, in seconds since the epoch."""
    if silent(pod):
        return 0.0
    since = placed(pod)
    return None if since is None else since + PATIENCE_SECONDS


def kept(items: Iterable[Object], uid: str) -> tuple[Object, ...]:
    """Of a listing of Events the newest about this pod, oldest first, with bounded texts."""
    found = []
    for item in items:
        series = epoch(dig(item, "series", "lastObservedTime"))
        times = [series, *(epoch(dig(item, name)) for name in _TIMES)]
        seen = max((time for time in times if time is not None), default=None)
        note = text(item, "note")[: 4 * NOTE_CHARS]
        if seen is None or text(item, "regarding", "uid") != uid:
            continue
        event = {
            "regarding": {"uid": uid},
            "type": shorten(text(item, "type"), REASON_CHARS),
            "reason": shorten(text(item, "reason"), REASON_CHARS),
            "note": shorten(_SANDBOX.sub("…", note), NOTE_CHARS),
            "eventTime": rfc3339(seen),
        }
        found.append((seen, text(item, "metadata", "name"), event))
    found.sort(key=lambda one: one[:2])
    return tuple(event for _, _, event in found[-MOST:])


def said(event: Object) -> str:
    return f"{text(event, 'reason')}: {text(event, 'note')}"


def stuck(
    pods: Sequence[Object], found: Sequence[Failure], events: Sequence[Object]
) -> tuple[Failure, ...]:
    """Pods that don't start for a reason that has a name, without those whose failure is known.

    Never actionable: an Event's text alone changes nothing.
    """
    known = {text(failure.pod, "metadata", "uid") for failure in found}
    result = []
    for pod in pods:
        uid = text(pod, "metadata", "uid")
        seen = _obstacle(_about(uid, events)) if uid not in known and placed(pod) else None
        if seen is None or not _named(seen[1]):
            continue
        result.append(not_started(pod, text(seen[0], "reason"), seen[1]))
    return tuple(sorted(result, key=lambda failure: failure.id))


def delay(pods: Sequence[Object], events: Sequence[Object], now: float) -> str:
    """What to tell of the pod that has waited longest for its start; "" where none is late."""
    waiting = [
        (since, text(pod, "metadata", "name"), pod)
        for pod in pods
        if (since := placed(pod)) is not None and now - since >= PATIENCE_SECONDS
    ]
    for since, name, pod in sorted(waiting, key=lambda one: one[:2]):
        about = _about(text(pod, "metadata", "uid"), events)
        obstacle = _obstacle(about)
        told = [event for event in about if text(event, "reason") != "Scheduled"]
        newest = obstacle[0] if obstacle else told[-1] if told else None
        where = f"pod {name} is on node {text(pod, 'spec', 'nodeName')} since {rfc3339(since)}"
        if newest is not None:
            return f"{where} and has not started: {said(newest)}"
        if now - since >= LATE_SECONDS:
            return f"{where} and has not started, and no Event says why"
    return ""


def _about(uid: str, events: Sequence[Object]) -> list[Object]:
    return [event for event in events if text(event, "regarding", "uid") == uid]


def _obstacle(about: Sequence[Object]) -> tuple[Object, Diagnosis] | None:
    """The Warning since the last sign of progress that says most: a cause that has a name, then a
    reason before its follow-on, then the newest."""
    going = [i for i, event in enumerate(about) if text(event, "reason") in _GOES_ON]
    recent = about[going[-1] + 1 :] if going else about
    warnings = [
        (event, _diagnosed(said(event))) for event in recent if text(event, "type") == "Warning"
    ]

    def says_most(one: tuple[int, tuple[Object, Diagnosis]]) -> tuple[bool, bool, int]:
        index, (event, diagnosis) = one
        return _named(diagnosis), not text(event, "note").startswith(_FOLLOWS), index

    return max(enumerate(warnings), key=says_most)[1] if warnings else None


@lru_cache(maxsize=256)
def _diagnosed(told: str) -> Diagnosis:
    return classify(Evidence(log=told))


def _named(diagnosis: Diagnosis) -> bool:
    return diagnosis.cause in _CAUSES
