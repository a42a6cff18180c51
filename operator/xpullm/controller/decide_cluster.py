"""What the cluster offers: cards, and how pods get them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xpullm import catalog
from xpullm.api import LLMDeployment, Reason
from xpullm.catalog.types import GPU
from xpullm.controller.decide_pods import condition, dig, entries, text
from xpullm.controller.types import Object, Snapshot
from xpullm.planner.types import Refusal
from xpullm.resources import gpu


def unsupported(llmd: LLMDeployment, snapshot: Snapshot) -> Refusal | None:
    """What this cluster cannot do."""
    can = snapshot.capabilities
    version = ".".join(map(str, can.version))
    if llmd.spec.gpu.allocation == "ResourceClaim":
        if not can.dra:
            return Refusal(
                Reason.UNSUPPORTED_CLUSTER,
                "spec.gpu.allocation",
                "ResourceClaim",
                f"resource.k8s.io/v1 is not served by this Kubernetes {version} (1.34 or newer"
                " serves it): use DevicePlugin",
            )
        if gpu.DRIVER not in can.device_classes:
            return Refusal(
                Reason.UNSUPPORTED_CLUSTER,
                "spec.gpu.allocation",
                "ResourceClaim",
                f"there is no DeviceClass {gpu.DRIVER}: install Intel's GPU resource driver, or"
                " use DevicePlugin",
            )
    source = llmd.spec.model.source
    if source is not None and source.image is not None and not can.image_volumes:
        return Refusal(
            Reason.UNSUPPORTED_CLUSTER,
            "spec.model.source.image",
            source.image.reference,
            f"image volumes are not supported by this Kubernetes {version} (1.35 or newer has"
            " them): use a PersistentVolumeClaim",
        )
    return None


def allocation_of(llmd: LLMDeployment, card: GPU, snapshot: Snapshot) -> str:
    """DevicePlugin or ResourceClaim. Auto: the plugin where a node offers the card through it,
    else a claim where a driver publishes such a device."""
    wanted = llmd.spec.gpu.allocation
    if wanted != "Auto":
        return wanted
    plugin = any(gpu.node_has(node, card) and offered(node, card) > 0 for node in snapshot.nodes)
    can = snapshot.capabilities
    if plugin or not can.dra or gpu.DRIVER not in can.device_classes:
        return "DevicePlugin"
    return "ResourceClaim" if published(card, snapshot.resource_slices) else "DevicePlugin"


def published(card: GPU, slices: Iterable[Object]) -> bool:
    """Whether a driver publishes such a device."""
    rule = gpu.device_rule(card, catalog.gpus().values())
    return any(
        rule.admits(device)
        for item in slices
        if dig(item, "spec", "driver") == gpu.DRIVER
        for device in entries(item, "spec", "devices")
    )


def cards_in(snapshot: Snapshot) -> tuple[GPU, ...]:
    """The catalogue's cards that this cluster shows, in the catalogue's order."""
    return tuple(
        card
        for card in catalog.gpus().values()
        if any(gpu.node_has(node, card) for node in snapshot.nodes)
        or published(card, snapshot.resource_slices)
    )


def matching_nodes(card: GPU, snapshot: Snapshot) -> tuple[Object, ...]:
    """The nodes that have a card, by label or by what their driver publishes."""
    by_driver = {
        text(item, "spec", "nodeName")
        for item in snapshot.resource_slices
        if published(card, (item,))
    }
    return tuple(
        node
        for node in snapshot.nodes
        if gpu.node_has(node, card) or text(node, "metadata", "name") in by_driver
    )


def usable(node: Object) -> bool:
    """Ready, and not cordoned."""
    return bool(condition(node, "Ready", "True")) and not dig(node, "spec", "unschedulable")


def offered(node: Object, card: GPU) -> int:
    """Cards that the node's device plugin offers."""
    return count(dig(node, "status", "allocatable", card.resource))


def count(value: Any) -> int:
    """A whole quantity of an extended resource; 0 for what is none."""
    digits = str(value)
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0
