"""The engine as a process: start, signals, reaping, and the tree below it.

The supervisor may be PID 1 of a container or an ordinary process; in both cases orphans of the
engine come to it (PR_SET_CHILD_SUBREAPER, prctl(2)) and are reaped.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

# Passed on to the engine; SIGTERM and SIGINT also start the supervisor's own stop.
FORWARDED = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT,
    signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process read and wrote so far, and what it holds in memory."""

    io_bytes: int = 0
    rss_bytes: int = 0


class Engine:
    """One engine run. Not thread-safe: only the main thread starts, signals and reaps."""

    def __init__(self) -> None:
        self.pid = 0
        self.status: int | None = None  # negative: ended by that signal, as in subprocess
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._popen: subprocess.Popen[bytes] | None = None

    def start(
        self, argv: Sequence[str], environ: Mapping[str, str], unblock: Sequence[signal.Signals]
    ) -> tuple[int, int]:
        """Start `argv` in a session of its own; returns the read ends of stdout and stderr.

        Call it before any thread runs (the child executes Python between fork and exec).
        Raises OSError (FileNotFoundError, PermissionError) when it cannot be executed.
        """
        self._libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        prctl: Callable[..., int] = self._libc.prctl

        def in_child() -> None:
            # The engine must not outlive a supervisor that was killed outside of a container.
            prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, unblock)

        pipes = os.pipe(), os.pipe()
        try:
            self._popen = subprocess.Popen(
                list(argv),
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=pipes[0][1],
                stderr=pipes[1][1],
                start_new_session=True,
                preexec_fn=in_child,
            )
        finally:
            for _, write_end in pipes:
                os.close(write_end)
        self.pid = self._popen.pid
        return pipes[0][0], pipes[1][0]

    def reap(self) -> bool:
        """Collect every ended child; True once the engine itself has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == self.pid:
                self.status = os.waitstatus_to_exitcode(status)
                if self._popen is not None:
                    self._popen.returncode = self.status
        return self.status is not None

    def signal(self, number: int) -> None:
        """To the engine's first process only, as a container runtime does."""
        if self.status is None and self.pid:
            _kill(self.pid, number)

    def signal_all(self, number: int) -> None:
        """To every process below the supervisor, whatever session it made for itself."""
        for pid in descendants(os.getpid()):
            _kill(pid, number)

    def kill_leftovers(self, grace_seconds: float) -> int:
        """SIGTERM, then SIGKILL to whatever outlived the engine; returns how many there were."""
        left = descendants(os.getpid())
        if not left:
            return 0
        self.signal_all(signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while time.monotonic() < deadline:
            self.reap()
            if not descendants(os.getpid()):
                return len(left)
            time.sleep(0.02)
        self.signal_all(signal.SIGKILL)
        deadline = time.monotonic() + 1.0
        while descendants(os.getpid()) and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.01)
        return len(left)


def exit_code(status: int) -> int:
    """A shell's convention: 128 + signal for a process that a signal ended."""
    return 128 - status if status < 0 else status


def descendants(root: int) -> list[int]:
    """All processes below `root`, zombies left out (proc(5): /proc/PID/stat)."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        stat = _stat(int(name))
        if stat and stat[0] not in ("Z", "X"):
            children.setdefault(int(stat[1]), []).append(int(name))
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def usage(pid: int) -> Usage:
    """Of one process; nothing if it is gone or unreadable."""
    stat = _stat(pid)
    if stat is None:
        return Usage()
    return Usage(_io_bytes(pid), int(stat[21]) * os.sysconf("SC_PAGE_SIZE"))


def _io_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/io", encoding="ascii") as file:
            values = dict(line.split(": ") for line in file.read().splitlines())
    except (OSError, ValueError):
        return 0
    return int(values.get("rchar", 0)) + int(values.get("wchar", 0))


def _stat(pid: int) -> list[str] | None:
    """The fields after the command's name, which may itself hold blanks and parentheses."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].decode("ascii").split()
    except (OSError, ValueError):
        return None


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
