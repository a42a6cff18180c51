"""The scenario: a fleet appears, is left alone, the operator restarts, pods fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hack.cluster import Cluster
from kubernetes.aio.client.api_client import ApiClient
from tests.bench.controller.counts import applied, events_told
from tests.bench.controller.figures import Row, delays, quantiles
from tests.bench.controller.injury import Bystander
from tests.bench.controller.operator_process import OperatorProcess
from tests.bench.controller.sight import Sight

from xpullm.controller.connection import load_configuration, new_client
from xpullm.controller.kinds import LLMDEPLOYMENT, POD
from xpullm.controller.routes import settled

NAMESPACE = "fleet"
PER_NODE = 8
CRDS = Path(__file__).parents[3] / "crds"


def llmd(number: int) -> dict[str, Any]:
    """The seed's case: Qwen2-7B-Instruct, sym_int4, one Arc A770 with 16 GB."""
    return {
        "apiVersion": LLMDEPLOYMENT.api_version,
        "kind": LLMDEPLOYMENT.kind,
        "metadata": {"namespace": NAMESPACE, "name": f"m{number:04d}"},
        "spec": {
            "model": {"id": "Qwen/Qwen2-7B-Instruct"},
            "quantization": "sym_int4",
            "gpu": {"type": "arc-a770-16g"},
            "engine": {"name": "ipex-llm"},
            "serving": {"contextLength": 4096},
        },
    }


class Fleet:
    """A cluster with nodes, CRDs and an API client."""

    def __init__(self, cluster: Cluster, client: ApiClient, folder: Path, count: int) -> None:
        self._cluster = cluster
        self._folder = folder
        self._count = count
        self.api = Bystander(client)
        self.sight = Sight(client, NAMESPACE)
        self.rows: list[Row] = []

    def note(self, name: str, value: str, wanted: str = "") -> None:
        self.rows.append(Row(name, value, wanted))
        print(f"  {name}: {value}", flush=True)

    def operator(self, name: str) -> OperatorProcess:
        return OperatorProcess(self._cluster.kubeconfig, self._folder / f"{name}.log")

    async def appear(self, operator: OperatorProcess) -> None:
        """All at once; children, then Ready in our own status, and the writes that took."""
        before = applied(self._cluster)
        started = time.monotonic()
        gate = asyncio.Semaphore(8)

        async def create(number: int) -> None:
            async with gate:
                await self.api.create(llmd(number))

        await asyncio.gather(*(create(n) for n in range(self._count)))
        self.note("creation of all by the bench", f"{time.monotonic() - started:.1f} s")
        while len(self.sight.ready) < self._count:
            if time.monotonic() - started > 300:
                raise TimeoutError(f"after 300 s: {_reasons(self.sight.state.values())}")
            await asyncio.sleep(0.1)
        children = max(*self.sight.deployed.values(), *self.sight.served.values()) - started
        ready = max(self.sight.ready.values()) - started
        self.note("Deployment and Service of all", f"{children:.1f} s", "< 10 s")
        self.note("own status Ready of all", f"{ready:.1f} s")
        await asyncio.sleep(3)
        writes = applied(self._cluster) - before
        self.note(
            "writes per LLMDeployment",
            f"{sum(writes.values()) / self._count:.2f} ({_shares(writes, self._count)})",
            "≤ 5 without Events",
        )
        told = events_told(self._cluster, NAMESPACE)
        self.note("Events per LLMDeployment", f"{told / self._count:.2f}")
        passes = operator.value("xpullm_reconcile_total")
        decided = operator.value("xpullm_decide_duration_seconds_sum")
        self.note(
            "passes, and time to decide one",
            f"{passes:.0f}, {1000 * decided / passes:.1f} ms on average",
        )
        self.note("RSS of the operator", f"{operator.rss_mib:.0f} MiB")

    async def rest(self, operator: OperatorProcess, seconds: float) -> None:
        """Nothing happens: nothing is written but the Lease."""
        writes, leases = applied(self._cluster), operator.value(_LEASES)
        told = events_told(self._cluster, NAMESPACE)
        await asyncio.sleep(seconds)
        extra = sum((applied(self._cluster) - writes).values())
        extra += events_told(self._cluster, NAMESPACE) - told
        self.note(f"writes in {seconds:.0f} s of rest", f"{extra}", "0")
        renewals = operator.value(_LEASES) - leases
        self.note(f"renewals of the Lease in {seconds:.0f} s", f"{renewals:.0f}")

    async def restart(self, operator: OperatorProcess) -> OperatorProcess:
        """A new process looks at everything and writes nothing."""
        writes = applied(self._cluster)
        self.note("end at SIGTERM", f"{operator.stop():.1f} s")
        again = self.operator("second")
        self.note(f"start until {self._count} are known", f"{again.start_seconds:.1f} s")
        await asyncio.sleep(15)
        passes = again.value("xpullm_reconcile_total")
        extra = sum((applied(self._cluster) - writes).values())
        extra += int(again.value(_CREATES))  # Events: also those that exist already
        self.note("writes after a restart", f"{extra} ({passes:.0f} passes)", "0")
        return again

    async def fail(self, operator: OperatorProcess, count: int, first: int) -> None:
        """``count`` pods are OOMKilled at once; when is the cause in status?"""
        pods, _ = await self.api.list(POD, NAMESPACE)
        names = {f"m{n:04d}" for n in range(first, first + count)}
        chosen = [p for p in pods if p["metadata"]["labels"]["xpullm.io/deployment"] in names]
        self.sight.forget()
        hurt = (pod["metadata"]["name"] for pod in chosen)
        await asyncio.gather(*(self.api.hurt(NAMESPACE, pod, "OOMKilled", 137) for pod in hurt))
        end = time.monotonic() + 60
        while len(names & self.sight.told.keys()) < count and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        told = delays(self.sight.failed, self.sight.told, names)
        label = "one failure" if count == 1 else f"{count} failures at once"
        self.note(
            f"cause in status after the watch event: {label}",
            f"{quantiles(told)} ({len(told)} of {count})",
            "≤ 0.5 s" if count == 1 else "p95 ≤ 2 s",
        )
        await asyncio.sleep(3)
        stepped = delays(self.sight.failed, self.sight.stepped, names)
        if stepped:
            self.note(
                f"new template after the watch event: {label}",
                f"{quantiles(stepped)} ({len(stepped)} of {count} within 3 s)",
                "≤ 0.5 s" if count == 1 else "p95 ≤ 1 s",
            )
        healed = await self._healed(names, end=time.monotonic() + 120)
        since = min(self.sight.failed.values(), default=0.0)
        self.note(f"Ready again, all: {label}", f"{healed - since:.1f} s" if healed else "never")
        self.note(f"RSS after {label}", f"{operator.rss_mib:.0f} MiB")

    async def _healed(self, names: set[str], end: float) -> float:
        """When the last of these was Ready with a step taken; 0 if that was never seen."""
        while time.monotonic() < end:
            states = [self.sight.state[name] for name in names]
            steps = [s["status"].get("healing", {}).get("attempt", 0) for s in states]
            if min(steps) > 0 and all(map(settled, states)):
                return time.monotonic()
            await asyncio.sleep(0.1)
        return 0.0


