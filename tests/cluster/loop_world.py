"""What the loop needs: a real node as one with three A770 cards, engine images, the chart."""

from __future__ import annotations

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
    with Operator(cluster, log) as running:
        yield running
        assert "orbidden" not in running.log.read_text(), running.tail()
    # Nor what was learned: the next test's first plan must be the first.
    cluster.kubectl("delete", "llmd,tuningrecords", "--all", "--wait=true")


def settled(cluster: Cluster, name: str, timeout: float = 120) -> Object:
    return Timeline(cluster).follow(name, lambda o: is_ready(o) or is_stalled(o), timeout)


def pods_of(cluster: Cluster, name: str) -> list[Object]:
    found: list[Object] = cluster.get("pods", "-l", f"xpullm.io/deployment={name}")["items"]
    return found
