"""The cause of an engine's end: what the supervisor saw, joined with what the log says."""

from __future__ import annotations

from dataclasses import replace

from .diagnosis import causes, classify
from .diagnosis.types import Diagnosis, Evidence
from .process import exit_code
from .report import EVIDENCE_LINES
from .state import State
from .watch import Verdict

# Causes that say "not found": what the supervisor itself saw is better (taxonomy, wrappers).
VAGUE = ("", "unknown", "engine_dead", "engine_hang", "engine_init_failed", "worker_died",
         "startup_killed", "sigterm")  # fmt: skip


def judge(state: State, status: int, verdict: Verdict | None, stopped: bool) -> Diagnosis:
    """`status` as in subprocess; `stopped`: someone outside asked for the end.

    Where the end was not the engine's own, its exit code says nothing about the cause.
    """
    code = exit_code(status) if verdict is None else 1
    found = classify(
        Evidence(
            log=state.tail.text(),
            exit_code=None if stopped else code,
            host_oom_kills=state.host.oom_kills,
            host_peak_bytes=state.host.held_peak_bytes,
            host_limit_bytes=state.host.limit_bytes,
            was_ready=state.started_up,
        )
    )
    if found.phase == "unknown":
        found = replace(found, phase=state.phase)
    if verdict is not None:
        if verdict.cause != "host_oom" and found.actionable and found.cause not in VAGUE:
            return found
        return observed(verdict.cause, verdict.reason, state.phase, found)
    if stopped:
        asked = observed("sigterm", "asked to end from outside", state.phase, found)
        return replace(asked, actionable=False)
    if state.phase == "starting" and found.cause in (*VAGUE, "no_device"):
        for finding in state.findings:
            if finding.cause in ("no_device", "permission_denied"):
                return observed(finding.cause, finding.text, state.phase, found)
    return found


def observed(cause: str, reason: str, phase: str, found: Diagnosis | None = None) -> Diagnosis:
    """What the supervisor saw itself, before whatever the log adds to it."""
    lines = found.evidence if found else ()
    return Diagnosis(
        cause,
        found.phase if found and found.cause == cause else phase,
        helps=str(causes()[cause]["helps"]),
        evidence=(f"[xpullm] {reason}", *lines[: EVIDENCE_LINES - 1]),
        figures=found.figures if found else {},
        actionable=True,
        summary=reason,
    )
