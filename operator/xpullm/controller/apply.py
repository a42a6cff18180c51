"""Make the cluster as decided. What is equal is not written; every write is safe to repeat.

Order: objects, Events and tuning records, deletions; status follows in `report`. A crash between
any two loses nothing: the next pass sees what was written and goes on from there. Pods wait for no
news: what a change of the Deployment has to tell lies in the Deployment (`decide_news`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Protocol

from xpullm.controller.canonical import APPLIED_HASH, applied_hash, holds, with_hash
from xpullm.controller.errors import AlreadyExistsError, ConflictError, NotFoundError, RejectedError
from xpullm.controller.events import event
from xpullm.controller.kinds import (
    DEPLOYMENT,
    IMMUTABLE,
    LLMDEPLOYMENT,
    OWNER_LABEL,
    TUNING_RECORD,
    Kind,
    kind_of,
)
from xpullm.controller.observe import controller_uid
from xpullm.controller.routes import concerned
from xpullm.controller.store import Change, Store
from xpullm.controller.types import Decision, Key, Object
from xpullm.healing.tuning import joined

log = logging.getLogger(__name__)

_REMEMBERED_EVENTS = 10_000
_TRIES = 5  # to write a record that others write too


class WriteApi(Protocol):
    """What is needed of the API server."""

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]: ...

    async def create(self, obj: Object) -> dict[str, Any]: ...

    async def apply(self, obj: Object, subresource: str = "") -> dict[str, Any]: ...

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None: ...


class NotOursError(RejectedError):
    """An object with a child's name belongs to somebody else; it is left alone."""