_CREATES = r'xpullm_api_requests_total\{.*resource="(?!leases)\w+",verb="(create|delete)"'
_LEASES = r'xpullm_api_requests_total\{.*resource="leases",verb="update"'


def _shares(writes: dict[str, int], count: int) -> str:
    return ", ".join(f"{name} {n / count:.2f}" for name, n in sorted(writes.items()))


def _reasons(found: Iterable[Any]) -> dict[str, int]:
    reasons: dict[str, int] = {}
    for obj in found:
        ready = [c for c in obj["status"].get("conditions", ()) if c["type"] == "Ready"]
        text = f"{ready[0]['reason']}: {ready[0]['message'][:80]}" if ready else "no condition"
        reasons[text] = reasons.get(text, 0) + 1
    return reasons


@asynccontextmanager
async def fleet(cluster: Cluster, count: int) -> AsyncIterator[Fleet]:
    """Nodes, CRDs and a namespace; everything is gone with the cluster."""
    cluster.apply(*sorted(CRDS.glob("*.yaml")))
    cluster.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=60s")
    cluster.kubectl("create", "namespace", NAMESPACE)
    for number in range(-(-count // PER_NODE)):
        cluster.add_kwok_node(
            f"gpu-{number}",
            {"xpullm.io/gpu-type": "arc-a770-16g"},
            {"gpu.intel.com/i915": str(PER_NODE), "memory": "1Ti"},
        )
    client = new_client(await load_configuration(str(cluster.kubeconfig)))
    with TemporaryDirectory() as folder:
        made = Fleet(cluster, client, Path(folder), count)
        await made.sight.open()
        try:
            yield made
        finally:
            await made.sight.close()
            await made.api.close()
