"""Wiring: one process that waits for the Lease, fills its store, works, and goes cleanly."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import signal
from collections.abc import Coroutine
from typing import Any

import kopf
from kubernetes.aio.client.configuration import Configuration

from xpullm.controller import watches
from xpullm.controller.apply import Applier
from xpullm.controller.client import Api
from xpullm.controller.connection import kopf_login, load_configuration, new_client
from xpullm.controller.engines import Engines
from xpullm.controller.errors import NotFoundError
from xpullm.controller.fleet import FleetView
from xpullm.controller.health import Health
from xpullm.controller.kinds import CLAIM_TEMPLATE, DEVICE_CLASS, LLMDEPLOYMENT
from xpullm.controller.lease import Lease
from xpullm.controller.metrics import Metrics
from xpullm.controller.pod_events import PodEvents
from xpullm.controller.reconciler import Decide, Reconciler
from xpullm.controller.resync import Resync, UnservableError, not_served
from xpullm.controller.server import Servers, metrics_page, probes
from xpullm.controller.settings import Settings, identity, lease_namespace
from xpullm.controller.status_client import StatusClient
from xpullm.controller.store import Store
from xpullm.controller.types import Capabilities, Key
from xpullm.controller.workqueue import WorkQueue

log = logging.getLogger(__name__)

_DRAIN_SECONDS = 10.0  # for passes under way at SIGTERM; kubelet's default grace is 30 s
_ENGINES_AT_A_TIME = 16
_EVENTS_AT_A_TIME = 4
_IMAGE_VOLUMES_SINCE = (1, 35)  # image volumes on by default (KEP-4639)


class Operator:
    """All parts of one process. ``run`` once."""

    def __init__(self, settings: Settings, configuration: Configuration, decide: Decide) -> None:
        self._settings = settings
        self._configuration = configuration
        self._stop = asyncio.Event()
        self.metrics = Metrics()
        self.store = Store()
        self.queue: WorkQueue[Key] = WorkQueue(asyncio.get_running_loop())
        self.api = Api(new_client(configuration), self.metrics.request)
        self.servers = Servers()
        self.resync = Resync(
            self.api,
            self.store,
            self._touched,
            self.metrics,
            namespaces=settings.namespaces,
            period_seconds=settings.resync_seconds,
        )
        self.health = Health(queue=self.queue, period_seconds=settings.resync_seconds)
        self._fleet = FleetView(self.store)
        self._version = (0, 0)
        self._client = StatusClient()
        self._engines = Engines(self.store, self._client.fetch, self.queue.add, self.metrics)
        self._events = PodEvents(self.store, self.api.events, self.queue.add)
        self._applier = Applier(
            self.api, self.store, instance=identity(settings), touched=self._touched
        )
        self._reconciler = Reconciler(
            decide,
            store=self.store,
            queue=self.queue,
            applier=self._applier,
            fleet=self._fleet,
            metrics=self.metrics,
            capabilities=self._capabilities,
            runtime=self._engines.figures,
            events=self._events.events,
            # kopf does not tell of a listing without items, which it makes after a gap.
            missed=lambda: self.resync.gap(LLMDEPLOYMENT),
        )

    def stop(self) -> None:
        """End cleanly: finish the passes under way, release the Lease."""
        self._stop.set()

    async def run(self) -> None:
        """Work until ``stop``.

        Raises:
            UnservableError: CRDs or rights are missing.
            LeadershipLostError: end the process at once.
            ApiError, OSError: the API server or a port cannot be had.
        """
        self._handle_signals()
        lease = self._lease()
        try:
            await self._serve()
            await self._check_server()
            if lease is not None and not await self._unless_stopped(lease.acquire()):
                return
            self.health.standby = False
            self.metrics.leader.set(1)
            await self._lead(lease)
        finally:
            if lease is not None:
                await lease.release()
            await self.servers.stop()
            await self._client.close()
            await self.api.close()

    async def _lead(self, lease: Lease | None) -> None:
        holding = [asyncio.create_task(lease.hold(), name="lease")] if lease else []
        workers: list[asyncio.Task[None]] = []
        try:
            if not await self._unless_stopped(self._prime(), *holding):
                return
            workers += [
                asyncio.create_task(self._reconciler.work(), name=f"worker {i}")
                for i in range(self._settings.workers)
            ]
            workers += [
                asyncio.create_task(self._engines.work(), name=f"engines {i}")
                for i in range(_ENGINES_AT_A_TIME)
            ]
            workers += [
                asyncio.create_task(self._events.work(), name=f"events {i}")
                for i in range(_EVENTS_AT_A_TIME)
            ]
            await self._work(workers, holding)
        finally:
            await _end(*workers, *holding)  # nobody renews what is about to be released
            self.metrics.leader.set(0)

    async def _work(
        self, workers: list[asyncio.Task[None]], holding: list[asyncio.Task[None]]
    ) -> None:
        """Until a stop, or until a task ends that never should."""
        ends = asyncio.Event()
        resyncing = asyncio.create_task(self.resync.run(), name="resync")
        watching = asyncio.create_task(self._watch(ends), name="watches")
        stopped = asyncio.create_task(self._stop.wait(), name="stop")
        everything: set[asyncio.Task[Any]] = {stopped, watching, resyncing, *workers, *holding}
        ended, _ = await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        failed = [task for task in ended if task is not stopped]
        self.queue.shut_down()
        self._engines.shut_down()
        self._events.shut_down()
        if not failed:
            await asyncio.wait(workers, timeout=_DRAIN_SECONDS)
        await _end(stopped, resyncing, *workers)
        await self.servers.stop()  # open connections are tasks that kopf would wait for
        ends.set()
        await asyncio.gather(watching, return_exceptions=True)
        for task in failed:
            if task is watching and (error := task.exception()) is not None:
                # The API server refuses a watch for good: a CRD or a right was taken away. The
                # next process says what is missing.
                raise UnservableError(f"a watch ended: {error}; starting anew") from error
            task.result()
            raise RuntimeError(f"the task {task.get_name()!r} ended by itself")

    async def _prime(self) -> None:
        self.health.resync = self.resync
        await self.resync.prime()
        self.health.primed = True
        count = len(self.store.all(LLMDEPLOYMENT))
        log.info("serving %d LLMDeployments in %s", count, self._where())

    async def _watch(self, ends: asyncio.Event) -> None:
        feed = watches.Feed(self.store, self._touched, self.resync, self.metrics)
        ours = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=watches.registry(
                self.resync.served, feed, lambda: kopf_login(self._configuration)
            ),
            settings=watches.settings(self.resync.served),
            standalone=True,
            clusterwide=not self._settings.namespaces,
            namespaces=self._settings.namespaces,
            stop_flag=ends,
            # kopf's own would look the user up by name: the image's has none, and needs none.
            identity=identity(self._settings),  # type: ignore[arg-type]
        )
        self._handle_signals()  # kopf has put its own in place
        await kopf.run_tasks(tasks, ignored=ours)

    def _touched(self, key: Key) -> None:
        self._fleet.touch(key)
        self._engines.touch(key)
        self._events.touch(key)
        self.queue.add(key)

    async def _serve(self) -> None:
        s = self._settings
        await self.servers.start(probes(self.health), s.probe_address, s.probe_port)
        page = metrics_page(self.metrics, self._refresh)
        await self.servers.start(page, s.probe_address, s.metrics_port)

    async def _check_server(self) -> None:
        found = await self.api.read("/version")
        major, minor = (
            int(re.match(r"\d*", str(found.get(k, "")))[0] or 0)  # type: ignore[index]
            for k in ("major", "minor")
        )
        self._version = (major, minor)
        try:
            await self.api.read(f"/apis/{LLMDEPLOYMENT.api_version}")
        except NotFoundError as error:
            raise UnservableError(not_served(LLMDEPLOYMENT)) from error

    def _capabilities(self) -> Capabilities:
        return Capabilities(
            version=self._version,
            dra=CLAIM_TEMPLATE in self.resync.served,
            image_volumes=self._version >= _IMAGE_VOLUMES_SINCE,
            device_classes=frozenset(
                obj["metadata"]["name"] for obj in self.store.all(DEVICE_CLASS)
            ),
        )

    def _lease(self) -> Lease | None:
        if not self._settings.leader_elect:
            return None
        return Lease(
            self.api,
            namespace=lease_namespace(self._settings),
            name=self._settings.lease_name,
            identity=identity(self._settings),
        )

    async def _unless_stopped(
        self, work: Coroutine[Any, Any, None], *others: asyncio.Task[None]
    ) -> bool:
        """Whether ``work`` was done; False if a stop came first. Errors of any are raised."""
        working = asyncio.create_task(work)
        stopped = asyncio.create_task(self._stop.wait())
        everything: set[asyncio.Task[Any]] = {working, stopped, *others}
        ended, _ = await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        for task in {working, stopped} - ended:
            task.cancel()
        for task in ended - {stopped}:
            task.result()
        return working in ended

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)

    def _refresh(self) -> None:
        self.metrics.queue_depth.set(len(self.queue))
        self.metrics.queue_oldest.set(self.queue.oldest_age_seconds())

    def _where(self) -> str:
        return ", ".join(self._settings.namespaces) or "all namespaces"


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def run(settings: Settings, decide: Decide) -> None:
    """Run the operator until SIGTERM or SIGINT; raises what ``Operator.run`` raises."""
    # Parsed objects live long and hold no cycles: looking through them at every 700 allocations
    # took a fifth of all CPU time (measured, 100 LLMDeployments).
    gc.set_threshold(50_000, 50, 100)
    configuration = await load_configuration(settings.kubeconfig, settings.context)
    await Operator(settings, configuration, decide).run()