class Applier:
    """Writes decisions. ``touched`` is told which keys an answer concerns."""

    def __init__(
        self, api: WriteApi, store: Store, *, instance: str, touched: Callable[[Key], None]
    ) -> None:
        self._api = api
        self._store = store
        self._instance = instance
        self._touched = touched
        self._told: OrderedDict[str, None] = OrderedDict()

    async def apply(self, llmd: Object, decision: Decision, now: float) -> None:
        """Write everything but status.

        Raises:
            ConflictError: decided on an old state; the store has the new one.
            NotOursError: a child's name is taken.
            ApiError: as the API server says.
        """
        for obj in decision.apply:
            await self._apply(obj, llmd)
        await _all(
            *(self._tell(event(spec, llmd, self._instance, now)) for spec in decision.events),
            *(self._learn(record, now) for record in decision.records),
        )
        for api_version, kind_name, name, uid in decision.delete:
            kind = kind_of({"apiVersion": api_version, "kind": kind_name})
            await self._delete(kind, llmd["metadata"]["namespace"], name, uid)

    async def _tell(self, obj: Object) -> None:
        name = f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
        if name in self._told:
            return
        try:
            await self._api.create(obj)
        except AlreadyExistsError:
            pass
        except RejectedError as error:  # a quota on Events must not stop the work
            log.warning("the Event %s was refused: %s", name, error)
        self._told[name] = None
        while len(self._told) > _REMEMBERED_EVENTS:
            self._told.popitem(last=False)

    async def _apply(self, wanted: Object, llmd: Object) -> None:
        kind = kind_of(wanted)
        metadata = wanted["metadata"]
        place = (kind, metadata["namespace"], metadata["name"])
        live = seen = self._store.get(*place)
        if live is None:
            live = await self._look(*place)
        if live is not None:
            _check_owner(kind, live, llmd)
            if seen is None and kind is DEPLOYMENT and self._store.get(*place) is not None:
                # Its plan and steps were not known: one without our label is in no listing.
                raise ConflictError(409, "Unseen", f"{kind.kind} {metadata['name']} exists already")
            if kind in IMMUTABLE or unchanged(wanted, live):
                return
        manifest = with_hash(wanted)
        if live is not None:
            # Whoever decided on an old state must not win: neither a former leader nor we. The
            # version alone would let an object that is gone be created again, the UID alone would
            # be answered with 422 for its successor (tried, Kubernetes 1.36).
            for guard in ("uid", "resourceVersion"):
                manifest["metadata"][guard] = live["metadata"][guard]
        await self._write(kind, manifest)

    async def _learn(self, wanted: Object, now: float) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                await self._record(wanted, now)
            except ConflictError:  # others write it too: once more, with what they wrote
                if attempt == _TRIES:
                    raise
            except RejectedError as error:  # without a memory, healing still works
                log.warning(
                    "the TuningRecord %s was refused: %s", wanted["metadata"]["name"], error
                )
                return
            else:
                return

    async def _record(self, wanted: Object, now: float) -> None:
        """Add to a record; what others wrote since the decision is kept."""
        metadata = wanted["metadata"]
        place = (TUNING_RECORD, metadata["namespace"], metadata["name"])
        live = self._store.get(*place)
        if live is None:
            try:
                live = await self._api.create({k: v for k, v in wanted.items() if k != "status"})
            except AlreadyExistsError as error:
                await self._look(*place)
                raise ConflictError(409, "Conflict", error.message) from error
            self._overlay(TUNING_RECORD, live)
        status = joined(live.get("status"), wanted["status"], datetime.fromtimestamp(now, UTC))
        if live.get("status") != status:
            await self.write_status(live, status)

    async def write_status(self, live: Object, status: Object) -> None:
        """Write the status of ``live``; refused if ``live`` is not the newest version."""
        await self._write(kind_of(live), status_manifest(live, status), "status")

    async def _write(self, kind: Kind, manifest: Object, subresource: str = "") -> dict[str, Any]:
        try:
            stored = await self._api.apply(manifest, subresource)
        except ConflictError:
            metadata = manifest["metadata"]
            await self._look(kind, metadata["namespace"], metadata["name"])
            raise
        self._overlay(kind, stored)
        return stored

    async def _delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        live = self._store.get(kind, namespace, name)
        if live is not None and live["metadata"].get("deletionTimestamp"):
            return
        try:
            await self._api.delete(kind, namespace, name, uid)
        except NotFoundError:
            return

    async def _look(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        """Ask the API server: the store holds only what carries our label, and may be late."""
        burials = self._store.burials(kind)
        try:
            found = await self._api.get(kind, namespace, name)
        except NotFoundError:
            return None
        self._known(kind, self._store.found(kind, found, burials))
        return found

    def _overlay(self, kind: Kind, obj: Object) -> None:
        """Read our own writes: the next pass must not decide on what was before them."""
        self._known(kind, self._store.put(kind, obj))

    def _known(self, kind: Kind, change: Change | None) -> None:
        """What an answer changed in the store concerns others as a watch's event does."""
        if change is not None and kind is not LLMDEPLOYMENT:  # our own status is no news to us
            for key in concerned(self._store, change):
                self._touched(key)


async def _all(*writes: Coroutine[Any, Any, None]) -> None:
    """All at once, each to its end; then the first error, if any."""
    for error in await asyncio.gather(*writes, return_exceptions=True):
        if error is not None:
            raise error


def unchanged(wanted: Object, live: Object) -> bool:
    """Whether ``live`` is what was last applied, and that is ``wanted``."""
    annotations = live["metadata"].get("annotations", {})
    return annotations.get(APPLIED_HASH) == applied_hash(wanted) and holds(wanted, live)


def status_manifest(live: Object, status: Any) -> dict[str, Any]:
    """What is applied to the status subresource; refused if ``live`` is not the newest."""
    metadata = live["metadata"]
    return {
        "apiVersion": live["apiVersion"],
        "kind": live["kind"],
        "metadata": {
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "status": status,
    }


def _check_owner(kind: Kind, live: Object, llmd: Object) -> None:
    metadata = live["metadata"]
    owner = controller_uid(live)
    what = f"{kind.kind} {metadata['namespace']}/{metadata['name']}"
    former = any(
        reference.get("controller")
        and reference.get("kind") == LLMDEPLOYMENT.kind
        and reference.get("name") == llmd["metadata"]["name"]
        and reference.get("uid") != llmd["metadata"]["uid"]
        for reference in metadata.get("ownerReferences", ())
    )
    if former or (owner == llmd["metadata"]["uid"] and metadata.get("deletionTimestamp")):
        raise ConflictError(409, "Terminating", f"{what} is being deleted")
    if owner == llmd["metadata"]["uid"]:
        return
    if owner is None and metadata.get("labels", {}).get(OWNER_LABEL) == llmd["metadata"]["name"]:
        return  # an orphan of ours: taken back
    raise NotOursError(
        409,
        "NotOurs",
        f"{what} exists and is not controlled by this LLMDeployment; "
        "rename one of the two, or delete the other",
    )
