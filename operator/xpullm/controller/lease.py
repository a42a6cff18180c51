"""Leadership by a Lease, with client-go's times and rules (tools/leaderelection).

Clocks of other hosts are never compared with ours: a foreign Lease has run out when *we* have not
seen it change for its duration. Every request has a time limit, so that a hung connection cannot
make a leader outlive its Lease. Who loses the Lease must end its process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from xpullm.controller.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from xpullm.controller.kinds import LEASE, Kind
from xpullm.controller.types import Object

log = logging.getLogger(__name__)


class LeaseApi(Protocol):
    """What is needed of the API server."""

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]: ...

    async def create(self, obj: Object) -> dict[str, Any]: ...

    async def update(self, obj: Object) -> dict[str, Any]: ...


class LeadershipLostError(Exception):
    """The Lease could not be renewed in time, or someone else holds it."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds; client-go's defaults."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0
    call: float = 5.0


class Lease:
    """One candidate for one Lease."""

    def __init__(
        self,
        api: LeaseApi,
        *,
        namespace: str,
        name: str,
        identity: str,
        times: Times = Times(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._times = times
        self._clock = clock
        self._seen: dict[str, Any] | None = None  # the Lease as last read or written
        self._seen_at = 0.0
        self._renewed_at = 0.0
        self.held = False

    async def acquire(self) -> None:
        """Return when the Lease is ours."""
        announced = ""
        while not await self._attempt(self._times.call):
            holder = _holder(self._seen)
            if holder and holder != announced:
                log.info("waiting for the Lease %s, held by %s", self._name, holder)
                announced = holder
            await asyncio.sleep(self._times.retry)
        self.held = True
        log.info("leading: the Lease %s/%s is ours", self._namespace, self._name)

    async def hold(self) -> None:
        """Renew for ever.

        Raises:
            LeadershipLostError: not renewed within the deadline, or taken by another.
        """
        while True:
            await asyncio.sleep(self._times.retry)
            left = self._renewed_at + self._times.renew_deadline - self._clock()
            if left > 0 and await self._attempt(min(self._times.call, left)):
                continue
            holder = _holder(self._seen)
            late = self._clock() - self._renewed_at >= self._times.renew_deadline
            if late or holder not in ("", self._identity):
                self.held = False
                raise LeadershipLostError(
                    f"the Lease {self._namespace}/{self._name} "
                    + (f"is held by {holder}" if holder != self._identity else "was not renewed")
                    + f" ({self._clock() - self._renewed_at:.1f} s after the last renewal)"
                )

    async def release(self) -> None:
        """Let the next candidate start at once; failing that, it waits for the duration."""
        if not self.held or self._seen is None:
            return
        self.held = False
        try:
            async with asyncio.timeout(self._times.call):
                await self._free(self._seen)
        except (ApiError, TimeoutError) as error:
            log.warning("the Lease could not be released: %s", error)

    async def _free(self, lease: dict[str, Any]) -> None:
        spec = {**self._spec(), "holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._api.update({**lease, "spec": spec})
        except ConflictError:  # a renewal of ours that was cancelled on its way came first
            found = await self._api.get(LEASE, self._namespace, self._name)
            if _holder(found) == self._identity:
                await self._api.update({**found, "spec": spec})

    async def _attempt(self, limit_seconds: float) -> bool:
        """Take or renew the Lease once; False when that failed or it is another's."""
        started = self._clock()
        try:
            async with asyncio.timeout(limit_seconds):
                won = await self._take()
        except ConflictError:
            self._seen = None  # read it again next time
            return False
        except (ApiError, TimeoutError) as error:
            log.warning("the Lease could not be reached: %s", error or type(error).__name__)
            return False
        if won:
            self._renewed_at = started
        return won

    async def _take(self) -> bool:
        lease = self._seen if self.held else None  # a holder renews without reading
        if lease is None:
            try:
                lease = self._observe(await self._api.get(LEASE, self._namespace, self._name))
            except NotFoundError:
                return await self._create()
        holder = _holder(lease)
        spec = lease.get("spec", {})
        if holder not in ("", self._identity):
            duration = float(spec.get("leaseDurationSeconds") or self._times.duration)
            if self._seen_at + duration > self._clock():
                return False
        self._observe(await self._api.update({**lease, "spec": self._spec()}))
        return True

    async def _create(self) -> bool:
        manifest = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"namespace": self._namespace, "name": self._name},
            "spec": self._spec(),
        }
        try:
            self._observe(await self._api.create(manifest))
        except AlreadyExistsError:
            return False
        return True

    def _observe(self, lease: dict[str, Any]) -> dict[str, Any]:
        if self._seen is None or self._seen.get("spec") != lease.get("spec"):
            self._seen_at = self._clock()
        self._seen = lease
        return lease

    def _spec(self) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = (self._seen or {}).get("spec", {})
        ours = old.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(self._times.duration),
            "acquireTime": old.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (bool(old) and not ours),
        }


def _holder(lease: dict[str, Any] | None) -> str:
    return str((lease or {}).get("spec", {}).get("holderIdentity") or "")
