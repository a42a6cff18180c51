"""Liveness asks for progress; readiness for a complete listing or a standby."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request

from tests.unit.controller.double import ApiDouble
from tests.unit.controller.virtual import run
from tests.unit.controller.world import Operator

from xpullm.controller.health import Health
from xpullm.controller.metrics import Metrics
from xpullm.controller.server import Servers, metrics_page, probes


def test_a_pass_that_hangs_is_found() -> None:
    async def scenario() -> list[list[str]]:
        operator = Operator(ApiDouble())
        health = Health(queue=operator.queue)
        operator.queue.add(("ns", "m"))
        operator.queue.take()
        await asyncio.sleep(179)
        found = [health.live_problems()]
        await asyncio.sleep(2)
        return [*found, health.live_problems()]

    assert run(scenario()) == [[], ["no progress for 181 s: a pass hangs or none begins"]]


def test_workers_that_begin_nothing_are_found() -> None:
    async def scenario() -> list[str]:
        operator = Operator(ApiDouble())
        await asyncio.sleep(1000)
        operator.queue.add(("ns", "m"))
        assert Health(queue=operator.queue).live_problems() == []
        await asyncio.sleep(181)
        return Health(queue=operator.queue).live_problems()

    assert run(scenario()) == ["no progress for 181 s: a pass hangs or none begins"]


def test_a_long_queue_that_moves_is_healthy() -> None:
    async def scenario() -> list[str]:
        operator = Operator(ApiDouble())
        for number in range(100):
            operator.queue.add(("ns", str(number)))
        for _ in range(90):
            key = operator.queue.take()
            await asyncio.sleep(10)
            operator.queue.done(key or ("", ""))
        return Health(queue=operator.queue).live_problems()

    assert run(scenario()) == []


def test_a_listing_that_is_long_overdue_is_found() -> None:
    async def scenario() -> list[list[str]]:
        loop = asyncio.get_running_loop()
        operator = Operator(ApiDouble())
        await operator.resync.prime()
        health = Health(resync=operator.resync, period_seconds=600, primed=True, clock=loop.time)
        await asyncio.sleep(1190)
        found = [health.live_problems()]
        await asyncio.sleep(20)
        return [*found, health.live_problems()]

    assert run(scenario()) == [[], ["the last complete listing was 1210 s ago"]]


def test_ready_on_standby_and_when_primed() -> None:
    assert Health().ready_problems() == []
    assert Health(standby=False).ready_problems() == ["the first listing is not complete"]
    assert Health(standby=False, primed=True).ready_problems() == []


async def test_http() -> None:
    health = Health()
    servers = Servers()
    metrics = Metrics()
    metrics.rerolls.labels("host_oom").inc()
    await servers.start(probes(health), "127.0.0.1", 0)
    await servers.start(metrics_page(metrics, lambda: None), "127.0.0.1", 0)

    def get(port: int, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    probe, page = servers.ports
    try:
        assert await asyncio.to_thread(get, probe, "/readyz") == (200, "ok")
        health.standby = False
        assert await asyncio.to_thread(get, probe, "/readyz") == (
            503,
            "the first listing is not complete",
        )
        code, text = await asyncio.to_thread(get, page, "/metrics")
        assert code == 200
        assert 'xpullm_rerolls_total{reason="host_oom"} 1.0' in text
    finally:
        await servers.stop()
