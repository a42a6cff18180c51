"""Hybrids of attention and Mamba2: layers by kind, parameters as published, states as vLLM shapes
them (vLLM mamba_utils.py MambaStateShapeCalculator.mamba2_state_shape)."""

from typing import Any

import pytest

from xpullm.planner import FactsError, estimate_row, parse_config
from xpullm.planner.division import undivided
from xpullm.planner.kv import kv_layout, state_bytes
from xpullm.planner.mamba import Mamba
from xpullm.planner.weights import checkpoint_bytes

COMMON = {"max_position_embeddings": 8192, "torch_dtype": "bfloat16", "num_attention_heads": 32}
MAMBA = {
    "mamba_n_heads": 128, "mamba_d_head": 64, "mamba_d_state": 128, "mamba_n_groups": 1,
    "mamba_d_conv": 4, "mamba_expand": 2, "num_key_value_heads": 8,
}  # fmt: skip
NEMOTRON = COMMON | {
    "model_type": "nemotron_h", "hidden_size": 4096, "num_hidden_layers": 52,
    "hybrid_override_pattern": "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-",
    "intermediate_size": 21504, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131072,
    "mamba_num_heads": 128, "mamba_head_dim": 64, "ssm_state_size": 128, "n_groups": 8,
    "conv_kernel": 4,
}  # fmt: skip
BAMBA = {**COMMON, **MAMBA} | {
    "model_type": "bamba", "hidden_size": 4096, "num_hidden_layers": 32,
    "attn_layer_indices": [9, 18, 27], "intermediate_size": 14336, "vocab_size": 128256,
    "mamba_d_head": "auto",
}  # fmt: skip
GRANITE = {**COMMON, **MAMBA} | {
    "model_type": "granitemoehybrid", "num_hidden_layers": 40, "vocab_size": 100352,
    "layer_types": ["mamba"] * 36 + ["attention"] * 4, "tie_word_embeddings": True,
    "position_embedding_type": "nope",
}  # fmt: skip
MICRO = GRANITE | {
    "hidden_size": 2048, "intermediate_size": 8192, "shared_intermediate_size": 8192,
    "num_local_experts": 0, "mamba_n_heads": 64,
}  # fmt: skip
SMALL = GRANITE | {
    "hidden_size": 4096, "intermediate_size": 768, "shared_intermediate_size": 1536,
    "num_local_experts": 72, "num_experts_per_tok": 10,
}  # fmt: skip
FALCON = {**COMMON, **MAMBA} | {
    "model_type": "falcon_h1", "hidden_size": 3072, "num_hidden_layers": 44, "head_dim": 128,
    "intermediate_size": 12288, "num_attention_heads": 12, "num_key_value_heads": 2,
    "mamba_d_ssm": 3072, "mamba_n_heads": 24, "mamba_d_head": 128, "mamba_d_state": 256,
    "vocab_size": 130049,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "billions", "layers"),
    [
        (NEMOTRON, 8.10, (4, 24, 24, 0)),
        (BAMBA, 9.78, (3, 29, 0, 0)),
        (MICRO, 3.19, (4, 36, 0, 0)),
        (SMALL, 32.2, (4, 36, 0, 40)),
        (FALCON, 7.59, (44, 44, 0, 0)),
    ],
)
def test_parameters_as_published(
    config: dict[str, Any], billions: float, layers: tuple[int, ...]
) -> None:
    facts = parse_config(config)
    assert (facts.full_layers, facts.linear_layers, facts.mlp_layers, facts.moe_layers) == layers
    assert checkpoint_bytes(facts) / 2e9 == pytest.approx(billions, rel=0.002)
    assert facts.unsure == ()


def test_a_sequences_state() -> None:
    """heads x head_dim x state elements, and 3 rows of what the convolution sees."""
    bamba, nemotron = parse_config(BAMBA), parse_config(NEMOTRON)
    assert state_bytes(bamba, 1) == 128 * 64 * 128 * 2 + 3 * (8192 + 2 * 1 * 128) * 2
    assert state_bytes(nemotron, 1) == 128 * 64 * 128 * 4 + 3 * (8192 + 2 * 8 * 128) * 2
    assert state_bytes(nemotron, 2) == state_bytes(nemotron, 1) // 2
    # One group is replicated for each of two ranks.
    assert state_bytes(bamba, 2) == 64 * 64 * 128 * 2 + 3 * (8192 + 2 * 2 * 128) // 2 * 2
    half = parse_config({**NEMOTRON, "mamba_ssm_cache_dtype": "bfloat16"})
    assert state_bytes(nemotron, 1) - state_bytes(half, 1) == 128 * 64 * 128 * 2


def test_a_block_holds_one_state() -> None:
    """2,147,840 bytes of state at 4,096 per token: 576 tokens, in ten groups of three layers."""
    layout = kv_layout(parse_config(BAMBA), 1, 1, 64, 2, 2048, True)
    assert (layout.block_size, layout.block_bytes) == (576, 576 * 4096 * 3)
    assert (layout.full_groups, layout.state_groups) == (1, 10)


def test_a_step_scans_chunks_that_the_profile_does_not() -> None:
    layer = Mamba(128, 64, 128, 1, 4, 256, 2, with_mlp=True, attention_with_mlp=True)
    element = 128 * 64 * 128 * 4
    assert layer.scan_bytes(2048, 16, 1) == (8 + 3 * 16) * element
    assert layer.scan_bytes(2048, 16, 2) == (8 + 3 * 16) * element // 2


def test_heads_are_divided_among_ranks_and_groups_too() -> None:
    assert undivided(parse_config(NEMOTRON), 4) == ""
    assert undivided(parse_config({**NEMOTRON, "n_groups": 6}), 4) == (
        "6 groups of Mamba2 layers are not divisible by 4"
    )
    assert undivided(parse_config({**BAMBA, "mamba_n_heads": 126}), 4) == (
        "126 heads of Mamba2 layers are not divisible by 4"
    )


@pytest.mark.parametrize(
    ("config", "field", "problem"),
    [
        ({**NEMOTRON, "ssm_state_size": None}, "mamba_d_state", "is missing"),
        ({**NEMOTRON, "hybrid_override_pattern": "M-*"}, "hybrid_override_pattern", "3 layers"),
        ({**NEMOTRON, "hybrid_override_pattern": "X" * 52}, "hybrid_override_pattern", "'X'"),
        ({**BAMBA, "attn_layer_indices": None}, "layers_block_type", "says which layers attend"),
    ],
)
def test_what_decides_memory_must_be_there(
    config: dict[str, Any], field: str, problem: str
) -> None:
    with pytest.raises(FactsError, match=problem) as caught:
        parse_config(config)
    assert caught.value.field == field


def test_a_hybrid_is_estimated_like_any_other() -> None:
    row = {
        "id": "h", "engine": "vllm", "engine_version": "0.25.0", "quantization": None,
        "device_total_gib": 24, "platform": "xpu",
        "args": {"max_model_len": 8192, "max_num_seqs": 8, "max_num_batched_tokens": 2048,
                 "gpu_memory_utilization": 0.9, "enforce_eager": True},
    }  # fmt: skip
    answer = estimate_row({**row, "config": BAMBA})
    assert (answer["starts"], answer["safe"], answer["reason"]) == (True, True, "")
    assert answer["weights_gib"] == pytest.approx(9.78e9 * 2 / 2**30, rel=0.005)
