"""Start one program of the cluster with its mark, its log and a check that it stays."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from hack.cluster.errors import ClusterError
from hack.cluster.state import MARK, State


class Process:
    """A program that runs as long as the cluster does."""

    def __init__(
        self,
        state: State,
        name: str,
        command: list[str],
        environment: dict[str, str] | None = None,
        files: Path | None = None,
    ) -> None:
        self.name = name
        self.log = state.logs / f"{name}.log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=files or state.folder,
                env={**os.environ, **(environment or {}), MARK: state.id},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it at once and wait for it."""
        self._process.kill()
        self._process.wait()

    def check(self) -> None:
        """Raise where the program has ended, with the end of its log."""
        code = self._process.poll()
        if code is not None:
            raise ClusterError(f"{self.name} ended with code {code}:\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Poll ``ready`` until it is true.

        Raises:
            ClusterError: the program ended, or the time is over.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise ClusterError(f"{self.name} is not ready in {seconds} s:\n{self.tail()}")
            time.sleep(0.05)
