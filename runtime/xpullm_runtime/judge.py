"""The cause of an engine's end: what the supervisor saw, joined with what the log says."""

from __future__ import annotations

from dataclasses import replace

from .diagnosis import classify
from .diagnosis.types import Diagnosis, Evidence
from .process import exit_code
from .report import EVIDENCE_LINES
from .state import State
from .watch import Verdict

# Causes that say "not found": what the supervisor itself saw is better (taxonomy, wrappers).
VAGUE = ("", "unknown", "engine_dead", "engine_hang", "engine_init_failed", "worker_died",
         "startup_killed", "sigterm")  # fmt: skip

HELPS = {
    "host_oom": "resources",
    "startup_killed": "deadline",
    "engine_hang": "reschedule",
    "engine_dead": "reschedule",
    "no_device": "person",
    "permission_denied": "person",
    "wrong_gpu": "reschedule",
    "port_in_use": "person",
    "bad_pod_spec": "person",
}


def judge(state: State, status: int, verdict: Verdict | None, stopped: bool) -> Diagnosis:
    """`status` as in subprocess; `stopped`: someone outside asked for the end."""
    found = classify(
        Evidence(
            log=state.tail.text(),
            exit_code=exit_code(status),
            host_oom_kills=state.host.oom_kills,
            was_ready=state.started_up,
        )
    )
    if verdict is not None:
        if verdict.cause != "host_oom" and found.actionable and found.cause not in VAGUE:
            return found
        return _own(verdict.cause, verdict.reason, found, state)
    if stopped:
        return _own("sigterm", "asked to end from outside", found, state)
    if found.phase == "unknown":
        found = replace(found, phase=state.phase)
    if state.phase == "starting" and found.cause in (*VAGUE, "no_device"):
        for finding in state.findings:
            if finding.cause in ("no_device", "permission_denied"):
                return _own(finding.cause, finding.text, found, state)
    return found


def _own(cause: str, reason: str, found: Diagnosis, state: State) -> Diagnosis:
    phase = found.phase if found.cause == cause else state.phase
    return replace(
        found,
        cause=cause,
        phase=phase,
        helps=HELPS.get(cause, "wait"),
        actionable=cause == "host_oom",
        evidence=(f"[xpullm] {reason}", *found.evidence[: EVIDENCE_LINES - 1]),
        summary=reason,
    )
