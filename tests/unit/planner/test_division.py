"""On how many ranks vLLM takes a model, by the rules of its own layers."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.planner.requests import impossible, planned, refusal_of, spec

from xpullm.catalog import models
from xpullm.planner import ModelFacts, parse_config
from xpullm.planner.division import divides, undivided

BLOCKS = {"quant_method": "fp8", "weight_block_size": [128, 128]}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}
STRUCTURE = {"num_bits": 8, "strategy": "block", "block_structure": [128, 128]}
COMPRESSED = {
    "quant_method": "compressed-tensors",
    "config_groups": {"group_0": {"weights": STRUCTURE}},
}


def facts(model: str, **fields: Any) -> ModelFacts:
    return parse_config({**models()[model]["config"], **fields})


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        ("microsoft/phi-4", [1, 2]),  # 40 heads and 10; 100,352 rows of the vocabulary
        ("microsoft/Phi-3-medium-4k-instruct", [1, 2]),  # 32,064 rows of the vocabulary
        ("meta-llama/Llama-3.2-3B", [1, 2, 4, 8]),  # 24 and 8
        ("Qwen/Qwen2-7B", [1, 2, 4]),  # 28 and 4
        ("Qwen/Qwen2.5-0.5B", [1, 2]),  # 14 and 2
        ("Qwen/Qwen3-14B", [1, 2, 4, 8]),  # 40 and 8
        ("Qwen/Qwen3.5-27B", [1, 2, 4, 8]),  # 24 and 4, replicated on 8 ranks
        ("deepseek-ai/DeepSeek-V2-Lite", [1, 2, 4, 8, 16]),  # one latent, on every rank
        ("openai/gpt-oss-20b", [1, 2, 4, 8, 16]),
    ],
)
def test_sizes_that_divide_a_model(model: str, sizes: list[int]) -> None:
    assert [t for t in range(1, 17) if divides(facts(model), t)] == sizes


@pytest.mark.parametrize(
    ("model", "stored", "tensor", "said"),
    [
        ("microsoft/phi-4", None, 4, "10 key-value heads are not divisible by 4"),
        ("Qwen/Qwen2-7B", None, 7, "18944 features of the MLP are not divisible by 7"),
        ("Qwen/Qwen2-7B", None, 3, "28 attention heads are not divisible by 3"),
        ("meta-llama/Llama-2-13b-hf", None, 5, "13824 features of the MLP are not divisible by 5"),
        ("microsoft/phi-4", None, 5, "100352 rows of the vocabulary are not divisible by 5"),
        (
            "Qwen/Qwen3-30B-A3B", BLOCKS, 4,
            "768 features of an expert divided by 4 do not hold whole quantization blocks of 128",
        ),
        ("Qwen/Qwen3-30B-A3B", BLOCKS, 2, ""),
        ("Qwen/Qwen3-30B-A3B", COMPRESSED, 4, "768 features of an expert divided by 4 do not hold"),
        ("Qwen/Qwen3-30B-A3B", GPTQ, 4, ""),  # moe_wna16 halves the group instead
        (
            "Qwen/Qwen2-72B", GPTQ, 4,
            "29568 features of the MLP divided by 4 do not hold whole quantization groups of 128",
        ),
        ("Qwen/Qwen2-72B", GPTQ, 1, ""),
        ("Qwen/Qwen2-72B", {**GPTQ, "group_size": -1}, 4, ""),
        ("Qwen/Qwen2-72B", {**GPTQ, "group_size": 32}, 4, ""),
        ("Qwen/Qwen2-72B", {"quant_method": "fp8"}, 4, ""),  # one scale per tensor
    ],
)  # fmt: skip
def test_what_is_not_divided(
    model: str, stored: dict[str, Any] | None, tensor: int, said: str
) -> None:
    told = undivided(facts(model, **({"quantization_config": stored} if stored else {})), tensor)
    assert told.startswith(said)
    assert bool(told) is bool(said)


def test_heads_of_linear_attention_are_divided_too() -> None:
    hybrid = replace(facts("Qwen/Qwen3.5-27B"), linear_key_heads=6)
    assert undivided(hybrid, 4) == "6 key heads of linear attention are not divisible by 4"


def test_experts_that_are_dealt_out_are_not_cut() -> None:
    blocks = facts("Qwen/Qwen3-30B-A3B", quantization_config=BLOCKS)
    assert not divides(blocks, 4)
    assert divides(blocks, 4, whole_experts=True)


def test_a_number_of_cards_that_key_value_heads_refuse() -> None:
    refusal = refusal_of(spec("microsoft/phi-4", gpu={"type": "arc-b580", "count": 4}))
    assert (refusal.reason, refusal.field, refusal.value) == (
        "InvalidArgument",
        "spec.gpu.count",
        "4",
    )
    assert refusal.message == (
        "spec.gpu.count 4: 10 key-value heads are not divisible by 4; use 1 or 2, or divide the"
        " layers instead: spec.engine.args pipeline-parallel-size 4"
    )


def test_both_ways_out_of_it_hold() -> None:
    rows = {"args": [{"name": "pipeline-parallel-size", "value": "4"}]}
    gpu = {"type": "arc-b580", "count": 4}
    staged = planned(spec("microsoft/phi-4", gpu=gpu, engine=rows))
    assert (staged.arguments.tensor_parallel_size, staged.gpu_count) == (1, 4)
    two = spec("microsoft/phi-4", gpu={**gpu, "count": 2}, quantization="fp8")
    assert planned(two).arguments.tensor_parallel_size == 2


def test_without_a_number_two_cards_are_taken_or_none() -> None:
    """16 bit needs three of these cards, and no size above two divides the model."""
    fp8 = planned(spec("microsoft/phi-4", gpu={"type": "arc-b580"}, quantization="fp8"))
    assert (fp8.gpu_count, fp8.arguments.tensor_parallel_size) == (2, 2)
    whole = impossible(spec("microsoft/phi-4", gpu={"type": "arc-b580"}))
    assert "weights" in whole.message
    auto = planned(spec("microsoft/phi-4"), cards=("arc-b580", "arc-pro-b60"))
    assert (auto.gpu, auto.arguments.tensor_parallel_size) == ("arc-pro-b60", 2)


def test_the_users_own_size_is_checked_by_the_same_rules() -> None:
    rows = {"args": [{"name": "tensor-parallel-size", "value": "4"}]}
    given = spec("microsoft/phi-4", gpu={"type": "arc-b580", "count": 4}, engine=rows)
    refusal = refusal_of(given)
    assert refusal.field == "spec.engine.args[tensor-parallel-size]"
    assert refusal.message == "10 key-value heads are not divisible by 4; use one of 1, 2"


@pytest.mark.parametrize(("count", "whole"), [(64, 32), (5, 32), (3, 28)])
def test_key_value_heads_must_divide_the_heads(count: int, whole: int) -> None:
    fields = {"num_attention_heads": whole, "num_key_value_heads": count}
    refusal = refusal_of(spec(gpu={"type": "arc-pro-b60"}), facts=fields)
    assert refusal.reason == "InvalidModelFacts"
    assert refusal.message == (
        f"num_key_value_heads {count} must divide num_attention_heads, which is {whole}"
    )
