"""The budget for re-rolls of Ready pods, and canaries for dead ones."""

from __future__ import annotations

import pytest

from xpullm.api import Reason
from xpullm.controller.decide_rollout import Hold, hold
from xpullm.controller.types import Fleet

KEY = ("image:1", "arc-a770-16g", "6.14")


def ask(fleet: Fleet, *, replaces_ready: bool = False, now: float = 1000.0) -> Hold | None:
    return hold(fleet, KEY, replaces_ready=replaces_ready, max_rerolls=2, now=now)


def test_ready_pods_are_replaced_within_the_budget() -> None:
    assert ask(Fleet(rerolling=1), replaces_ready=True) is None
    held = ask(Fleet(rerolling=2), replaces_ready=True)
    assert held is not None
    assert held.reason is Reason.BACKING_OFF


def test_dead_pods_need_no_budget() -> None:
    assert ask(Fleet(rerolling=99)) is None


def test_the_first_three_of_a_kind_go_at_once() -> None:
    assert ask(Fleet(canaries={KEY: (2, 0, 900.0)})) is None
    held = ask(Fleet(canaries={KEY: (3, 0, 900.0)}))
    assert held is not None
    assert held.reason is Reason.WAITING_FOR_CANARY
    assert held.seconds == 500.0


@pytest.mark.parametrize(
    "other",
    [
        ("image:2", "arc-a770-16g", "6.14"),
        ("image:1", "arc-b580", "6.14"),
        ("image:1", "arc-a770-16g", "6.17"),
    ],
    ids=["image", "card", "kernel"],
)
def test_another_image_card_or_kernel_is_another_kind(other: tuple[str, str, str]) -> None:
    busy = (3, 0, 900.0)
    assert ask(Fleet(canaries={other: busy})) is None
    assert ask(Fleet(canaries={other: busy, KEY: busy})) is not None
    # That one of another kind holds does not free this kind.
    assert ask(Fleet(canaries={other: (3, 1, 900.0), KEY: busy})) is not None


def test_the_rest_follow_when_one_holds_or_after_ten_minutes() -> None:
    assert ask(Fleet(canaries={KEY: (3, 1, 900.0)})) is None
    assert ask(Fleet(canaries={KEY: (3, 0, 900.0)}), now=1500.0) is None
