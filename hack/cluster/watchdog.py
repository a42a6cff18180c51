"""Waits for the end of the harness, however it ends, and sweeps what it left.

The harness holds the other end of this process's standard input. A SIGKILL closes it too.
"""

import subprocess
import sys

from hack.cluster.paths import REPOSITORY
from hack.cluster.state import State, known
from hack.cluster.sweep import sweep


def start(state: State) -> "subprocess.Popen[bytes]":
    """Start a watchdog for a cluster that this process owns."""
    with (state.logs / "watchdog.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "hack.cluster.watchdog", state.id],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in the terminal is not for it
        )


def main() -> None:
    """Wait for the end of standard input, then sweep the cluster, if it still has an owner."""
    sys.stdin.buffer.read()
    for state in known():
        if state.id == sys.argv[1] and state.owner is not None:
            sweep(state)


if __name__ == "__main__":
    main()
