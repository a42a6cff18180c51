"""A small world to drive the edges in: one API double, one operator, a simple decision."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from tests.unit.controller.double import ApiDouble

from xpullm.controller.apply import Applier
from xpullm.controller.fleet import FleetView
from xpullm.controller.kinds import LLMDEPLOYMENT
from xpullm.controller.metrics import Metrics
from xpullm.controller.reconciler import Decide, Reconciler
from xpullm.controller.resync import Resync
from xpullm.controller.store import Store
from xpullm.controller.types import Capabilities, Decision, EventSpec, Key, Snapshot
from xpullm.controller.workqueue import WorkQueue
from xpullm.resources import names

KEY = ("ns", "m")


def llmd(name: str = "m", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "xpullm.io/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"namespace": "ns", "name": name, "uid": f"uid-{name}", "generation": 1},
        "spec": {"model": {"id": "a/b"}, **spec},
        "status": {"observedGeneration": -1},
    }


def decide(snapshot: Snapshot, now: float) -> Decision:
    """A Deployment whose plan is the number of failed pods of the running plan, and a Service."""
    owner = snapshot.llmd
    assert owner is not None
    live = snapshot.deployment or {"metadata": {"annotations": {}}}
    attempt = int(live["metadata"]["annotations"].get(names.ANNOTATION_ATTEMPT, "0"))
    failed = [
        pod
        for pod in snapshot.pods
        if pod["status"].get("phase") == "Failed"
        and pod["metadata"]["labels"][names.LABEL_PLAN] == f"plan-{attempt}"
    ]
    attempt += bool(failed)
    events: tuple[EventSpec, ...] = ()
    if owner["status"].get("healing", {}).get("attempt", 0) != attempt:  # not told to the end
        events = (EventSpec("Warning", "EngineFailed", "Heal", "memory", f"plan-{attempt}"),)
    return Decision(
        apply=(deployment(owner, attempt), service(owner)),
        events=events,
        records=(record(owner, attempt),) if attempt else (),
        status=status(owner, attempt, now),
        cause_seen="device_oom" if failed else "",
        rerolled=bool(failed),
    )


def deployment(owner: dict[str, Any] | Any, attempt: int) -> dict[str, Any]:
    name = owner["metadata"]["name"]
    labels = {**names.labels(name), names.LABEL_PLAN: f"plan-{attempt}"}
    metadata = names.metadata(owner, name)
    metadata["annotations"] = {names.ANNOTATION_ATTEMPT: str(attempt)}
    container = {
        "name": names.ENGINE_CONTAINER,
        "image": "engine:1",
        "args": ["--max-num-seqs", str(8 - attempt)],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": names.selector(name)},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def service(owner: dict[str, Any] | Any) -> dict[str, Any]:
    name = owner["metadata"]["name"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": names.metadata(owner, name),
        "spec": {"ports": [{"port": 8000}], "selector": names.selector(name)},
    }


def record(owner: dict[str, Any] | Any, attempt: int) -> dict[str, Any]:
    key = {"model": "a/b", "engineImage": "engine:1", "gpu": "arc-a770-16g", "gpuCount": 1}
    flags = ("max-model-len", "max-num-seqs", "max-num-batched-tokens")
    entry = {
        "arguments": [{"name": flag, "value": "8"} for flag in flags],
        "outcome": "Failed",
        "cause": f"cause-{attempt}",
        "node": f"node-of-{owner['metadata']['name']}",
    }
    return {
        "apiVersion": "xpullm.io/v1alpha1",
        "kind": "TuningRecord",
        "metadata": {"namespace": owner["metadata"]["namespace"], "name": "r"},
        "status": {**key, "entries": [entry]},
    }


def status(owner: dict[str, Any] | Any, attempt: int, now: float) -> dict[str, Any]:
    time = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    old = owner.get("status", {}).get("conditions", [{}])[0]
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "RollingOut",
        "message": f"attempt {attempt}",
        "lastTransitionTime": old.get("lastTransitionTime", time),
        "observedGeneration": owner["metadata"]["generation"],
    }
    told = {"observedGeneration": owner["metadata"]["generation"], "conditions": [condition]}
    if attempt:
        told["healing"] = {"attempt": attempt, "lastCause": f"cause-{attempt}"}
    return told


def pod_of(name: str, attempt: int, **state: Any) -> dict[str, Any]:
    made = pod(attempt, **state)
    made["metadata"]["name"] = f"{name}-{attempt}"
    made["metadata"]["labels"] |= names.labels(name)
    return made


def pod(
    attempt: int, *, failed: bool = False, ready: bool = False, **metadata: Any
) -> dict[str, Any]:
    labels = {**names.labels("m"), names.LABEL_PLAN: f"plan-{attempt}"}
    phase = {"phase": "Failed" if failed else "Running"}
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "ns", "name": f"m-{attempt}", "labels": labels, **metadata},
        "spec": {"nodeName": "n1"},
        "status": {**phase, "conditions": conditions},
    }


class Operator:
    """One life of the operator's process over an API; ``settle`` works until nothing is left."""

    def __init__(self, api: ApiDouble, decision: Decide = decide, now: float = 1e9) -> None:
        self.api = api
        self.store = Store()
        self.metrics = Metrics()
        loop = asyncio.get_running_loop()
        self.queue: WorkQueue[Key] = WorkQueue(loop)
        self.fleet = FleetView(self.store)
        self.resync = Resync(api, self.store, self._touched, self.metrics, clock=loop.time)
        self.applier = Applier(api, self.store, instance="test", touched=self._touched)
        self.reconciler = Reconciler(
            decision,
            store=self.store,
            queue=self.queue,
            applier=self.applier,
            fleet=self.fleet,
            metrics=self.metrics,
            capabilities=Capabilities,
            missed=lambda: self.resync.gap(LLMDEPLOYMENT),
            clock=lambda: now,
        )

    def _touched(self, key: Key) -> None:
        self.fleet.touch(key)
        self.queue.add(key)

    async def settle(self, passes: int = 20) -> int:
        """Work until the queue is empty; returns the number of passes."""
        if not self.resync.served:
            await self.resync.prime()
        for done in range(passes):
            key = self.queue.take()
            if key is None:
                return done
            try:
                await self.reconciler.reconcile(key)
            finally:
                self.queue.done(key)
        raise AssertionError(f"not settled after {passes} passes")
