"""What the other deployments are doing, for the budget of re-rolls and for canaries.

Only what is under way or was healed is kept, one small record per deployment that is recomputed
when its objects change, so that a pass costs nothing that grows with the fleet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from xpullm.controller.kinds import DEPLOYMENT, LLMDEPLOYMENT, NODE, POD
from xpullm.controller.store import Store
from xpullm.controller.types import Fleet, Key, Object
from xpullm.resources.names import ANNOTATION_ATTEMPT, ENGINE_CONTAINER, LABEL_PLAN

_RESERVED_SECONDS = 600.0  # a re-roll that never shows in the cluster must not block for ever

Canary = tuple[str, str, str]  # image, card, kernel


@dataclass(frozen=True, slots=True)
class Activity:
    """One deployment: does its re-roll replace Ready pods, and what does its attempt show."""

    replacing: bool = False
    canaries: frozenset[Canary] = frozenset()
    held: bool = False
    started: float = 0.0


IDLE = Activity()


class FleetView:
    """Facts over all deployments. Call ``touch`` for every key that a change concerns."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._dirty: set[Key] = set()
        self._active: dict[Key, Activity] = {}
        self._reserved: dict[Key, float] = {}

    def touch(self, key: Key) -> None:
        """Objects of this deployment changed."""
        self._dirty.add(key)

    def reserve(self, key: Key, now: float) -> None:
        """A re-roll that replaces Ready pods was decided and is about to be written."""
        self._reserved[key] = now

    def facts(self, key: Key, now: float) -> Fleet:
        """The facts for one deployment: what all the others are doing."""
        for other in self._dirty:
            activity = activity_of(self._store, other)
            if activity == IDLE:
                self._active.pop(other, None)
            else:
                self._active[other] = activity
        self._dirty.clear()
        self._reserved = {
            k: since
            for k, since in self._reserved.items()
            if now - since < _RESERVED_SECONDS and not self._over(k)
        }
        rerolling = {k for k, a in self._active.items() if a.replacing} | self._reserved.keys()
        return Fleet(rerolling=len(rerolling - {key}), canaries=self._canaries(key))

    def _over(self, key: Key) -> bool:
        """The re-roll that was reserved is complete: the cluster shows it."""
        deployment = self._store.get(DEPLOYMENT, *key)
        return deployment is None or rolled_out(deployment)

    def _canaries(self, key: Key) -> dict[Canary, tuple[int, int, float]]:
        found: dict[Canary, tuple[int, int, float]] = {}
        for other, activity in self._active.items():
            if other == key:
                continue
            for canary in activity.canaries:
                under_way, held, oldest = found.get(canary, (0, 0, float("inf")))
                found[canary] = (
                    under_way + (not activity.held),
                    held + activity.held,
                    oldest if activity.held else min(oldest, activity.started),
                )
        return {c: (u, h, 0.0 if u == 0 else oldest) for c, (u, h, oldest) in found.items()}


def activity_of(store: Store, key: Key) -> Activity:
    """What one deployment is doing, from the store alone."""
    deployment = store.get(DEPLOYMENT, *key)
    if deployment is None:
        return IDLE
    template = deployment["spec"]["template"]
    plan = template["metadata"].get("labels", {}).get(LABEL_PLAN, "")
    pods = store.children(POD, key)
    current = [pod for pod in pods if _plan(pod) == plan]
    replacing = not rolled_out(deployment) and any(ready(p) for p in pods if _plan(p) != plan)
    attempt = deployment["metadata"].get("annotations", {}).get(ANNOTATION_ATTEMPT, "0")
    if attempt in ("", "0"):
        return Activity(replacing=replacing) if replacing else IDLE
    llmd = store.get(LLMDEPLOYMENT, *key) or {}
    card = str(llmd.get("status", {}).get("plan", {}).get("gpu") or "")
    image = _image(template)
    return Activity(
        replacing=replacing,
        canaries=frozenset((image, card, kernel) for kernel in _kernels(store, current)),
        held=any(ready(pod) for pod in current),
        started=min((_created(pod) for pod in current), default=0.0),
    )


def rolled_out(deployment: Object) -> bool:
    """The Deployment controller has nothing left to replace (kubectl rollout status)."""
    status = deployment.get("status", {})
    wanted = deployment["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) >= wanted
        and status.get("replicas", 0) <= status.get("updatedReplicas", 0)
        and status.get("availableReplicas", 0) >= wanted
    )


def _kernels(store: Store, pods: list[Object]) -> Iterator[str]:
    for pod in pods:
        node = store.get(NODE, "", pod["spec"].get("nodeName") or "")
        if node is not None:
            yield str(node.get("status", {}).get("nodeInfo", {}).get("kernelVersion", ""))


def _image(template: Object) -> str:
    containers = template["spec"].get("containers", ())
    return next((str(c["image"]) for c in containers if c["name"] == ENGINE_CONTAINER), "")


def _plan(pod: Object) -> str:
    return str(pod["metadata"].get("labels", {}).get(LABEL_PLAN, ""))


def ready(pod: Object) -> bool:
    """The pod serves and stays."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _created(pod: Object) -> float:
    return datetime.fromisoformat(pod["metadata"]["creationTimestamp"]).timestamp()
