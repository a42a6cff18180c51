"""The card: how a pod asks for it, and on which nodes it may look for it.

A node's label `xpullm.io/gpu-type` wins; without it, the PCI-id labels of Intel's NFD rules tell
(intel-device-plugins-for-kubernetes, deployments/nfd/overlays/node-feature-rules). With dynamic
resource allocation the claim's selector tells. An id that two boards share is scheduled, and the
supervisor's pre-flight decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xpullm.api import parse_quantity
from xpullm.catalog.types import GPU
from xpullm.resources import names

DRIVER = "gpu.intel.com"  # intel-resource-drivers-for-kubernetes: driver and DeviceClass
CLAIM = "gpu"
PCI_CLASSES = ("0300", "0380")  # VGA controller (Arc), display controller (Flex, Max)
MEMORY_TOLERANCE_PERCENT = 10  # between boards that share an id: 8 and 16 GB

Term = dict[str, list[dict[str, Any]]]


def node_label(pci_class: str, pci_id: str) -> str:
    return f"gpu.intel.com/device-id.{pci_class}-{pci_id}.present"


def node_has(node: Mapping[str, Any], card: GPU) -> bool:
    """Whether a node's labels say that it has this card."""
    labels = node.get("metadata", {}).get("labels") or {}
    said = labels.get(names.LABEL_GPU_TYPE)
    if said is not None:
        return bool(said == card.name)
    return any(
        labels.get(node_label(pci_class, pci_id)) == "true"
        for pci_id in card.pci_ids
        for pci_class in PCI_CLASSES
    )


def _terms(card: GPU, allocation: str) -> list[Term]:
    """Nodes that people say have the card; of the others those that NFD says it of, or, where a
    claim looks for the device itself, all."""
    said = {"key": names.LABEL_GPU_TYPE, "operator": "In", "values": [card.name]}
    silent = {"key": names.LABEL_GPU_TYPE, "operator": "DoesNotExist"}
    if allocation == "ResourceClaim":
        return [{"matchExpressions": [said]}, {"matchExpressions": [silent]}]
    found = [
        {"key": node_label(pci_class, pci_id), "operator": "In", "values": ["true"]}
        for pci_id in card.pci_ids
        for pci_class in PCI_CLASSES
    ]
    return [
        {"matchExpressions": [said]},
        *[Term(matchExpressions=[silent, label]) for label in found],
    ]


def affinity(
    card: GPU, allocation: str, avoid: Sequence[str], user: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The pod's affinity: the user's own, and on top of it the nodes that have the card.

    Terms are alternatives, the expressions inside one must all hold; so ours and the user's are
    multiplied out.
    """
    result: dict[str, Any] = without_empty_text(user or {})
    node = dict(result.get("nodeAffinity") or {})
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    users = (node.get(required) or {}).get("nodeSelectorTerms") or [{}]
    shun = (
        [{"key": names.LABEL_HOSTNAME, "operator": "NotIn", "values": sorted(set(avoid))}]
        if avoid
        else []
    )
    node[required] = {
        "nodeSelectorTerms": [
            _both(our, theirs, shun) for our in _terms(card, allocation) for theirs in users
        ]
    }
    return result | {"nodeAffinity": node}


def without_empty_text(value: Any) -> Any:
    """The user's own JSON as the server stores it: it drops empty strings (omitempty)."""
    if isinstance(value, Mapping):
        return {key: without_empty_text(item) for key, item in value.items() if item != ""}
    if isinstance(value, list | tuple):
        return [without_empty_text(item) for item in value]
    return value


def _both(ours: Term, theirs: Mapping[str, Any], shun: list[dict[str, Any]]) -> Term:
    term: Term = {
        "matchExpressions": [
            *ours["matchExpressions"],
            *(theirs.get("matchExpressions") or []),
            *shun,
        ]
    }
    if theirs.get("matchFields"):
        term["matchFields"] = list(theirs["matchFields"])
    return term


@dataclass(frozen=True, slots=True)
class DeviceRule:
    """Which devices of the driver are a card: one rule, for the API server as CEL and for us.

    `memory_bytes`: least and most, where nothing but memory tells boards apart that share an id. A
    driver that can't read it publishes 0 (dra driver, node_state.go): such a device may be either
    board, and the supervisor's pre-flight decides.
    """

    pci_ids: tuple[str, ...]
    memory_bytes: tuple[int, int] | None

    @property
    def expression(self) -> str:
        """CEL for one device, as a claim's selector has it."""
        ids = ", ".join(f'"{pci_id}"' for pci_id in self.pci_ids)
        text = f'device.attributes["{DRIVER}"].pciId in [{ids}]'
        if self.memory_bytes is None:
            return text
        memory = f'device.capacity["{DRIVER}"].memory'
        low, high = self.memory_bytes
        return (
            f'{text} && ({memory}.compareTo(quantity("0")) == 0'
            f' || {memory}.compareTo(quantity("{low}")) >= 0'
            f' && {memory}.compareTo(quantity("{high}")) <= 0)'
        )

    def admits(self, device: Mapping[str, Any]) -> bool:
        """What the expression says of a device of a ResourceSlice; False where it is an error."""
        if _published(device, "attributes", "pciId").get("string") not in self.pci_ids:
            return False
        if self.memory_bytes is None:
            return True
        try:
            memory = parse_quantity(_published(device, "capacity", "memory").get("value", ""))
        except ValueError:
            return False
        low, high = self.memory_bytes
        return memory == 0 or low <= memory <= high


def device_rule(card: GPU, catalogue: Iterable[GPU]) -> DeviceRule:
    """A card's PCI ids; where another of the catalogue has one of them, its memory too."""
    shared = any(
        other.name != card.name and set(other.pci_ids) & set(card.pci_ids) for other in catalogue
    )
    share = card.usable_bytes * MEMORY_TOLERANCE_PERCENT // 100
    memory = (card.usable_bytes - share, card.usable_bytes + share)
    return DeviceRule(
        pci_ids=tuple(f"0x{pci_id}" for pci_id in card.pci_ids),
        memory_bytes=memory if shared else None,
    )


def _published(device: Mapping[str, Any], field: str, name: str) -> Mapping[str, Any]:
    """One value of a device; a name without a domain is the driver's own (resource.k8s.io/v1)."""
    values = device.get(field) or {}
    found = values.get(name) or values.get(f"{DRIVER}/{name}")
    return found if isinstance(found, Mapping) else {}


def claim_template_spec(card: GPU, count: int, catalogue: Iterable[GPU]) -> dict[str, Any]:
    """`spec` of a resource.k8s.io/v1 ResourceClaimTemplate for `count` whole cards."""
    request = {
        "name": CLAIM,
        "exactly": {
            "deviceClassName": DRIVER,
            "allocationMode": "ExactCount",
            "count": count,
            "selectors": [{"cel": {"expression": device_rule(card, catalogue).expression}}],
        },
    }
    return {"spec": {"devices": {"requests": [request]}}}
