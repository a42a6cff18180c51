"""An API server in memory, as far as the operator's edges need one.

It knows resourceVersion, uid and generation, server-side apply of one manager (what was applied
before and is absent now is removed; lists are replaced), preconditions, and the status
subresource. It can crash the caller before or after the k-th write. It is no proof of what a real
API server does: tests/cluster repeats what matters there.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any

from xpullm.controller.errors import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    RejectedError,
)
from xpullm.controller.kinds import Kind, kind_of


class Crash(BaseException):
    """The operator's process dies here."""


class ApiDouble:
    """Objects by (plural, namespace, name)."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.intents: dict[tuple[str, str, str, str], dict[str, Any]] = {}
        self.version = 100
        self.writes: list[str] = []
        self.effective: Counter[str] = Counter()
        self.crash: tuple[int, str] | None = None  # number of the write, "before" or "after"
        self.refuse: dict[str, Exception] = {}  # by plural: raised instead of writing

    def add(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        """A user's or a controller's object."""
        new = copy.deepcopy(dict(obj))
        metadata = new["metadata"]
        metadata.setdefault("uid", f"uid-{self.version}")
        metadata.setdefault("generation", 1)
        metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        self._store(_key(kind_of(new), new), new)
        return copy.deepcopy(new)

    async def list(
        self, kind: Kind, namespace: str | None = None
    ) -> tuple[list[dict[str, Any]], int]:
        found = [
            copy.deepcopy(obj)
            for (plural, where, _), obj in self.objects.items()
            if plural == kind.plural and namespace in (None, where)
        ]
        return found, self.version

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        found = self.objects.get((kind.plural, namespace, name))
        if found is None:
            raise NotFoundError(404, "NotFound", f"{kind.plural} {name!r} not found")
        return copy.deepcopy(found)

    async def create(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        kind = kind_of(obj)
        what = f"create {kind.plural} {obj['metadata']['name']}"
        self._before(what, kind)
        if _key(kind, obj) in self.objects:
            raise AlreadyExistsError(409, "AlreadyExists", what)
        new = self.add(obj)
        self._after(what)
        return new

    async def update(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        kind = kind_of(obj)
        what = f"update {kind.plural} {obj['metadata']['name']}"
        self._before(what, kind)
        old = await self.get(kind, obj["metadata"]["namespace"], obj["metadata"]["name"])
        _check(old, obj["metadata"])
        new = copy.deepcopy(dict(obj))
        self._store(_key(kind, new), new)
        self._after(what)
        return copy.deepcopy(new)

    async def apply(self, obj: Mapping[str, Any], subresource: str = "") -> dict[str, Any]:
        kind = kind_of(obj)
        key = _key(kind, obj)
        what = f"apply {'/'.join(filter(None, (kind.plural, subresource)))} {key[2]}"
        self._before(what, kind)
        old = self.objects.get(key)
        _check(old, obj["metadata"])
        if old is None and subresource:
            raise NotFoundError(404, "NotFound", f"{kind.plural} {key[2]!r} not found")
        intent = _intent(obj, subresource)
        former = self.intents.get((*key, subresource), {})
        base = old or {"metadata": {"uid": f"uid-{self.version}", "generation": 0}}
        new = _merge(_without(base, former, intent), intent)
        self.intents[*key, subresource] = intent
        if new != old:
            if not subresource and new.get("spec") != (old or {}).get("spec"):
                new["metadata"]["generation"] += 1
            new["metadata"].setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
            self._store(key, new)
            self.effective[what] += 1
        self._after(what)
        return copy.deepcopy(self.objects[key])

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        what = f"delete {kind.plural} {name}"
        self._before(what, kind)
        key = (kind.plural, namespace, name)
        if key not in self.objects:
            raise NotFoundError(404, "NotFound", what)
        if self.objects[key]["metadata"]["uid"] != uid:
            raise ConflictError(409, "Conflict", f"the UID in the precondition is {uid}")
        del self.objects[key]
        self.version += 1
        self._after(what)

    def _store(self, key: tuple[str, str, str], obj: dict[str, Any]) -> None:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = obj

    def _before(self, what: str, kind: Kind) -> None:
        if kind.plural in self.refuse:
            raise self.refuse[kind.plural]
        self.writes.append(what)
        if self.crash == (len(self.writes), "before"):
            raise Crash(what)

    def _after(self, what: str) -> None:
        if self.crash == (len(self.writes), "after"):
            raise Crash(what)


def _key(kind: Kind, obj: Mapping[str, Any]) -> tuple[str, str, str]:
    return (kind.plural, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def _check(old: Mapping[str, Any] | None, metadata: Mapping[str, Any]) -> None:
    """As tests/cluster/test_controller_preconditions.py found it."""
    if old is None:
        if "uid" in metadata:
            raise ConflictError(409, "Conflict", "uid mismatch: no existing object was found")
        return
    version = old["metadata"]["resourceVersion"]
    if metadata.get("resourceVersion", version) != version:
        raise ConflictError(409, "Conflict", "the object has been modified")
    if metadata.get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
        raise RejectedError(422, "Invalid", "metadata.uid: field is immutable")


def _intent(obj: Mapping[str, Any], subresource: str) -> dict[str, Any]:
    """What the manager wants: without preconditions, and only the subresource's part."""
    intent = copy.deepcopy(dict(obj))
    for field in ("resourceVersion", "uid"):
        intent["metadata"].pop(field, None)
    if subresource:
        return {k: v for k, v in intent.items() if k in ("apiVersion", "kind", subresource)}
    intent.pop("status", None)
    return intent


def _without(obj: Any, former: Any, wanted: Any) -> Any:
    """``obj`` less the leaves that were applied before and are no longer wanted."""
    if not isinstance(obj, dict) or not isinstance(former, dict):
        return copy.deepcopy(obj)
    kept = {}
    for name, value in obj.items():
        wants = wanted.get(name) if isinstance(wanted, dict) else None
        if name in former and wants is None and not isinstance(value, dict):
            continue
        inner = _without(value, former.get(name), wants)
        if inner == {} and name in former and wants is None:
            continue
        kept[name] = inner
    return kept


def _merge(obj: dict[str, Any], intent: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(obj)
    for name, value in intent.items():
        inner = merged.get(name)
        if isinstance(value, dict) and isinstance(inner, dict):
            merged[name] = _merge(inner, value)
        else:
            merged[name] = copy.deepcopy(value)
    return merged
