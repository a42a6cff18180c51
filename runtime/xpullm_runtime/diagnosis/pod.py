"""What Kubernetes itself says: read first, because it is nobody's log line.

Order of reading: the pod's reason, its scheduling condition, the container's waiting reason, its
last termination, then Events. The facts behind it were tried on a real kubelet (1.36): OOMKilled
is reported with whatever exit code PID 1 had when only a child was killed; an outside SIGKILL is
reason Error with exit code 137. So the reason decides, never the code alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_POD_REASONS = {
    "Evicted": "evicted",
    "NodeLost": "evicted",
    "NodeShutdown": "evicted",
    "Shutdown": "evicted",  # before Kubernetes 1.22
    "Terminated": "evicted",  # graceful node shutdown
    "Preempting": "evicted",
    "Preempted": "evicted",
    "NodeAffinity": "admission_error",
    "UnexpectedAdmissionError": "admission_error",
    "TopologyAffinityError": "admission_error",
    "SMTAlignmentError": "admission_error",
    "InvalidNodeInfo": "admission_error",
    "HostNetworkNotSupported": "admission_error",
    "MatchNodeSelector": "admission_error",
    "NodeName": "admission_error",
    "NodePorts": "admission_error",
    "UnsupportedResource": "admission_error",
    "AppArmor": "bad_pod_spec",
    "SysctlForbidden": "bad_pod_spec",
    "ForbiddenSysctl": "bad_pod_spec",
    "PodOSNotSupported": "bad_pod_spec",
    "PodOSSelectorNodeLabelDoesNotMatch": "bad_pod_spec",
}
_UNSCHEDULABLE = ("Unschedulable", "SchedulingGated", "SchedulerError")
_WAITING = {
    "ErrImagePull": "image_pull",
    "ImagePullBackOff": "image_pull",
    "InvalidImageName": "image_pull",
    "ErrImageNeverPull": "image_pull",
    "ImageInspectError": "image_pull",
    "RegistryUnavailable": "image_pull",
    "SignatureValidationFailed": "image_pull",
    "CreateContainerConfigError": "bad_pod_spec",
    "CreateContainerError": "bad_pod_spec",
    "RunContainerError": "bad_pod_spec",
    "StartError": "bad_pod_spec",
    "PreCreateHookError": "bad_pod_spec",
    "PreStartHookError": "bad_pod_spec",
    "PostStartHookError": "bad_pod_spec",
    "VerifyNonRootError": "bad_pod_spec",
}
_TERMINATED = {
    "OOMKilled": "host_oom",
    "StartError": "bad_pod_spec",
    "ContainerCannotRun": "bad_pod_spec",
}


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What a pod's status says of one container. `cause` is "" where the status does not decide."""

    cause: str = ""
    phase: str = ""
    evidence: str = ""
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    message: str = ""
    terminated: bool = False
    running: bool = False
    ready: bool = False
    deleted: bool = False


def read(pod: Any, container: str) -> PodFacts:
    """Read a v1 Pod (or only its status). Rubbish yields empty facts."""
    top = _map(pod)
    status = _map(top.get("status")) or top
    reason = _text(status.get("reason"))
    deleted = bool(_map(top.get("metadata")).get("deletionTimestamp"))
    message = _text(status.get("message"))
    if reason in _POD_REASONS or reason.startswith("OutOf"):
        cause = _POD_REASONS.get(reason, "admission_error")
        phase = "unknown" if cause == "evicted" else "scheduling"
        return PodFacts(cause, phase, f"{reason}: {message}", reason=reason, terminated=True)
    for condition in _maps(status.get("conditions")):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            text = f"{_text(condition.get('reason'))}: {_text(condition.get('message'))}"
            return PodFacts("evicted", "unknown", text, reason=reason, terminated=True)
        if (
            condition.get("type") == "PodScheduled"
            and condition.get("status") == "False"
            and condition.get("reason") in _UNSCHEDULABLE
        ):
            text = _text(condition.get("message"))
            why = _text(condition.get("reason"))
            return PodFacts("unschedulable_gpu", "scheduling", f"{why}: {text}")
    return _container(status, container, deleted)


def _container(status: Mapping[str, Any], name: str, deleted: bool) -> PodFacts:
    statuses = _maps(status.get("containerStatuses"))
    chosen = [one for one in statuses if one.get("name") == name] or statuses[:1]
    facts = PodFacts(deleted=deleted)
    for one in [*chosen, *_maps(status.get("initContainerStatuses"))]:
        state, last = _map(one.get("state")), _map(one.get("lastState"))
        waiting = _map(state.get("waiting"))
        if (reason := _text(waiting.get("reason"))) in _WAITING:
            text = f"{reason}: {_text(waiting.get('message'))}"
            phase = "starting" if _WAITING[reason] == "bad_pod_spec" else "scheduling"
            return PodFacts(_WAITING[reason], phase, text, reason=reason, deleted=deleted)
        ended = _map(state.get("terminated")) or _map(last.get("terminated"))
        if not ended and one not in chosen:
            continue
        if one not in chosen and ended.get("exitCode") == 0:
            continue  # an init container that did its work
        if ended or one in chosen:
            facts = _ended(ended, state, one, deleted)
        if ended:
            break
    return facts


def _ended(
    ended: Mapping[str, Any], state: Mapping[str, Any], one: Mapping[str, Any], deleted: bool
) -> PodFacts:
    reason = _text(ended.get("reason"))
    code, signal = _whole(ended.get("exitCode")), _whole(ended.get("signal"))
    message = _text(ended.get("message"))
    cause = _TERMINATED.get(reason, "")
    if not cause and code in (127, 128) and not message.startswith("{"):
        cause = "bad_pod_spec"
    label = f"lastState.terminated: reason {reason or '-'}, exitCode {code}"
    first = "" if message.startswith("{") else message.strip().split("\n")[0]
    return PodFacts(
        cause=cause,
        phase="starting" if cause == "bad_pod_spec" else "",
        evidence=(f"{label}: {first}" if cause == "bad_pod_spec" and first else label)
        if ended
        else "",
        exit_code=code,
        signal=signal,
        reason=reason,
        message=message,
        terminated=bool(ended),
        running=bool(_map(state.get("running"))) and not ended,
        ready=one.get("ready") is True,
        deleted=deleted,
    )


def killed_by(events: Sequence[Any]) -> tuple[str, str]:
    """From the pod's Events: ("probe-startup" | "probe-liveness" | "evicted" | "", its text)."""
    verdict = ("", "")
    for event in _maps(events):
        reason = _text(event.get("reason"))
        text = _text(event.get("message")) or _text(event.get("note"))
        if reason == "TaintManagerEviction" and text.startswith("Cancelling"):
            continue  # the taint went in time
        if reason in ("Evicted", "Preempted", "TaintManagerEviction"):
            return "evicted", f"{reason}: {text}"
        if reason == "Killing" and "failed startup probe" in text:
            verdict = ("probe-startup", text)
        elif reason == "Killing" and "failed liveness probe" in text and not verdict[0]:
            verdict = ("probe-liveness", text)
        elif reason == "SystemOOM":
            return "host_oom", f"{reason}: {text}"
    return verdict


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _maps(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        return []
    return [one for one in value if isinstance(one, Mapping)]


def _text(value: Any) -> str:
    return value[:4096] if isinstance(value, str) else ""


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
