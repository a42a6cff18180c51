"""Every argument of a plan is a flag of the engine version that the plan is for."""

from __future__ import annotations

import pytest
from tests.contract.packages.cases import MODELS, all_plans

from xpullm.catalog import Engine, engines, find_engine
from xpullm.catalog.load import flag_lists

VERSIONS = [entry for family in engines().values() for entry in family]


@pytest.mark.parametrize("engine", VERSIONS, ids=lambda e: e.key)
def test_plans_use_only_flags_of_their_version(engine: Engine) -> None:
    plans = all_plans(engine)
    assert plans, "no plan at all for this version"
    for plan in plans:
        unknown = {name for name, _ in plan.flags} - engine.flags
        assert not unknown, f"{plan.model} on {plan.gpu_count} x {plan.gpu}: {unknown}"


@pytest.mark.parametrize("engine", VERSIONS, ids=lambda e: e.key)
def test_plans_give_flags_only_values_that_their_version_takes(engine: Engine) -> None:
    for plan in all_plans(engine):
        for name, value in plan.flags:
            match engine.values.get(name):
                case tuple() as words:
                    assert value in words, name
                case "int":
                    assert str(int(value or "")) == value, name
                case "float":
                    assert float(value or "") >= 0, name


def test_every_model_of_the_set_has_plans() -> None:
    planned = {plan.model for engine in VERSIONS for plan in all_plans(engine)}
    assert planned == set(MODELS)


@pytest.mark.parametrize(
    ("name", "version", "release"),
    [
        ("vllm", "0.33.0", "0.33.0"),
        ("vllm", "0.32.4", "0.32.0"),
        ("vllm", "0.26.1rc1.dev457", "0.26.0"),
        ("vllm", "0.99", "0.33.0"),
        ("llm-scaler", "0.33.0", "0.26.0"),  # its own numbers: only its entries say what is inside
    ],
)
def test_a_version_without_an_entry_has_the_flags_of_the_nearest_release(
    name: str, version: str, release: str
) -> None:
    found = find_engine(name, version)
    assert found is not None
    assert found.flags == set(flag_lists()[release])
