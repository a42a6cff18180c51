"""Lines as vLLM's logger prints them: process tag, level, time, file and line."""

import sys
import time


class Log:
    """A logger for one process.

    Args:
        tag: ``(EngineCore pid=77) `` on V1, empty on V0.
    """

    def __init__(self, tag: str = "") -> None:
        self.tag = tag

    def info(self, where: str, text: str) -> None:
        """An INFO line of ``file.py:line``."""
        self._line("INFO", where, text)

    def warning(self, where: str, text: str) -> None:
        """A WARNING line."""
        self._line("WARNING", where, text)

    def error(self, where: str, text: str) -> None:
        """An ERROR line."""
        self._line("ERROR", where, text)

    def raw(self, text: str) -> None:
        """Lines without level and time: tracebacks, uvicorn's, ipex-llm's."""
        for line in text.splitlines() or [""]:
            print(f"{self.tag}{line}", file=sys.stderr, flush=True)

    def root_logger(self, text: str) -> None:
        """A line in the format of ipex-llm's root logger."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
        self.raw(f"{stamp},{int(now % 1 * 1000):03d} - INFO - {text}")

    def _line(self, level: str, where: str, text: str) -> None:
        stamp = time.strftime("%m-%d %H:%M:%S")
        for line in text.splitlines() or [""]:
            print(f"{self.tag}{level} {stamp} [{where}] {line}", flush=True)
