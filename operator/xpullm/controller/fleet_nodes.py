"""What deployments show of nodes: who fails there, what serves there, what pods hold.

One small record per deployment, recomputed from the store when its objects change, so that nothing
is remembered that a restart would lose.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from xpullm.controller.decide_heal import Place
from xpullm.controller.decide_node import moves, trouble
from xpullm.controller.decide_plan import placeless
from xpullm.controller.decide_pods import failures, of_plan, ready, text
from xpullm.controller.decide_room import holdings
from xpullm.controller.kinds import CLAIM_TEMPLATE, DEPLOYMENT, LLMDEPLOYMENT, NODE, POD
from xpullm.controller.store import Store
from xpullm.controller.types import Key, Object
from xpullm.healing.history import decode_history
from xpullm.healing.node import Trouble
from xpullm.resources.names import ANNOTATION_HISTORY, ANNOTATION_PLAN, LABEL_PLAN

_ENOUGH = 2  # nodes that tell whether something serves on another than a given one

What = tuple[str, ...]  # (image, card, kernel) or (plan, kernel)


@dataclass(frozen=True, slots=True)
class Presence:
    """One deployment. `failing`: any failure at all; `serving`: what with its node."""

    failing: bool = False
    troubles: tuple[Trouble, ...] = ()
    serving: frozenset[tuple[What, str]] = frozenset()
    held: tuple[tuple[tuple[str, str], int], ...] = ()


NOTHING = Presence()


class NodeView:
    """Facts about nodes over all deployments. Call ``update`` for every key that changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[Key, Presence] = {}
        self._seen: dict[Key, tuple[str, ...]] = {}
        self._failing: dict[Key, Presence] = {}
        self._serving: dict[What, Counter[str]] = {}
        self._held: Counter[tuple[str, str]] = Counter()

    def update(self, key: Key) -> frozenset[Key]:
        """Recompute one deployment's record; those that should look at their failures again: the
        first that failed on a node where this one has become the second."""
        version = self._version(key)
        if self._seen.get(key) == version:
            return frozenset()
        before, now = self._known.get(key, NOTHING), presence_of(self._store, key)
        self._count(before, -1)
        self._count(now, +1)
        for index, kept in ((self._known, now != NOTHING), (self._failing, bool(now.troubles))):
            if kept:
                index[key] = now
            else:
                index.pop(key, None)
        if now == NOTHING:
            self._seen.pop(key, None)
        else:
            self._seen[key] = version
        fresh = {t.node for t in now.troubles} - {t.node for t in before.troubles}
        return frozenset(woken for node in fresh for woken in self._alone(node, key))

    def others(
        self, key: Key
    ) -> tuple[tuple[Trouble, ...], dict[What, tuple[str, ...]], dict[tuple[str, str], int]]:
        """Troubles of others, what serves where, what others hold. Empty where nothing of
        this deployment fails: then nobody asks, and a pass costs nothing that grows."""
        mine = self._known.get(key, NOTHING)
        if not mine.failing:
            return (), {}, {}
        troubles = tuple(
            t for other, shown in self._failing.items() if other != key for t in shown.troubles
        )
        wanted: set[What] = {
            what for t in (*troubles, *mine.troubles) for what in (t.kind, (t.plan_hash, t.kind[2]))
        }
        serving = {
            what: tuple(sorted(self._serving[what])[:_ENOUGH])
            for what in wanted
            if what in self._serving
        }
        own = dict(mine.held)
        held = {
            place: theirs
            for place, number in self._held.items()
            if (theirs := number - own.get(place, 0)) > 0
        }
        return troubles, serving, held

    def _count(self, presence: Presence, sign: int) -> None:
        for what, node in presence.serving:
            nodes = self._serving.setdefault(what, Counter())
            nodes[node] += sign
            if not nodes[node]:
                del nodes[node]
            if not nodes:
                del self._serving[what]
        for place, number in presence.held:
            self._held[place] += sign * number
            if not self._held[place]:
                del self._held[place]

    def _alone(self, node: str, key: Key) -> tuple[Key, ...]:
        there = [
            other
            for other, shown in self._failing.items()
            if other != key and any(t.node == node for t in shown.troubles)
        ]
        return tuple(there) if len(there) == 1 else ()

    def _version(self, key: Key) -> tuple[str, ...]:
        """Versions of all that a record is made of."""
        pods = self._store.children(POD, key)
        shown = (self._store.get(DEPLOYMENT, *key), *pods)
        card = text(self._store.get(LLMDEPLOYMENT, *key), "status", "plan", "gpu")
        kernels = (_place(self._store, text(pod, "spec", "nodeName")).kernel for pod in pods)
        versions = (text(obj, "metadata", "resourceVersion") for obj in shown)
        return (card, *kernels, *versions)


def presence_of(store: Store, key: Key) -> Presence:
    """What one deployment shows, from the store alone."""
    pods = store.children(POD, key)
    card = text(store.get(LLMDEPLOYMENT, *key), "status", "plan", "gpu")
    held = tuple(holdings(pods, store.children(CLAIM_TEMPLATE, key), card))
    deployment = store.get(DEPLOYMENT, *key)
    identity = placeless(text(deployment, "metadata", "annotations", ANNOTATION_PLAN))
    if deployment is None or identity is None:
        return Presence(held=held)
    plan, plan_hash = identity
    label = text(deployment, "spec", "template", "metadata", "labels", LABEL_PLAN)
    who = "/".join(key)
    found = failures(pods, label)
    shown = [trouble(f, _place(store, f.node), plan, plan_hash, who) for f in found]
    steps = decode_history(text(deployment, "metadata", "annotations", ANNOTATION_HISTORY))
    for step in steps:
        spot = _place(store, step.node)
        shown += moves((step,), (plan.image, plan.gpu, spot.kernel), plan_hash, who)
    serving = {
        (what, spot.node)
        for pod in of_plan(pods, label)
        if ready(pod) and (spot := _place(store, text(pod, "spec", "nodeName"))).kernel
        for what in ((plan.image, plan.gpu, spot.kernel), (plan_hash, spot.kernel))
    }
    troubles = tuple(t for t in shown if t is not None and t.kind[2])
    return Presence(bool(found), troubles, frozenset(serving), held)


def _place(store: Store, node: str) -> Place:
    found: Object | None = store.get(NODE, "", node) if node else None
    return Place(node, text(found, "status", "nodeInfo", "kernelVersion"))
