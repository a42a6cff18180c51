"""vLLM's own parser judges what the planner emits."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hack.engine.environment import VERSION
from tests.contract.packages.cases import all_plans
from tests.engine.conftest import Ask

from xpullm.catalog import find_engine
from xpullm.catalog.load import flag_lists
from xpullm.planner import Plan


@cache
def plans() -> tuple[Plan, ...]:
    engine = find_engine("vllm", VERSION)
    assert engine is not None
    return all_plans(engine)


def argv(plan: Plan) -> list[str]:
    words = [plan.model]
    for name, value in plan.flags:
        words += [f"--{name}"] if value is None else [f"--{name}", value]
    return words


@pytest.fixture(scope="module")
def answer(ask: Ask) -> Any:
    wrong = [["m", "--swap-space", "1"], ["m", "--max-model-len", "many"]]
    return ask("arguments", [*map(argv, plans()), *wrong])


def test_the_list_read_from_the_sources_is_the_parser_s_own(answer: Any) -> None:
    options = {option.removeprefix("--") for option in answer["options"]} - {"help"}
    assert options == set(flag_lists()[VERSION])


def test_every_plan_is_accepted_with_its_values(answer: Any) -> None:
    assert len(plans()) > 20
    for plan, said in zip(plans(), answer["answers"], strict=False):
        assert "error" not in said, f"{plan.model} on {plan.gpu}: {said['error']}"
        values = said["values"]
        assert values["model_tag"] == plan.model
        assert values["max_model_len"] == plan.context_length
        assert values["max_num_seqs"] == plan.arguments.max_num_seqs
        assert values["max_num_batched_tokens"] == plan.arguments.max_num_batched_tokens
        assert values["kv_cache_memory_bytes"] == plan.arguments.kv_cache_memory_bytes
        assert values["tensor_parallel_size"] == plan.gpu_count
        assert values["enforce_eager"] is plan.arguments.enforce_eager


def test_what_this_version_dropped_is_refused(answer: Any) -> None:
    dropped, no_number = answer["answers"][-2:]
    assert "--swap-space" in dropped["error"]
    assert "--max-model-len" in no_number["error"]
