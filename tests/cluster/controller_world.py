"""The operator in this process against a real API server, for one namespace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from hack.cluster import Cluster
from tests.unit.controller import world

from xpullm.controller.client import Api
from xpullm.controller.connection import load_configuration, new_client
from xpullm.controller.reconciler import Decide
from xpullm.controller.run import Operator
from xpullm.controller.settings import Settings

CRDS = Path(__file__).parents[2] / "crds"
T = TypeVar("T")


def install_crds(cluster: Cluster) -> None:
    """Idempotent: other tests share the cluster."""
    cluster.apply(*sorted(CRDS.glob("*.yaml")))
    names = ("llmdeployments.xpullm.io", "tuningrecords.xpullm.io")
    # A CRD has no conditions at first, which kubectl's wait for one takes for an error.
    for what in ("jsonpath={.status.acceptedNames.kind}", "condition=Established"):
        cluster.kubectl("wait", "crd", *names, f"--for={what}", "--timeout=60s")


def llmd(namespace: str, name: str = "m", **spec: Any) -> dict[str, Any]:
    """An LLMDeployment as a user writes it."""
    return {
        "apiVersion": "xpullm.io/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"model": {"id": "Qwen/Qwen2-7B-Instruct"}, **spec},
    }


async def connect(cluster: Cluster) -> Api:
    return Api(new_client(await load_configuration(str(cluster.kubeconfig))))


@asynccontextmanager
async def running(
    cluster: Cluster, namespace: str, decide: Decide = world.decide, **settings: Any
) -> AsyncIterator[Operator]:
    """The whole operator, kopf and Lease included, until the block ends."""
    chosen = Settings(
        namespaces=(namespace,),
        lease_namespace=namespace,
        probe_port=-1,
        metrics_port=-1,
        kubeconfig=str(cluster.kubeconfig),
        **settings,
    )
    operator = Operator(chosen, await load_configuration(chosen.kubeconfig), decide)
    task = asyncio.create_task(operator.run())
    try:
        yield operator
    finally:
        operator.stop()
        await task


async def eventually(look: Callable[[], T | None], seconds: float = 60.0) -> T:
    """The first answer that is not None or False; looks ten times a second, off the loop."""
    end = time.monotonic() + seconds
    while True:
        found = await asyncio.to_thread(look)
        if found is not None and found is not False:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"nothing after {seconds} s")
        await asyncio.sleep(0.1)


async def quiet(cluster: Cluster, namespace: str, seconds: float = 2.0) -> Mapping[str, str]:
    """`versions`, once none of them has changed for so long: the Deployment controller, scheduler
    and kwok have their say after the operator."""
    end = time.monotonic() + 60
    before = await asyncio.to_thread(versions, cluster, namespace)
    while True:
        await asyncio.sleep(seconds)
        after = await asyncio.to_thread(versions, cluster, namespace)
        if after == before:
            return after
        assert time.monotonic() < end, f"{before} became {after}"
        before = after


def versions(cluster: Cluster, namespace: str) -> Mapping[str, str]:
    """resourceVersion of every object that the operator writes."""
    kinds = "llmdeployments,tuningrecords,deployments,services,events.events.k8s.io"
    items = cluster.get(kinds, "-n", namespace)["items"]
    return {
        f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
        for item in items
        if item["kind"] != "Event" or item.get("reportingController") == "xpullm.io/operator"
    }
