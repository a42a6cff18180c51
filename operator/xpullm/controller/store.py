"""What the operator knows of the cluster: the newest version of every object that it reads.

Listings, watch events and answers to our own writes arrive in any order; an object's
resourceVersion decides which one is newer, and its UID whether it is still the same object.
Objects in the store are never changed in place.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from xpullm.controller.kinds import CHILDREN, LLMDEPLOYMENT, NODE, OWNER_LABEL, Kind
from xpullm.controller.types import Key, Object

_TOMBSTONES = 10_000  # deletions remembered per kind, so that a late event resurrects nothing
_NODE_SPEC = ("unschedulable", "taints")
_NODE_STATUS = ("allocatable", "capacity", "nodeInfo", "conditions")
_NODE_CONDITION = ("type", "status", "reason")  # heartbeat times change every few minutes


@dataclass(frozen=True, slots=True)
class Change:
    """One object before and after; one of the two is None at its beginning and its end."""

    kind: Kind
    old: Object | None
    new: Object | None


class Store:
    """Objects by kind and name; children also by the LLMDeployment that they belong to."""

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[Key, Object]] = {}
        self._children: dict[Kind, dict[Key, dict[str, Object]]] = {}
        self._gone: dict[Kind, OrderedDict[str, int]] = {}
        self._all: dict[Kind, tuple[Object, ...]] = {}
        self._burials: Counter[Kind] = Counter()

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """One object; the namespace of cluster-wide kinds is empty."""
        return self._objects.get(kind, {}).get((namespace, name))

    def all(self, kind: Kind) -> tuple[Object, ...]:
        """Every object of a kind, by namespace and name."""
        if kind not in self._all:
            objects = self._objects.get(kind, {})
            self._all[kind] = tuple(objects[key] for key in sorted(objects))
        return self._all[kind]

    def children(self, kind: Kind, owner: Key) -> tuple[Object, ...]:
        """The objects of a kind that belong to an LLMDeployment, by name."""
        found = self._children.get(kind, {}).get(owner, {})
        return tuple(found[name] for name in sorted(found))

    def put(self, kind: Kind, obj: Object) -> Change | None:
        """Keep an object if it is newer than what is known; None if that changed nothing."""
        metadata = obj["metadata"]
        if self._gone.get(kind, {}).get(metadata["uid"], -1) >= _version(obj):
            return None
        key = _key(obj)
        old = self._objects.get(kind, {}).get(key)
        if old is not None and _version(old) >= _version(obj):
            return None
        new = trim(kind, obj)
        self._set(kind, key, old, new)
        if old is not None and kind is NODE and _same(old, new):
            return None
        return Change(kind, old, new)

    def burials(self, kind: Kind) -> int:
        """How many deletions were told so far: to be read before a GET."""
        return self._burials[kind]

    def found(self, kind: Kind, obj: Object, burials: int) -> Change | None:
        """Keep what a GET returned. A watch by label calls an object deleted that lost the label;
        it exists, unless its deletion was told during the GET."""
        if self._burials[kind] == burials:
            self._gone.get(kind, OrderedDict()).pop(obj["metadata"]["uid"], None)
        return self.put(kind, obj)

    def remove(self, kind: Kind, obj: Object) -> Change | None:
        """An object was deleted; None if it was not known, or its name has a new owner."""
        metadata = obj["metadata"]
        self._bury(kind, metadata["uid"], _version(obj))
        key = _key(obj)
        old = self._objects.get(kind, {}).get(key)
        if old is None or old["metadata"]["uid"] != metadata["uid"]:
            return None
        self._set(kind, key, old, None)
        return Change(kind, old, None)

    def replace(
        self, kind: Kind, items: Iterable[Object], version: int, namespace: str | None = None
    ) -> list[Change]:
        """Take over a complete listing that was made at ``version``.

        What the listing lacks has vanished, unless it is newer than the listing. ``namespace``
        says that the listing covers only that namespace.
        """
        changes = []
        listed = set()
        for item in items:
            listed.add(item["metadata"]["uid"])
            change = self.put(kind, item)
            if change is not None:
                changes.append(change)
        for key, old in list(self._objects.get(kind, {}).items()):
            if namespace is not None and key[0] != namespace:
                continue
            if old["metadata"]["uid"] not in listed and _version(old) <= version:
                self._bury(kind, old["metadata"]["uid"], version)
                self._set(kind, key, old, None)
                changes.append(Change(kind, old, None))
        return changes

    def _set(self, kind: Kind, key: Key, old: Object | None, new: Object | None) -> None:
        self._all.pop(kind, None)
        objects = self._objects.setdefault(kind, {})
        if new is None:
            objects.pop(key, None)
        else:
            objects[key] = new
        if kind not in CHILDREN:
            return
        index = self._children.setdefault(kind, {})
        former = owner_key(old) if old is not None else None
        if former in index:
            index[former].pop(key[1], None)
            if not index[former]:
                del index[former]
        owner = owner_key(new) if new is not None else None
        if new is not None and owner is not None:
            index.setdefault(owner, {})[key[1]] = new

    def _bury(self, kind: Kind, uid: str, version: int) -> None:
        self._burials[kind] += 1
        gone = self._gone.setdefault(kind, OrderedDict())
        gone[uid] = version
        gone.move_to_end(uid)
        while len(gone) > _TOMBSTONES:
            gone.popitem(last=False)


def owner_key(obj: Object) -> Key | None:
    """The LLMDeployment that a child belongs to: by its label, else by its owner reference."""
    metadata = obj["metadata"]
    name = metadata.get("labels", {}).get(OWNER_LABEL)
    if name is None:
        name = next(
            (
                reference["name"]
                for reference in metadata.get("ownerReferences", ())
                if reference["kind"] == LLMDEPLOYMENT.kind
            ),
            None,
        )
    return None if name is None else (metadata.get("namespace", ""), name)


def trim(kind: Kind, obj: Object) -> dict[str, Any]:
    """The object without what nobody here reads; of a node only what planning needs."""
    metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    if kind is not NODE:
        return {**obj, "metadata": metadata}
    status = _pick(obj.get("status", {}), _NODE_STATUS)
    status["conditions"] = [_pick(c, _NODE_CONDITION) for c in status.get("conditions", ())]
    metadata.pop("annotations", None)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "spec": _pick(obj.get("spec", {}), _NODE_SPEC),
        "status": status,
    }


def _pick(source: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: source[name] for name in names if name in source}


def _same(old: Object, new: Object) -> bool:
    def content(obj: Object) -> dict[str, Any]:
        metadata = {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}
        return {**obj, "metadata": metadata}

    return content(old) == content(new)


def _key(obj: Object) -> Key:
    return (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def _version(obj: Object) -> int:
    """resourceVersions of one kind can be compared as integers (guaranteed from Kubernetes 1.35,
    true of etcd before)."""
    return int(obj["metadata"]["resourceVersion"])
