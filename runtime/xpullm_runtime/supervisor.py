"""Runs one engine from its start to its end and says what came of it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence

from . import envscripts, hubcache, preflight, process
from .cgroup import own_cgroup
from .client import EngineClient
from .config import RuntimeConfig
from .drm import render_nodes
from .httpd import StatusServer
from .judge import judge, observed
from .observer import Observer, StartSampler
from .output import Pump
from .poller import Poller
from .proof import Proof
from .state import State
from .terminationlog import TerminationLog
from .watch import Verdict, Vitals, Watchdog

TICK_SECONDS = 0.25
LEFTOVER_SECONDS = 2.0
WRITE_SECONDS = 0.1  # at the least between two termination messages
REFRESH_SECONDS = 10.0  # the termination message, when only its figures moved
VERDICT_GRACE_SECONDS = 10.0  # a hung engine seldom heeds SIGTERM

EXIT_REFUSED = 78  # EX_CONFIG (sysexits.h): pre-flight refused, the engine was never started
_HANDLED = (*process.FORWARDED, signal.SIGCHLD)


def log(text: str) -> None:
    """The supervisor's own few lines, on stderr."""
    with contextlib.suppress(OSError):  # nobody reads any more: no reason to end the engine
        print(f"[xpullm] {text}", file=sys.stderr, flush=True)


def _wake() -> None:
    """End the main thread's wait: SIGCHLD is blocked in every thread and taken by sigtimedwait."""
    os.kill(os.getpid(), signal.SIGCHLD)


class Supervisor:
    """Everything here happens in the main thread; helpers run in threads and only report."""

    def __init__(
        self, config: RuntimeConfig, argv: Sequence[str], environ: Mapping[str, str]
    ) -> None:
        self._config = config
        self._argv = list(argv)
        self._environ = dict(environ)
        self._state = State(config, wake=_wake)
        self._message = TerminationLog(config.termination_log)
        self._engine = process.Engine()
        self._observer = Observer(config, self._state, own_cgroup())
        self._watchdog = Watchdog(config)
        client = EngineClient(config.engine_port, environ)
        self._poller = Poller(config, client, self._state)
        self._proof = Proof(config, client, self._state, self._poller)
        self._pumps: list[Pump] = []
        self._verdict: Verdict | None = None
        self._kill_at: float | None = None
        self._refresh_at = 0.0
        self._write_at = 0.0

    def run(self) -> int:
        """Start, watch, end; returns the exit code for the container."""
        if self._message.error:
            log(f"no termination message: {self._message.error}")
        refused = self._prepare()
        if refused is not None:
            return refused
        while not self._engine.reap():
            self._wait_for_signal()
            self._tick()
        return self._finish()

    def _prepare(self) -> int | None:
        """Pre-flight, then the engine, then the threads; an exit code where it ends here."""
        self._observer.look_at_host()
        self._message.write(self._state.report())
        for finding in self._preflight():
            self._state.findings.append(finding)
            self._state.note(finding.text)
            if finding.fatal:
                return self._refuse(finding.cause, finding.text, EXIT_REFUSED)
            log(f"warning: {finding.text}")
        try:
            server = StatusServer(self._config.runtime_port, self._state)
        except OSError as error:
            text = f"port {self._config.runtime_port} for /status: {error.strerror}"
            return self._refuse("port_in_use", text, EXIT_REFUSED)
        # Blocked signals stay pending for sigtimedwait, also for PID 1 (signal(7)).
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        try:
            stdout, stderr = self._engine.start(self._argv, self._sourced(), _HANDLED)
        except OSError as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            return self._refuse("bad_pod_spec", f"{self._argv[0]}: {error.strerror}", code)
        log(f"engine started, pid {self._engine.pid}; /status on port {server.server_port}")
        self._pumps = [
            Pump(stdout, 1, lambda data: self._state.on_output("stdout", data)),
            Pump(stderr, 2, lambda data: self._state.on_output("stderr", data)),
        ]
        sampler = StartSampler(self._observer, self._state)
        for thread in (sampler, *self._pumps, self._poller, self._proof):
            thread.start()
        server.start()
        return None

    def _preflight(self) -> list[preflight.Finding]:
        return preflight.check(
            self._config,
            render_nodes(),
            self._state.host,
            preflight.shm_bytes(),
            preflight.available_bytes(),
        )

    def _sourced(self) -> Mapping[str, str]:
        try:
            return envscripts.source(self._config.env_scripts, self._environ)
        except envscripts.EnvScriptError as error:
            log(f"warning: environment script left out: {error}")
            self._state.note(f"environment script left out: {error}")
            return self._environ

    def _refuse(self, cause: str, reason: str, code: int) -> int:
        log(f"not started: {reason}")
        diagnosis = observed(cause, reason, "starting")
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
        self._state.begin_stop()
        self._poller.stop()
        self._engine.signal(number)
        self._kill_at = time.monotonic() + grace_seconds

    def _tick(self) -> None:
        self._state.beat = time.monotonic()
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
            grace = min(self._config.grace_seconds, VERDICT_GRACE_SECONDS)
            self._stop_engine(signal.SIGTERM, grace)

    def _observe(self) -> None:
        if self._observer.look():
            self._poller.suspicious.set()
        state = self._state
        if self._proof.done.is_set() and not state.started_up:
            self._observer.look_at_all()  # what is measured of a start is kept as it is now
            state.model_revision = hubcache.loaded_commit(
                self._config.model_id, self._config.model_revision, self._environ
            )
            state.start_complete()
            log(f"ready after {state.seconds():.0f} s; {self._proof.summary()}")
        now = time.monotonic()
        if now >= self._refresh_at or (state.changed.is_set() and now >= self._write_at):
            state.changed.clear()
            self._refresh_at, self._write_at = now + REFRESH_SECONDS, now + WRITE_SECONDS
            self._message.write(state.report())

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
            found=self._proof.verdict or poller.verdict,
        )

    def _finish(self) -> int:
        status = self._engine.status or 0
        stopped = self._state.stopping and self._verdict is None
        self._state.begin_stop()
        self._poller.stop()
        left = self._engine.kill_leftovers(LEFTOVER_SECONDS)
        for pump in self._pumps:
            pump.join(LEFTOVER_SECONDS)
        self._observer.look_at_host()
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
