"""Which LLMDeployments a change concerns."""

from __future__ import annotations

from collections.abc import Iterator

from xpullm.controller.kinds import (
    CHILDREN,
    DEVICE_CLASS,
    LLMDEPLOYMENT,
    NODE,
    RESOURCE_SLICE,
    TUNING_RECORD,
)
from xpullm.controller.store import Change, Store, owner_key
from xpullm.controller.types import Key, Object


def concerned(store: Store, change: Change) -> frozenset[Key]:
    """The keys to work on after a change.

    A child concerns its owner. Nodes, devices and the spec of a tuning record concern those that
    are not Ready: what runs is not planned anew because a better place appeared.
    """
    return frozenset(_concerned(store, change))


def _concerned(store: Store, change: Change) -> Iterator[Key]:
    sides = [obj for obj in (change.old, change.new) if obj is not None]
    if change.kind is LLMDEPLOYMENT:
        yield from (_key(obj) for obj in sides)
    elif change.kind in CHILDREN:
        yield from (key for obj in sides if (key := owner_key(obj)) is not None)
    elif change.kind in (NODE, RESOURCE_SLICE, DEVICE_CLASS):
        yield from unsettled(store)
    elif change.kind is TUNING_RECORD and _spec_changed(change):
        yield from unsettled(store, sides[0]["metadata"]["namespace"])


def unsettled(store: Store, namespace: str | None = None) -> Iterator[Key]:
    """LLMDeployments that are not Ready for the spec they have now."""
    for obj in store.all(LLMDEPLOYMENT):
        key = _key(obj)
        if namespace in (None, key[0]) and not settled(obj):
            yield key


def settled(obj: Object) -> bool:
    """Ready, and the status speaks of the present spec."""
    status = obj.get("status", {})
    return status.get("observedGeneration") == obj["metadata"].get("generation") and any(
        c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions", ())
    )


def _spec_changed(change: Change) -> bool:
    old, new = ((obj or {}).get("spec") for obj in (change.old, change.new))
    return bool(old != new)


def _key(obj: Object) -> Key:
    return (obj["metadata"]["namespace"], obj["metadata"]["name"])
