"""The API process's side of the engine: start it, hand requests over, notice its death."""

import json
import queue
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .plan import Arguments
from .truth import Truth

_PACKAGE = __package__ or "simengine"
_ROOT = str(Path(__file__).resolve().parents[_PACKAGE.count(".") + 1])
_START = (
    "import json, sys; sys.path.insert(0, sys.argv[1]); "
    f"from {_PACKAGE} import core, plan, truth; "
    "d = json.loads(sys.argv[2]); "
    "core.main(d['fd'], d['line'], truth.Truth(**d['truth']), plan.Arguments(**d['arguments']), "
    "d['model'])"
)


class EngineDeadError(Exception):
    """The engine process is gone or says that it cannot go on."""


class Engine:
    """A started engine process."""

    def __init__(self, line: str, truth: Truth, arguments: Arguments, model: str) -> None:
        ours, theirs = socket.socketpair()
        payload = {
            "fd": theirs.fileno(),
            "line": line,
            "truth": asdict(truth),
            "arguments": asdict(arguments),
            "model": model,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, _ROOT, json.dumps(payload)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        self._socket = ours
        self._lock = threading.Lock()
        self._streams: dict[str, queue.Queue[tuple[int, bool] | None]] = {}
        self.ready: dict[str, int] | None = None
        self.errored = ""  # the engine's own last word
        self.gauges: dict[str, float] = {"running": 0, "waiting": 0, "usage": 0.0, "preempted": 0}
        self.throughput: tuple[float, float] | None = None
        self.dead = threading.Event()
        self._started = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def wait_until_ready(self) -> bool:
        """Block until the engine serves (true) or is gone (false)."""
        self._started.wait()
        return self.ready is not None

    def submit(self, name: str, prompt: int, wanted: int) -> queue.Queue[tuple[int, bool] | None]:
        """Hand a request over; the queue gives (tokens so far, finished), or None at death.

        Raises:
            EngineDeadError: it is too late.
        """
        stream: queue.Queue[tuple[int, bool] | None] = queue.Queue()
        with self._lock:
            if self.dead.is_set():
                raise EngineDeadError
            self._streams[name] = stream
        self._send({"add": name, "prompt": prompt, "max": wanted})
        return stream

    def abort(self, name: str) -> None:
        """The client went away."""
        with self._lock:
            self._streams.pop(name, None)
        self._send({"abort": name})

    def stop(self) -> None:
        """End the engine process politely, then not."""
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            with self._lock:
                self._socket.sendall((json.dumps(message) + "\n").encode())
        except OSError as error:
            raise EngineDeadError from error

    def _read(self) -> None:
        # Reset, and not closed, where it died with requests unread.
        with self._socket.makefile("r") as lines, suppress(ConnectionResetError):
            for line in lines:
                self._take(json.loads(line))
        self.process.wait()
        with self._lock:
            self.dead.set()
            streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.put(None)
        self._started.set()

    def _take(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self.ready = message["ready"]
            self._started.set()
        self.errored = message.get("errored", self.errored)
        if "throughput" in message:
            self.throughput = tuple(message["throughput"])
        for key in self.gauges.keys() & message.keys():
            self.gauges[key] = message[key]
        for name, generated, finished in message.get("tokens", ()):
            with self._lock:
                stream = self._streams.get(name)
                if finished:
                    self._streams.pop(name, None)
            if stream is not None:
                stream.put((generated, finished))
