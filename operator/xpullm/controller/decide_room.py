"""Whether another node could take a pod: its cards, its host memory, its labels, its taints.

The scheduler has the last word. It sees what is not seen here: pods of others (the operator reads
only its own), affinity between pods, CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from xpullm import catalog
from xpullm.api import quantity_bytes
from xpullm.catalog.types import GPU
from xpullm.controller.decide_cluster import count, matching_nodes, offered, usable
from xpullm.controller.decide_pods import dig, entries, leaving, over, text, whole
from xpullm.controller.types import Object, Snapshot
from xpullm.planner.types import Plan
from xpullm.resources import gpu

PLUGIN_RESOURCES = f"{gpu.DRIVER}/"  # gpu.intel.com/i915, gpu.intel.com/xe
KEEPS_OUT = ("NoSchedule", "NoExecute")  # PreferNoSchedule does not
# Taints that Kubernetes sets for a node's condition and takes away with it: not ready, cordoned,
# under pressure (k8s.io/api/core/v1/well_known_taints.go, k8s.io/cloud-provider/api).
PASSING = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
# Over as soon as what took the memory has ended: often the very engine that was killed.
PRESSURE = ("node.kubernetes.io/memory-pressure",)

MEMORY = "memory"


def room_elsewhere(plan: Plan, template: Object, snapshot: Snapshot, failed_node: str) -> bool:
    """Whether another node with the card could take the pod. `template`: of the pods in force."""
    card = catalog.gpus()[plan.gpu]
    by_claim = bool(entries(template, "spec", "resourceClaims"))
    resource = claimed(card.name) if by_claim else card.resource
    held = Counter(snapshot.fleet.held or {})
    held.update(dict(holdings(snapshot.pods, snapshot.claim_templates, card.name)))
    for node in _open(plan, template, snapshot):
        name, memory = text(node, "metadata", "name"), _memory(node)
        if name == failed_node or not usable(node):
            continue
        if memory is not None and memory - held[name, MEMORY] < plan.host.request_bytes:
            continue
        if _cards(node, plan, template, snapshot) - held[name, resource] >= plan.gpu_count:
            return True
    return False


def largest_memory(plan: Plan, template: Object, snapshot: Snapshot) -> int | None:
    """Allocatable host memory, bytes, of the largest node that the pod may run on, whatever others
    hold of it; None where no node says. A node that is out of service for a while counts only where
    all are: no moment without one lifts the bound."""
    fit = _open(plan, template, snapshot, PASSING)
    now = [
        node
        for node in _open(plan, template, snapshot, PRESSURE)
        if usable(node) and _cards(node, plan, template, snapshot) >= plan.gpu_count
    ]
    sizes = [size for node in now or fit if (size := _memory(node)) is not None]
    return max(sizes, default=None)


def _open(
    plan: Plan, template: Object, snapshot: Snapshot, passing: tuple[str, ...] = ()
) -> list[Object]:
    """The nodes with the card that let the pod in, or will once taints like `passing` are gone."""
    return [
        node
        for node in matching_nodes(catalog.gpus()[plan.gpu], snapshot)
        if text(node, "metadata", "name") not in plan.avoid_nodes
        and admits(node, dig(template, "spec"), passing)
    ]


def _cards(node: Object, plan: Plan, template: Object, snapshot: Snapshot) -> int:
    """Cards that the node has for pods, held or not."""
    card = catalog.gpus()[plan.gpu]
    if entries(template, "spec", "resourceClaims"):
        return _devices(text(node, "metadata", "name"), card, snapshot.resource_slices)
    return offered(node, card)


def _memory(node: Object) -> int | None:
    return _bytes(text(node, "status", "allocatable", MEMORY))


@lru_cache(maxsize=1024)
def _bytes(quantity: str) -> int | None:
    """None for what is no quantity."""
    try:
        return quantity_bytes(quantity)
    except ValueError:
        return None


def claimed(card: str) -> str:
    """How cards that are held by ResourceClaims are counted: by what they are."""
    return f"claim/{card}"


def holdings(
    pods: Sequence[Object], templates: Iterable[Object], card: str
) -> Iterator[tuple[tuple[str, str], int]]:
    """Node and resource with what these pods hold there: cards, and bytes of host memory."""
    sizes = {text(item, "metadata", "name"): _size(item) for item in templates}
    found: Counter[tuple[str, str]] = Counter()
    for pod in pods:
        node = text(pod, "spec", "nodeName")
        if not node or over(pod) or leaving(pod):
            continue
        for container in entries(pod, "spec", "containers"):
            limits = dig(container, "resources", "limits")
            for name, value in limits.items() if isinstance(limits, Mapping) else ():
                if str(name).startswith(PLUGIN_RESOURCES):
                    found[node, str(name)] += count(value)
            if size := _bytes(text(container, "resources", "requests", MEMORY)):
                found[node, MEMORY] += size
        for claim in entries(pod, "spec", "resourceClaims"):
            found[node, claimed(card)] += sizes.get(text(claim, "resourceClaimTemplateName"), 1)
    yield from found.items()


def _size(template: Object) -> int:
    """Devices of one claim made from a ResourceClaimTemplate."""
    requests = entries(template, "spec", "spec", "devices", "requests")
    return sum(whole(request, "exactly", "count") for request in requests) or 1


def _devices(node: str, card: GPU, slices: Iterable[Object]) -> int:
    """Devices of this card that a node's driver publishes; of a pool only the newest generation
    counts (resource.k8s.io/v1, ResourcePool.generation)."""
    ours = [
        item
        for item in slices
        if dig(item, "spec", "driver") == gpu.DRIVER and text(item, "spec", "nodeName") == node
    ]
    newest: dict[str, int] = {}
    for item in ours:
        pool = text(item, "spec", "pool", "name")
        newest[pool] = max(newest.get(pool, 0), whole(item, "spec", "pool", "generation"))
    rule = gpu.device_rule(card, catalog.gpus().values())
    return sum(
        rule.admits(device) and not _barred(device)
        for item in ours
        if whole(item, "spec", "pool", "generation") == newest[text(item, "spec", "pool", "name")]
        for device in entries(item, "spec", "devices")
    )


def _barred(device: Object) -> bool:
    return any(taint.get("effect") in KEEPS_OUT for taint in entries(device, "taints"))


def admits(node: Object, spec: Any, passing: tuple[str, ...] = ()) -> bool:
    """Whether labels and taints let the pod in: nodeSelector, required nodeAffinity, taints.
    `passing`: how keys of taints begin that don't count."""
    labels = dig(node, "metadata", "labels")
    labels = labels if isinstance(labels, Mapping) else {}
    wanted = dig(spec, "nodeSelector")
    if isinstance(wanted, Mapping) and any(labels.get(k) != v for k, v in wanted.items()):
        return False
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    affinity = dig(spec, "affinity", "nodeAffinity", required)
    if affinity is not None:
        fields = {"metadata.name": text(node, "metadata", "name")}
        terms = entries(affinity, "nodeSelectorTerms")
        if not any(_selects(term, labels, fields) for term in terms):
            return False
    tolerations = entries(spec, "tolerations")
    return all(
        any(_tolerates(toleration, taint) for toleration in tolerations)
        for taint in entries(node, "spec", "taints")
        if taint.get("effect") in KEEPS_OUT and not text(taint, "key").startswith(passing)
    )


