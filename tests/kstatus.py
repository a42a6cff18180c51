"""How the world reads our status: a port of kstatus' rules for custom resources, and a linter.

`compute` is what `kubectl wait`'s users, Helm's --wait, Flux and Argo CD conclude from an object
(sigs.k8s.io/cli-utils pkg/kstatus/status: generic.go, status.go). `lint_status` holds our objects
to the conventions behind it (fluxcd/pkg runtime/conditions/check); run it after every reconcile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Object = Mapping[str, Any]
Status = Literal["Terminating", "InProgress", "Failed", "Current"]

KNOWN_CONDITIONS = frozenset({"Ready", "Planned", "Available", "Reconciling", "Stalled"})
ABNORMAL = ("Reconciling", "Stalled")
MESSAGE_LIMIT = 1024


def compute(obj: Object) -> Status:
    """kstatus.Compute for a kind that it has no rules of its own for."""
    metadata, status = obj.get("metadata") or {}, obj.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    observed = status.get("observedGeneration")
    if "generation" in metadata and observed not in (None, metadata["generation"]):
        return "InProgress"
    conditions = status.get("conditions") or ()
    for condition in conditions:
        if condition["status"] == "True" and condition["type"] == "Reconciling":
            return "InProgress"
        if condition["status"] == "True" and condition["type"] == "Stalled":
            return "Failed"
    for condition in conditions:
        if condition["type"] == "Ready":
            return "Current" if condition["status"] == "True" else "InProgress"
    return "Current"


def lint_status(obj: Object) -> list[str]:
    """What is wrong with an object's status; empty when nothing is.

    One rule of Flux's is left out (its FAIL0010: the root observedGeneration stays behind while
    Reconciling): a re-roll of an observed generation is reconciling too.
    """
    generation = (obj.get("metadata") or {}).get("generation", 0)
    status = obj.get("status") or {}
    conditions = list(status.get("conditions") or ())
    by_type = {condition["type"]: condition for condition in conditions}
    found = [problem for condition in conditions for problem in _shape(condition)]
    if len(by_type) != len(conditions):
        found.append("a condition type appears twice")
    found += _abnormal(by_type)
    found += _observed(status.get("observedGeneration"), generation, by_type)
    return found


def _abnormal(by_type: Mapping[str, Object]) -> list[str]:
    ready = by_type.get("Ready", {}).get("status")
    present = [name for name in ABNORMAL if name in by_type]
    found = []
    if ready is None:
        found.append("Ready must always be present")
    if len(present) == 2:
        found.append("Reconciling and Stalled must not be present together")
    for name in present:
        if by_type[name]["status"] != "True":
            found.append(f"{name} must be absent while it is not True")
        elif ready == "True":
            found.append(f"Ready must not be True while {name} is")
    if ready == "Unknown" and "Reconciling" not in by_type:
        found.append("Ready=Unknown needs Reconciling=True")
    return found


def _observed(observed: int | None, generation: int, by_type: Mapping[str, Object]) -> list[str]:
    if observed is None:
        return ["observedGeneration must be present"]
    if observed > generation:
        return ["observedGeneration must not be ahead of the generation"]
    if by_type.get("Ready", {}).get("status") != "True":
        return []
    stale = ["status"] if observed != generation else []
    stale += [n for n, c in by_type.items() if c.get("observedGeneration") != generation]
    return [f"Ready=True with an old observedGeneration in {', '.join(stale)}"] if stale else []


def _shape(condition: Object) -> list[str]:
    name = str(condition["type"])
    found = []
    if name not in KNOWN_CONDITIONS:
        found.append(f"unknown condition type {name}")
    if not condition.get("reason"):
        found.append(f"{name} has no reason")
    if len(condition.get("message") or "") > MESSAGE_LIMIT:
        found.append(f"{name}'s message is longer than {MESSAGE_LIMIT}")
    return found
