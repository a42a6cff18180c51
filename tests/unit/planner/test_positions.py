"""The longest context of a model, as the engine derives it from config.json."""

from typing import Any

import pytest
from tests.unit.planner.requests import planned, refusal_of

from xpullm.api.llmdeployment import LLMDeploymentSpec
from xpullm.catalog import find_model
from xpullm.planner import FactsError, parse_config

BASE = {
    "model_type": "qwen3", "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 12288, "vocab_size": 151936,
    "max_position_embeddings": 40960,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


def longest(scaling: Any, field: str = "rope_scaling", **other: Any) -> int:
    return parse_config({**BASE, field: scaling, **other}).max_position


@pytest.mark.parametrize(
    ("scaling", "tokens"),
    [
        (None, 40960),
        (YARN, 131072),  # of the original length, not of max_position_embeddings
        ({"type": "yarn", "factor": 2, "original_max_position_embeddings": 32768}, 65536),
        ({"type": "linear", "factor": 2.0}, 81920),
        ({"type": "dynamic", "factor": 1.5}, 61440),
        ({"type": "dynamic", "factor": None}, 40960),
        ({"rope_type": "default"}, 40960),
        ({"type": "mrope", "mrope_section": [16, 24, 24]}, 40960),
        ({**YARN, "mrope_section": [24, 20, 20]}, 131072),
        ({**YARN, "rope_type": "llama3", "factor": 8.0}, 40960),
        ({"type": "su", "factor": 32.0}, 40960),
        ({"type": "longrope", "factor": 32.0}, 40960),
        ({"rope_type": "yarn", "factor": 4.0}, 40960),
    ],
)
def test_rope_scaling(scaling: Any, tokens: int) -> None:
    assert longest(scaling) == tokens


def test_rope_parameters_of_transformers_5() -> None:
    assert longest({**YARN, "rope_theta": 1e6}, "rope_parameters") == 131072
    nested = {"full_attention": YARN, "sliding_attention": {"rope_type": "default"}}
    assert longest(nested, "rope_parameters") == 131072


def test_in_the_text_config_of_a_multimodal_model() -> None:
    config = {"model_type": "qwen3_vl", "text_config": {**BASE, "rope_scaling": YARN}}
    assert parse_config(config).max_position == 131072


def test_gemma_3_is_scaled_already() -> None:
    facts = parse_config(
        {**BASE, "model_type": "gemma3_text", "rope_scaling": {"type": "linear", "factor": 8.0}}
    )
    assert facts.max_position == 40960
    assert facts.rotary_rows == 327680


def test_the_rotary_table_has_a_row_for_every_position() -> None:
    assert parse_config({**BASE, "rope_scaling": YARN}).rotary_rows == 131072


def test_positions_of_videos_have_rows_of_their_own() -> None:
    facts = parse_config({**BASE, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}})
    assert (facts.max_position, facts.rotary_rows) == (40960, 163840)


def test_yarn_without_the_original_length_says_so() -> None:
    facts = parse_config({**BASE, "rope_scaling": {"type": "yarn", "factor": 4}})
    assert "yarn without original_max_position_embeddings; not counted" in facts.unsure


@pytest.mark.parametrize("factor", ["4", 0, -1, 1e9, True, float("nan"), [4]])
def test_a_factor_that_is_none_is_refused(factor: Any) -> None:
    with pytest.raises(FactsError, match=r"rope_scaling\.factor"):
        longest({"type": "linear", "factor": factor})


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("deepseek-ai/DeepSeek-V3", 163840),
        ("openai/gpt-oss-20b", 131072),
        ("meta-llama/Llama-3.1-8B-Instruct", 131072),
        ("microsoft/Phi-3.5-mini-instruct", 131072),
        ("google/gemma-3-12b-it", 131072),
        ("internlm/internlm2_5-7b-chat", 65536),
        ("Qwen/Qwen2.5-7B-Instruct", 32768),
    ],
)
def test_of_the_catalogue(model: str, tokens: int) -> None:
    entry = find_model(model)
    assert entry is not None
    assert parse_config(entry["config"]).max_position == tokens


def test_yarn_in_the_facts_allows_a_longer_context() -> None:
    wish: dict[str, Any] = {
        "gpu": {"type": "arc-pro-b60", "count": 2},
        "serving": {"contextLength": 65536, "concurrency": 1},
    }
    assert (
        refusal_of(
            LLMDeploymentSpec.model_validate({**wish, "model": {"id": "Qwen/Qwen3-8B"}})
        ).reason
        == "ContextTooLong"
    )
    model = {"id": "Qwen/Qwen3-8B", "facts": {"rope_scaling": YARN}}
    assert (
        planned(LLMDeploymentSpec.model_validate({**wish, "model": model})).arguments.max_model_len
        == 65536
    )
