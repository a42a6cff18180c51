"""Where the engine is in its life, read from markers in its log (phases.json).

Phases only move forward: a later request that quotes an earlier marker changes nothing. That the
engine serves is never concluded from its log; the supervisor asks it (see watch.py).
"""

from __future__ import annotations

import json
import pkgutil
import re
from dataclasses import dataclass

# The order of an engine's life; names as in diagnosis.types.PHASES.
ORDER = ("starting", "weights", "profile", "kv_alloc", "runtime", "shutdown")

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# "(EngineCore_DP0 pid=494) ", "(VllmWorker rank=1 pid=9) ", set by vLLM's decorate_logs.
_TAG = re.compile(r"^\([\w. =-]{1,40}pid=\d+\) ")


@dataclass(frozen=True, slots=True)
class _Marker:
    phase: str
    text: str
    bare: bool


def _load() -> tuple[re.Pattern[str], tuple[_Marker, ...]]:
    raw = json.loads(pkgutil.get_data(__package__ or "xpullm_runtime", "phases.json") or b"{}")
    markers = tuple(
        _Marker(item["phase"], item.get("bare") or item["message"], "bare" in item)
        for item in raw["markers"]
    )
    return re.compile(raw["prefix"]), markers


_PREFIX, _MARKERS = _load()
_ANY = re.compile("|".join(re.escape(marker.text) for marker in _MARKERS))


def plain(line: str) -> str:
    """The line without colours and process tag."""
    if "\x1b" in line:
        line = _COLOUR.sub("", line)
    return _TAG.sub("", line, count=1) if line.startswith("(") else line


def message(line: str) -> str:
    """The line without colours, tag and the logger's prefix (time, file): what it says."""
    return _PREFIX.sub("", plain(line), count=1)


def phase_of(line: str) -> str | None:
    """The phase that this line opens, if its place in the line shows that the engine wrote it."""
    if not _ANY.search(line):
        return None
    text = plain(line)
    prefix = _PREFIX.match(text)
    for marker in _MARKERS:
        start = 0 if marker.bare else prefix.end() if prefix else -1
        if start >= 0 and text.startswith(marker.text, start):
            return marker.phase
    return None


def later(current: str, new: str) -> bool:
    """Whether `new` comes after `current` in an engine's life."""
    return ORDER.index(new) > ORDER.index(current)
