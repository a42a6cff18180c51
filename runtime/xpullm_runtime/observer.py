"""Looks at the kernel's counters in turn and tells the state: cgroup, process tree, GPU memory."""

from __future__ import annotations

import os
import threading
import time

from . import process
from .cgroup import MemoryCgroup
from .config import RuntimeConfig
from .fdinfo import gpu_memory
from .state import State

HOST_SECONDS = 0.5
TREE_SECONDS = 5.0
# While the engine starts. Page cache that is filled between two looks hides as much of a peak
# (highwater.py): at 7 GB/s, the fastest disks of PCIe 4.0, 175 MB, less than the 256 MiB by which
# memory limits are raised.
START_SECONDS = 0.025
# Of a core, at most, for looking: reading memory.stat takes longer the more CPUs and cgroups a
# machine has (it adds up the counters of each, Linux mm/memcontrol.c).
START_CPU_SHARE = 0.02
# Steps that count as progress of a start: reading weights shows in I/O, converting or moving them
# in memory. CPU time does not count: a hung start was seen with busy CPUs (ipex-llm#11424).
IO_STEP_BYTES = 1 << 20
MEMORY_STEP_BYTES = 16 << 20
# Engine core and workers hold at least a Python with torch; helpers that may go are smaller.
MEMBER_BYTES = 200 << 20


class Observer:
    """Called by the main thread at each tick; works only when something is due."""

    def __init__(self, config: RuntimeConfig, state: State, cgroup: MemoryCgroup) -> None:
        self._state = state
        self._cgroup = cgroup
        self._pace = min(TREE_SECONDS, config.no_progress_seconds / 4, config.hang_seconds / 4)
        self._host_lock = threading.Lock()
        self._host_at = 0.0
        self._tree_at = 0.0
        self._io_bytes = 0
        self._rss_bytes = 0
        self._gpu_bytes = 0
        self._members: set[int] = set()

    def look(self) -> bool:
        """True when a large process of a started engine has vanished: it may be half dead."""
        now = time.monotonic()
        if now >= self._host_at:
            self._host_at = now + HOST_SECONDS
            self.look_at_host()
        if now < self._tree_at:
            return False
        self._tree_at = now + self._pace
        return self._look_at_tree()

    def look_at_all(self) -> None:
        """Read everything now."""
        self.look_at_host()
        self._look_at_tree()

    def look_at_host(self) -> None:
        """Read the cgroup now."""
        with self._host_lock:
            host = self._cgroup.sample()
        self._state.on_host(host)

    def glance_at_host(self) -> None:
        """Only let no peak of host memory pass; from any thread."""
        with self._host_lock:
            self._cgroup.look()

    def _look_at_tree(self) -> bool:
        used = {pid: process.usage(pid) for pid in process.descendants(os.getpid())}
        gpu = gpu_memory(used)
        self._state.on_gpu(gpu)
        io_bytes = sum(one.io_bytes for one in used.values())
        rss = sum(one.rss_bytes for one in used.values())
        if (
            io_bytes - self._io_bytes >= IO_STEP_BYTES
            or abs(rss - self._rss_bytes) >= MEMORY_STEP_BYTES
            or abs(gpu.device_bytes - self._gpu_bytes) >= MEMORY_STEP_BYTES
        ):
            self._io_bytes, self._rss_bytes, self._gpu_bytes = io_bytes, rss, gpu.device_bytes
            self._state.progress()
        lost = self._members - used.keys()
        if self._state.started_up:
            self._members = {pid for pid, one in used.items() if one.rss_bytes >= MEMBER_BYTES}
        return bool(lost)


class StartSampler(threading.Thread):
    """Glances at host memory often until the engine has started up or is going down."""

    def __init__(self, observer: Observer, state: State) -> None:
        super().__init__(name="start-sampler", daemon=True)
        self._observer = observer
        self._state = state

    def run(self) -> None:
        """Look and sleep."""
        while not (self._state.started_up or self._state.stopping):
            before = time.thread_time()
            self._observer.glance_at_host()
            took = time.thread_time() - before
            time.sleep(max(START_SECONDS, took / START_CPU_SHARE))
