"""Evidence in, diagnosis out: pod status first, then the supervisor's report, then the log."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from xpullm_runtime import report as reports

from . import pod as pods
from .decide import root
from .figures import LITERALS, collect
from .matching import Hit, hits
from .phases import Course, course, device_oom, phase_at, public
from .scan import Log, without_digits
from .signatures import causes
from .trust import BY_SIGNAL, SAME_FAILURE, End, may_act, possible
from .types import HELPS, PHASES, Diagnosis, Evidence

EVIDENCE_LINES = 6
EVIDENCE_CHARS = 300
FIGURE_LINES = 300  # of the lines with figures the last ones
_FIGURE_LITERALS = tuple(without_digits(text) for text in LITERALS)
_OOM_PREFIX = "device_oom"
ABSURD_BYTES = 2 * 2**40  # no tensor of a model is this large: a wrong shape, not a lack of memory


# What a probe's kill leaves in the log; anything else that the engine said itself comes first.
_AFTER_A_KILL = frozenset(
    ("unknown", "sigterm", "startup_killed", "engine_hang", "engine_dead", "engine_init_failed",
     "worker_died", "host_oom")
)  # fmt: skip


def classify(evidence: Evidence) -> Diagnosis:
    """Name the cause of a failure. Never raises on what a log, a pod or a report may hold."""
    facts = pods.read(evidence.pod, evidence.container)
    told = _report(evidence, facts)
    if facts.cause:
        phase = facts.phase or (told.phase if told else "unknown")
        found = _diagnosis(facts.cause, phase, [facts.evidence], actionable=True)
        return _with_report(found, told)
    if (evidence.host_oom_kills or 0) > 0 and not evidence.alive:
        text = f"cgroup oom_kill {evidence.host_oom_kills}"
        phase = told.phase if told else "unknown"
        found = _diagnosis("host_oom", phase, [text, facts.evidence], actionable=True)
        return _with_report(found, told)
    killed, why = pods.killed_by(evidence.events)
    if killed in ("evicted", "host_oom") and facts.exit_code in (None, 137, 143):
        return _diagnosis(killed, "unknown", [why], actionable=True)
    was_ready = evidence.was_ready
    if told and not was_ready:
        was_ready = told.was_ready
    if told and (reported := _from_report(told, facts)):
        return reported
    end = _end(evidence, facts, told, was_ready, probed=killed.startswith("probe"))
    found = _from_log(evidence, facts, end)
    own_word = found.actionable and found.cause not in _AFTER_A_KILL
    if killed and not own_word and (probed := _from_probe(killed, why, facts, bool(was_ready))):
        return _with_report(probed, told)
    return _with_report(found, told)


def _report(evidence: Evidence, facts: pods.PodFacts) -> reports.Report | None:
    if isinstance(evidence.report, Mapping):
        fields = {key: value for key, value in evidence.report.items() if isinstance(key, str)}
        return reports.decode(_dump(fields | {"schema": reports.SCHEMA}))
    # A message that does not begin with the object is a tail of the log, not a report.
    return reports.decode(facts.message) if facts.message.startswith("{") else None


def _dump(raw: Mapping[str, Any]) -> str:
    return json.dumps(raw, default=str)


def _from_report(told: reports.Report, facts: pods.PodFacts) -> Diagnosis | None:
    """The supervisor saw the whole run by the same rules; its word counts once the run ended."""
    ended = told.ended or facts.terminated
    if told.oom_kills > 0 and ended:
        text = f"cgroup oom_kill {told.oom_kills}"
        return _with_report(
            _diagnosis("host_oom", told.phase, [text, *told.evidence], actionable=True), told
        )
    if told.cause not in causes() or told.cause == "unknown":
        return None
    if told.was_ready and causes()[told.cause].get("start_only"):
        return None
    found = _diagnosis(
        told.cause, told.phase, list(told.evidence), told.figures,
        actionable=told.actionable and ended,
    )  # fmt: skip
    if told.helps in HELPS:
        found = replace(found, helps=told.helps)
    return _with_report(found, told)


def _with_report(found: Diagnosis, told: reports.Report | None) -> Diagnosis:
    if told is None:
        return found
    figures = dict(told.figures) | dict(found.figures)
    if told.host_limit_bytes > 0:
        figures["memory_limit_bytes"] = told.host_limit_bytes
    if told.host_peak_bytes > 0:
        figures["host_peak_bytes"] = told.host_peak_bytes
    if found.cause == "unknown":  # nobody knows; what the supervisor saw last says most
        lines = tuple(_printable(line)[:EVIDENCE_CHARS] for line in told.evidence[-EVIDENCE_LINES:])
        phase = told.phase if told.phase in PHASES else found.phase
        return replace(found, figures=figures, phase=phase, evidence=lines or found.evidence)
    return replace(found, figures=figures)


def _from_probe(killed: str, why: str, facts: pods.PodFacts, was_ready: bool) -> Diagnosis | None:
    """A probe's kill explains only a kill: 137 or 143, or an end not yet reported."""
    if facts.exit_code not in (None, 137, 143):
        return None
    if killed == "probe-liveness" and (was_ready or facts.ready):
        return _diagnosis("engine_hang", "runtime", [why, facts.evidence], actionable=True)
    return _diagnosis("startup_killed", "startup", [why, facts.evidence], actionable=True)


