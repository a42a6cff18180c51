"""Where a running engine is in its life, line by line.

Phases only move forward, and a marker counts only where the engine's logger wrote it: a request
that quotes one changes nothing. That the engine serves is never concluded from its log; the
supervisor asks it (see poller.py).
"""

from __future__ import annotations

from .diagnosis import marks
from .diagnosis.normalize import read

# The order of an engine's life; names as in diagnosis.types.PHASES.
ORDER = ("starting", "weights", "profile", "kv_alloc", "runtime")


def message(line: str) -> str:
    """What the line says, without colours, process tag, time and file."""
    return read(line).full


def phase_of(line: str) -> str | None:
    """The phase that this line opens, if its place in the line shows that the engine wrote it."""
    phase = marks(line)
    if phase not in ORDER:
        return None
    # Progress bars (tqdm) have no logger's prefix; they only ever tell of weights.
    return phase if phase == "weights" or read(line).logged else None


def later(current: str, new: str) -> bool:
    """Whether `new` comes after `current` in an engine's life."""
    return ORDER.index(new) > ORDER.index(current)
