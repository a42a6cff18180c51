"""The engine process: it owns the card, starts by its generation's rules, and serves steps.

It talks to the API process by JSON lines over a socket that it inherits.
"""

import ctypes
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from . import startup
from .log import Log
from .plan import Arguments
from .scheduler import Scheduler, Sequence
from .startup import Engine
from .truth import Truth
from .wording import EngineError

_DEVICE_LOST = "level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)"
_STATS_S = 10.0


class Core:
    """One engine after its start."""

    def __init__(self, engine: Engine, truth: Truth, peer: "Peer") -> None:
        self._engine, self._truth, self._peer = engine, truth, peer
        self._scheduler = Scheduler(engine.arguments, engine.pool)
        self._accepted = 0
        self._prompt_tokens = self._generated_tokens = 0
        self._last_stats = time.monotonic()

    def run(self) -> None:
        """Serve until the API process goes.

        Raises:
            EngineError: something the engine does not survive.
        """
        while True:
            idle = not (self._scheduler.waiting or self._scheduler.running)
            for message in self._peer.messages(wait=idle):
                if message is None:
                    return
                self._take(message)
            self._step()

    def _take(self, message: dict[str, Any]) -> None:
        if "abort" in message:
            self._scheduler.abort(message["abort"])
            return
        self._accepted += 1
        self._fault()
        prompt, wanted = message["prompt"], message["max"]
        self._scheduler.add(Sequence(message["add"], prompt, wanted))

    def _fault(self) -> None:
        truth, number = self._truth, self._accepted
        if number == truth.hang_at_request:
            time.sleep(1 << 30)
        if number == truth.die_at_request:
            os.kill(os.getpid(), signal.SIGSEGV)
        if number == truth.device_lost_at_request:
            raise EngineError("RuntimeError", _DEVICE_LOST, self._engine.rules.RUN)

    def _step(self) -> None:
        started = [s.id for s in self._scheduler.waiting]
        step = self._scheduler.step()
        if step is None:
            return
        engine = self._engine
        engine.rules.step(
            engine.card, engine.model, engine.arguments, step.tokens, len(step.sampled)
        )
        time.sleep(self._truth.step_seconds + step.tokens / self._truth.tokens_per_second)
        self._prompt_tokens += max(0, step.tokens - len(step.sampled)) if started else 0
        self._generated_tokens += len(step.sampled)
        self._peer.send(
            {
                "tokens": [[s.id, s.generated, s.finished] for s in step.sampled],
                "running": len(self._scheduler.running),
                "waiting": len(self._scheduler.waiting),
                "usage": self._scheduler.usage(),
                "preempted": self._scheduler.preempted,
            }
        )
        for sequence in step.sampled:
            if sequence.finished:
                self._leak()
        self._stats()

    def _leak(self) -> None:
        if self._truth.leak_per_request:
            self._engine.rules.leak(self._engine.card, self._truth.leak_per_request)

    def _stats(self) -> None:
        passed = time.monotonic() - self._last_stats
        if passed < _STATS_S:
            return
        rates = (self._prompt_tokens / passed, self._generated_tokens / passed)
        self._peer.send({"throughput": rates})
        self._prompt_tokens = self._generated_tokens = 0
        self._last_stats = time.monotonic()


class Peer:
    """The API process at the other end of the socket."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        # Reset, and not closed, where it ended with answers unread.
        with self._socket.makefile("r") as lines, suppress(ConnectionResetError):
            for line in lines:
                self._queue.put(json.loads(line))
        self._queue.put(None)

    def messages(self, *, wait: bool) -> list[dict[str, Any] | None]:
        """What arrived; with ``wait`` at least one. None: the other end is gone."""
        found = [self._queue.get()] if wait else []
        while not self._queue.empty():
            found.append(self._queue.get())
        return found

    def send(self, message: dict[str, Any]) -> None:
        """Tell the API process."""
        try:
            self._socket.sendall((json.dumps(message) + "\n").encode())
        except OSError:  # it is gone; the next read says so
            return


def main(descriptor: int, line: str, truth: Truth, arguments: Arguments, model_name: str) -> None:
    """Entry of the engine process; exits 1 with a traceback on an engine's error."""
    v1 = line == "v1"
    name = "EngineCore" if v1 else "MQLLMEngine"
    _title(f"VLLM::{name}" if v1 else "python3")
    log = Log(f"(EngineCore pid={os.getpid()}) " if v1 else "")
    _on_sigterm(log if v1 else None)
    peer = Peer(descriptor)
    engine: Engine | None = None
    try:
        engine = startup.start(line, truth, arguments, model_name, log)
        peer.send({"ready": {"blocks": engine.pool.blocks, "longest": engine.longest}})
        Core(engine, truth, peer).run()
    except EngineError as error:
        rules = startup.rules(line)
        if v1:
            _report_v1(log, error, truth, rules.ROOT, started=engine is not None)
        else:
            _report_v0(log, error, rules.ROOT, started=engine is not None)
            if engine is not None:
                peer.send({"errored": f"{error.kind}: {error.message}"})
        sys.stdout.flush()
        os._exit(1)


def _report_v1(log: Log, error: EngineError, truth: Truth, root: str, *, started: bool) -> None:
    trace = error.traceback(root)
    if started:
        log.error(
            "dump_input.py:68",
            f"Dumping input data for V1 LLM engine (v{truth.version}) with config: ..., ",
        )
        log.error(
            "dump_input.py:75",
            "Dumping scheduler output for model execution: SchedulerOutput(...)",
        )
    what = "EngineCore encountered a fatal error." if started else "EngineCore failed to start."
    log.error("core.py:1332" if started else "core.py:1330", "\n".join([what, *trace]))
    log.raw("Process EngineCore:")
    log.raw("\n".join(trace))


def _report_v0(log: Log, error: EngineError, root: str, *, started: bool) -> None:
    where, trace = "engine.py:448", error.traceback(root)
    if started:
        where = "engine.py:160"
        log.error(where, f"{error.kind.rpartition('.')[2]}({error.message!r})")
    else:
        log.error(where, error.message)
    log.error(where, "\n".join(trace))
    if not started:
        log.raw("\n".join(["Process SpawnProcess-1:", *trace]))


def _on_sigterm(log: "Log | None") -> None:
    def leave(*_: object) -> None:
        if log is not None:
            log.info("core.py:1313", "[shutdown] EngineCore: trigger received signal=SIGTERM")
            log.info("core.py:1432", "[shutdown] EngineCore: start mode=abort timeout=0s")
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)


def _title(name: str) -> None:
    """The name ``ps`` and the kernel's OOM report show; 15 characters."""
    try:
        ctypes.CDLL(None).prctl(15, name.encode()[:15], 0, 0, 0)  # PR_SET_NAME
    except (OSError, AttributeError):
        return
