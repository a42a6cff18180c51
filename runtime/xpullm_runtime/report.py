"""The supervisor's last word: JSON of at most 4096 bytes in the container's termination message.

Written by the supervisor (rewritten in place at each phase change and decisive line), read by the
operator. Neither side trusts what it gets: whatever is put in, the message is valid JSON and fits;
and a foreign or broken message is no report (None).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

MAX_BYTES = 4096  # the kubelet cuts a container's termination message there
SCHEMA = "xpullm.io/report/v1"
EVIDENCE_LINES = 8
EVIDENCE_CHARS = 300
NAME_CHARS = 64  # cause, phase, helps, names of figures
HASH_CHARS = 128
FIGURES = 24
MAX_INT = (1 << 63) - 1  # what the Kubernetes API stores

_SHORTER = (EVIDENCE_CHARS, 200, 120, 60)
_STRINGS = {"cause": NAME_CHARS, "phase": NAME_CHARS, "helps": NAME_CHARS, "plan_hash": HASH_CHARS}
_BOOLS = ("actionable", "ended", "was_ready")
_INTS = ("exit_code", "signal", "oom_kills", "requests",
         "host_peak_bytes", "host_limit_bytes", "vram_peak_bytes")  # fmt: skip
_FLOATS = ("started", "seconds")
# Control characters, and halves of surrogate pairs, which no UTF-8 can carry.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Report:
    """What happened in one container run. `ended` is False in a report that a kill cut short.

    `started` is seconds since the epoch, `seconds` the run's length. `host_peak_bytes` is the
    cgroup's own high-water mark, page cache included; `figures["host_held_peak_bytes"]` is without.
    """

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
    """Render; first evidence lines are shortened, then the oldest dropped, until it fits."""
    raw = asdict(report)
    fixed = {"schema": SCHEMA} | {name: raw[name] for name in _BOOLS}
    fixed |= {name: _text(raw[name], chars) for name, chars in _STRINGS.items()}
    fixed |= {name: _whole(raw[name]) for name in _INTS}
    fixed |= {name: _real(raw[name]) for name in _FLOATS}
    fixed["figures"] = _figures(report.figures)
    lines = list(report.evidence[-EVIDENCE_LINES:])
    for chars in _SHORTER:
        data = _dump(fixed, [_text(line, chars) for line in lines])
        if len(data) <= MAX_BYTES:
            return data
    while lines:
        lines.pop(0)
        data = _dump(fixed, [_text(line, _SHORTER[-1]) for line in lines])
        if len(data) <= MAX_BYTES:
            return data
    return _dump(fixed | {"figures": {}}, [])


def decode(message: str | bytes | None) -> Report | None:
    """Parse a termination message; None for anything that is not a report of this schema."""
    if not message or len(message) > MAX_BYTES * 2:
        return None
    try:
        raw = json.loads(message)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        return None
    return Report(**_checked(raw))


def _checked(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Keep known fields of the right type and size; drop the rest."""
    good: dict[str, Any] = {}
    for name, chars in _STRINGS.items():
        if isinstance(raw.get(name), str):
            good[name] = _text(raw[name], chars)
    good |= {name: raw[name] for name in _BOOLS if isinstance(raw.get(name), bool)}
    good |= {name: raw[name] for name in _INTS if _is_whole(raw.get(name))}
    good |= {name: raw[name] for name in _FLOATS if _is_real(raw.get(name))}
    lines = raw.get("evidence")
    if isinstance(lines, Sequence) and not isinstance(lines, str):
        good["evidence"] = tuple(
            _text(line, EVIDENCE_CHARS) for line in lines[:EVIDENCE_LINES] if isinstance(line, str)
        )
    if isinstance(raw.get("figures"), dict):
        good["figures"] = _figures(raw["figures"])
    return good


def _dump(fixed: Mapping[str, Any], lines: Sequence[str]) -> bytes:
    raw = {**fixed, "evidence": lines}
    return json.dumps(raw, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _text(value: str, chars: int) -> str:
    return _UNSAFE.sub(" ", value[:chars])


def _figures(figures: Mapping[str, Any]) -> dict[str, int]:
    good = {_text(name, NAME_CHARS): value for name, value in figures.items() if _is_whole(value)}
    return dict(list(good.items())[:FIGURES])


def _whole(value: int | None) -> int | None:
    return None if value is None else max(-MAX_INT, min(MAX_INT, value))


def _real(value: float) -> float:
    return value if _is_real(value) else 0.0


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_INT


def _is_real(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= MAX_INT and math.isfinite(value)
