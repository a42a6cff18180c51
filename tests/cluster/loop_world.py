"""What the loop needs: a real node as one with three A770 cards, engine images, the chart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hack.cluster import Cluster
from hack.cluster.node import NODE
from hack.demo import images, objects
from hack.demo.install import Operator, install_chart, uninstall_chart
from hack.demo.timeline import Timeline, is_ready, is_stalled

Object = dict[str, Any]


def give_cards(cluster: Cluster) -> None:
    """The real node as one with three A770 cards."""
    labels = [f"{key}={value}" for key, value in objects.NODE_LABELS.items()]
    cluster.kubectl("label", "node", NODE, "--overwrite", *labels)
    cluster.node.set_resources(objects.NODE_RESOURCES)


@contextmanager
def prepared(cluster: Cluster, folder: Path) -> Iterator[Cluster]:
    give_cards(cluster)
    images.load(cluster, folder)
    install_chart(cluster)
    yield cluster
    cluster.kubectl("delete", "llmd", "--all", "--wait=true", check=False)
    uninstall_chart(cluster)


@contextmanager
def operated(cluster: Cluster, log: Path) -> Iterator[Operator]:
    """The operator with the chart's rights; nothing was forbidden to it at the end."""
    try:
        with Operator(cluster, log) as running:
            yield running
            assert "orbidden" not in running.log.read_text(), running.tail()
    finally:
        # Nor what was learned: the next test's first plan must be the first.
        cluster.kubectl("delete", "llmd,tuningrecords", "--all", "--wait=true")
        # The garbage collector sees kinds that are new to the API server after 30 s only, and the
        # next test's objects may have the same names: these go now, and their pods before them.
        ours = ("-l", "app.kubernetes.io/managed-by=xpullm", "--wait=true")
        cluster.kubectl("delete", "deployments", *ours, "--cascade=foreground")
        cluster.kubectl("delete", "services", *ours)


def settled(cluster: Cluster, name: str, timeout: float = 120) -> Object:
    return Timeline(cluster).follow(name, lambda o: is_ready(o) or is_stalled(o), timeout)


def pods_of(cluster: Cluster, name: str) -> list[Object]:
    """Those that are going, as the kubelet takes its time to end them, not among them."""
    found = cluster.get("pods", "-l", f"xpullm.io/deployment={name}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def quiet(cluster: Cluster, kinds: str, seconds: float = 90) -> dict[str, str]:
    """resourceVersion of everything of ours, once it has not changed for 3 s: the Deployment
    controller, the kubelet and what the engine measured have their say after Ready."""
    end = time.monotonic() + seconds
    before = versions(cluster, kinds)
    while True:
        time.sleep(3)
        after = versions(cluster, kinds)
        if after == before:
            return after
        assert time.monotonic() < end, f"{before} became {after}"
        before = after


def versions(cluster: Cluster, kinds: str) -> dict[str, str]:
    found = cluster.get(kinds, "-l", "app.kubernetes.io/managed-by=xpullm")["items"]
    return {f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["resourceVersion"] for o in found}
