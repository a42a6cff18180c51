"""Conditions as kstatus reads them."""

from __future__ import annotations

from tests.unit.decide.world import running

from xpullm.api import Reason
from xpullm.controller.decide_conditions import Health, Said, conditions, shorten

YES = Said("True", Reason.REPLICAS_READY, "1 of 1 replicas serve")
NO = Said("False", Reason.STARTING, "starting")
EARLY, LATE = 1_700_000_000.0, 1_700_000_100.0


def test_a_time_moves_only_with_its_status() -> None:
    first = conditions((), {"Ready": NO}, 1, EARLY)
    again = conditions(first, {"Ready": Said("False", Reason.HEALING, "other words")}, 2, LATE)
    assert again == [
        {
            "type": "Ready",
            "status": "False",
            "reason": "Healing",
            "message": "other words",
            "observedGeneration": 2,
            "lastTransitionTime": "2023-11-14T22:13:20Z",
        }
    ]
    done = conditions(again, {"Ready": YES}, 2, LATE)
    assert done[0]["lastTransitionTime"] == "2023-11-14T22:15:00Z"


def test_abnormal_conditions_exist_only_while_true() -> None:
    stored = conditions((), Health(NO, YES, NO, "Reconciling").wanted(), 1, EARLY)
    assert [c["type"] for c in stored] == ["Ready", "Planned", "Available", "Reconciling"]
    stored = conditions(stored, Health(NO, YES, NO, "Stalled").wanted(), 1, EARLY)
    assert [c["type"] for c in stored] == ["Ready", "Planned", "Available", "Stalled"]
    stored = conditions(stored, Health(YES, YES, YES, "").wanted(), 1, EARLY)
    assert [c["type"] for c in stored] == ["Ready", "Planned", "Available"]


def test_nothing_abnormal_stands_beside_ready() -> None:
    assert "Reconciling" not in Health(YES, YES, YES, "Reconciling").wanted()


def test_rubbish_in_the_stored_list_is_left_behind() -> None:
    rubbish = [None, 3, {"type": None}, {"type": "Ready", "status": "False"}, {"type": "Phase"}]
    (only,) = conditions(rubbish, {"Ready": NO}, 1, EARLY)
    assert only["lastTransitionTime"] == "2023-11-14T22:13:20Z"


def test_messages_are_bounded_and_printable() -> None:
    assert shorten("a\x00b\x1b[31m\nc") == "a b [31m c"
    assert len(shorten("x" * 5000)) == 1024
    assert shorten("x" * 5000).endswith("…")


def test_our_own_note_on_the_deployment_does_not_end_ready() -> None:
    """Annotations raise a Deployment's generation too; its controller follows a moment later."""
    world = running()
    world.deployment["metadata"]["generation"] += 1
    assert world.settle() == []
    assert world.condition("Ready") == ("True", "ReplicasReady")
    world.edit(replicas=2)
    world.settle()
    assert world.condition("Ready") == ("False", "RollingOut")
