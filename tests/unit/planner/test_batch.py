"""`estimate --batch`: one row in, one row out, whatever the row holds."""

from typing import Any

import pytest

from xpullm.planner import estimate_row

ROW: dict[str, Any] = {
    "id": "a row",
    "engine": "vllm",
    "engine_version": "0.25.0",
    "config": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "torch_dtype": "bfloat16",
    },
    "quantization": None,
    "device_total_gib": 24,
    "context_gib": 0.514,
    "args": {
        "max_num_batched_tokens": 2048,
        "max_num_seqs": 4,
        "max_model_len": 2048,
        "gpu_memory_utilization": 0.9,
        "enforce_eager": True,
    },
}


def test_a_row_as_measured() -> None:
    answer = estimate_row(ROW)
    assert list(answer) == [
        "id", "starts", "safe", "reason", "weights_gib", "activation_peak_gib", "non_torch_gib",
        "kv_cache_gib", "kv_cache_tokens", "max_model_len_fits",
    ]  # fmt: skip
    assert (answer["starts"], answer["safe"], answer["reason"]) == (True, True, "")
    assert answer["weights_gib"] == pytest.approx(15.0, abs=0.01)
    assert answer["kv_cache_tokens"] == pytest.approx(50192, rel=0.01)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"device_total_gib": 15.5}, "weights do not fit"),
        ({"args": {**ROW["args"], "gpu_memory_utilization": 0.99}}, "free memory at start"),
        ({"args": {**ROW["args"], "max_model_len": 131072}}, "KV cache"),
        ({"args": {**ROW["args"], "max_model_len": 200000}}, "above the model's own"),
        ({"args": {**ROW["args"], "max_num_seqs": 4096}}, "below max-num-seqs"),
        (
            {
                "device_total_gib": 18,
                "args": {
                    **ROW["args"],
                    "max_num_seqs": 1024,
                    "max_num_batched_tokens": 2048,
                    "gpu_memory_utilization": 0.95,
                },
            },
            "the sampler's warm-up needs",
        ),
    ],
)
def test_what_does_not_start_says_why(change: dict[str, Any], word: str) -> None:
    answer = estimate_row({**ROW, **change})
    assert (answer["starts"], answer["safe"]) == (False, False)
    assert word in answer["reason"]


def test_what_an_answer_assumes_is_said() -> None:
    unknown = {**ROW, "config": {**ROW["config"], "model_type": "brand_new"}}
    assert estimate_row(unknown)["reason"] == (
        "assumed: architecture 'brand_new' isn't known; computed as a decoder with a gated MLP"
    )
    newer = estimate_row({**ROW, "engine_version": "0.40.0"})["reason"]
    assert newer.startswith("assumed: vllm 0.40.0 isn't in the catalogue; counted as V1 unified")
    failing = estimate_row({**unknown, "device_total_gib": 15.5})["reason"]
    assert failing.startswith("weights do not fit")
    assert "; assumed: architecture 'brand_new'" in failing


@pytest.mark.parametrize(
    ("given", "same_as"), [(None, False), ("false", False), ("True", True), (0, False), (1, True)]
)
def test_a_switch_in_other_words(given: Any, same_as: bool) -> None:
    rows = [{**ROW, "args": {**ROW["args"], "enforce_eager": v}} for v in (given, same_as)]
    assert estimate_row(rows[0]) == estimate_row(rows[1])


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (None, "must be a JSON object"),
        ([], "must be a JSON object"),
        ({}, "config"),
        ({**ROW, "config": "x"}, "config"),
        ({**ROW, "config": {}}, "hidden_size is missing"),
        ({**ROW, "args": 7}, "args must be an object"),
        ({**ROW, "engine": "nothing"}, "isn't in the catalogue"),
        ({**ROW, "engine_version": None}, "isn't in the catalogue"),
        ({**ROW, "quantization": "int1"}, "isn't in the catalogue"),
        ({**ROW, "quantization": ["a"]}, "isn't in the catalogue"),
        ({**ROW, "device_total_gib": None}, "device_total_gib is missing"),
        ({**ROW, "device_total_gib": "24"}, "device_total_gib must be a number"),
        ({**ROW, "device_total_gib": float("nan")}, "device_total_gib must be a number"),
        ({**ROW, "args": {"max_num_seqs": 1e400}}, "max_num_seqs must be"),
        ({**ROW, "args": {"max_num_seqs": -1}}, "max_num_seqs must be at least 1"),
        ({**ROW, "args": {"gpu_memory_utilization": 7}}, "at most 1"),
        ({**ROW, "config": {**ROW["config"], "num_hidden_layers": 0}}, "num_hidden_layers"),
    ],
)
def test_rubbish_gets_a_reason(row: Any, word: str) -> None:
    answer = estimate_row(row)
    assert answer["starts"] is None
    assert word in answer["reason"]


def test_an_intel_card_by_name() -> None:
    row = {**ROW, "gpu": "arc-pro-b60", "engine_version": "0.26.0"}
    del row["device_total_gib"], row["context_gib"]
    assert estimate_row(row)["non_torch_gib"] == pytest.approx(0.45, abs=0.01)
