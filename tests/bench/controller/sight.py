"""What a bystander sees by watching: when a pod failed, when its cause was told, when it healed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp
from kubernetes.aio.client.api_client import ApiClient

from xpullm.controller.kinds import DEPLOYMENT, LLMDEPLOYMENT, POD, SERVICE, Kind
from xpullm.controller.routes import settled

OWNER = "xpullm.io/deployment"


class Sight:
    """First times, by name of the LLMDeployment, on this machine's monotonic clock."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self.deployed: dict[str, float] = {}
        self.served: dict[str, float] = {}
        self.ready: dict[str, float] = {}
        self.state: dict[str, Any] = {}  # every LLMDeployment as last seen
        self.failed: dict[str, float] = {}
        self.told: dict[str, float] = {}
        self.stepped: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def forget(self) -> None:
        """Wait for new failures; those before are no news."""
        for seen in (self.failed, self.told, self.stepped):
            seen.clear()

    async def open(self) -> None:
        for kind, look in (
            (POD, self._pod),
            (LLMDEPLOYMENT, self._llmd),
            (DEPLOYMENT, self._deployment),
            (SERVICE, self._service),
        ):
            self._tasks.append(asyncio.create_task(self._watch(kind, look)))
        await asyncio.sleep(1)

    async def close(self) -> None:
        broken = [task.exception() for task in self._tasks if task.done()]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if broken:
            raise RuntimeError("a watch of the bench broke, its figures are worthless") from broken[
                0
            ]

    async def _watch(self, kind: Kind, look: Callable[[Any], None]) -> None:
        """Watch for ever; a stream that ends, or a kind that is not served yet, is asked again."""
        while True:
            method, url, headers, _, _ = await self._client.param_serialize(
                "GET",
                kind.path(self._namespace),
                query_params=[("watch", "true"), ("resourceVersion", "0")],
                header_params={"Accept": "application/json"},
                auth_settings=["BearerToken"],
            )
            answer = await self._client.call_api(
                method, url, headers, _request_timeout=aiohttp.ClientTimeout(total=None)
            )
            if answer.status == 200:
                async for line in answer.response.content:
                    look(json.loads(line)["object"])
            await asyncio.sleep(0.2)

    def _pod(self, pod: Any) -> None:
        statuses = pod.get("status", {}).get("containerStatuses", ())
        if any(s.get("lastState", {}).get("terminated") for s in statuses):
            self.failed.setdefault(pod["metadata"]["labels"][OWNER], time.monotonic())

    def _llmd(self, llmd: Any) -> None:
        self.state[llmd["metadata"]["name"]] = llmd
        if settled(llmd):
            self.ready.setdefault(llmd["metadata"]["name"], time.monotonic())
        if llmd.get("status", {}).get("healing", {}).get("lastCause"):
            self.told.setdefault(llmd["metadata"]["name"], time.monotonic())

    def _service(self, service: Any) -> None:
        self.served.setdefault(service["metadata"]["name"], time.monotonic())

    def _deployment(self, deployment: Any) -> None:
        self.deployed.setdefault(deployment["metadata"]["name"], time.monotonic())
        if deployment["metadata"].get("annotations", {}).get("xpullm.io/attempt", "0") != "0":
            self.stepped.setdefault(deployment["metadata"]["name"], time.monotonic())
