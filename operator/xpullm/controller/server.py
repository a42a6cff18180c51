"""HTTP of the operator: probes on one port, metrics on another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from xpullm.controller.health import Health
from xpullm.controller.metrics import Metrics


class Servers:
    """Both servers; ``ports`` tells what was bound."""

    def __init__(self) -> None:
        self._runners: list[web.AppRunner] = []
        self.ports: list[int] = []

    async def start(self, app: web.Application, address: str, port: int) -> None:
        """Serve; port 0 takes any, -1 none.

        Raises:
            OSError: the port is taken.
        """
        if port < 0:
            return
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, address, port).start()
        self.ports += [address[1] for address in runner.addresses]

    async def stop(self) -> None:
        """Close the servers and their connections."""
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()


def probes(health: Health) -> web.Application:
    """/healthz and /readyz: 200 ``ok``, or 503 with what is wrong."""
    app = web.Application()
    app.router.add_get("/healthz", _probe(health.live_problems))
    app.router.add_get("/readyz", _probe(health.ready_problems))
    return app


def metrics_page(metrics: Metrics, refresh: Callable[[], None]) -> web.Application:
    """/metrics; ``refresh`` sets the gauges first."""

    async def page(_: web.Request) -> web.Response:
        refresh()
        body = generate_latest(metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", page)
    return app


def _probe(problems: Callable[[], list[str]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        found = problems()
        return web.Response(text="\n".join(found) or "ok", status=503 if found else 200)

    return answer
