"""Weights and KV bytes of each model family, against transformers' own classes.

transformers builds the model from the catalogue's config fields, without memory; we count what it
built. Two independent answers to one question.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.conftest import Ask

from xpullm.catalog import find_model, quantizations
from xpullm.planner import ModelFacts, parse_config
from xpullm.planner.kv import kv_layout
from xpullm.planner.weights import WeightFormat, checkpoint_bytes, weights

FAMILIES = (
    "Qwen/Qwen2-7B",  # dense, biases
    "Qwen/Qwen3-8B",  # norms of queries and keys
    "meta-llama/Llama-3.2-1B",  # tied embeddings
    "meta-llama/Meta-Llama-3.1-8B",
    "01-ai/Yi-34B",
    "mistralai/Mistral-7B-v0.1",  # window in every layer
    "mistralai/Mistral-Nemo-Instruct-2407",  # head_dim is not hidden / heads
    "microsoft/Phi-3.5-mini-instruct",  # fused projections
    "THUDM/glm-4-9b-chat",
    "google/gemma-2-9b",  # window in every other layer
    "google/gemma-3-12b-it",  # five window layers to one full
    "mistralai/Mixtral-8x7B-Instruct-v0.1",  # experts
    "Qwen/Qwen3-30B-A3B",  # many small experts
    "microsoft/Phi-3.5-MoE-instruct",
    "openai/gpt-oss-20b",  # experts with biases, attention sinks
    "deepseek-ai/DeepSeek-V2-Lite",  # latent attention
    "deepseek-ai/DeepSeek-V3",  # latent queries too
    "Qwen/Qwen3.5-27B",  # three linear layers to one full
    "Qwen/Qwen3.6-35B-A3B",  # the same with experts
)
# The shape that transformers' own Gemma4TextConfig has: a second embedding with a slice per layer.
PER_LAYER = {
    "architectures": ["Gemma4ForCausalLM"], "model_type": "gemma4_text", "hidden_size": 2304,
    "intermediate_size": 9216, "num_hidden_layers": 30, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 256, "global_head_dim": 512, "vocab_size": 262144,
    "max_position_embeddings": 131072, "tie_word_embeddings": True, "sliding_window": 512,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 5,
    "vocab_size_per_layer_input": 262144, "hidden_size_per_layer_input": 256,
}  # fmt: skip
WRITTEN = {"gemma-4 with per-layer inputs": PER_LAYER}
NAMES = (*FAMILIES, *WRITTEN)
BF16 = WeightFormat(quantizations()["bf16"], 0, 0, 0, frozenset(), 2, False, False, 0)


def config_of(name: str) -> dict[str, Any]:
    if name in WRITTEN:
        return dict(WRITTEN[name])
    entry = find_model(name)
    assert entry is not None
    return dict(entry["config"])


def only_in_the_engine(facts: ModelFacts) -> int:
    """Bytes that the engine holds and transformers does not: rotary tables of all positions, and
    the two matrices that latent attention cuts out of kv_b_proj."""
    elements = facts.rotary_rows * facts.rotary_width
    if facts.rotary_tables > 1:
        elements += facts.max_position * facts.head_dim
    if facts.is_mla:
        width = facts.nope_head_dim + facts.v_head_dim
        elements += facts.layers * facts.kv_lora_rank * facts.heads * width
    return elements * 2


@pytest.fixture(scope="module")
def built(ask: Ask) -> dict[str, Any]:
    answer: dict[str, Any] = ask("models", {name: config_of(name) for name in NAMES})
    return answer


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_counted(built: dict[str, Any], name: str) -> None:
    facts = parse_config(config_of(name))
    text = checkpoint_bytes(facts) - facts.vision_params * 2
    assert text == pytest.approx(built[name]["parameters"] * 2, rel=0.002)


@pytest.mark.parametrize("name", NAMES)
def test_resident_weights_are_parameters_and_tables(built: dict[str, Any], name: str) -> None:
    facts = parse_config(config_of(name))
    expected = built[name]["parameters"] * 2 + only_in_the_engine(facts) + facts.vision_params * 2
    assert weights(facts, BF16, 1, 1, True).resident == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_a_token_takes_what_the_model_s_own_cache_grows_by(
    built: dict[str, Any], name: str
) -> None:
    layout = kv_layout(parse_config(config_of(name)), 1, 1, 16, 2, 2048, True)
    assert layout.token_bytes == built[name]["kv_token_bytes"]
