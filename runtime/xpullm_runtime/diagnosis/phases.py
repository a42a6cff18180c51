"""Where in the engine's life a line stands, and which out-of-memory it therefore is.

Failures on XPU are asynchronous: a frame says where one was noticed, the last printed log marker
says how far the engine had come. So markers lead; frames refine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from .figures import is_single_allocation
from .normalize import is_echo
from .scan import Log, without_digits
from .signatures import data

_ORDER = (
    "",
    "discovery",
    "starting",
    "weights",
    "profile",
    "kv_alloc",
    "warmup",
    "ready",
    "runtime",
)
_FRAMES_ABOVE = 120  # lines of one traceback, C++ frames included, above the exception
_FRAMES_BELOW = 40  # with several ranks a traceback's frames may come after another rank's end
_DUMP_BELOW = 60  # "Dumping input data" is printed after the exception it explains
_BAR_BELOW = 6
_ECHO_CHARS = 400
_CAUSES = {
    "weights": "device_oom_weights",
    "profile": "device_oom_profile",
    "warmup": "device_oom_profile",
    "kv_alloc": "device_oom_kv_alloc",
    "runtime": "device_oom_runtime",
}
_PUBLIC = {"": "unknown", "discovery": "starting", "warmup": "profile", "ready": "runtime"}


@dataclass(frozen=True, slots=True)
class Course:
    """Markers and frames of a log: (line index, phase), in order."""

    markers: Sequence[tuple[int, str]]
    frames: Sequence[tuple[int, str]]
    engine: bool
    failed_start: bool
    traceback: bool
    served_until: int

    def marker(self, index: int) -> str:
        """The furthest phase that a log marker shows at or before a line."""
        seen = [_ORDER.index(phase) for at, phase in self.markers if at <= index]
        return _ORDER[max(seen, default=0)]

    def frame(self, index: int) -> str:
        """What the frames around a line say: warm-up and profile before what they call."""
        near = {p for at, p in self.frames if -_FRAMES_ABOVE <= at - index <= _FRAMES_BELOW}
        for phase in ("kv_alloc", "profile", "warmup", "weights", "runtime", "discovery"):
            if phase in near:
                return phase
        return ""

    def near(self, index: int, phase: str, below: int) -> bool:
        """A marker of a phase follows within some lines."""
        return any(0 <= at - index <= below and one == phase for at, one in self.markers)

    def ready(self, index: int) -> bool:
        """The engine had come up before a line."""
        return self.marker(index) in ("ready", "runtime")

    def survived(self, index: int) -> bool:
        """The engine went on serving after a line: that line did not end it."""
        return index < self.served_until


@cache
def _table() -> tuple[dict[str, str], dict[str, str], dict[str, tuple[str, ...]]]:
    raw = data("phases.json")
    tables = [
        {without_digits(text): row["phase"] for row in raw[kind] for text in row["literals"]}
        for kind in ("markers", "frames")
    ]
    rest = {
        name: tuple(without_digits(text) for text in raw[name])
        for name in ("engine", "failed_start")
    }
    return tables[0], tables[1], rest


def course(log: Log) -> Course:
    """Read the course of one run from its log."""
    markers, frames, rest = _table()
    seen = log.find(markers)
    marked = [
        (index, phase)
        for index, literals in seen.items()
        for phase in {markers[literal] for literal in literals}
        if _is_marker(log.lines[index])
    ]
    framed = [
        (index, frames[literal])
        for index, literals in log.find(frames).items()
        for literal in literals
        if 'File "' in log.lines[index] or "in " not in literal
    ]
    alive = [
        index
        for index, literals in seen.items()
        if "Avg prompt throughput" in literals and _is_busy(log.lines[index])
    ]
    return Course(
        markers=marked,
        frames=framed,
        engine=bool(log.find(rest["engine"])),
        failed_start=bool(log.find(rest["failed_start"])),
        traceback=bool(log.find(['  File "'])),
        served_until=max(
            [index for index, phase in marked if phase == "ready"] + alive[:-1][-1:], default=-1
        ),
    )


def marker_literals() -> dict[str, str]:
    """Literal (digits removed) of a log marker -> phase."""
    return _table()[0]


def _is_marker(line: str) -> bool:
    return not is_echo(line[:_ECHO_CHARS])


def _is_busy(line: str) -> bool:
    """An engine that is dead prints no throughput, or zeros."""
    return "generation throughput: 0.0" not in line or "prompt throughput: 0.0" not in line


def phase_at(course: Course, index: int, was_ready: bool | None = None) -> str:
    """The phase at a line, "" where neither marker nor frame tells."""
    if was_ready or course.ready(index) or course.near(index, "runtime", _DUMP_BELOW):
        return "runtime"
    marker, frame = course.marker(index), course.frame(index)
    if marker == "weights" and frame == "profile":
        return "profile"  # the "took" line of the other rank is missing
    if marker in ("profile", "kv_alloc", "warmup"):
        later = _ORDER.index(frame) > _ORDER.index(marker)
        return frame if later or frame in ("profile", "kv_alloc") else marker
    if not frame and marker in ("", "starting") and course.near(index, "weights", _BAR_BELOW):
        return "weights"  # a progress bar goes to stderr and may come a line late
    return frame or marker


def public(phase: str) -> str:
    """The phase under its name in types.PHASES."""
    return _PUBLIC.get(phase, phase)


def device_oom(
    course: Course,
    index: int,
    figures: Mapping[str, int],
    text: str,
    was_ready: bool | None,
    stated: str = "",
) -> tuple[str, str]:
    """Cause and phase of a device out-of-memory noticed at a line; `stated` by its own message,
    which once the engine was Ready is not its own.
    """
    up = was_ready or course.ready(index)
    phase = ("" if up else stated) or phase_at(course, index, was_ready)
    if is_single_allocation(figures):
        return "device_oom_single_alloc", public(phase)
    if phase in _CAUSES:
        return _CAUSES[phase], public(phase)
    if "private pools" in text and course.engine and was_ready is not True:
        # Pools of captured graphs exist, so weights and KV cache do too: it is the warm-up.
        return "device_oom_profile", "profile"
    bare = "_ERROR_OUT_OF" in text and not course.traceback
    if course.failed_start or course.engine or bare or phase == "starting":
        return "device_oom_startup", "startup"
    return "device_oom_runtime", "runtime"
