"""What the other deployments are doing, for the budget of re-rolls and for canaries.

Only what is under way or was healed is kept, one small record per deployment that is recomputed
when its objects change, so that a pass costs nothing that grows with the fleet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from xpullm.api.reasons import ConditionType, Reason
from xpullm.controller.decide_health import rolled_out
from xpullm.controller.decide_pods import condition, plan_hash, ready, text, whole
from xpullm.controller.fleet_nodes import NodeView
from xpullm.controller.kinds import DEPLOYMENT, LLMDEPLOYMENT, NODE, POD
from xpullm.controller.store import Store
from xpullm.controller.timestamps import epoch
from xpullm.controller.types import Fleet, Key, Object
from xpullm.healing.history import decode_history
from xpullm.resources.names import (
    ANNOTATION_ATTEMPT,
    ANNOTATION_HISTORY,
    ENGINE_CONTAINER,
    LABEL_PLAN,
)

# A re-roll that never shows in the cluster must not block the others for ever.
_RESERVED_SECONDS = 600.0
_WAITING = frozenset({Reason.WAITING_FOR_CANARY, Reason.BACKING_OFF})
_JUST_NOW = float("inf")  # a beginning that the cluster does not show yet

Canary = tuple[str, str, str]  # image, card, kernel


@dataclass(frozen=True, slots=True)
class Activity:
    """One deployment: does its re-roll replace Ready pods, and what does its attempt show."""

    replacing: bool = False
    canaries: frozenset[Canary] = frozenset()
    held: bool = False
    started: float = _JUST_NOW


IDLE = Activity()


class FleetView:
    """Facts over all deployments. Call ``touch`` for every key that a change concerns."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._dirty: set[Key] = set()
        self._active: dict[Key, Activity] = {}
        self._reserved: dict[Key, tuple[float, str, Activity]] = {}
        self._freed = False
        self._nodes = NodeView(store)
        self._woken: set[Key] = set()

    def touch(self, key: Key) -> None:
        """Objects of this deployment changed."""
        self._dirty.add(key)

    def reserve(self, key: Key, now: float, *, replacing: bool, canary: bool) -> None:
        """A re-roll was decided and is about to be written: the next decision must see it.

        ``replacing``: it costs Ready pods. ``canary``: it is to heal, not to grow.
        """
        deployment = self._store.get(DEPLOYMENT, *key)
        if deployment is not None:
            tried = _canaries(self._store, key, deployment) if canary else frozenset()
            activity = Activity(replacing, tried)
            self._reserved[key] = (now, deployment["metadata"]["resourceVersion"], activity)

    def facts(self, key: Key, now: float) -> Fleet:
        """The facts for one deployment: what all the others are doing."""
        for other in self._dirty:
            activity = activity_of(self._store, other)
            before = self._active.get(other, IDLE)
            self._freed |= activity.held > before.held or activity.replacing < before.replacing
            if activity == IDLE:
                self._active.pop(other, None)
            else:
                self._active[other] = activity
            self._woken |= self._nodes.update(other)
        self._dirty.clear()
        self._expire(now)
        counted = {k: a for k, a in self._active.items() if k != key}
        for other, (_, _, promised) in self._reserved.items():
            if other != key:
                shown = counted.get(other, IDLE)
                counted[other] = replace(
                    shown if shown.canaries else promised,
                    replacing=shown.replacing or promised.replacing,
                )
        troubles, serving, held = self._nodes.others(key)
        return Fleet(
            rerolling=sum(activity.replacing for activity in counted.values()),
            canaries=_sum(counted.values(), now),
            troubles=troubles,
            serving=serving,
            held=held,
        )

    def freed(self) -> Iterator[Key]:
        """Those that should look again, once: they wait for others and a canary held or a re-roll
        was complete, or another deployment has begun to fail on their node."""
        woken, self._woken = self._woken, set()
        yield from woken
        if self._freed:
            self._freed = False
            for llmd in self._store.all(LLMDEPLOYMENT):
                if _waits(llmd):
                    yield (llmd["metadata"]["namespace"], llmd["metadata"]["name"])

    def _expire(self, now: float) -> None:
        """Forget reservations that the cluster shows: written, and the roll-out complete."""
        for key, (since, version, _) in list(self._reserved.items()):
            deployment = self._store.get(DEPLOYMENT, *key)
            if (
                deployment is None
                or now - since > _RESERVED_SECONDS
                or (deployment["metadata"]["resourceVersion"] != version and _complete(deployment))
            ):
                del self._reserved[key]


