"""May a diagnosis change anything? A log line alone may not: a prompt can print any line.

What a forger cannot easily give: an engine that is dead; a message at the head of its line, behind
a logger's own prefix or at the end of an uncaught traceback; nothing served afterwards; and for an
out-of-memory one more witness (the exit code, the engine's own last words, figures that fit).

What he cannot give at all: how the process ended, whether it had been Ready, and what the kernel
counted. Users' text comes only once the engine has come up, so from then on

* a cause that only a start can have is none (`start_only` in causes.json);
* an exception explains an exit, not a signal: whoever sent SIGKILL, SIGSEGV or SIGTERM did it for
  another reason, and neither figures nor follow-ons in the log say otherwise. SIGABRT is explained
  by the abort's own words, SIGKILL and SIGTERM by a probe's kill of an engine that hung.

For a lack of host memory the kernel is the witness, at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .figures import consistent
from .matching import Hit
from .normalize import read
from .phases import Course
from .scan import Log
from .signatures import causes

_LAST_WINDOW = 600  # lines: API server and engine core print tracebacks for each open request
LAST_RESORT = 5  # rank of signatures that read no more than an exception's name
SAME_FAILURE = 80  # lines within which hits speak of one failure
_LAST_WORDS = 12  # lines: a process that native code ends has no logger left
_QUIET = ("INFO", "DEBUG", "I")
_KILLED = (None, 0, 137, 143)  # exit codes that an engine's own failure does not give
# 128 + signal (SIGILL, SIGABRT, SIGBUS, SIGSEGV): what such an end itself speaks of
BY_SIGNAL = {132: "unsupported_device", 134: "abort", 135: "shm_exhausted", 139: "segfault"}
_SIGNALS = range(129, 193)  # signal(7): 64 of them; 255 is an exit
_ABORTED = 134
# What the other processes of an engine say when it goes down.
_LEAVING = ("SystemExit", "KeyboardInterrupt", "CancelledError", "EOFError", "BrokenPipeError",
            "ConnectionResetError", "ConnectionRefusedError")  # fmt: skip
_FULL = 0.9  # of the limit; the peak is sampled, so the very top is not always seen


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended, as the kernel and the supervisor saw it: no text can forge that.

    `code`: exit code, 128 + signal. `was_ready`: the supervisor's word, None where there is none.
    `probed`: a probe had it killed. `host_peak_bytes`: without page cache; 0 is not known.
    """

    code: int | None = None
    was_ready: bool | None = None
    probed: bool = False
    host_peak_bytes: int = 0
    host_limit_bytes: int = 0

    @property
    def by_signal(self) -> bool:
        """A signal ended it, and nothing but the log may say why."""
        return self.code in _SIGNALS and not self.probed

    @property
    def host_was_full(self) -> bool:
        """Whether the container's host memory was all but used up."""
        return 0 < self.host_limit_bytes * _FULL <= self.host_peak_bytes


def possible(found: Sequence[Hit], way: Course, was_ready: bool | None) -> list[Hit]:
    """Without causes that only a start can have where the engine had come up, and without what
    else such a line says, unless that is another root cause or the start's one was a last resort.
    """
    stale = [
        hit
        for hit in found
        if causes().get(hit.signature.cause, {}).get("start_only")
        and (was_ready or way.ready(hit.line.index))
    ]
    gone = {(hit.line.index, hit.signature.cause) for hit in stale}
    lines = {hit.line.index for hit in stale if hit.signature.rank < LAST_RESORT}
    return [
        hit
        for hit in found
        if (hit.line.index, hit.signature.cause) not in gone
        and (hit.line.index not in lines or hit.signature.rank <= 1)
    ]


def may_act(
    hit: Hit,
    helps: str,
    found: Sequence[Hit],
    log: Log,
    way: Course,
    figures: Mapping[str, int],
    end: End,
) -> bool:
    """Whether the diagnosis of a dead engine may lead to a change."""
    cause, code = hit.signature.cause, end.code
    witnesses = [
        other
        for other in found
        if other.signature.cause == cause
        and 0 <= other.line.index - hit.line.index <= SAME_FAILURE
        and trusted(other, helps, log, way, code)
    ]
    if not witnesses:
        return False
    explained = not end.by_signal or _explains(hit, found, log, end)
    if cause == "host_oom":
        own_exit = code is not None and explained
        return end.host_was_full or (own_exit and _is_last(witnesses[-1], found, log))
    if not explained and (end.was_ready is not False or way.ready(hit.line.index)):
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
    return line.logged or _ends_traceback(hit, log) or (code == _ABORTED and _thrown(hit, log))


def _explains(hit: Hit, found: Sequence[Hit], log: Log, end: End) -> bool:
    """Whether a signal's end and the line bear each other out."""
    if BY_SIGNAL.get(end.code or 0) == hit.signature.cause:
        return True
    return end.code == _ABORTED and any(
        other.signature.cause == "abort"
        and abs(other.line.index - hit.line.index) <= SAME_FAILURE
        and log.end - other.line.index <= SAME_FAILURE
        for other in found
    )


def _is_last(hit: Hit, found: Sequence[Hit], log: Log) -> bool:
    """Nothing but its own follow-ons comes after: the engine did die of it."""
    known = {
        other.line.index
        for other in found
        if other.signature.cause == hit.signature.cause or other.signature.rank >= 3
    }
    after = (
        read(raw, index)
        for index, raw in enumerate(log.lines[hit.line.index + 1 :], hit.line.index + 1)
        if index not in known
    )
    names = (line.exception.rpartition(".")[2] for line in after if line.exception)
    return all(name in _LEAVING for name in names)


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


def _thrown(hit: Hit, log: Log) -> bool:
    """The message of an uncaught C++ exception: libstdc++ says so in the line above."""
    above = log.lines[max(0, hit.line.index - 1) : hit.line.index]
    return hit.line.full.startswith("what():") and any("terminate called" in raw for raw in above)
