"""Whose Events the operator asks for, when, how often, and what it does with the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from tests.unit.controller import world
from tests.unit.controller.virtual import run
from tests.unit.controller.world import KEY

from xpullm.controller.errors import ForbiddenError, UnavailableError
from xpullm.controller.kinds import DEPLOYMENT, LLMDEPLOYMENT, POD
from xpullm.controller.pod_events import PodEvents
from xpullm.controller.store import Store
from xpullm.controller.timestamps import rfc3339

CREATING = {"name": "engine", "state": {"waiting": {"reason": "ContainerCreating"}}}
RUNNING = {"name": "engine", "state": {"running": {}}}


def told(uid: str = "u1", **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "e"},
        "regarding": {"uid": uid},
        "type": "Warning",
        "reason": "FailedMount",
        "note": 'secret "x" not found',
        "eventTime": None,
        "deprecatedLastTimestamp": rfc3339(1010),
        **more,
    }


def ended(code: int = 137, message: str = "", **more: Any) -> dict[str, Any]:
    end = {"exitCode": code, "reason": "Error", "message": message, **more}
    return {"name": "engine", "state": {"waiting": {}}, "lastState": {"terminated": end}}


class Scene:
    """A store, a clock that jumps, and an API server that answers as told.

    `asked`: (seconds since the beginning, pod UID)."""

    def __init__(self, reply: Callable[[], Any] = lambda: [told()]) -> None:
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.store = Store()
        self.reply = reply
        self.asked: list[tuple[float, str]] = []
        self.touched: list[float] = []
        self.versions = 0
        self.events = PodEvents(
            self.store,
            self.fetch,
            lambda key: self.touched.append(self.since()),
            clock=self.loop.time,
        )
        owner = world.llmd()
        self.put(LLMDEPLOYMENT, owner)
        self.put(DEPLOYMENT, world.deployment(owner, 0))

    def since(self) -> float:
        return round(self.loop.time() - self.began, 1)

    async def fetch(self, namespace: str, uid: str) -> list[Any]:
        assert namespace == "ns"
        self.asked.append((self.since(), uid))
        await asyncio.sleep(0.1)
        reply = self.reply()
        if isinstance(reply, Exception):
            raise reply
        return list(reply)

    def put(self, kind: Any, obj: dict[str, Any]) -> None:
        """What a watch event does."""
        self.versions += 1
        obj["metadata"] |= {"resourceVersion": str(self.versions)}
        obj["metadata"].setdefault("uid", f"uid-{obj['metadata']['name']}")
        self.store.put(kind, obj)
        self.events.touch(KEY)

    def pod(
        self,
        engine: dict[str, Any] | None = None,
        *,
        uid: str = "u1",
        attempt: int = 0,
        node: str = "n1",
        **status: Any,
    ) -> dict[str, Any]:
        """A pod that was placed at the beginning and whose engine is in this state."""
        pod = world.pod(attempt, uid=uid)
        pod["metadata"]["name"] = f"m-{uid}"
        pod["spec"] = {"nodeName": node}
        placed = {
            "type": "PodScheduled",
            "status": "True",
            "lastTransitionTime": rfc3339(self.began),
        }
        statuses = [engine] if engine else []
        pod["status"] = {
            "phase": "Pending",
            "conditions": [placed],
            "containerStatuses": statuses,
        } | status
        self.put(POD, pod)
        return pod

    async def work(self, seconds: float) -> None:
        tasks = [asyncio.create_task(self.events.work()) for _ in range(2)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    run(scenario())  # type: ignore[arg-type]


def test_a_pod_that_does_not_start_is_asked_about_after_30_seconds_and_then_once_a_minute() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.pod(CREATING)
        await scene.work(250)
        assert scene.asked == [(30.0, "u1"), (90.0, "u1"), (150.0, "u1"), (210.0, "u1")]
        assert scene.touched == [30.1], "the same answer is no news"
        assert scene.events.events(KEY) == (
            {
                "regarding": {"uid": "u1"},
                "type": "Warning",
                "reason": "FailedMount",
                "note": 'secret "x" not found',
                "eventTime": "1970-01-01T00:16:50Z",
            },
        )

    play(scenario)


@pytest.mark.parametrize(
    ("engine", "status"),
    [
        (RUNNING, {}),
        ({**RUNNING, "started": True}, {"conditions": [{"type": "Ready", "status": "True"}]}),
        ({"name": "engine", "state": {"waiting": {"reason": "ImagePullBackOff"}}}, {}),
        (ended(1, "last words"), {}),
        (ended(137, "", reason="OOMKilled"), {}),
        (CREATING, {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}),
        (ended(137), {"phase": "Failed", "reason": "Evicted"}),
    ],
)
def test_a_pod_that_is_well_or_says_itself_what_is_wrong_is_not_asked_about(
    engine: dict[str, Any], status: dict[str, Any]
) -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.pod(engine, **status)
        await scene.work(3600)
        assert scene.asked == []
        assert scene.events._looks == {}

    play(scenario)


def test_a_start_in_time_asks_nothing() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.pod(CREATING)
        await scene.work(20)
        scene.pod(RUNNING)
        await scene.work(3600)
        assert scene.asked == []

    play(scenario)


@pytest.mark.parametrize(
    ("engine", "status"),
    [
        (ended(137), {}),
        (ended(143, "the log's tail, no report"), {}),
        (ended(1, ""), {}),
        (None, {"phase": "Failed"}),
    ],
)
def test_a_failure_without_a_word_is_asked_about_at_once(
    engine: dict[str, Any] | None, status: dict[str, Any]
) -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.pod(engine, **status)
        await scene.work(70)
        assert scene.asked == [(0.0, "u1"), (60.0, "u1")]

    play(scenario)


def test_never_twice_within_a_minute_however_often_it_restarts() -> None:
    async def scenario() -> None:
        scene = Scene()
        for _ in range(40):
            scene.pod(ended())
            await scene.work(2)
            scene.pod({**RUNNING, "started": True})
            await scene.work(3)
        times = [time for time, _ in scene.asked]
        assert len(times) >= 3
        assert all(after - before >= 60 for before, after in pairwise(times))

    play(scenario)


def test_pods_of_other_plans_without_a_node_or_of_a_suspended_deployment_are_left_alone() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.pod(CREATING, attempt=7)
        scene.pod(CREATING, uid="u2", node="")
        await scene.work(600)
        scene.put(LLMDEPLOYMENT, world.llmd(suspend=True))
        scene.pod(CREATING, uid="u3")
        await scene.work(600)
        assert scene.asked == []

    play(scenario)


def test_what_was_told_is_dropped_when_the_pod_runs_and_forgotten_when_it_is_gone() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.pod(CREATING)
        await scene.work(40)
        assert len(scene.events.events(KEY)) == 1
        pod = scene.pod(RUNNING)
        assert scene.events.events(KEY) == ()
        scene.store.remove(POD, pod)
        scene.events.touch(KEY)
        assert scene.events._looks == {}
        await scene.work(600)
        assert len(scene.asked) == 1

    play(scenario)


@pytest.mark.parametrize(
    "error",
    [
        ForbiddenError(403, "Forbidden", "events.events.k8s.io is forbidden"),
        UnavailableError(0, "Timeout", "no answer"),
        ZeroDivisionError("ours"),
    ],
)
def test_an_error_is_asked_again_a_minute_later_and_what_was_told_stays(error: Exception) -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.pod(CREATING)
        await scene.work(40)
        scene.reply = lambda: error
        await scene.work(120)
        assert [time for time, _ in scene.asked] == [30.0, 90.0, 150.0]
        assert len(scene.events.events(KEY)) == 1
        assert scene.touched == [30.1]

    play(scenario)


def test_a_missing_right_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        scene = Scene(lambda: ForbiddenError(403, "Forbidden", "events is forbidden"))
        scene.pod(CREATING)
        scene.pod(CREATING, uid="u2")
        await scene.work(600)

    play(scenario)
    assert [r.levelname for r in caplog.records if "events is forbidden" in r.getMessage()] == [
        "WARNING"
    ]


def test_a_clock_that_is_an_hour_behind_the_clusters_delays_by_a_minute_at_most_each_time() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.began += 3600  # the scheduler's clock
        scene.pod(CREATING)
        await scene.work(3500)
        assert scene.asked == []
        await scene.work(200)
        assert len(scene.asked) == 2

    play(scenario)
