"""Rows of `estimate --batch` may hold anything: each gets an answer, none ends the batch."""

from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.bench.estimator.rows import asked, load

from xpullm.planner import FactsError, estimate_row, parse_config

GOOD = [asked(row) for row in load("vllm_measured")[:8]]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=12,
)


def check(answer: dict[str, Any]) -> None:
    assert answer["starts"] in (True, False, None)
    if answer["starts"] is not True:
        assert answer["reason"]
    if answer["safe"]:
        assert answer["starts"]


@given(JSON)
def test_any_json(row: Any) -> None:
    check(estimate_row(row))


@given(st.sampled_from(GOOD), st.sampled_from(sorted(GOOD[0])), JSON)
def test_any_value_of_a_field(row: dict[str, Any], field: str, value: Any) -> None:
    check(estimate_row({**row, field: value}))


@given(st.sampled_from(GOOD), st.sampled_from(sorted(GOOD[0]["config"])), JSON)
def test_any_value_in_the_config(row: dict[str, Any], field: str, value: Any) -> None:
    check(estimate_row({**row, "config": {**row["config"], field: value}}))


@given(st.sampled_from(GOOD), st.sampled_from(sorted(GOOD[0]["args"])), JSON)
def test_any_value_in_the_arguments(row: dict[str, Any], field: str, value: Any) -> None:
    check(estimate_row({**row, "args": {**row["args"], field: value}}))


EXTRA = [
    "layer_types", "layer_types_count", "sliding_window", "rope_scaling", "quantization_config",
    "text_config", "vision_config", "num_experts", "kv_lora_rank", "full_attention_interval",
    "linear_num_value_heads", "mlp_only_layers", "head_dim", "mamba_ssm_dtype",
]  # fmt: skip


@given(st.sampled_from(GOOD), st.dictionaries(st.sampled_from(EXTRA), JSON, max_size=4))
def test_any_further_fields_of_a_config(row: dict[str, Any], extra: dict[str, Any]) -> None:
    config = {**row["config"], **extra}
    check(estimate_row({**row, "config": config}))
    with suppress(FactsError):
        facts = parse_config(config)
        assert facts.full_layers + facts.window_layers + facts.linear_layers == facts.layers
