"""The queue's laws, against a model; and its waiting, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.examples import examples
from tests.unit.controller.virtual import run

from xpullm.controller.workqueue import ShutDownError, WorkQueue


@dataclass
class FakeClock:
    now: float = 0.0
    timers: list[tuple[float, Callable[[], None], list[bool]]] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> FakeHandle:
        cancelled: list[bool] = []
        self.timers.append((when, callback, cancelled))
        return FakeHandle(cancelled)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [t for t in self.timers if t[0] <= self.now]
        self.timers = [t for t in self.timers if t[0] > self.now]
        for _, callback, cancelled in sorted(due, key=lambda t: t[0]):
            if not cancelled:
                callback()


@dataclass
class FakeHandle:
    cancelled: list[bool]

    def cancel(self) -> None:
        self.cancelled.append(True)


KEYS = st.sampled_from("abc")


class QueueLaws(RuleBasedStateMachine):
    """Whatever the order of calls: no key twice at once, none twice in line, none lost."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.queue: WorkQueue[str] = WorkQueue(self.clock)
        self.owed: set[str] = set()  # added and not yet begun since
        self.working: set[str] = set()
        self.later: dict[str, float] = {}

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.queue.add(key)
        self.owed.add(key)

    @rule(key=KEYS, seconds=st.integers(1, 5))
    def add_after(self, key: str, seconds: int) -> None:
        self.queue.add_after(key, seconds)
        due = self.clock.now + seconds
        self.later[key] = min(due, self.later.get(key, due))

    @rule(seconds=st.integers(1, 3))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)
        due = {key for key, when in self.later.items() if when <= self.clock.now}
        self.owed |= due
        for key in due:
            del self.later[key]

    @rule()
    def take(self) -> None:
        key = self.queue.take()
        if key is None:
            assert not self.owed - self.working
            return
        assert key in self.owed
        assert key not in self.working
        self.owed.remove(key)
        self.working.add(key)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.working.remove(key)
        self.queue.done(key)

    @invariant()
    def everything_owed_waits_once(self) -> None:
        assert len(self.queue) == len(self.owed - self.working)
        assert self.queue.processing == len(self.working)

    def teardown(self) -> None:
        for key in sorted(self.working):
            self.queue.done(key)
        begun: list[str] = []
        while (rest := self.queue.take()) is not None:
            begun.append(rest)
        assert sorted(begun) == sorted(self.owed)


TestQueueLaws = QueueLaws.TestCase
TestQueueLaws.settings = examples(25, stateful_step_count=20)


def test_keys_are_taken_in_the_order_of_their_first_addition() -> None:
    queue: WorkQueue[str] = WorkQueue(FakeClock())
    for key in "bacab":
        queue.add(key)
    assert [queue.take() for _ in range(4)] == ["b", "a", "c", None]


def test_back_off_doubles_to_its_cap_and_starts_anew_after_a_success() -> None:
    queue: WorkQueue[str] = WorkQueue(FakeClock(), base_seconds=1.0, cap_seconds=10.0)
    assert [queue.add_rate_limited("k") for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    queue.forget("k")
    assert queue.add_rate_limited("k") == 1.0


def test_of_several_delays_the_earliest_counts() -> None:
    clock = FakeClock()
    queue: WorkQueue[str] = WorkQueue(clock)
    for seconds in (30, 5, 60):
        queue.add_after("k", seconds)
    clock.advance(5)
    assert queue.take() == "k"
    queue.done("k")
    clock.advance(600)
    assert queue.take() is None


def test_age_counts_from_the_first_addition_to_the_end_of_work() -> None:
    clock = FakeClock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add("k")
    clock.advance(2)
    queue.add("k")
    assert queue.take() == "k"
    clock.advance(3)
    assert (queue.oldest_age_seconds(), queue.age_seconds("k")) == (5.0, 5.0)
    queue.done("k")
    assert queue.oldest_age_seconds() == 0.0


def test_a_key_added_while_it_is_worked_on_runs_once_more_and_never_twice_at_once() -> None:
    async def scenario() -> list[str]:
        queue: WorkQueue[str] = WorkQueue(asyncio.get_running_loop())
        log: list[str] = []

        async def worker() -> None:
            while True:
                try:
                    key = await queue.get()
                except ShutDownError:
                    return
                log.append(f"begin {key}")
                await asyncio.sleep(10)
                log.append(f"end {key}")
                queue.done(key)

        workers = [asyncio.create_task(worker()) for _ in range(3)]
        queue.add("k")
        await asyncio.sleep(1)
        queue.add("k")
        queue.add("k")
        await asyncio.sleep(100)
        queue.shut_down()
        await asyncio.gather(*workers)
        return log

    assert run(scenario()) == ["begin k", "end k", "begin k", "end k"]


def test_a_cancelled_worker_passes_its_wake_up_on() -> None:
    async def scenario() -> str:
        queue: WorkQueue[str] = WorkQueue(asyncio.get_running_loop())
        first = asyncio.create_task(queue.get())
        second = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("k")
        first.cancel()
        return await asyncio.wait_for(second, 1)

    assert run(scenario()) == "k"


def test_shutting_down_ends_those_who_wait_and_drops_delays() -> None:
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue(asyncio.get_running_loop())
        waiting = asyncio.create_task(queue.get())
        queue.add_after("k", 5)
        await asyncio.sleep(0)
        queue.shut_down()
        with pytest.raises(ShutDownError):
            await waiting
        queue.add("k")
        queue.add_after("k", 1)
        assert len(queue) == 0

    run(scenario())
