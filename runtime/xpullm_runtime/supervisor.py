"""Runs one engine from its start to its end and says what came of it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence

from . import process
from .cgroup import own_cgroup
from .client import EngineClient
from .config import RuntimeConfig
from .diagnosis.types import Diagnosis
from .httpd import StatusServer
from .judge import judge
from .output import Pump
from .poller import Poller
from .state import State
from .terminationlog import TerminationLog
from .watch import Verdict, Vitals, Watchdog

TICK_SECONDS = 0.25
HOST_SECONDS = 1.0
TREE_SECONDS = 5.0
LEFTOVER_SECONDS = 2.0
REFRESH_SECONDS = 10.0  # the termination message, when only its figures moved

EXIT_REFUSED = 78  # EX_CONFIG (sysexits.h): pre-flight refused, the engine was never started
_HANDLED = (*process.FORWARDED, signal.SIGCHLD)


def log(text: str) -> None:
    """The supervisor's own few lines, on stderr."""
    print(f"[xpullm] {text}", file=sys.stderr, flush=True)


class Supervisor:
    """Everything here happens in the main thread; helpers run in threads and only report."""

    def __init__(
        self, config: RuntimeConfig, argv: Sequence[str], environ: Mapping[str, str]
    ) -> None:
        self._config = config
        self._argv = list(argv)
        self._environ = dict(environ)
        self._state = State(config)
        self._message = TerminationLog(config.termination_log)
        self._engine = process.Engine()
        self._cgroup = own_cgroup()
        self._watchdog = Watchdog(config)
        self._poller = Poller(config, EngineClient(config.engine_port, environ), self._state)
        self._verdict: Verdict | None = None
        self._kill_at: float | None = None
        self._next: dict[str, float] = {}
        self._used = process.Usage()

    def run(self) -> int:
        """Start, watch, end; returns the exit code for the container."""
        if self._message.error:
            log(f"no termination message: {self._message.error}")
        try:
            server = StatusServer(self._config.runtime_port, self._state)
        except OSError as error:
            port = self._config.runtime_port
            return self._refuse("port_in_use", f"port {port} for /status: {error.strerror}")
        self._state.on_host(self._cgroup.sample())
        self._write()
        # Blocked signals stay pending for sigtimedwait, also for PID 1 (signal(7)).
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        try:
            stdout, stderr = self._engine.start(self._argv, self._environ, _HANDLED)
        except OSError as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            return self._refuse("bad_pod_spec", f"{self._argv[0]}: {error.strerror}", code)
        log(f"engine started, pid {self._engine.pid}; /status on port {server.server_port}")
        pumps = [
            Pump(stdout, 1, lambda data: self._state.on_output("stdout", data)),
            Pump(stderr, 2, lambda data: self._state.on_output("stderr", data)),
        ]
        self._engine.close()
        for thread in (*pumps, self._poller):
            thread.start()
        server.start()
        while not self._engine.reap():
            self._wait_for_signal()
            self._tick()
        return self._finish(pumps)

    def _refuse(self, cause: str, reason: str, code: int = EXIT_REFUSED) -> int:
        log(f"not started: {reason}")
        diagnosis = Diagnosis(cause, "starting", evidence=(f"[xpullm] {reason}",), summary=reason)
        self._message.write(self._state.report(diagnosis, exit_code=code))
        self._message.close()
        return code

    def _wait_for_signal(self) -> None:
        info = signal.sigtimedwait(_HANDLED, TICK_SECONDS)
        if info is None or info.si_signo == signal.SIGCHLD:
            return
        number = info.si_signo
        if number in (signal.SIGTERM, signal.SIGINT) and not self._state.stopping:
            log(f"{signal.Signals(number).name}: passed on, {self._config.grace_seconds:g} s grace")
            self._stop_engine(number, self._config.grace_seconds)
        else:
            self._engine.signal(number)

    def _stop_engine(self, number: int, grace_seconds: float) -> None:
        self._state.stopping = True
        self._state.enter("shutdown")
        self._poller.stop()
        self._engine.signal(number)
        self._kill_at = time.monotonic() + grace_seconds

    def _tick(self) -> None:
        try:
            self._observe()
        except Exception:  # noqa: BLE001 - a defect of ours must not end a working engine
            self._state.note(traceback.format_exc(limit=-1))
        now = time.monotonic()
        if self._kill_at is not None:
            if now >= self._kill_at:
                log("grace is over: SIGKILL")
                self._engine.signal_all(signal.SIGKILL)
                self._kill_at = now + 1.0
            return
        verdict = self._watchdog.decide(self._vitals(now))
        if verdict is not None:
            log(f"ending the engine: {verdict.reason}")
            self._verdict = verdict
            self._stop_engine(signal.SIGTERM, min(self._config.grace_seconds, 10.0))

    def _observe(self) -> None:
        if self._due("host", HOST_SECONDS):
            self._state.on_host(self._cgroup.sample())
        if self._due("tree", TREE_SECONDS):
            self._look_at_tree()
        if self._poller.served.is_set() and not self._state.started_up:
            self._state.start_complete()
            log(f"ready after {self._state.seconds():.0f} s")
        if self._state.changed.is_set() or self._due("message", REFRESH_SECONDS):
            self._state.changed.clear()
            self._write()

    def _look_at_tree(self) -> None:
        pids = process.descendants(os.getpid())
        used, before = process.usage(pids), self._used
        # Reading weights shows in I/O, converting them in memory; a busy loop shows in neither.
        if used.io_bytes - before.io_bytes >= 1 << 20 or (
            abs(used.rss_bytes - before.rss_bytes) >= 16 << 20
        ):
            self._used = used
            self._state.progress()

    def _vitals(self, now: float) -> Vitals:
        state, poller = self._state, self._poller
        return Vitals(
            now=now,
            began=now - state.seconds(),
            phase=state.phase,
            last_progress=state.last_progress,
            served=poller.served.is_set(),
            started_up=state.started_up,
            health=poller.health,
            unhealthy_since=poller.unhealthy_since,
            oom_kills=state.host.oom_kills,
            failed=poller.failed,
        )

    def _due(self, name: str, seconds: float) -> bool:
        now = time.monotonic()
        if now < self._next.get(name, 0.0):
            return False
        self._next[name] = now + seconds
        return True

    def _write(self) -> None:
        self._message.write(self._state.report())

    def _finish(self, pumps: Sequence[threading.Thread]) -> int:
        status = self._engine.status or 0
        stopped = self._state.stopping and self._verdict is None
        self._state.stopping = True
        self._state.healthy = False
        self._poller.stop()
        left = self._engine.kill_leftovers(LEFTOVER_SECONDS)
        for pump in pumps:
            pump.join(LEFTOVER_SECONDS)
        self._state.on_host(self._cgroup.sample())
        diagnosis = judge(self._state, status, self._verdict, stopped)
        code = process.exit_code(status)
        if code == 0 and self._verdict is not None:
            code = 1  # ended by us for a cause: not a success
        self._message.write(
            self._state.report(diagnosis, exit_code=code, signal=-status if status < 0 else None)
        )
        self._message.close()
        ended = f"exit code {code}" + (f", {left} processes left behind ended" if left else "")
        log(f"engine ended: {ended}; cause {diagnosis.cause} in {diagnosis.phase}")
        return code
