"""Leadership: nobody takes a Lease that is alive, and who cannot renew it knows in time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from tests.unit.controller.double import ApiDouble
from tests.unit.controller.virtual import run

from xpullm.controller.errors import UnavailableError
from xpullm.controller.kinds import LEASE, Kind
from xpullm.controller.lease import LeadershipLostError, Lease


class LeaseDouble(ApiDouble):
    """An API server that can be cut off or hang."""

    broken = False
    hangs = False

    async def _trouble(self) -> None:
        if self.hangs:
            await asyncio.sleep(3600)
        if self.broken:
            raise UnavailableError(0, "ClientConnectorError", "no route")

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        await self._trouble()
        return await super().get(kind, namespace, name)

    async def update(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        await self._trouble()
        return await super().update(obj)

    @property
    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.objects["leases", "ns", "l"]["spec"]
        return found


def candidate(api: LeaseDouble, identity: str) -> Lease:
    loop = asyncio.get_running_loop()
    return Lease(api, namespace="ns", name="l", identity=identity, clock=loop.time)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_the_first_candidate_creates_the_lease() -> None:
    async def scenario() -> LeaseDouble:
        api = LeaseDouble()
        await candidate(api, "a").acquire()
        return api

    api = run(scenario())
    assert api.writes == ["create leases l"]
    assert {
        k: api.spec[k] for k in ("holderIdentity", "leaseDurationSeconds", "leaseTransitions")
    } == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 15,
        "leaseTransitions": 0,
    }


def test_a_lease_that_is_renewed_is_not_taken_and_one_that_is_not_is_taken_after_15_seconds() -> (
    None
):
    async def scenario() -> tuple[bool, float]:
        api = LeaseDouble()
        first, second = candidate(api, "a"), candidate(api, "b")
        await first.acquire()
        holding = asyncio.create_task(first.hold())
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(300)
        patient = not waiting.done()
        holding.cancel()  # killed: nothing is released
        died = now()
        await waiting
        assert api.spec["holderIdentity"] == "b"
        assert api.spec["leaseTransitions"] == 1
        return patient, now() - died

    patient, seconds = run(scenario())
    assert patient
    assert 12 <= seconds <= 19  # the last renewal was up to 2 s before, the retry up to 2 s after


def test_a_released_lease_is_taken_at_once() -> None:
    async def scenario() -> float:
        api = LeaseDouble()
        first, second = candidate(api, "a"), candidate(api, "b")
        await first.acquire()
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(30)
        await first.release()
        released = now()
        await waiting
        return now() - released

    assert run(scenario()) <= 2


def test_a_renewal_that_was_cancelled_on_its_way_does_not_keep_the_lease() -> None:
    async def scenario() -> LeaseDouble:
        api = LeaseDouble()
        first = candidate(api, "a")
        await first.acquire()
        await api.update(await api.get(LEASE, "ns", "l"))  # nobody heard the answer
        await first.release()
        return api

    assert run(scenario()).spec["holderIdentity"] == ""


def test_a_lease_that_another_has_taken_is_not_freed() -> None:
    async def scenario() -> LeaseDouble:
        api = LeaseDouble()
        first = candidate(api, "a")
        await first.acquire()
        taken = await api.get(LEASE, "ns", "l")
        await api.update({**taken, "spec": {**taken["spec"], "holderIdentity": "b"}})
        await first.release()
        return api

    assert run(scenario()).spec["holderIdentity"] == "b"


@pytest.mark.parametrize("trouble", ["broken", "hangs"])
def test_a_holder_that_cannot_renew_gives_up_before_anyone_else_may_take_over(trouble: str) -> None:
    async def scenario() -> float:
        api = LeaseDouble()
        lease = candidate(api, "a")
        await lease.acquire()
        holding = asyncio.create_task(lease.hold())
        await asyncio.sleep(20)
        setattr(api, trouble, True)
        cut = now()
        with pytest.raises(LeadershipLostError, match="was not renewed"):
            await holding
        assert not lease.held
        return now() - cut

    assert 8 <= run(scenario()) <= 13


def test_a_short_outage_costs_nothing() -> None:
    async def scenario() -> str:
        api = LeaseDouble()
        lease = candidate(api, "a")
        await lease.acquire()
        holding = asyncio.create_task(lease.hold())
        await asyncio.sleep(20)
        api.broken = True
        await asyncio.sleep(6)
        api.broken = False
        await asyncio.sleep(100)
        assert not holding.done()
        holding.cancel()
        return str(api.spec["holderIdentity"])

    assert run(scenario()) == "a"


def test_a_holder_whose_lease_was_taken_by_another_gives_up() -> None:
    async def scenario() -> None:
        api = LeaseDouble()
        lease = candidate(api, "a")
        await lease.acquire()
        holding = asyncio.create_task(lease.hold())
        found = await api.get(LEASE, "ns", "l")
        await api.update({**found, "spec": {**found["spec"], "holderIdentity": "thief"}})
        with pytest.raises(LeadershipLostError, match="is held by thief"):
            await holding

    run(scenario())


def test_a_restarted_process_of_the_same_name_waits_for_its_predecessor() -> None:
    """Identities carry the process id: a predecessor may still be writing."""

    async def scenario() -> float:
        api = LeaseDouble()
        await candidate(api, "pod_1").acquire()
        before = now()
        await candidate(api, "pod_2").acquire()
        return now() - before

    assert 15 <= run(scenario()) <= 18
