"""Bytes of every format, worked out by hand for one matrix of 4096 x 4096: 16,777,216 weights."""

from collections.abc import Mapping
from typing import Any

import pytest

from xpullm.catalog import Engine, default_engine, find_engine, gpus, quantizations
from xpullm.planner import ModelFacts, parse_config
from xpullm.planner.kv import kv_element_bytes, kv_layout
from xpullm.planner.modules import Linear, rank_model
from xpullm.planner.target import target
from xpullm.planner.weights import tensors, weights

GIB = 1 << 30
# 4 layers of Llama with a vocabulary that is no multiple of 64.
CONFIG: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 4, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 1000, "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
GROUP_OF_WEIGHTS = {"num_bits": 4, "group_size": 128, "symmetric": True, "type": "int"}


def facts_of(**changes: Any) -> ModelFacts:
    return parse_config({**CONFIG, **changes})


def vllm() -> Engine:
    engine = find_engine("vllm", "0.26.0")
    assert engine is not None
    return engine


def size(
    name: str,
    engine: Engine | None,
    stored: Mapping[str, Any] | None = None,
    matrix: str = "down_proj",
) -> int:
    facts = facts_of(quantization_config=stored) if stored else facts_of()
    assert engine is not None
    gpu = gpus()["arc-a770-16g" if engine.name == "ipex-llm" else "arc-pro-b60"]
    where = target(facts, quantizations()[name], gpu, engine)
    return sum(tensors(where.form, Linear(matrix, 4096, 4096)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # 4 bit: 8,388,608; 262,144 groups of 64 with a 16-bit scale each: 524,288.
        ("sym_int4", 8_912_896),
        # The same with a 16-bit zero point for each group: 524,288 more.
        ("asym_int4", 9_437_184),
        # 6 bit: 12,582,912; scales as above.
        ("fp6", 13_107_200),
        ("fp8_e5m2", 16_777_216),  # without scales
        ("fp8_e4m3", 17_301_504),  # with the same scales
    ],
)
def test_formats_of_ipex_llm(name: str, expected: int) -> None:
    assert size(name, default_engine("ipex-llm", "acm-g10")) == expected


