"""The loop around a pass: back-off, what is counted, and that one object stops no other."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.controller import world
from tests.unit.controller.double import ApiDouble
from tests.unit.controller.virtual import run
from tests.unit.controller.world import Operator

from xpullm.controller.errors import ThrottledError, UnavailableError
from xpullm.controller.kinds import DEPLOYMENT, LLMDEPLOYMENT, POD
from xpullm.controller.types import Decision


async def work(operator: Operator, seconds: float, workers: int = 2) -> None:
    await operator.resync.prime()
    tasks = [asyncio.create_task(operator.reconciler.work()) for _ in range(workers)]
    await asyncio.sleep(seconds)
    operator.queue.shut_down()
    await asyncio.gather(*tasks)


def count(operator: Operator, name: str, **labels: str) -> float:
    return operator.metrics.registry.get_sample_value(name, labels) or 0.0


def test_a_decision_that_fails_is_tried_again_with_back_off_and_others_go_on() -> None:
    times: list[float] = []

    def decide(snapshot: Any, now: float) -> Decision:
        if snapshot.key[1] == "bad":
            times.append(asyncio.get_running_loop().time())
            raise ValueError("bad")
        return world.decide(snapshot, now)

    async def scenario() -> ApiDouble:
        api = ApiDouble()
        api.add(world.llmd("bad"))
        api.add(world.llmd("good"))
        await work(Operator(api, decide), 10)
        return api

    api = run(scenario())
    assert ("deployments", "ns", "good") in api.objects
    waits = [round(b - a, 2) for a, b in itertools.pairwise(times)]
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2]


@pytest.mark.parametrize(
    ("error", "result", "least"),
    [
        (UnavailableError(500, "InternalError", "x"), "api-error", 8),
        (ThrottledError(429, "TooManyRequests", "x", 4.0), "throttled", 3),
    ],
)
def test_an_api_server_in_trouble_is_not_hammered(
    error: Exception, result: str, least: int
) -> None:
    async def scenario() -> float:
        api = ApiDouble()
        api.add(world.llmd())
        api.refuse["deployments"] = error
        operator = Operator(api)
        await work(operator, 12.5)
        return count(operator, "xpullm_reconcile_total", result=result)

    assert least <= run(scenario()) <= least + 1


def test_a_decision_asks_to_come_again() -> None:
    times: list[float] = []

    def decide(_: Any, __: float) -> Decision:
        times.append(asyncio.get_running_loop().time())
        return Decision(requeue_after_seconds=60.0)

    async def scenario() -> None:
        api = ApiDouble()
        api.add(world.llmd())
        await work(Operator(api, decide), 150)

    run(scenario())
    assert [b - a for a, b in itertools.pairwise(times)] == [60.0, 60.0]


def test_a_re_roll_is_counted_with_its_cause_and_the_time_to_status_is_taken() -> None:
    async def scenario() -> tuple[float, float]:
        api = ApiDouble()
        api.add(world.llmd())
        operator = Operator(api)
        await operator.settle()
        operator.store.put(POD, api.add(world.pod(0, failed=True)))
        operator._touched(world.KEY)
        await work(operator, 1)
        return (
            count(operator, "xpullm_rerolls_total", reason="device_oom"),
            count(operator, "xpullm_cause_latency_seconds_count"),
        )

    assert run(scenario()) == (1.0, 1.0)


def test_our_own_writes_cause_one_more_pass_and_no_write() -> None:
    async def scenario() -> tuple[float, int]:
        api = ApiDouble()
        api.add(world.llmd())
        operator = Operator(api)
        await work(operator, 600)
        return count(operator, "xpullm_reconcile_total", result="ok"), len(api.writes)

    assert run(scenario()) == (2.0, 3)


def test_a_deletion_that_no_watch_told_of_is_found_by_the_first_write() -> None:
    """A watch that broke lists anew; of a listing without items kopf tells nothing."""

    def decide(snapshot: Any, now: float) -> Decision:
        decision = world.decide(snapshot, now)
        plan = {"hash": "0" if snapshot.deployment is None else "1"}
        return replace(decision, status={**(decision.status or {}), "plan": plan})

    async def scenario() -> tuple[Any, list[str], list[str]]:
        api = ApiDouble()
        api.add(world.llmd())
        operator = Operator(api, decide)
        await operator.resync.prime()
        tasks = [
            asyncio.create_task(operator.reconciler.work()),
            asyncio.create_task(operator.resync.run()),
        ]
        await asyncio.sleep(1)
        del api.objects["llmdeployments", "ns", "m"]
        deployment = api.objects.pop(("deployments", "ns", "m"))
        operator.store.remove(DEPLOYMENT, deployment)  # the garbage collector's deletion was told
        operator.queue.add(("ns", "m"))
        await asyncio.sleep(5)
        soon = list(api.writes)
        await asyncio.sleep(300)
        operator.queue.shut_down()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return operator.store.all(LLMDEPLOYMENT), soon, api.writes

    known, soon, later = run(scenario())
    assert known == ()
    assert later == soon


def test_a_long_queue_of_passes_without_writes_lets_others_run() -> None:
    """Else the Lease would not be renewed while a fleet is looked at after a restart."""

    async def scenario() -> int:
        operator = Operator(ApiDouble())
        for number in range(1000):
            operator.queue.add(("ns", str(number)))
        turns = 0
        worker = asyncio.create_task(operator.reconciler.work())
        while len(operator.queue):
            turns += 1
            await asyncio.sleep(0)
        worker.cancel()
        return turns

    assert run(scenario()) >= 500


class SlowApi(ApiDouble):
    async def apply(self, obj: Mapping[str, Any], subresource: str = "") -> dict[str, Any]:
        await asyncio.sleep(0.1)
        return await super().apply(obj, subresource)


def test_in_a_burst_six_re_rolls_begin_and_of_the_others_the_cause_is_told_first() -> None:
    names = ("a", "b", "c", "d", "e", "f", "g", "h")

    def unlearned(snapshot: Any, now: float) -> Decision:
        return replace(world.decide(snapshot, now), records=())

    async def scenario() -> tuple[list[str], ApiDouble]:
        api = SlowApi()
        for name in names:
            api.add(world.llmd(name))
        await Operator(api).settle()
        for name in names:
            api.add(world.pod_of(name, 0, failed=True))
        api.writes.clear()
        await work(Operator(api, unlearned), 10, workers=12)
        return [w for w in api.writes if "deployments" in w], api

    writes, api = run(scenario())
    order = sorted([w.split()[1] for w in writes if w.endswith(f" {name}")] for name in names)
    at_once = ["deployments", "llmdeployments/status"]
    assert order == [*[at_once] * 6, *[["llmdeployments/status", *at_once]] * 2]
    for name in names:
        found = api.objects["llmdeployments", "ns", name]["status"]
        assert found["healing"] == {"attempt": 1, "lastCause": "cause-1"}
        attempt = api.objects["deployments", "ns", name]["metadata"]["annotations"]
        assert attempt["xpullm.io/attempt"] == "1"


def test_deployments_that_learn_at_once_share_one_record() -> None:
    async def scenario() -> tuple[Operator, ApiDouble]:
        api = SlowApi()
        for name in ("a", "b", "c"):
            api.add(world.llmd(name))
        await Operator(api).settle()
        for name in ("a", "b", "c"):
            api.add(world.pod_of(name, 0, failed=True))
        operator = Operator(api)
        await work(operator, 10, workers=8)
        return operator, api

    operator, api = run(scenario())
    entries = api.objects["tuningrecords", "ns", "r"]["status"]["entries"]
    assert sorted(entry["node"] for entry in entries) == ["node-of-a", "node-of-b", "node-of-c"]
    assert count(operator, "xpullm_reconcile_total", result="conflict") == 0


def test_one_failure_alone_is_told_with_its_step_in_one_status() -> None:
    async def scenario() -> list[str]:
        api = ApiDouble()
        api.add(world.llmd())
        await Operator(api).settle()
        api.add(world.pod(0, failed=True))
        api.writes.clear()
        await Operator(api).settle()
        return [w for w in api.writes if "llmdeployments" in w]

    assert run(scenario()) == ["apply llmdeployments/status m"]


def test_a_dead_pods_re_roll_is_seen_by_the_next_decision_before_it_is_written() -> None:
    """Else a bad driver would roll a whole fleet at once: canaries count from the decision on."""
    seen: list[Any] = []

    def decide(snapshot: Any, now: float) -> Decision:
        seen.append(dict(snapshot.fleet.canaries or {}))
        return replace(world.decide(snapshot, now), records=())

    class Slow(ApiDouble):
        async def apply(self, obj: Any, subresource: str = "") -> dict[str, Any]:
            await asyncio.sleep(1)
            return await super().apply(obj, subresource)

    async def scenario() -> None:
        api = Slow()
        api.add({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
        for name in ("a", "b"):
            api.add(world.llmd(name))
        await Operator(api).settle()
        for name in ("a", "b"):
            api.add(world.pod_of(name, 0, failed=True))
        operator = Operator(api, decide)
        await operator.resync.prime()
        while operator.queue.take() is not None:
            pass
        await asyncio.gather(*(operator.reconciler.reconcile(("ns", n)) for n in "ab"))

    run(scenario())
    assert [sum(under_way for under_way, _, _ in found.values()) for found in seen] == [0, 1]
