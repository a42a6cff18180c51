"""What the supervisor knows: fed by the pumps and the watch, read by all. Thread-safe."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from . import __version__, phases
from .cgroup import HostMemory
from .config import RuntimeConfig
from .diagnosis import interesting
from .diagnosis.figures import LITERALS, parse
from .diagnosis.types import Diagnosis
from .fdinfo import GpuMemory
from .load import Load
from .output import Lines, Tail
from .preflight import Finding
from .report import EVIDENCE_LINES, Report

_REMEMBERED_LINES = 256  # to tell a repeated line ("still waiting …") from progress


class State:
    """One engine run. `changed` is set whenever the termination message should be rewritten;
    `wake` is then called once, to have it done at once.
    """

    def __init__(self, config: RuntimeConfig, wake: Callable[[], None] = lambda: None) -> None:
        self.config = config
        self.tail = Tail()
        self.changed = threading.Event()
        self._wake = wake
        self.phase = "starting"
        self.healthy = False  # the engine's /health answered 200 at the last look
        self.started_up = False  # healthy once, and burn-in (if any) is over
        self.stopping = False
        self.burn_in: Mapping[str, Any] = {}
        self.findings: list[Finding] = []  # of pre-flight
        self.notes: list[str] = []
        self.host = HostMemory()
        self.gpu = GpuMemory()
        self.vram_peak_bytes = 0
        self.requests = 0
        self.load = Load()
        self.model_revision = ""  # the commit that was loaded, where that is known
        self._start: dict[str, Any] | None = None  # what was measured until Ready; kept as it is
        self.figures: dict[str, int] = {}
        self.output_bytes = {"stdout": 0, "stderr": 0}
        self.ready_after: float | None = None
        self.beat = self.last_progress = time.monotonic()  # the main thread's last turn
        self._wall = time.time()
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._recent: deque[int] = deque(maxlen=_REMEMBERED_LINES)
        self._cutters = {"stdout": Lines(), "stderr": Lines()}

    def seconds(self) -> float:
        """Since the supervisor's start."""
        return time.monotonic() - self._began

    def on_output(self, stream: str, data: bytes) -> None:
        """A chunk of the engine's output; empty at the stream's end."""
        self.output_bytes[stream] += len(data)
        lines = self._cutters[stream]
        for line in lines.feed(data) if data else lines.flush():
            try:
                self._on_line(line)
            except Exception:  # noqa: BLE001 - output must flow on, whatever a line does to us
                self.note(traceback.format_exc(limit=-1))

    def _on_line(self, line: str) -> None:
        decisive = interesting(line)
        self.tail.add(line, decisive)
        found = parse(line) if any(map(line.__contains__, LITERALS)) else {}
        phase = phases.phase_of(line)
        with self._lock:
            if not self.started_up:
                self._note_progress(line)
            self.figures.update(found)
        if phase:
            self.enter(phase)
        if decisive or found:
            self.touch()

    def _note_progress(self, line: str) -> None:
        """The same words again are no progress: a hung engine keeps saying that it waits."""
        words = hash(phases.message(line))
        if words not in self._recent:
            self._recent.append(words)
            self.last_progress = time.monotonic()

    def enter(self, phase: str) -> None:
        """Move forward to `phase`; an earlier one is ignored."""
        with self._lock:
            if not phases.later(self.phase, phase):
                return
            self.phase = phase
            self.last_progress = time.monotonic()
        self.touch()

    def touch(self) -> None:
        """The termination message is out of date."""
        if not self.changed.is_set():
            self.changed.set()
            self._wake()

    def progress(self) -> None:
        """Something other than output showed that the engine is at work."""
        self.last_progress = time.monotonic()

    def note(self, text: str) -> None:
        """Something a person should see in /status; bounded."""
        with self._lock:
            if len(self.notes) < 32:
                self.notes.append(text[:300])

    def on_host(self, host: HostMemory) -> None:
        """A reading of the cgroup."""
        if host.oom_kills != self.host.oom_kills:
            self.touch()
        self.host = host

    def on_gpu(self, memory: GpuMemory) -> None:
        """A reading of DRM fdinfo over the engine's processes."""
        self.gpu = memory
        self.vram_peak_bytes = max(self.vram_peak_bytes, memory.device_bytes)

    def begin_stop(self) -> None:
        """From now on the engine is going down; the phase it was in stays known."""
        self.stopping = True
        self.healthy = False
        self.touch()

    def start_complete(self) -> None:
        """The engine is healthy and proven: the startup probe passes from now on."""
        self.enter("runtime")
        if not self.started_up:
            self.ready_after = self.seconds()
            with self._lock:
                figures = dict(self.figures)
            self._start = {
                "seconds": round(self.ready_after, 1),
                "hostPeakBytes": self.host.peak_bytes,
                "hostHeldPeakBytes": self.host.held_peak_bytes,
                "vramPeakBytes": self.vram_peak_bytes,
                "figures": figures,
                "modelRevision": self.model_revision,
            }
            self.started_up = True
        self.touch()

    def report(
        self,
        diagnosis: Diagnosis | None = None,
        exit_code: int | None = None,
        signal: int | None = None,
    ) -> Report:
        """The termination message for now; with a diagnosis it is the last one."""
        with self._lock:
            figures = dict(self.figures)
        figures["host_held_peak_bytes"] = self.host.held_peak_bytes
        figures["host_gpu_mapped_bytes"] = self.gpu.host_bytes
        evidence = self.tail.decisive(EVIDENCE_LINES)
        if diagnosis is not None:
            figures.update(diagnosis.figures)
            evidence = diagnosis.evidence or evidence
        return Report(
            cause=diagnosis.cause if diagnosis else "",
            phase=diagnosis.phase if diagnosis else self.phase,
            helps=diagnosis.helps if diagnosis else "",
            actionable=diagnosis.actionable if diagnosis else False,
            ended=diagnosis is not None,
            was_ready=self.started_up,
            exit_code=exit_code,
            signal=signal,
            started=round(self._wall, 3),
            seconds=round(self.seconds(), 1),
            oom_kills=self.host.oom_kills,
            host_peak_bytes=self.host.peak_bytes,
            host_limit_bytes=self.host.limit_bytes,
            vram_peak_bytes=self.vram_peak_bytes,
            requests=self.requests,
            plan_hash=self.config.plan_hash,
            evidence=evidence,
            figures={name: value for name, value in figures.items() if value},
        )

    def snapshot(self) -> dict[str, Any]:
        """What /status shows; JSON types only."""
        with self._lock:
            figures, notes = dict(self.figures), list(self.notes)
        return {
            "version": __version__,
            "planHash": self.config.plan_hash,
            "phase": self.phase,
            "healthy": self.healthy,
            "startedUp": self.started_up,
            "stopping": self.stopping,
            "seconds": round(self.seconds(), 1),
            "readyAfterSeconds": self.ready_after,
            "secondsWithoutProgress": None
            if self.started_up
            else round(time.monotonic() - self.last_progress, 1),
            "start": self._start,
            "burnIn": dict(self.burn_in),
            "load": self.load.snapshot(),
            "requests": self.requests,
            "host": {
                "limitBytes": self.host.limit_bytes,
                "usageBytes": self.host.usage_bytes,
                "workingSetBytes": self.host.working_set_bytes,
                "peakBytes": self.host.peak_bytes,
                "heldPeakBytes": self.host.held_peak_bytes,
                "oomKills": self.host.oom_kills,
            },
            "gpu": {
                "residentBytes": self.gpu.device_bytes,
                "peakBytes": self.vram_peak_bytes,
                "hostBytes": self.gpu.host_bytes,
            },
            "outputBytes": dict(self.output_bytes),
            "figures": figures,
            "notes": notes,
            "decisiveLines": list(self.tail.decisive(EVIDENCE_LINES)),
        }