def _end(
    evidence: Evidence, facts: pods.PodFacts, told: reports.Report | None,
    was_ready: bool | None, *, probed: bool,
) -> End:  # fmt: skip
    """What is known of the run's end without a word of its log."""
    code = facts.exit_code if facts.exit_code is not None else _code(evidence.exit_code)
    peak, limit = evidence.host_peak_bytes, evidence.host_limit_bytes
    if told and not peak:
        peak, limit = told.figures.get("host_held_peak_bytes", 0), told.host_limit_bytes
    return End(code, was_ready, probed and code in (137, 143), peak, limit)


def _from_log(evidence: Evidence, facts: pods.PodFacts, end: End) -> Diagnosis:
    text = evidence.log if isinstance(evidence.log, str) else ""
    if not text and not facts.message.startswith("{"):
        text = facts.message  # FallbackToLogsOnError: the kubelet's copy of the last lines
    log = Log(text)
    way = course(log)
    every = hits(log)
    found = possible(every, way, end.was_ready)
    hit = root(found, way)
    dead = not evidence.alive and (facts.terminated or end.code is not None)
    if facts.running and not facts.terminated:
        dead = False
    wrapped = hit is not None and hit.signature.rank >= 4
    if (hit is None or wrapped) and (by_code := _from_exit(end.code, facts, log, way, wrapped)):
        return by_code
    if hit is None:
        return _unknown(log, way, end.was_ready, root(every, way))
    return _from_hit(hit, found, log, way, dead, end)


