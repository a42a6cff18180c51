"""Kubernetes objects that tests need often, as plain dicts."""

from collections.abc import Mapping
from typing import Any

# Room enough that only what a test names can be short.
_ROOM = {"cpu": "64", "memory": "256Gi", "pods": "1000", "ephemeral-storage": "1Ti"}


def kwok_node(
    name: str,
    labels: Mapping[str, str],
    capacity: Mapping[str, str],
    taints: list[dict[str, str]],
) -> dict[str, Any]:
    """A node that kwok keeps Ready.

    Its status is set at creation; kwok's stage keeps the capacity that it finds.
    """
    room = {**_ROOM, **capacity}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                **labels,
            },
        },
        "spec": {"taints": taints},
        "status": {"allocatable": room, "capacity": room},
    }
