"""Whom the operator asks for figures, when, and what it does with silence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from tests.unit.controller import world
from tests.unit.controller.virtual import run
from tests.unit.controller.world import KEY

from xpullm.controller.engines import Engines
from xpullm.controller.kinds import DEPLOYMENT, LLMDEPLOYMENT, POD
from xpullm.controller.metrics import Metrics
from xpullm.controller.store import Store


def answer(plan: str = "plan-0", **more: Any) -> bytes:
    start = {"seconds": 3.0, "figures": {}}
    return json.dumps({"planHash": plan, "startedUp": True, "start": start, **more}).encode()


class Scene:
    """A store, a clock that jumps, and pods that answer as told. `asked`: (time, address)."""

    def __init__(self, reply: Callable[[str], bytes | Exception] = lambda _: answer()) -> None:
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.store, self.metrics = Store(), Metrics()
        self.reply = reply
        self.asked: list[tuple[float, str]] = []
        self.touched: list[float] = []
        self.versions = 0
        self.engines = Engines(
            self.store,
            self.fetch,
            lambda key: self.touched.append(self.since()),
            self.metrics,
            clock=self.loop.time,
        )

    def since(self) -> float:
        return round(self.loop.time() - self.began, 1)

    async def fetch(self, address: str) -> bytes:
        self.asked.append((self.since(), address))
        await asyncio.sleep(0.1)
        reply = self.reply(address)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def put(self, kind: Any, obj: dict[str, Any]) -> None:
        """What a watch event does."""
        self.versions += 1
        obj["metadata"] |= {"resourceVersion": str(self.versions)}
        obj["metadata"].setdefault("uid", f"uid-{obj['metadata']['name']}")
        self.store.put(kind, obj)
        self.engines.touch(KEY)

    def deploy(self, attempt: int = 0, **healing: Any) -> None:
        owner = world.llmd(healing=healing)
        self.put(LLMDEPLOYMENT, owner)
        self.put(DEPLOYMENT, world.deployment(owner, attempt))

    def pod(
        self, number: int, *, attempt: int = 0, ready: bool = True, restarts: int = 0
    ) -> dict[str, Any]:
        created = f"2026-11-23T00:00:0{number}Z"
        pod = world.pod(attempt, ready=ready, uid=f"u{number}", creationTimestamp=created)
        pod["metadata"]["name"] = f"m-{number}"
        pod["status"] |= {
            "podIP": f"10.0.0.{number}",
            "containerStatuses": [{"name": "engine", "restartCount": restarts}],
        }
        self.put(POD, pod)
        return pod

    async def work(self, seconds: float, workers: int = 2) -> None:
        tasks = [asyncio.create_task(self.engines.work()) for _ in range(workers)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def count(self, result: str) -> float:
        name, labels = "xpullm_engine_requests_total", {"result": result}
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    run(scenario())  # type: ignore[arg-type]


def test_the_oldest_ready_pod_is_asked_once() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.deploy()
        scene.pod(2)
        scene.pod(1)
        scene.pod(3, ready=False)
        scene.pod(4, attempt=7)
        await scene.work(3600)
        assert [address for _, address in scene.asked] == ["10.0.0.1"]
        told = scene.engines.figures(KEY)
        assert {uid: item.start_seconds for uid, item in told.items()} == {"u1": 3}
        assert scene.touched == [0.1]
        assert scene.count("ok") == 1

    play(scenario)


def test_every_event_of_a_run_that_was_asked_is_no_news() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.deploy()
        scene.pod(1)
        await scene.work(1)
        for _ in range(5):
            scene.pod(1)
        await scene.work(60)
        assert len(scene.asked) == 1

    play(scenario)


def test_a_restarted_container_and_a_new_plan_are_asked_anew() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.deploy()
        scene.pod(1)
        await scene.work(1)
        scene.pod(1, restarts=1)
        await scene.work(1)
        assert scene.engines.figures(KEY)["u1"].restarts == 1
        scene.reply = lambda _: answer("plan-1")
        scene.deploy(attempt=1)
        scene.pod(2, attempt=1)
        await scene.work(1)
        assert [address for _, address in scene.asked] == ["10.0.0.1", "10.0.0.1", "10.0.0.2"]

    play(scenario)


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        (OSError("no route"), "error"),
        (TimeoutError(), "error"),
        (b"<html>", "invalid"),
        (answer("another plan"), "invalid"),
    ],
)
def test_silence_and_nonsense_are_asked_again_with_back_off(
    reply: bytes | Exception, result: str
) -> None:
    async def scenario() -> None:
        scene = Scene(lambda _: reply)
        scene.deploy()
        scene.pod(1)
        await scene.work(100)
        assert [time for time, _ in scene.asked] == [0.0, 2.1, 6.2, 14.3, 30.4, 62.5]
        assert scene.touched == []
        assert scene.count(result) == 6
        scene.pod(1)  # an event does not shorten the wait
        await scene.work(10)
        assert len(scene.asked) == 6

    play(scenario)


def test_one_pod_that_hangs_keeps_no_other_waiting() -> None:
    async def scenario() -> None:
        scene = Scene(lambda a: OSError("x") if a == "10.0.0.1" else answer())
        scene.deploy(growth={"mode": "Enabled"})
        scene.pod(1)
        scene.pod(2)
        await scene.work(1)
        assert set(scene.engines.figures(KEY)) == {"u2"}

    play(scenario)


def test_where_growth_is_enabled_all_are_asked_once_a_minute() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.deploy(growth={"mode": "Enabled"})
        scene.pod(1)
        scene.pod(2)
        await scene.work(600)
        for address in ("10.0.0.1", "10.0.0.2"):
            times = [time for time, asked in scene.asked if asked == address]
            assert 9 <= len(times) <= 12
            assert all(53 <= b - a <= 67 for a, b in pairwise(times))
        scene.deploy()  # switched off
        before = len(scene.asked)
        await scene.work(600)
        assert len(scene.asked) == before

    play(scenario)


def test_switched_on_later_it_is_asked_at_once() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.deploy()
        scene.pod(1)
        await scene.work(10)
        scene.deploy(growth={"mode": "Enabled"})
        await scene.work(130)
        assert [round(time) for time, _ in scene.asked][:2] == [0, 10]
        assert len(scene.asked) >= 3

    play(scenario)


def test_pods_that_are_gone_are_forgotten() -> None:
    async def scenario() -> None:
        scene = Scene(lambda _: OSError("gone"))
        scene.deploy()
        pod = scene.pod(1)
        await scene.work(1)
        scene.store.remove(POD, pod)
        scene.engines.touch(KEY)
        await scene.work(600)
        assert len(scene.asked) == 1
        assert scene.engines.figures(KEY) == {}
        assert not scene.engines._asked
        assert not scene.engines._known

    play(scenario)


def test_a_pod_that_is_not_ready_for_a_moment_is_asked_when_it_is_again() -> None:
    async def scenario() -> None:
        scene = Scene(lambda _: OSError("starting"))
        scene.deploy()
        scene.pod(1)
        await scene.work(1)
        scene.pod(1, ready=False)
        await scene.work(60)
        assert len(scene.asked) == 1
        scene.reply = lambda _: answer()
        scene.pod(1)
        await scene.work(1)
        assert "u1" in scene.engines.figures(KEY)

    play(scenario)


def test_a_defect_of_ours_ends_no_worker() -> None:
    async def scenario() -> None:
        scene = Scene(lambda _: ZeroDivisionError("ours"))
        scene.deploy()
        scene.pod(1)
        await scene.work(1, workers=1)
        scene.reply = lambda _: answer()
        await scene.work(10, workers=1)
        assert "u1" in scene.engines.figures(KEY)

    play(scenario)
