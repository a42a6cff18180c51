"""Its own arithmetic agrees with what real engines printed."""

import json
from pathlib import Path

import pytest
from hack.simengine.model import ModelError, find, low_bit_bytes, method_bytes
from hack.simengine.truth import GIB


def test_qwen2_7b_in_sym_int4_weighs_what_was_computed_from_the_kernels() -> None:
    # intel/ipex-llm csrc/xpu/base.hpp: 64-weight blocks of 34 bytes; 4.51 GiB in all
    assert low_bit_bytes(find("Qwen/Qwen2-7B-Instruct"), "sym_int4") / GIB == pytest.approx(
        4.51, abs=0.01
    )


def test_llama_3_8b_weighs_what_ipex_llm_printed() -> None:
    # ipex-llm#11996: "Loading model weights took 4.7184 GB"
    model = find("meta-llama/Meta-Llama-3-8B-Instruct")
    assert low_bit_bytes(model, "sym_int4") / GIB == pytest.approx(4.7184, rel=0.01)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("Qwen/Qwen2-7B-Instruct", 57_344),
        ("meta-llama/Llama-3.1-8B-Instruct", 131_072),
        ("Qwen/Qwen3-8B", 147_456),
    ],
)
def test_cache_bytes_of_a_token(name: str, count: int) -> None:
    assert find(name).kv_bytes_per_token(2) == count
    assert find(name).kv_bytes_per_token(1) == count // 2


def test_heads_are_not_split_below_one() -> None:
    model = find("Qwen/Qwen2-7B-Instruct")  # four heads of keys and values
    assert model.kv_bytes_per_token(2, ranks=8) == model.kv_bytes_per_token(2, ranks=4)


def test_vllm_leaves_embedding_and_head_in_sixteen_bit() -> None:
    # llm-scaler README 2.7: a 7B in fp8 takes 8.1 GiB
    assert method_bytes(find("Qwen/Qwen2-7B-Instruct"), "fp8") / GIB == pytest.approx(8.1, abs=0.05)


def test_a_local_folder_is_read(tmp_path: Path) -> None:
    config = {
        "architectures": ["TinyForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 1000,
        "quantization_config": {"quant_method": "gptq"},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = find(str(tmp_path))
    assert (model.kv_heads, model.head_size, model.checkpoint_method) == (4, 16, "gptq")


def test_an_unknown_model_is_an_error_in_the_hubs_words() -> None:
    with pytest.raises(ModelError, match="nobody/nothing is not a local folder and is not a valid"):
        find("nobody/nothing")