def test_autoround() -> None:
    """4 bit: 8,388,608. 32 groups of 128 in each of 4096 columns: scales of 2 bytes 262,144, zero
    points of 4 bit 65,536 though it is symmetric; an index of 4 bytes for each input 16,384."""
    stored = {"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True}
    assert size("autoround", vllm(), stored) == 8_388_608 + 262_144 + 65_536 + 16_384


def test_autoround_of_2_bit_in_groups_of_64() -> None:
    """2 bit: 4,194,304. 64 groups: scales 524,288, zero points of 2 bit 65,536, index 16,384."""
    stored = {"quant_method": "auto-round", "bits": 2, "group_size": 64, "sym": True}
    assert size("autoround", vllm(), stored) == 4_194_304 + 524_288 + 65_536 + 16_384


def test_compressed_tensors_of_4_bit_are_as_their_group_says() -> None:
    """As AutoRound: the config group's own bits and group size, not 8 bit."""
    groups = {"group_0": {"targets": ["Linear"], "weights": GROUP_OF_WEIGHTS}}
    stored = {"quant_method": "compressed-tensors", "config_groups": groups}
    assert size("compressed-tensors", vllm(), stored) == 8_732_672


def test_compressed_tensors_of_8_bit_have_a_scale_for_each_column() -> None:
    """16,777,216 bytes, and 4096 scales of 4 bytes."""
    weights_of_8 = {"num_bits": 8, "strategy": "channel", "symmetric": True, "type": "int"}
    groups = {"group_0": {"targets": ["Linear"], "weights": weights_of_8}}
    stored = {"quant_method": "compressed-tensors", "config_groups": groups}
    assert size("compressed-tensors", vllm(), stored) == 16_777_216 + 16_384


def test_what_a_checkpoint_ignores_stays_16_bit() -> None:
    groups = {"group_0": {"targets": ["Linear"], "weights": GROUP_OF_WEIGHTS}}
    stored: dict[str, Any] = {
        "quant_method": "compressed-tensors",
        "config_groups": groups,
        "ignore": ["lm_head", "re:.*self_attn.*"],
    }
    assert size("compressed-tensors", vllm(), stored, "o_proj") == 2 * 16_777_216
    assert size("compressed-tensors", vllm(), stored) == 8_732_672


@pytest.mark.parametrize(
    ("vocabulary", "tensor", "rows"),
    [
        (1000, 1, 1024),  # 15.6 x 64
        (1000, 2, 512),
        (1024, 4, 256),
        (151_655, 1, 151_680),  # 2369.6 x 64
    ],
)
def test_a_vocabulary_is_padded_to_multiples_of_64(vocabulary: int, tensor: int, rows: int) -> None:
    facts = facts_of(vocab_size=vocabulary)
    assert rank_model(facts, tensor, 1, True).vocab_rows == rows


def test_the_padded_rows_take_memory() -> None:
    """1024 rows of 4096 columns in 16 bit: 8 MiB for the embedding, and for the head."""
    gpu = gpus()["arc-pro-b60"]
    where = target(facts_of(), quantizations()["bf16"], gpu, vllm())
    held = weights(where.facts, where.form, 1, 1, True)
    assert (held.embedding, held.head) == (8 << 20, 8 << 20)


class TestPipeline:
    def test_the_first_stage_has_the_embedding_the_last_the_head(self) -> None:
        first = rank_model(facts_of(), 1, 2, False)
        last = rank_model(facts_of(), 1, 2, True)
        assert [x.count for x in first.layers] == [x.count for x in last.layers] == [2]
        assert (first.embedding, first.head) == (True, False)
        assert (last.embedding, last.head) == (False, True)

    def test_the_largest_share_of_layers_counts(self) -> None:
        stage = rank_model(facts_of(num_hidden_layers=5), 1, 2, True)
        assert [x.count for x in stage.layers] == [3]

    def test_weights_of_a_stage(self) -> None:
        """A layer: qkv 4096 x 6144, o 4096 x 4096, gate and up 4096 x 28672, down 14336 x 4096,
        two norms: 218,112,000 parameters. 16 layers in 16 bit: 6,979,584,000 bytes; the embedding
        of 128,256 rows: 1,050,673,152."""
        facts = facts_of(num_hidden_layers=32, vocab_size=128_256)
        where = target(facts, quantizations()["bf16"], gpus()["arc-pro-b60"], vllm())
        for last in (False, True):
            held = weights(facts, where.form, 1, 2, last).resident
            assert held == pytest.approx(6_979_584_000 + 1_050_673_152, rel=0.003)

    def test_the_cache_of_a_stage(self) -> None:
        """Keys and values of 8 heads of 128 in 16 bit: 4096 bytes for each token and layer."""
        facts = facts_of(num_hidden_layers=32)
        assert kv_layout(facts, 1, 1, 16, 2, 2048, True).token_bytes == 32 * 4096
        assert kv_layout(facts, 1, 2, 16, 2, 2048, True).token_bytes == 16 * 4096
        assert kv_layout(facts, 2, 2, 16, 2, 2048, True).token_bytes == 16 * 2048
        assert kv_layout(facts_of(num_hidden_layers=5), 1, 2, 16, 2, 2048, True).token_bytes == (
            3 * 4096
        )


@pytest.mark.parametrize(
    ("dtype", "token_bytes", "tokens"),
    [
        # 32 layers x 4096 bytes; a block of 16 tokens takes 2 MiB: 512 of them in 1 GiB.
        ("auto", 131_072, 8_192),
        ("fp8", 65_536, 16_384),
        ("fp8_e5m2", 65_536, 16_384),
    ],
)
def test_an_8_bit_cache_holds_twice_as_much(dtype: str, token_bytes: int, tokens: int) -> None:
    element = kv_element_bytes(dtype, 2)
    layout = kv_layout(facts_of(num_hidden_layers=32), 1, 1, 16, element, 2048, True)
    assert layout.token_bytes == token_bytes
    assert layout.blocks(GIB) * layout.block_size == tokens
