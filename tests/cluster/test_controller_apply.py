"""What the edges promise, on a real API server and with kopf as watcher."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hack.cluster import Cluster
from tests.cluster.controller_world import (
    eventually,
    install_crds,
    llmd,
    quiet,
    running,
    versions,
)

from xpullm.controller.kinds import CONFIG_MAP
from xpullm.controller.run import Operator

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


@pytest.fixture(autouse=True)
def crds(cluster: Cluster) -> None:
    install_crds(cluster)


def status_written(cluster: Cluster, namespace: str, generation: int = 1) -> Any:
    def look() -> Any:
        found = cluster.get("llmd", "m", "-n", namespace)
        return found if found["status"]["observedGeneration"] == generation else None

    return look


async def test_a_resource_becomes_children_and_a_status_and_nothing_else_of_ours_is_on_it(
    cluster: Cluster, namespace: str
) -> None:
    async with running(cluster, namespace):
        await asyncio.to_thread(cluster.apply, llmd(namespace))
        await eventually(status_written(cluster, namespace))
    shown = ("-n", namespace, "--show-managed-fields")
    live = cluster.get("llmd", "m", *shown)
    managers = {m["manager"]: m.get("subresource") for m in live["metadata"]["managedFields"]}
    assert managers == {"kubectl": None, "xpullm": "status"}
    assert "annotations" not in live["metadata"]
    assert "finalizers" not in live["metadata"]
    deployment = cluster.get("deployment", "m", *shown)
    assert deployment["metadata"]["ownerReferences"][0]["uid"] == live["metadata"]["uid"]
    assert {m["manager"] for m in deployment["metadata"]["managedFields"]} >= {"xpullm"}
    assert cluster.get("service", "m", "-n", namespace)["spec"]["ports"][0]["port"] == 8000


async def test_a_new_process_writes_nothing_and_an_idle_one_only_its_lease(
    cluster: Cluster, namespace: str
) -> None:
    async with running(cluster, namespace):
        await asyncio.to_thread(cluster.apply, llmd(namespace))
        await eventually(status_written(cluster, namespace))
        deployed = lambda: cluster.get("deploy", "m", "-n", namespace)["status"].get("replicas")  # noqa: E731  fmt: skip
        await eventually(deployed)
        before = await quiet(cluster, namespace)
    async with running(cluster, namespace) as again:
        await eventually(lambda: again.health.primed)
        passes = lambda: again.metrics.registry.get_sample_value(  # noqa: E731
            "xpullm_reconcile_total", {"result": "ok"}
        )
        await eventually(lambda: passes() or None)
        await asyncio.sleep(4)
        writes = [
            sample
            for metric in again.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "xpullm_api_requests_total"
            and sample.labels["verb"] not in ("get", "list")
            and sample.labels["resource"] != "leases"
        ]
    assert writes == []
    assert versions(cluster, namespace) == before


async def test_drift_is_repaired_within_seconds(cluster: Cluster, namespace: str) -> None:
    async with running(cluster, namespace):
        await asyncio.to_thread(cluster.apply, llmd(namespace))
        await eventually(status_written(cluster, namespace))
        patch = '{"spec":{"template":{"spec":{"containers":[{"name":"engine","image":"x:2"}]}}}}'
        await asyncio.to_thread(
            cluster.kubectl, "patch", "deploy", "m", "-n", namespace, "-p", patch
        )

        def repaired() -> bool:
            spec = cluster.get("deploy", "m", "-n", namespace)["spec"]["template"]["spec"]
            return bool(spec["containers"][0]["image"] == "engine:1")

        await eventually(repaired)


async def test_a_child_that_is_deleted_comes_back(cluster: Cluster, namespace: str) -> None:
    async with running(cluster, namespace):
        await asyncio.to_thread(cluster.apply, llmd(namespace))
        await eventually(status_written(cluster, namespace))
        first = cluster.get("service", "m", "-n", namespace)["metadata"]["uid"]
        await asyncio.to_thread(cluster.kubectl, "delete", "service", "m", "-n", namespace)

        def back() -> bool:
            items = cluster.get("services", "-n", namespace)["items"]
            return any(i["metadata"]["uid"] != first for i in items)

        await eventually(back)


async def test_deleting_the_resource_leaves_the_rest_to_garbage_collection(
    cluster: Cluster, namespace: str
) -> None:
    async with running(cluster, namespace):
        await asyncio.to_thread(cluster.apply, llmd(namespace))
        await eventually(status_written(cluster, namespace))
        await asyncio.to_thread(cluster.kubectl, "delete", "llmd", "m", "-n", namespace)

        def empty() -> bool:
            return not cluster.get("deployments,services", "-n", namespace)["items"]

        await eventually(empty)


@pytest.fixture
def node(cluster: Cluster, namespace: str) -> Iterator[str]:
    name = f"node-{namespace}"
    cluster.add_kwok_node(name)
    yield name
    cluster.kubectl("delete", "node", name, "--wait=false", check=False)


@pytest.mark.usefixtures("node")
async def test_a_failed_pod_is_news_at_once_and_told_once(cluster: Cluster, namespace: str) -> None:
    async with running(cluster, namespace):
        await asyncio.to_thread(cluster.apply, llmd(namespace))

        def pod() -> Any:
            items = cluster.get("pods", "-n", namespace)["items"]
            runs = (i for i in items if i["status"].get("phase") == "Running")  # kwok is done
            return next((i["metadata"]["name"] for i in runs), None)

        name = await eventually(pod)
        patch = '{"status":{"phase":"Failed"}}'
        await asyncio.to_thread(
            cluster.kubectl, "patch", "pod", name, "-n", namespace,
            "--subresource=status", "--type=merge", "-p", patch,
        )  # fmt: skip

        def stepped() -> bool:
            annotations = cluster.get("deploy", "m", "-n", namespace)["metadata"]["annotations"]
            return bool(annotations["xpullm.io/attempt"] == "1")

        await eventually(stepped)
        await asyncio.sleep(1)
    events = [
        e
        for e in cluster.get("events.events.k8s.io", "-n", namespace)["items"]
        if e.get("reportingController") == "xpullm.io/operator"
    ]
    assert [(e["reason"], e["note"], e["regarding"]["name"]) for e in events] == [
        ("EngineFailed", "memory", "m")
    ]


async def test_objects_of_others_are_never_sent_to_us(cluster: Cluster, namespace: str) -> None:
    """The server filters by label; kopf's own filters would still transfer every pod."""

    def count(operator: Operator) -> float:
        name = "xpullm_watch_events_total"
        return operator.metrics.registry.get_sample_value(name, {"resource": "configmaps"}) or 0.0

    def config_map(name: str, **labels: str) -> dict[str, Any]:
        metadata = {"namespace": namespace, "name": name, "labels": labels}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}

    ours = {"app.kubernetes.io/managed-by": "xpullm"}
    async with running(cluster, namespace) as operator:
        await eventually(lambda: operator.health.primed)
        await asyncio.to_thread(cluster.apply, config_map("foreign"), config_map("early", **ours))
        await eventually(lambda: count(operator) or None)
        await asyncio.to_thread(cluster.apply, config_map("foreign2"), config_map("ours", **ours))
        await eventually(lambda: operator.store.get(CONFIG_MAP, namespace, "ours"))
        assert operator.store.get(CONFIG_MAP, namespace, "foreign") is None
        assert count(operator) == 2
