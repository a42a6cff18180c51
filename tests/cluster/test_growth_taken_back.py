"""A step of growth that fails on an API server: undone, remembered, not tried again.

tests/cluster/test_growth.py has the real supervisor; here its /status is told by the test, at an
address of this machine.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hack.cluster import Cluster
from tests.cluster.kwok_world import World, last_word, nodes, public_log, world

from xpullm_runtime.config import RUNTIME_PORT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

OURS = "taken-back"
OOM = public_log("F037")
SPEC: dict[str, Any] = {
    "healing": {"growth": {"mode": "Enabled", "afterHealthySeconds": 60}},
    "pod": {"nodeSelector": {"test.xpullm.io/nodes": OURS}},
}


def own_address() -> str:
    """An address of this machine that is not its loopback: the operator asks no such one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1; nothing is sent
        except OSError:
            pytest.skip("this machine has no network interface but its loopback")
        return str(probe.getsockname()[0])


@dataclass
class Supervisor:
    """What every pod at `address` answers on /status."""

    address: str
    plan_hash: str = ""
    start_seconds: int = 0
    kv_usage_percent: int = 0

    def tell(self, plan_hash: str, start_seconds: int, kv_usage_percent: int) -> None:
        self.plan_hash, self.start_seconds = plan_hash, start_seconds
        self.kv_usage_percent = kv_usage_percent

    def answer(self) -> bytes:
        body = {
            "planHash": self.plan_hash,
            "startedUp": True,
            "start": {"seconds": self.start_seconds, "figures": {}},
            "load": {"kvCacheUsagePeakPercent": self.kv_usage_percent, "preemptions": 0},
        }
        return json.dumps(body).encode()


@contextmanager
def supervisor() -> Iterator[Supervisor]:
    said = Supervisor(own_address())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = said.answer() if self.path == "/status" else b""
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = _server((said.address, RUNTIME_PORT), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    try:
        yield said
    finally:
        server.shutdown()
        server.server_close()


def _server(address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """Supervisors listen on one port: another test run on this machine may have it for a while."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return ThreadingHTTPServer(address, handler)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@pytest.fixture(scope="module")
def told() -> Iterator[Supervisor]:
    with supervisor() as said:
        yield said


@pytest.fixture(scope="module")
def live(
    cluster: Cluster, told: Supervisor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    log = tmp_path_factory.mktemp("taken-back") / "log"
    with nodes(cluster, OURS, {"a": 1}), world(cluster, log) as w:
        yield w
        assert "Traceback" not in log.read_text()


def status(live: World, name: str) -> dict[str, Any]:
    """Once there is a plan in it: pods may run before."""

    def look() -> dict[str, Any] | None:
        found = dict(live.get("LLMDeployment", name)["status"])
        return found if "plan" in found else None

    return live.wait(look)


def serves(
    live: World, told: Supervisor, name: str, *, mark: int, since: float, usage: int
) -> None:
    """The engine of the newest plan is Ready since so many seconds and tells of its use."""
    told.tell(live.plan_hash(name), mark, usage)
    live.serve(name, since=since, address=told.address)


def heard(live: World, name: str, mark: int) -> None:
    """The operator has decided on the figures with this mark: status says them."""
    live.wait(lambda: status(live, name).get("measured", {}).get("startSeconds") == mark)


def test_a_step_of_growth_that_fails_is_undone_and_not_tried_again(
    live: World, told: Supervisor
) -> None:
    with live.deployed("grown", **SPEC) as name:
        first, before = live.plan_hash(name), live.template(name)
        assert status(live, name)["plan"]["utilizationPercent"] == 60
        told.tell(first, 11, 90)
        pod = live.running(name)["metadata"]["name"]
        live.serve_pod(pod, since=120, address=told.address)
        live.until(name, "Growing")
        assert status(live, name)["plan"]["utilizationPercent"] == 65
        assert live.healing(name)["attempt"] == 0

        grown = live.plan_hash(name)
        serves(live, told, name, mark=22, since=0, usage=90)
        heard(live, name, 22)
        live.end(name, last_word(OOM, plan_hash=grown, was_ready=True))  # once is enough
        message = live.until(name, "Healing")
        assert message.startswith("growth is taken back after device_oom_runtime")
        assert (live.plan_hash(name), live.template(name)) == (first, before)

        # Healthy for long, in more demand than ever, and a new operator: it stays as it is.
        for mark, anew in ((33, False), (44, True)):
            if anew:
                live.operator.stop()
                told.tell(first, mark, 99)
                live.operator.start()
            else:
                serves(live, told, name, mark=mark, since=3600, usage=99)
            heard(live, name, mark)
            assert live.plan_hash(name) == first
            assert live.template(name) == before
            assert live.condition(name, "Ready")["reason"] == "ReplicasReady"
        assert status(live, name)["plan"]["utilizationPercent"] == 60
        growth, undone = live.healing(name)["history"]
        assert (growth["cause"], growth["result"]) == ("growth", "Worse")
        assert (undone["cause"], undone["result"]) == ("device_oom_runtime", "Helped")
        assert (undone["from"], undone["to"]) == (growth["to"], growth["from"])
        assert live.healing(name)["attempt"] == 0
