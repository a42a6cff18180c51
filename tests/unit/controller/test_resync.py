"""Listings: complete before work starts, and repeated."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from tests.unit.controller import world
from tests.unit.controller.double import ApiDouble
from tests.unit.controller.virtual import run
from tests.unit.controller.world import Operator

from xpullm.controller.errors import ForbiddenError, NotFoundError, UnavailableError
from xpullm.controller.kinds import (
    CLAIM_TEMPLATE,
    LLMDEPLOYMENT,
    POD,
    RESOURCE_SLICE,
    SERVICE,
    WATCHED,
    Kind,
)
from xpullm.controller.resync import UnservableError
from xpullm.controller.watches import Feed


class ListDouble(ApiDouble):
    """An API server on which some kinds cannot be listed."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble: dict[Kind, Exception] = {}
        self.lists: list[tuple[str, str | None]] = []

    async def list(
        self, kind: Kind, namespace: str | None = None
    ) -> tuple[list[dict[str, Any]], int]:
        self.lists.append((kind.plural, namespace))
        if kind in self.trouble:
            raise self.trouble[kind]
        return await super().list(kind, namespace)


def not_found() -> NotFoundError:
    return NotFoundError(404, "NotFound", "404 page not found")


def test_all_kinds_are_listed_before_the_first_key_is_queued() -> None:
    async def scenario() -> tuple[list[str], int]:
        api = ListDouble()
        api.add(world.llmd())
        operator = Operator(api)
        await operator.resync.prime()
        return [plural for plural, _ in api.lists], len(operator.queue)

    plurals, waiting = run(scenario())
    assert plurals == [kind.plural for kind in WATCHED]
    assert waiting == 1


def test_dra_is_optional() -> None:
    async def scenario() -> tuple[Kind, ...]:
        api = ListDouble()
        api.trouble = {CLAIM_TEMPLATE: not_found(), RESOURCE_SLICE: not_found()}
        operator = Operator(api)
        await operator.resync.prime()
        return operator.resync.served

    served = run(scenario())
    assert CLAIM_TEMPLATE not in served
    assert POD in served


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (LLMDEPLOYMENT, not_found(), "install the CRDs first"),
        (POD, ForbiddenError(403, "Forbidden", "cannot list"), "may not list pods: cannot list"),
    ],
)
def test_without_crds_or_rights_the_operator_says_what_to_do(
    kind: Kind, error: Exception, message: str
) -> None:
    async def scenario() -> None:
        api = ListDouble()
        api.trouble = {kind: error}
        await Operator(api).resync.prime()

    with pytest.raises(UnservableError, match=message):
        run(scenario())


def test_what_vanished_unnoticed_is_found_by_the_next_listing() -> None:
    async def scenario() -> tuple[int, int]:
        api = ListDouble()
        api.add(world.llmd())
        operator = Operator(api)
        await operator.settle()
        resyncing = asyncio.create_task(operator.resync.run())
        del api.objects["services", "ns", "m"]
        api.version += 1
        before = len(operator.queue)
        await asyncio.sleep(661)
        resyncing.cancel()
        await operator.settle()
        return before, sum(1 for w in api.writes if w == "apply services m")

    assert run(scenario()) == (0, 2)


def test_listings_come_every_ten_minutes_give_or_take_one() -> None:
    async def scenario() -> list[float]:
        api = ListDouble()
        operator = Operator(api)
        await operator.resync.prime()
        loop = asyncio.get_running_loop()
        times: list[float] = []
        resyncing = asyncio.create_task(operator.resync.run())
        api.lists.clear()
        for _ in range(3600):
            await asyncio.sleep(1)
            if api.lists:
                times.append(loop.time())
                api.lists.clear()
        resyncing.cancel()
        return [b - a for a, b in itertools.pairwise(times)]

    gaps = run(scenario())
    assert len(gaps) >= 4
    assert all(539 <= gap <= 662 for gap in gaps)


def test_a_failed_listing_is_tried_again_soon_and_changes_nothing() -> None:
    async def scenario() -> tuple[float, int]:
        api = ListDouble()
        api.add(world.llmd())
        operator = Operator(api)
        await operator.settle()
        resyncing = asyncio.create_task(operator.resync.run())
        api.trouble = {POD: UnavailableError(0, "Timeout", "no answer")}
        await asyncio.sleep(700)
        known = len(operator.store.all(LLMDEPLOYMENT))
        api.trouble = {}
        await asyncio.sleep(30)
        resyncing.cancel()
        return asyncio.get_running_loop().time() - operator.resync.last_success, known

    age, known = run(scenario())
    assert age <= 30
    assert known == 1


def feed(operator: Operator) -> Feed:
    return Feed(operator.store, operator._touched, operator.resync, operator.metrics)


def test_a_watch_that_lists_anew_makes_its_kind_be_compared() -> None:
    async def scenario() -> list[tuple[str, str | None]]:
        api = ListDouble()
        known = api.add(world.llmd())
        operator = Operator(api)
        await operator.settle()
        resyncing = asyncio.create_task(operator.resync.run())
        api.lists.clear()
        feed(operator).event(LLMDEPLOYMENT, None, known)
        await asyncio.sleep(5)
        resyncing.cancel()
        return api.lists

    assert run(scenario()) == [("llmdeployments", None)]


def test_what_vanished_during_a_gap_is_worked_on_within_seconds() -> None:
    async def scenario() -> list[str]:
        api = ListDouble()
        api.add(world.llmd())
        operator = Operator(api)
        await operator.settle()
        resyncing = asyncio.create_task(operator.resync.run())
        del api.objects["services", "ns", "m"]
        api.version += 1
        api.writes.clear()
        operator.resync.gap(SERVICE)  # kopf lists Services anew
        await asyncio.sleep(5)
        resyncing.cancel()
        await operator.settle()
        return api.writes

    assert run(scenario()) == ["apply services m"]


def test_a_watch_that_does_not_tell_what_a_listing_showed_is_called_deaf() -> None:
    async def scenario() -> list[set[str]]:
        api = ListDouble()
        operator = Operator(api)
        await operator.resync.prime()
        resyncing = asyncio.create_task(operator.resync.run())
        new = api.add(world.llmd())
        await asyncio.sleep(661)
        found = [operator.resync.deaf]
        await asyncio.sleep(125)
        found.append(operator.resync.deaf)
        feed(operator).event(LLMDEPLOYMENT, "ADDED", new)
        found.append(operator.resync.deaf)
        resyncing.cancel()
        return found

    assert run(scenario())[1:] == [{"llmdeployments"}, set()]


def test_events_overlay_the_store_and_queue_what_changed() -> None:
    async def scenario() -> list[int]:
        api = ListDouble()
        operator = Operator(api)
        await operator.resync.prime()
        events = feed(operator)
        known = api.add(world.llmd())
        found = []
        for event_type in ("ADDED", "ADDED", "DELETED", "MODIFIED"):
            events.event(LLMDEPLOYMENT, event_type, known)
            found.append(len(operator.store.all(LLMDEPLOYMENT)))
            while (key := operator.queue.take()) is not None:
                operator.queue.done(key)
                found.append(-1)
        return found

    assert run(scenario()) == [1, -1, 1, 0, -1, 0]
