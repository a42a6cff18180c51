"""The API server is out of reach for a while; nothing that happened meanwhile is lost."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hack.cluster import Cluster
from tests.cluster.controller_world import eventually, install_crds, llmd
from tests.unit.controller import world

from xpullm.controller.connection import load_configuration
from xpullm.controller.lease import LeadershipLostError
from xpullm.controller.run import Operator
from xpullm.controller.settings import Settings

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


class Cable:
    """A TCP relay to the API server that can be pulled out and plugged in again."""

    def __init__(self, server: str) -> None:
        host, _, port = server.removeprefix("https://").rpartition(":")
        self._target = (host, int(port))
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def plug(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def pull(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(*self._target)
        self._open |= {writer, there[1]}
        for source, sink in ((reader, there[1]), (there[0], writer)):
            task = asyncio.create_task(self._copy(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()


async def operator_behind(
    cable: Cable, cluster: Cluster, namespace: str, folder: Path, **settings: Any
) -> Operator:
    config = json.loads(cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{cable.port}"
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    chosen = Settings(
        namespaces=(namespace,), lease_namespace=namespace, probe_port=-1, metrics_port=-1,
        kubeconfig=str(kubeconfig), **settings,
    )  # fmt: skip
    return Operator(chosen, await load_configuration(chosen.kubeconfig), world.decide)


async def test_what_changed_during_an_outage_is_caught_up_with(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    install_crds(cluster)
    cable = Cable(cluster.server)
    await cable.plug()
    operator = await operator_behind(cable, cluster, namespace, tmp_path, leader_elect=False)
    running = asyncio.create_task(operator.run())

    def children() -> set[str]:
        items = cluster.get("deployments,services", "-n", namespace)["items"]
        return {f"{i['kind']}/{i['metadata']['name']}" for i in items}

    await asyncio.to_thread(cluster.apply, llmd(namespace))
    await eventually(lambda: children() == {"Deployment/m", "Service/m"})
    await cable.pull()
    await asyncio.sleep(12)
    await asyncio.to_thread(cluster.apply, llmd(namespace, "new"))
    await asyncio.to_thread(cluster.kubectl, "delete", "service", "m", "-n", namespace)
    await asyncio.to_thread(cluster.kubectl, "delete", "deployment", "m", "-n", namespace)
    assert children() == set()
    await cable.plug()
    wanted = {f"{kind}/{name}" for kind in ("Deployment", "Service") for name in ("m", "new")}
    await eventually(lambda: children() == wanted, 60)
    assert not running.done()
    operator.stop()
    await running
    await cable.pull()


async def test_a_leader_that_is_cut_off_ends_before_another_may_lead(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    install_crds(cluster)
    cable = Cable(cluster.server)
    await cable.plug()
    operator = await operator_behind(cable, cluster, namespace, tmp_path)
    running = asyncio.create_task(operator.run())
    await eventually(lambda: operator.health.primed)
    loop = asyncio.get_running_loop()
    cut = loop.time()
    await cable.pull()
    with pytest.raises(LeadershipLostError, match="was not renewed"):
        await running
    assert loop.time() - cut < 15  # the Lease's duration
