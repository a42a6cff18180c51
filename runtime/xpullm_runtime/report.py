"""The supervisor's last word: JSON of at most 4096 bytes in the container's termination message.

Written by the supervisor (rewritten in place at each phase change and decisive line), read by the
operator. The reader trusts nothing: a foreign or broken message is no report (None).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

MAX_BYTES = 4096  # the kubelet cuts a container's termination message there
SCHEMA = "xpullm.io/report/v1"
EVIDENCE_LINES = 8
EVIDENCE_CHARS = 300


@dataclass(frozen=True, slots=True)
class Report:
    """What happened in one container run. `ended` is False in a report that a kill cut short."""

    cause: str = ""
    phase: str = "starting"
    helps: str = ""
    actionable: bool = False
    ended: bool = False
    was_ready: bool = False
    exit_code: int | None = None
    signal: int | None = None
    started: float = 0.0
    seconds: float = 0.0
    oom_kills: int = 0
    host_peak_bytes: int = 0
    host_limit_bytes: int = 0
    vram_peak_bytes: int = 0
    requests: int = 0
    plan_hash: str = ""
    evidence: tuple[str, ...] = ()
    figures: Mapping[str, int] = field(default_factory=dict)


def encode(report: Report) -> bytes:
    """Render, dropping evidence lines from the oldest on until it fits into MAX_BYTES."""
    lines = [line[:EVIDENCE_CHARS] for line in report.evidence[-EVIDENCE_LINES:]]
    while True:
        raw = asdict(report) | {"schema": SCHEMA, "evidence": lines}
        data = json.dumps(raw, separators=(",", ":"), ensure_ascii=False).encode()
        if len(data) <= MAX_BYTES or not lines:
            return data
        lines.pop(0)


def decode(message: str | bytes | None) -> Report | None:
    """Parse a termination message; None for anything that is not a report of this schema."""
    if not message or len(message) > MAX_BYTES * 2:
        return None
    try:
        raw = json.loads(message)
    except ValueError:
        return None
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        return None
    return Report(**_checked(raw))


def _checked(raw: dict[str, Any]) -> dict[str, Any]:
    """Keep known fields of the right type; drop the rest."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "cause": str, "phase": str, "helps": str, "plan_hash": str,
        "actionable": bool, "ended": bool, "was_ready": bool,
        "exit_code": int, "signal": int, "oom_kills": int, "requests": int,
        "host_peak_bytes": int, "host_limit_bytes": int, "vram_peak_bytes": int,
        "started": (int, float), "seconds": (int, float),
    }  # fmt: skip
    good: dict[str, Any] = {
        name: raw[name]
        for name, kind in kinds.items()
        if isinstance(raw.get(name), kind) and (kind is bool or not isinstance(raw[name], bool))
    }
    lines = raw.get("evidence")
    if isinstance(lines, Sequence) and not isinstance(lines, str):
        good["evidence"] = tuple(
            line[:EVIDENCE_CHARS] for line in lines[:EVIDENCE_LINES] if isinstance(line, str)
        )
    figures = raw.get("figures")
    if isinstance(figures, dict):
        good["figures"] = {
            k: v for k, v in figures.items() if isinstance(v, int) and not isinstance(v, bool)
        }
    return good
