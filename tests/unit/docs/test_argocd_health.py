"""The Lua health check for Argo CD says what kstatus says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lupa.lua51 import LuaRuntime
from tests.kstatus import compute, lint_status

from xpullm.api import parse

ARGOCD = Path(__file__).parents[3] / "docs" / "argocd"
TESTS = yaml.safe_load((ARGOCD / "health_test.yaml").read_text())["tests"]
# Argo CD itself answers for what is being deleted (gitops-engine pkg/health/health.go).
ARGOCD_NAME = {"InProgress": "Progressing", "Failed": "Degraded", "Current": "Healthy"}
Object = dict[str, Any]

# Argo CD runs the text with `obj` as a global, in Lua 5.1.
_lua = LuaRuntime(unpack_returned_tuples=True)
_check = _lua.execute(f"return function(o) obj = o; {(ARGOCD / 'health.lua').read_text()} end")


def health(obj: Object) -> dict[str, str]:
    answer: dict[str, str] = dict(_check(_table(obj)))
    return answer


def _table(value: Any) -> Any:
    if isinstance(value, dict):
        return _lua.table_from({key: _table(item) for key, item in value.items()})
    if isinstance(value, list):
        return _lua.table_from([_table(item) for item in value])
    return value


def load(path: str) -> Object:
    found: Object = yaml.safe_load((ARGOCD / path).read_text())
    return found


@pytest.mark.parametrize("case", TESTS, ids=lambda case: case["inputPath"])
def test_argocds_own_tests_pass(case: Object) -> None:
    assert health(load(case["inputPath"])) == case["healthStatus"]


def test_every_example_is_tested() -> None:
    paths = {f"testdata/{path.name}" for path in (ARGOCD / "testdata").iterdir()}
    assert {case["inputPath"] for case in TESTS} == paths


@pytest.mark.parametrize("case", TESTS, ids=lambda case: case["inputPath"])
def test_the_examples_are_what_we_would_write(case: Object) -> None:
    obj = load(case["inputPath"])
    parse(obj)
    if obj["status"]["observedGeneration"] == obj["metadata"]["generation"]:  # we have looked
        assert lint_status(obj) == []


conditions = st.dictionaries(
    st.sampled_from(["Ready", "Planned", "Available", "Reconciling", "Stalled"]),
    st.sampled_from(["True", "False", "Unknown"]),
)


@given(conditions, st.sampled_from([-1, 1, 2]), st.permutations(range(5)))
def test_it_agrees_with_kstatus_on_every_status_that_we_may_write(
    states: dict[str, str], observed: int, order: list[int]
) -> None:
    states.setdefault("Ready", "Unknown")
    listed = [
        {"type": kind, "status": state, "message": f"{kind} is {state}"}
        for kind, state in states.items()
    ]
    listed = [listed[i] for i in order if i < len(listed)]
    obj = {
        "metadata": {"generation": 2},
        "spec": {},
        "status": {"observedGeneration": observed, "conditions": listed},
    }
    assert health(obj)["status"] == ARGOCD_NAME[compute(obj)]


@pytest.mark.parametrize("status", [{}, {"observedGeneration": 2}, {"conditions": []}])
def test_where_kstatus_would_call_an_unknown_object_healthy_it_waits(status: Object) -> None:
    obj = {"metadata": {"generation": 2}, "spec": {}, "status": status}
    assert health(obj)["status"] == "Progressing"


def test_an_object_without_a_status_waits() -> None:
    assert health({"metadata": {"generation": 1}})["status"] == "Progressing"
