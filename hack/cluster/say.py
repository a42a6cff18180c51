"""Talk to the person who waits: on stderr, one line that moves where there is a terminal."""

import sys
import time
from typing import Self

_PERIOD_ON_A_PIPE_S = 15.0
_PERIOD_ON_A_TERMINAL_S = 0.2


def say(text: str) -> None:
    """Print one line."""
    print(f"[cluster] {text}", file=sys.stderr, flush=True)


class Progress:
    """A long step with a count: ``building the control plane: 812/2410 packages, 1 min 20 s``."""

    def __init__(self, title: str, total: int = 0, unit: str = "packages") -> None:
        self.title, self.total, self.unit = title, total, unit
        self.count = 0
        self._start = time.monotonic()
        self._shown = self._start - 3600
        self._terminal = sys.stderr.isatty()

    def __enter__(self) -> Self:
        self._show()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._shown = 0.0
        self._show(end="\n", suffix="" if kind is None else " (stopped)")

    def step(self) -> None:
        """One more of ``total`` is done."""
        self.count = min(self.count + 1, self.total) if self.total else self.count + 1
        self.tick()

    def tick(self) -> None:
        """Show the line again where it is time for it."""
        period = _PERIOD_ON_A_TERMINAL_S if self._terminal else _PERIOD_ON_A_PIPE_S
        if time.monotonic() - self._shown >= period:
            self._show()

    def _show(self, end: str = "", suffix: str = "") -> None:
        self._shown = time.monotonic()
        of = f"/{self.total}" if self.total else ""
        count = f"{self.count}{of} {self.unit}, " if self.count or self.total else ""
        line = f"[cluster] {self.title}: {count}{elapsed(self._shown - self._start)}{suffix}"
        if self._terminal:
            print(f"\r\033[K{line}", end=end, file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def elapsed(seconds: float) -> str:
    """``1 min 20 s`` or ``4 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
