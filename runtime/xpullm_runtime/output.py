"""The engine's output: passed on byte for byte, and remembered within fixed bounds."""

from __future__ import annotations

import errno
import os
import re
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator

CHUNK_BYTES = 1 << 16  # a pipe's default capacity (pipe(7))
LINE_BYTES = 2048  # of a longer line only the beginning is remembered
TAIL_BYTES = 512 << 10  # a root cause stands up to some hundred lines above an engine's end
TAIL_LINES = 4000
DECISIVE_LINES = 64

_ENDS = re.compile(rb"[\r\n]")


class Lines:
    """Cuts a byte stream into lines (a carriage return ends one too: progress bars)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield each line that `data` completes; memory stays below LINE_BYTES + len(data)."""
        *ended, rest = _ENDS.split(data)
        for part in ended:
            line, self._rest = self._rest + part[:LINE_BYTES], b""
            if line:
                yield line[:LINE_BYTES].decode("utf-8", "replace")
        self._rest = (self._rest + rest[:LINE_BYTES])[:LINE_BYTES]

    def flush(self) -> Iterator[str]:
        """Yield what the stream ended with, if it did not end its last line."""
        if self._rest:
            yield self._rest.decode("utf-8", "replace")
            self._rest = b""


class Tail:
    """The last lines of both streams, and decisive ones that have scrolled out. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: deque[tuple[int, str]] = deque()
        self._first: list[tuple[int, str]] = []
        self._decisive: deque[tuple[int, str]] = deque(maxlen=DECISIVE_LINES)
        self._size = 0
        self._count = 0

    def add(self, line: str, decisive: bool) -> None:
        """Remember `line`; the first and the last DECISIVE_LINES decisive lines are kept."""
        with self._lock:
            self._count += 1
            entry = (self._count, line)
            self._lines.append(entry)
            self._size += len(line)
            while self._size > TAIL_BYTES or len(self._lines) > TAIL_LINES:
                self._size -= len(self._lines.popleft()[1])
            if decisive and len(self._first) < DECISIVE_LINES:
                self._first.append(entry)
            elif decisive:
                self._decisive.append(entry)

    def text(self) -> str:
        """Decisive lines that left the tail, then the tail, in the order of their arrival."""
        with self._lock:
            oldest = self._lines[0][0] if self._lines else self._count + 1
            gone = [entry for entry in (*self._first, *self._decisive) if entry[0] < oldest]
            return "\n".join(line for _, line in (*gone, *self._lines))

    def decisive(self, limit: int) -> tuple[str, ...]:
        """The last `limit` decisive lines, oldest first."""
        with self._lock:
            return tuple(line for _, line in (*self._first, *self._decisive))[-limit:]


class Pump(threading.Thread):
    """Copies one stream of the engine to ours and shows every chunk to `sink` afterwards."""

    def __init__(self, source: int, target: int, sink: Callable[[bytes], None]) -> None:
        super().__init__(name=f"output-{target}", daemon=True)
        self._source = source
        self._target = target
        self._sink = sink

    def run(self) -> None:
        """Until the last holder of the stream's other end is gone."""
        while True:
            try:
                data = os.read(self._source, CHUNK_BYTES)
            except OSError:
                break
            if not data:
                break
            # When our own reader is gone the engine must still not block: read on, drop.
            if self._target >= 0 and not _write_all(self._target, data):
                self._target = -1
            self._sink(data)
        self._sink(b"")
        os.close(self._source)


def _write_all(fd: int, data: bytes) -> bool:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [])
        except OSError as error:
            if error.errno != errno.EINTR:
                return False
    return True