def _code(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _from_hit(
    hit: Hit, found: Sequence[Hit], log: Log, way: Course, dead: bool, end: End
) -> Diagnosis:
    was_ready = end.was_ready
    index, signature = hit.line.index, hit.signature
    figures = _figures(log, hit)
    cause, phase = signature.cause, signature.phase
    if cause == _OOM_PREFIX:
        around = " ".join(log.lines[index : index + 3])
        phase = phase or _stated_phase(hit, found)
        cause, phase = device_oom(way, index, figures, around, was_ready, phase)
    elif not phase:
        phase = public(phase_at(way, index, was_ready))
    cause, phase = _refine(cause, phase, hit, way, bool(was_ready), figures)
    helps = causes()[cause]["helps"]
    actionable = dead and may_act(hit, helps, found, log, way, figures, end)
    return _diagnosis(cause, phase, _evidence(hit, log), figures, actionable)


def _stated_phase(hit: Hit, found: Sequence[Hit]) -> str:
    """The phase that a later message about the same failure names in words."""
    return next(
        (
            other.signature.phase
            for other in found
            if other.signature.cause == hit.signature.cause
            and other.signature.phase
            and not other.weak
            and 0 <= other.line.index - hit.line.index <= SAME_FAILURE
        ),
        "",
    )


def _refine(
    cause: str, phase: str, hit: Hit, way: Course, was_ready: bool, figures: Mapping[str, int]
) -> tuple[str, str]:
    """Where two signatures say the same words, the course decides between the causes."""
    up = was_ready or way.ready(hit.line.index)
    if hit.signature.id == "ur-device-lost" and way.frame(hit.line.index) == "discovery" and not up:
        return "no_device", "starting"
    if hit.signature.id == "cpu-allocator" and figures.get("host_tried_bytes", 0) >= ABSURD_BYTES:
        return "engine_bug", phase
    if cause == "engine_init_failed" and up:
        return "engine_dead", "runtime"
    if cause == "startup_killed" and up:
        return (
            ("engine_hang", "runtime") if hit.signature.where == "k8s" else ("sigterm", "shutdown")
        )
    if cause == "sigterm":
        phase = "shutdown"
        if not up and way.marker(hit.line.index) not in ("", "starting"):
            return "startup_killed", "startup"
    return cause, phase


def _figures(log: Log, hit: Hit) -> dict[str, int]:
    """Start-up figures of the whole log, then those of the deciding record, which win."""
    lines = [log.lines[index] for index in list(log.find(_FIGURE_LITERALS))[-FIGURE_LINES:]]
    out = collect(lines)
    index = hit.line.index
    record = " ".join(log.lines[index : index + 3])
    if hit.signature.id.startswith(("stable-empty", "outofmemory-class")):
        record = " ".join(log.lines[max(0, index - 40) : index + 1])
    for name in ("tried_bytes", "free_bytes", "total_bytes", "allocated_bytes", "reserved_bytes"):
        if hit.signature.cause.startswith((_OOM_PREFIX, "device_memory")):
            out.pop(name, None)
    return out | collect([record])


def _from_exit(
    code: int | None, facts: pods.PodFacts, log: Log, way: Course, wrapped: bool
) -> Diagnosis | None:
    """What the exit code tells where the log does not."""
    if code is None:
        return None
    label = facts.evidence or f"exit code {code}"
    last = _last_lines(log, 2)
    end = len(log.lines)
    if code in BY_SIGNAL:
        return _diagnosis(BY_SIGNAL[code], public(phase_at(way, end)), [label, *last])
    if code in (126, 127, 128) and not wrapped:
        return _diagnosis("bad_pod_spec", "starting", [label, *last], actionable=facts.terminated)
    if code == 143:  # wrappers after a SIGTERM are shutdown noise
        if facts.deleted or way.ready(end):
            return _diagnosis("sigterm", "shutdown", [label, *last])
        return _diagnosis("startup_killed", "startup", [label, *last])
    loading = way.marker(end) == "weights" and not wrapped
    if code == 137 and loading and not facts.terminated:
        # The log stops in mid-load and nothing says who killed it: host memory, most often.
        return _diagnosis("host_oom", "weights", [label, *last])
    return None


def _unknown(log: Log, way: Course, was_ready: bool | None, refused: Hit | None) -> Diagnosis:
    """With the last lines; and with the one that a served engine cannot mean, for people to see."""
    phase = public(phase_at(way, len(log.lines), was_ready))
    said = _evidence(refused, log) if refused else []
    last = [line for line in _last_lines(log, 4) if line not in said]
    return _diagnosis("unknown", phase, [*said, *last])


def _last_lines(log: Log, count: int) -> list[str]:
    return [line for line in log.lines[-40:] if line.strip()][-count:]


def _evidence(hit: Hit, log: Log) -> list[str]:
    lines = [log.lines[hit.line.index]]
    following = log.lines[hit.line.index + 1 : hit.line.index + 2]
    if following and hit.signature.id == "neo-abort":
        lines += following
    return lines


def _diagnosis(
    cause: str,
    phase: str,
    evidence: Sequence[str],
    figures: Mapping[str, int] | None = None,
    actionable: bool = False,
) -> Diagnosis:
    known = causes()[cause]
    lines = tuple(_printable(line)[:EVIDENCE_CHARS] for line in evidence if line)[:EVIDENCE_LINES]
    return Diagnosis(
        cause=cause,
        phase=phase if phase in PHASES else "unknown",
        helps=known["helps"],
        evidence=lines,
        figures=dict(figures or {}),
        actionable=actionable,
        summary=f"{known['title']}: {lines[0]}" if lines else known["title"],
    )


def _printable(line: str) -> str:
    """A log is hostile input: no control characters reach a terminal, an Event or a status."""
    text = line[: EVIDENCE_CHARS * 4].strip()
    return "".join(char if char.isprintable() else " " for char in text)
