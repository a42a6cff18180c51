"""The port of kstatus' rules, and the status linter, on small objects."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kstatus import compute, lint_status


def condition(kind: str, status: str = "True", generation: int = 2) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": "Because",
        "message": "",
        "observedGeneration": generation,
    }


def resource(*conditions: dict[str, Any], observed: int | None = 2, **meta: Any) -> dict[str, Any]:
    status: dict[str, Any] = {"conditions": list(conditions)}
    if observed is not None:
        status["observedGeneration"] = observed
    return {"metadata": {"generation": 2, **meta}, "status": status}


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        ({"metadata": {"generation": 1}}, "Current"),
        ({"metadata": {"generation": 1}, "status": {"observedGeneration": -1}}, "InProgress"),
        (resource(condition("Ready"), observed=1), "InProgress"),
        (resource(condition("Ready")), "Current"),
        (resource(condition("Ready", "False")), "InProgress"),
        (resource(condition("Ready", "Unknown")), "InProgress"),
        (resource(condition("Ready", "False"), condition("Stalled")), "Failed"),
        (resource(condition("Ready", "False"), condition("Reconciling")), "InProgress"),
        (resource(condition("Ready"), condition("Reconciling")), "InProgress"),
        (resource(condition("Ready", "False"), condition("Stalled"), observed=1), "InProgress"),
        (resource(condition("Stalled", "False"), condition("Ready")), "Current"),
        (resource(condition("Ready"), deletionTimestamp="2026-01-01T00:00:00Z"), "Terminating"),
        (resource(observed=2), "Current"),
    ],
)
def test_compute(obj: dict[str, Any], expected: str) -> None:
    assert compute(obj) == expected


@pytest.mark.parametrize(
    "obj",
    [
        resource(condition("Ready"), condition("Planned"), condition("Available")),
        resource(condition("Ready", "False"), condition("Stalled")),
        resource(condition("Ready", "Unknown"), condition("Reconciling")),
        resource(condition("Ready", "False", generation=1), observed=1),
    ],
)
def test_good_statuses_have_no_findings(obj: dict[str, Any]) -> None:
    assert lint_status(obj) == []


@pytest.mark.parametrize(
    ("obj", "finding"),
    [
        (resource(), "Ready must always be present"),
        (resource(condition("Ready"), condition("Ready")), "a condition type appears twice"),
        (
            resource(condition("Ready", "False"), condition("Stalled"), condition("Reconciling")),
            "Reconciling and Stalled must not be present together",
        ),
        (
            resource(condition("Ready"), condition("Stalled")),
            "Ready must not be True while Stalled is",
        ),
        (
            resource(condition("Ready", "False"), condition("Stalled", "False")),
            "Stalled must be absent while it is not True",
        ),
        (resource(condition("Ready", "Unknown")), "Ready=Unknown needs Reconciling=True"),
        (resource(condition("Ready"), observed=None), "observedGeneration must be present"),
        (
            resource(condition("Ready"), observed=3),
            "observedGeneration must not be ahead of the generation",
        ),
        (
            resource(condition("Ready"), condition("Planned", generation=1)),
            "Ready=True with an old observedGeneration in Planned",
        ),
        (resource(condition("Ready"), condition("Happy")), "unknown condition type Happy"),
        (
            resource({**condition("Ready"), "message": "x" * 1025}),
            "Ready's message is longer than 1024",
        ),
        (resource({**condition("Ready"), "reason": ""}), "Ready has no reason"),
    ],
)
def test_linter_finds(obj: dict[str, Any], finding: str) -> None:
    assert finding in lint_status(obj)