def _selects(term: Object, labels: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    """All of a term's requirements hold; an empty term selects nothing (v1.NodeSelectorTerm)."""
    held = [_holds(item, labels) for item in entries(term, "matchExpressions")]
    held += [_holds(item, fields) for item in entries(term, "matchFields")]
    return bool(held) and all(held)


def _holds(requirement: Object, labels: Mapping[str, Any]) -> bool:
    key, values = str(requirement.get("key")), requirement.get("values")
    values = values if isinstance(values, list | tuple) else ()
    match requirement.get("operator"):
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":  # also where the label is absent
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case "Gt" | "Lt" as operator:
            try:
                have, bound = int(labels[key]), int(values[0])
            except (KeyError, IndexError, TypeError, ValueError):
                return False
            return have > bound if operator == "Gt" else have < bound
    return False


def _tolerates(toleration: Object, taint: Object) -> bool:
    """kubernetes api/core/v1/toleration.go, ToleratesTaint; operators unknown here tolerate
    nothing."""
    if toleration.get("effect") and toleration.get("effect") != taint.get("effect"):
        return False
    if toleration.get("key") and toleration.get("key") != taint.get("key"):
        return False
    match toleration.get("operator") or "Equal":
        case "Equal":
            return (toleration.get("value") or "") == (taint.get("value") or "")
        case "Exists":
            return True
    return False
