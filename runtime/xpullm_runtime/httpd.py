"""The supervisor's own port: probes, /status (JSON) and /metrics (Prometheus)."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from . import __version__, phases
from .state import State

STUCK_SECONDS = 60.0  # its main thread takes a turn every quarter of a second


class StatusServer(ThreadingHTTPServer):
    """Bound at construction, serving after `start()`. Raises OSError when the port is taken."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, port: int, state: State) -> None:
        self.state = state
        try:
            self.address_family = socket.AF_INET6
            super().__init__(("::", port), _Handler)
        except OSError:  # a node without IPv6
            self.address_family = socket.AF_INET
            super().__init__(("0.0.0.0", port), _Handler)  # noqa: S104 - the kubelet probes the pod's IP

    def server_bind(self) -> None:
        """Take IPv4 as well on an IPv6 socket; skip the base class' look-up of the own name."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "xpullm", self.server_address[1]

    def start(self) -> None:
        """Serve from a thread of its own until the process ends."""
        threading.Thread(target=self.serve_forever, name="status", daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A prober that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: StatusServer
    server_version = f"xpullm-runtime/{__version__}"
    sys_version = ""
    timeout = 10

    def do_GET(self) -> None:
        """Route; everything is answered from memory, nothing asks the engine."""
        state = self.server.state
        path = self.path.partition("?")[0]
        if path == "/status":
            self._send(200, json.dumps(state.snapshot(), indent=1), "application/json")
        elif path == "/metrics":
            self._send(200, prometheus(state), "text/plain; version=0.0.4; charset=utf-8")
        elif path in CHECKS:
            good, why = check(state, CHECKS[path])
            self._send(200 if good else 503, f"{why}\n")
        else:
            self._send(404, f"{path}: not found; try /status, /metrics, {', '.join(CHECKS)}\n")

    def _send(self, code: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
        data = text.encode("utf-8", "replace")
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' name
        """The engine's log is the container's log; probes stay out of it."""


CHECKS = {"/healthz": "liveness", "/readyz": "readiness", "/startupz": "startup"}


def check(state: State, kind: str) -> tuple[bool, str]:
    """Whether the probe passes, and the reason in one line.

    Liveness passes as long as the supervisor itself is at work: it ends a hung engine with a cause,
    which a kubelet's kill would not leave behind.
    """
    if kind == "liveness":
        silent = time.monotonic() - state.beat
        return silent < STUCK_SECONDS, f"supervising, last turn {silent:.1f} s ago"
    if not state.started_up:
        return False, f"starting: {state.phase}"
    if kind == "startup":
        return True, "started"
    if state.stopping:
        return False, "stopping"
    return (True, "ready") if state.healthy else (False, "the engine's /health does not answer 200")


def prometheus(state: State) -> str:
    """The text exposition format, version 0.0.4."""
    now = state.snapshot()
    lines: list[str] = []

    def add(name: str, kind: str, text: str, samples: list[tuple[str, float]]) -> None:
        lines.extend([f"# HELP {name} {text}", f"# TYPE {name} {kind}"])
        lines.extend(f"{name}{labels} {value:.17g}" for labels, value in samples)

    host, gpu = now["host"], now["gpu"]
    add(
        "xpullm_runtime_info",
        "gauge",
        "Version of the supervisor and hash of the plan.",
        [(f'{{version="{__version__}",plan_hash="{_escape(now["planHash"])}"}}', 1)],
    )
    add(
        "xpullm_engine_phase",
        "gauge",
        "1 for the engine's present phase.",
        [(f'{{phase="{phase}"}}', int(phase == now["phase"])) for phase in phases.ORDER],
    )
    add(
        "xpullm_engine_healthy",
        "gauge",
        "1 if the engine's /health answered 200.",
        [("", int(now["healthy"]))],
    )
    add(
        "xpullm_engine_started_up",
        "gauge",
        "1 once the engine is healthy and burn-in is over.",
        [("", int(now["startedUp"]))],
    )
    add(
        "xpullm_engine_uptime_seconds",
        "gauge",
        "Since the supervisor's start.",
        [("", now["seconds"])],
    )
    if now["readyAfterSeconds"] is not None:
        add(
            "xpullm_engine_start_seconds",
            "gauge",
            "From start to ready, burn-in included.",
            [("", now["readyAfterSeconds"])],
        )
    add(
        "xpullm_engine_output_bytes_total",
        "counter",
        "Output of the engine passed on.",
        [(f'{{stream="{name}"}}', size) for name, size in now["outputBytes"].items()],
    )
    add(
        "xpullm_host_memory_limit_bytes",
        "gauge",
        "Memory limit of the cgroup, 0 for none.",
        [("", host["limitBytes"])],
    )
    add(
        "xpullm_host_memory_usage_bytes",
        "gauge",
        "Memory of the cgroup, page cache included.",
        [("", host["usageBytes"])],
    )
    add(
        "xpullm_host_memory_working_set_bytes",
        "gauge",
        "The same without inactive file pages.",
        [("", host["workingSetBytes"])],
    )
    add(
        "xpullm_host_memory_peak_bytes",
        "gauge",
        "Highest memory of the cgroup, page cache included.",
        [("", host["peakBytes"])],
    )
    add(
        "xpullm_host_memory_held_peak_bytes",
        "gauge",
        "Highest memory of the cgroup without page cache.",
        [("", host["heldPeakBytes"])],
    )
    add(
        "xpullm_host_oom_kills_total",
        "counter",
        "Processes that the kernel killed for memory.",
        [("", host["oomKills"])],
    )
    add(
        "xpullm_gpu_memory_resident_bytes",
        "gauge",
        "VRAM of the engine by DRM fdinfo.",
        [("", gpu["residentBytes"])],
    )
    add(
        "xpullm_gpu_memory_peak_bytes",
        "gauge",
        "Highest VRAM seen by DRM fdinfo.",
        [("", gpu["peakBytes"])],
    )
    figures = [(f'{{figure="{_escape(name)}"}}', value) for name, value in now["figures"].items()]
    if figures:
        add("xpullm_engine_figure", "gauge", "What the engine printed about itself.", figures)
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
