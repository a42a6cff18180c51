"""The container's termination message, rewritten in place.

The kubelet reads the file after the container's end, whatever ended it. A SIGKILL leaves no time
for a last word, so the file must hold a whole report at every moment: one `pwrite` of at most 4096
bytes at offset 0 (a single page, which a signal cannot tear), padded with blanks over the longer
text before, then `ftruncate`. JSON ignores the blanks should the process die between the two.
"""

from __future__ import annotations

import os

from .report import Report, encode


class TerminationLog:
    """Keeps the file open; does nothing where there is no such file (no Kubernetes)."""

    def __init__(self, path: str) -> None:
        """`path` may be empty. A path that cannot be opened is remembered in `error`."""
        self.error = ""
        self._fd = -1
        self._length = 0
        self._last = b""
        if not path:
            return
        try:
            # 0666 & umask: the file is the kubelet's in a pod, the caller's elsewhere.
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._length = min(os.fstat(self._fd).st_size, 1 << 20)
        except OSError as error:
            self.error = f"{path}: {error.strerror}"

    def write(self, report: Report) -> None:
        """Replace the message; a full disk or a vanished file must not end the engine."""
        if self._fd < 0:
            return
        data = encode(report)
        if data == self._last:
            return
        try:
            os.pwrite(self._fd, data.ljust(self._length), 0)
            os.ftruncate(self._fd, len(data))
        except OSError as error:
            self.error = error.strerror or str(error)
            return
        self._last, self._length = data, len(data)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
