"""Where a running engine is in its life, line by line (markers: diagnosis/data/phases.json).

Phases only move forward, and a marker counts only where the engine's logger wrote it: a request
that quotes one changes nothing. That the engine serves is never concluded from its log; the
supervisor asks it (see poller.py).
"""

from __future__ import annotations

import re
from functools import cache

from .diagnosis.normalize import read
from .diagnosis.signatures import data

# The order of an engine's life; names as in diagnosis.types.PHASES.
ORDER = ("starting", "weights", "profile", "kv_alloc", "runtime")
_NAMES = {"ready": "runtime", "warmup": "kv_alloc"}


@cache
def _markers() -> tuple[re.Pattern[str], dict[str, str]]:
    phases = {
        text: _NAMES.get(row["phase"], row["phase"])
        for row in data("phases.json")["markers"]
        for text in row["literals"]
    }
    words = sorted(phases, key=len, reverse=True)
    return re.compile("|".join(re.escape(word) for word in words)), phases


def message(line: str) -> str:
    """What the line says, without colours, process tag, time and file."""
    return read(line).full


def phase_of(line: str) -> str | None:
    """The phase that this line opens, if its place in the line shows that the engine wrote it."""
    pattern, phases = _markers()
    if not pattern.search(line):
        return None
    seen = read(line)
    found = pattern.search(seen.full)
    if found is None or seen.echo:
        return None
    phase = phases[found[0]]
    # Progress bars (tqdm) have no logger's prefix and ipex-llm's is "- INFO - "; both only ever
    # tell of weights.
    bare = phase == "weights" and seen.full[: found.start()] in ("", "- INFO - ", "INFO - ")
    return phase if seen.logged or bare else None


def later(current: str, new: str) -> bool:
    """Whether `new` comes after `current` in an engine's life."""
    return ORDER.index(new) > ORDER.index(current)
