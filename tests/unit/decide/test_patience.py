"""Which failure is answered, and how many it takes."""

from __future__ import annotations

from typing import Any

from xpullm.controller.decide_heal import RUNTIME_WINDOW_SECONDS, ever_ready, newest, too_few
from xpullm.controller.decide_pods import Failure
from xpullm.healing.types import PastStep
from xpullm_runtime.diagnosis.types import Diagnosis


def failure(name: str, at: float, earlier: float | None = None, **more: Any) -> Failure:
    values: dict[str, Any] = {
        "id": name,
        "pod": {},
        "ended": True,
        "time": at,
        "finished": "",
        "report": None,
        "diagnosis": Diagnosis("device_oom_runtime"),
        "was_ready": True,
        "earlier": earlier,
        "runs": 1,
    }
    return Failure(**(values | more))


def answered(name: str) -> PastStep:
    return PastStep(1, "", "", "", "max-num-seqs", "8", "4", failure_id=name)


def test_an_answered_failure_is_not_answered_again() -> None:
    first, second = failure("a", 100.0), failure("b", 50.0)
    assert newest((first, second), ()) is first
    assert newest((first, second), (answered("a"),)) is second
    assert newest((first,), (answered("a"),)) is None


def test_an_engine_that_never_served_needs_one_failure() -> None:
    only = failure("a", 100.0)
    assert too_few((only,), only, served=False) is None


def test_an_engine_that_served_needs_two_within_the_window() -> None:
    only = failure("a", 100.0)
    assert too_few((only,), only, served=True) is not None
    again = failure("a", 100.0, earlier=50.0)
    assert too_few((again,), again, served=True) is None
    rare = failure("a", 100.0 + 2 * RUNTIME_WINDOW_SECONDS, earlier=50.0)
    assert too_few((rare,), rare, served=True) is not None
    neighbour = failure("b", 90.0)
    assert too_few((only, neighbour), only, served=True) is None


def test_a_pod_without_a_container_is_not_counted() -> None:
    waiting = failure("a", 0.0, ended=False, time=None)
    assert too_few((waiting,), waiting, served=True) is None


def rollout(reason: str, observed: int) -> dict[str, Any]:
    condition = {"type": "Progressing", "status": "True", "reason": reason}
    return {
        "metadata": {"generation": 2},
        "status": {"observedGeneration": observed, "conditions": [condition]},
    }


def test_the_deployment_remembers_whether_this_template_ever_served() -> None:
    assert ever_ready(rollout("NewReplicaSetAvailable", 2), (), ())
    assert not ever_ready(rollout("NewReplicaSetAvailable", 1), (), ())  # of the template before
    assert not ever_ready(rollout("ReplicaSetUpdated", 2), (), ())
    assert not ever_ready(None, (), ())
    assert ever_ready(None, (), (failure("a", 1.0),))
