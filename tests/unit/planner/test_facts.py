"""config.json fields become facts, or an error that names the field."""

from typing import Any

import pytest

from xpullm.planner import FactsError, parse_config

QWEN2_7B: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
    "max_position_embeddings": 32768,
    "torch_dtype": "bfloat16",
}


def test_a_dense_model() -> None:
    facts = parse_config(QWEN2_7B)
    assert (facts.head_dim, facts.kv_heads, facts.full_layers) == (128, 4, 28)
    assert (facts.qkv_bias, facts.tied, facts.is_moe, facts.is_mla) == (True, False, False, False)
    assert facts.unsure == ()


def test_head_dim_is_read_not_derived() -> None:
    nemo = {**QWEN2_7B, "model_type": "mistral", "hidden_size": 5120, "num_attention_heads": 32}
    assert parse_config({**nemo, "head_dim": 128}).head_dim == 128
    assert parse_config(nemo).head_dim == 160


def test_a_nested_text_config_counts() -> None:
    outer = {"model_type": "gemma3", "text_config": {**QWEN2_7B, "model_type": "gemma3_text"}}
    assert parse_config(outer).hidden == 3584


def test_layer_kinds() -> None:
    windows = {**QWEN2_7B, "model_type": "gemma3_text", "sliding_window": 1024}
    facts = parse_config(
        {**windows, "layer_types": ["sliding_attention"] * 24 + ["full_attention"] * 4}
    )
    assert (facts.full_layers, facts.window_layers, facts.window) == (4, 24, 1024)
    hybrid = {**QWEN2_7B, "num_hidden_layers": 64, "full_attention_interval": 4}
    linear = {
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 48,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
    }
    facts = parse_config({**hybrid, **linear})
    assert (facts.full_layers, facts.linear_layers) == (16, 48)
    undescribed = parse_config(hybrid)
    assert (undescribed.full_layers, undescribed.linear_layers) == (64, 0)
    assert undescribed.unsure == (
        "the state of 48 linear layers isn't described; counted as attention",
    )


def test_a_kind_of_layer_that_is_not_known_is_said() -> None:
    facts = parse_config({**QWEN2_7B, "layer_types": ["kda"] * 21 + ["full_attention"] * 7})
    assert facts.full_layers == 28
    assert facts.unsure == ("layers of kind kda aren't known; counted as attention",)


def test_a_window_that_is_off_is_no_window() -> None:
    facts = parse_config({**QWEN2_7B, "sliding_window": 4096, "use_sliding_window": False})
    assert (facts.full_layers, facts.window_layers) == (28, 0)


def test_experts_under_their_three_names() -> None:
    for name in ("num_experts", "num_local_experts", "n_routed_experts"):
        facts = parse_config(
            {**QWEN2_7B, name: 64, "num_experts_per_tok": 6, "first_k_dense_replace": 1}
        )
        assert (facts.experts, facts.experts_per_token, facts.moe_layers) == (64, 6, 27)


def test_the_checkpoint_says_how_it_is_quantized() -> None:
    section = {"quant_method": "gptq", "bits": 4, "group_size": 64, "sym": True}
    stored = parse_config({**QWEN2_7B, "quantization_config": section}).stored
    assert stored is not None
    assert (stored.name, stored.bits, stored.group_size, stored.symmetric) == ("gptq", 4, 64, True)


def test_compressed_tensors_and_what_it_keeps_in_16_bit() -> None:
    weights = {"num_bits": 8, "group_size": None, "symmetric": True}
    section = {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"weights": weights}},
        "ignore": ["lm_head", "re:.*linear_attn.*", "model.layers.0.mlp"],
    }
    stored = parse_config({**QWEN2_7B, "quantization_config": section}).stored
    assert stored is not None
    assert (stored.bits, stored.kept) == (8, frozenset({"linear_attn"}))


def test_an_unknown_architecture_is_marked() -> None:
    facts = parse_config({**QWEN2_7B, "model_type": "brand_new"})
    assert facts.unsure == (
        "architecture 'brand_new' isn't known; computed as a decoder with a gated MLP",
    )


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"moe_num_primary_experts": 64, "moe_top": 6}, ["moe_num_primary_experts", "moe_top"]),
        ({"mamba_d_state": 128}, ["mamba_d_state", "layer_types", "linear_*"]),
        ({"layers_block_type": ["mamba", "attention"]}, ["layers_block_type", "layer_types"]),
        ({"hybrid_override_pattern": "M-*-"}, ["hybrid_override_pattern", "layer_types"]),
        ({"ssm_state_size": 128}, ["ssm_state_size", "layer_types"]),
    ],
)
def test_experts_and_states_of_an_unknown_architecture_are_no_silent_guess(
    change: dict[str, Any], names: list[str]
) -> None:
    with pytest.raises(FactsError, match="isn't understood") as caught:
        parse_config({**QWEN2_7B, "model_type": "brand_new", **change})
    assert all(name in str(caught.value) for name in (*names, "spec.model.facts"))


def test_how_an_unknown_architecture_chooses_its_experts_does_not_matter() -> None:
    routing = {"num_experts": 8, "moe_router_dtype": "float32", "moe_aux_loss_coeff": 0.001}
    empty = {"moe_experts": None, "mamba_d_state": 0, "layers_block_type": []}
    facts = parse_config({**QWEN2_7B, "model_type": "brand_new", **routing, **empty})
    assert (facts.experts, facts.moe_layers) == (8, 28)


def test_ernie_names_its_experts_in_its_own_way() -> None:
    own = {
        "moe_num_experts": 64, "moe_k": 6, "moe_intermediate_size": 1536,
        "moe_num_shared_experts": 2, "moe_layer_start_index": 1,
    }  # fmt: skip
    facts = parse_config({**QWEN2_7B, "model_type": "ernie4_5_moe", **own})
    assert (facts.experts, facts.experts_per_token, facts.moe_layers) == (64, 6, 27)
    assert (facts.expert_intermediate, facts.shared_intermediate) == (1536, 3072)


def test_a_mark_per_layer_says_which_have_experts() -> None:
    experts = {**QWEN2_7B, "num_experts": 64, "moe_layer_freq": [0] + [1] * 27}
    assert parse_config(experts).moe_layers == 27
    with pytest.raises(FactsError, match=r"moe_layer_freq .* has 2 marks for 28 layers"):
        parse_config({**experts, "moe_layer_freq": [0, 1]})


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"hidden_size": None}, "hidden_size", "is missing"),
        ({"num_hidden_layers": 0}, "num_hidden_layers", "must be between 1 and 4096"),
        ({"num_hidden_layers": "28"}, "num_hidden_layers", "must be a whole number"),
        ({"vocab_size": -5}, "vocab_size", "must be between 1"),
        ({"hidden_size": 10**30}, "hidden_size", "must be between 1"),
        ({"hidden_size": True}, "hidden_size", "must be a whole number"),
        ({"head_dim": 1.5}, "head_dim", "must be a whole number"),
        ({"intermediate_size": None}, "intermediate_size", "is missing"),
    ],
)
def test_absurd_fields_are_named(change: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(FactsError, match=problem) as caught:
        parse_config({**QWEN2_7B, **change})
    assert caught.value.field == field


def test_a_missing_field_says_which_are_needed() -> None:
    with pytest.raises(FactsError, match=r"hidden_size is missing; needed are hidden_size, num_"):
        parse_config({"model_type": "qwen2"})