def _waits(llmd: Object) -> bool:
    conditions = llmd.get("status", {}).get("conditions", ())
    return any(c.get("reason") in _WAITING for c in conditions)


def _sum(activities: Iterable[Activity], now: float) -> dict[Canary, tuple[int, int, float]]:
    found: dict[Canary, tuple[int, int, float]] = {}
    for activity in activities:
        for canary in activity.canaries:
            under_way, held, oldest = found.get(canary, (0, 0, now))
            found[canary] = (
                under_way + (not activity.held),
                held + activity.held,
                oldest if activity.held else min(oldest, activity.started),
            )
    return found


def activity_of(store: Store, key: Key) -> Activity:
    """What one deployment is doing, from the store alone."""
    deployment = store.get(DEPLOYMENT, *key)
    if deployment is None:
        return IDLE
    template = deployment["spec"]["template"]
    plan = template["metadata"].get("labels", {}).get(LABEL_PLAN, "")
    pods = store.children(POD, key)
    current = [pod for pod in pods if plan_hash(pod) == plan]
    replacing = (
        not _complete(deployment)
        and any(ready(p) for p in pods if plan_hash(p) != plan)
        and not _stalled(store, key)  # that may last for ever, and costs no further Ready pod
    )
    attempt = deployment["metadata"].get("annotations", {}).get(ANNOTATION_ATTEMPT, "0")
    if attempt in ("", "0"):
        return Activity(replacing=replacing) if replacing else IDLE
    return Activity(
        replacing=replacing,
        canaries=_canaries(store, key, deployment),
        held=any(ready(pod) for pod in current),
        started=min(map(_created, current)) if current else _decided(deployment),
    )


def _stalled(store: Store, key: Key) -> bool:
    """Whether a person must act: its own dead pod is in the way of the next one."""
    return bool(condition(store.get(LLMDEPLOYMENT, *key), ConditionType.STALLED, "True"))


def _decided(deployment: Object) -> float:
    """When the last step was taken. Where its pods do not come (a paused Deployment, no replicas,
    a quota) it must not look as if it had just begun for ever."""
    steps = decode_history(text(deployment, "metadata", "annotations", ANNOTATION_HISTORY))
    time = epoch(steps[-1].time) if steps else None
    return time if time is not None else _JUST_NOW


def _complete(deployment: Object) -> bool:
    return rolled_out(deployment, whole(deployment, "spec", "replicas"))


def _canaries(store: Store, key: Key, deployment: Object) -> frozenset[Canary]:
    """Image, card and kernels that this deployment's pods try or tried."""
    containers = deployment["spec"]["template"]["spec"].get("containers", ())
    image = next((str(c["image"]) for c in containers if c["name"] == ENGINE_CONTAINER), "")
    llmd = store.get(LLMDEPLOYMENT, *key) or {}
    card = str(llmd.get("status", {}).get("plan", {}).get("gpu") or "")
    nodes = (
        store.get(NODE, "", pod["spec"].get("nodeName") or "") for pod in store.children(POD, key)
    )
    return frozenset((image, card, _kernel(node)) for node in nodes if node is not None)


def _kernel(node: Object) -> str:
    return str(node.get("status", {}).get("nodeInfo", {}).get("kernelVersion", ""))


def _created(pod: Object) -> float:
    time = epoch(text(pod, "metadata", "creationTimestamp"))
    return time if time is not None else _JUST_NOW
