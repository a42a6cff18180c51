"""May a diagnosis change anything? A log line alone may not: a prompt can print any line.

What a forger cannot easily give: an engine that is dead; a message at the head of its line, behind
a logger's own prefix or at the end of an uncaught traceback; nothing served afterwards; and for an
out-of-memory one more witness (the exit code, the engine's own last words, figures that fit).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .figures import consistent
from .matching import Hit
from .phases import Course
from .scan import Log

_LAST_WINDOW = 600  # lines: API server and engine core print tracebacks for each open request
SAME_FAILURE = 80  # lines within which hits speak of one failure
_LAST_WORDS = 12  # lines: a process that native code ends has no logger left
_QUIET = ("INFO", "DEBUG", "I")
_KILLED = (None, 0, 137, 143)  # exit codes that an engine's own failure does not give


def may_act(
    hit: Hit,
    helps: str,
    found: Sequence[Hit],
    log: Log,
    way: Course,
    figures: Mapping[str, int],
    code: int | None,
) -> bool:
    """Whether the diagnosis of a dead engine may lead to a change."""
    cause = hit.signature.cause
    witnesses = [
        other
        for other in found
        if other.signature.cause == cause
        and 0 <= other.line.index - hit.line.index <= SAME_FAILURE
        and trusted(other, helps, log, way, code)
    ]
    if not witnesses:
        return False
    if not cause.startswith("device_oom"):
        return True
    return code not in _KILLED or consistent(figures) or _wrapped_up(hit, found)


def trusted(hit: Hit, helps: str, log: Log, way: Course, code: int | None) -> bool:
    """Whether one line can be taken as the engine's own word."""
    line = hit.line
    if hit.weak or log.rejoined or line.index in log.structured or way.survived(line.index):
        return False
    if log.end - line.index > _LAST_WINDOW:
        return False
    if hit.signature.cause.startswith("device_oom") and line.level in _QUIET:
        return False
    if helps == "arguments" and hit.signature.where != "head":
        return False
    last = log.end - line.index < _LAST_WORDS and code not in (None, 0)
    if last and (hit.signature.native_end or helps != "arguments"):
        return True
    return line.logged or _ends_traceback(hit, log)


def _wrapped_up(hit: Hit, found: Sequence[Hit]) -> bool:
    """The engine's own follow-on stands after the line: it did die of it."""
    return any(
        other.signature.rank == 4 and other.line.index > hit.line.index and not other.weak
        for other in found
    )


def _ends_traceback(hit: Hit, log: Log) -> bool:
    """The exception line of an uncaught traceback: frames stand right above it."""
    above = log.lines[max(0, hit.line.index - 6) : hit.line.index]
    return bool(hit.line.exception) and any('  File "' in line for line in above)
