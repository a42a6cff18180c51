"""``kubectl port-forward`` while a block runs: the way to a Service, as there is no kube-proxy."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hack.cluster.errors import ClusterError
from hack.cluster.process import Process
from hack.cluster.state import State

_PATIENCE_S = 60.0


@contextmanager
def port_forward(
    state: State, kubectl: Path, target: str, port: int, namespace: str
) -> Iterator[str]:
    """Yield ``http://127.0.0.1:N``; N is a free port that kubectl chose.

    Raises:
        ClusterError: kubectl could not reach the target.
    """
    name = f"port-forward-{re.sub('[^a-z0-9]+', '-', target)}-{time.monotonic_ns()}"
    command = [
        str(kubectl), "--kubeconfig", str(state.kubeconfig), "-n", namespace,
        "port-forward", target, f":{port}",
    ]  # fmt: skip
    process = Process(state, name, command)
    found: list[str] = []

    def forwarding() -> bool:
        found.extend(re.findall(r"Forwarding from 127\.0\.0\.1:(\d+)", process.log.read_text()))
        return bool(found)

    try:
        try:
            process.wait_until(forwarding, _PATIENCE_S)
        except ClusterError as error:
            raise ClusterError(f"cannot forward to {target} in {namespace}: {error}") from error
        yield f"http://127.0.0.1:{found[0]}"
    finally:
        process.kill()
