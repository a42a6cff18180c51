"""Speculative decoding: what a draft takes, from where, and what can't be told."""

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from tests.unit.planner.requests import impossible, planned, refusal_of, request_of, spec
from tests.unit.planner.test_batch import ROW

from xpullm.catalog import find_model
from xpullm.planner import Plan, estimate_row, explain, plan
from xpullm.planner.speculation import NONE, speculation

GIB = 1 << 30
SMALL = "Qwen/Qwen3-0.6B"
LARGE = "Qwen/Qwen3-8B"
NGRAM = {"method": "ngram", "num_speculative_tokens": 3}


def draft(name: str, tokens: int = 3, **more: Any) -> dict[str, Any]:
    return {"model": name, "num_speculative_tokens": tokens, **more}


def given(config: object, name: str = LARGE, **fields: Any) -> Any:
    text = config if isinstance(config, str) else json.dumps(config)
    args = [{"name": "speculative-config", "value": text}]
    gpu = {"type": "arc-pro-b60", "count": 1}
    return spec(name, quantization="fp8", gpu=gpu, engine={"args": args}, **fields)


def answer(config: object = None, model: str = LARGE, **row: Any) -> dict[str, Any]:
    entry = find_model(model)
    assert entry is not None
    args = {**ROW["args"], **row.pop("args", {})}
    if config is not None:
        args["speculative_config"] = config
    whole = {**ROW, "config": entry["config"], "quantization": "fp8", "device_total_gib": 48}
    return estimate_row({**whole, **row, "args": args})


def test_a_draft_as_large_as_the_model_does_not_fit_beside_it() -> None:
    """Qwen3-8B in fp8 takes 8.6 GiB of a B60's 22.7; as a draft it stays in 16 bit: 15.3 GiB."""
    assert planned(given(NGRAM)).ledger.weights_bytes == pytest.approx(8.75 * GIB, rel=0.03)
    refused = impossible(given(draft(LARGE)))
    assert refused.missing_bytes > GIB


def test_a_draft_has_weights_of_its_own() -> None:
    """Qwen3-0.6B in 16 bit, hidden 1024, 28 layers: qkv 1024 x 4096, o 2048 x 1024, gate and up
    1024 x 6144, down 3072 x 1024 = 15,728,640 per layer; vocabulary 151936 x 1024, tied:
    (28 x 15,728,640 + 155,582,464) x 2 bytes = 1.110 GiB; norms and rotary table are 0.02."""
    more = answer(draft(SMALL))["weights_gib"] - answer()["weights_gib"]
    assert more == pytest.approx(1.110, abs=0.03)


def test_a_drafts_layers_share_the_pool() -> None:
    """36 layers of 8 KV heads of 128, keys and values in 2 bytes: 36 x 4096 = 147,456 bytes per
    token; the draft has 28 layers of the same width: 64 x 4096 = 262,144."""
    bytes_per_token = []
    for config in (NGRAM, draft(SMALL)):
        bytes_per_token.append(planned(given(config)).ledger.kv_bytes_per_token)
    assert bytes_per_token == [147_456, 262_144]
    told = answer(draft(SMALL))
    assert told["kv_cache_gib"] * GIB / told["kv_cache_tokens"] == pytest.approx(262_144, rel=0.001)


def test_layers_of_another_width_have_pages_of_their_own() -> None:
    """Llama-3.1-8B: 32 layers of 8 x 128; Llama-3.2-1B: 16 of 8 x 64: 32 x 4096 + 16 x 2048."""
    config = draft("meta-llama/Llama-3.2-1B")
    made = planned(given(config, "meta-llama/Llama-3.1-8B"))
    assert made.ledger.kv_bytes_per_token == 163_840


def test_the_text_itself_drafts_for_nothing_but_rows() -> None:
    """4 sequences of 1 + 3 rows each instead of 4: sampling holds more, weights don't change."""
    plain, drafted = answer(), answer(NGRAM)
    assert drafted["weights_gib"] == plain["weights_gib"]
    assert drafted["activation_peak_gib"] >= plain["activation_peak_gib"]
    assert answer({"model": "[ngram]", "num_speculative_tokens": 3}) == drafted


def test_a_layer_that_predicts_further_tokens() -> None:
    """Qwen3.5-27B, hidden 5120, MLP 17408: one layer of attention (qkv with gate 5120 x 14336,
    o 6144 x 5120) or linear attention (5120 x 16384, 6144 x 5120) and MLP 3 x 5120 x 17408, in
    bytes as fp8 stores them: about 382.7 MB; two inputs of 5120 to 5120 in 16 bit: 104.9 MB."""
    config = {"method": "mtp", "num_speculative_tokens": 2}
    plain = answer(model="Qwen/Qwen3.5-27B")
    drafted = answer(config, "Qwen/Qwen3.5-27B")
    more = (drafted["weights_gib"] - plain["weights_gib"]) * GIB
    assert more == pytest.approx(382.7e6 + 104.9e6, rel=0.01)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{not json", "must be a JSON object"),
        ("[]", "must be a JSON object"),
        ("7", "must be a JSON object"),
        ({"method": "ngram"}, "num_speculative_tokens is missing; set it, 1 to 1024"),
        ({**NGRAM, "num_speculative_tokens": 0}, "0 must be a whole number, 1 to 1024"),
        ({**NGRAM, "num_speculative_tokens": "3"}, "'3' must be a whole number, 1 to 1024"),
        ({"method": "eagle3", "num_speculative_tokens": 3}, "'eagle3' needs model"),
        (draft("yuhuili/EAGLE3-LLaMA3.1-Instruct-8B"), "isn't in the catalogue"),
        (draft("a/b", method="eagle"), "or method ngram, which has none"),
        (draft("Qwen/Qwen3-0.6B", quantization="awq"), "quantization 'awq' isn't one"),
        ({"model": 7, "num_speculative_tokens": 3}, "model 7 must be the id of a model"),
    ],
)
def test_what_cannot_be_told_is_never_guessed(config: object, words: str) -> None:
    refused = refusal_of(given(config))
    assert (refused.reason, refused.field) == (
        "InvalidArgument",
        "spec.engine.args[speculative-config]",
    )
    assert words in refused.message
    told = answer(config)
    assert (told["starts"], told["safe"], told["weights_gib"]) == (None, None, None)
    assert words in told["reason"]
    assert "speculative-config" in told["reason"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"method": "mtp", "num_speculative_tokens": 1}, "which qwen3 has not"),
        (draft("meta-llama/Llama-3.2-1B"), "(128256) is not the target's (151936)"),
        (draft(SMALL, draft_tensor_parallel_size=3), "must be 1 or tensor-parallel-size 1"),
    ],
)
def test_what_the_engine_refuses_does_not_start(config: object, words: str) -> None:
    told = answer(config)
    assert (told["starts"], told["safe"]) == (False, False)
    assert words in told["reason"]
    assert words in impossible(given(config)).message


def test_keys_one_by_one_are_the_same() -> None:
    whole = speculation((("speculative-config", json.dumps(draft(SMALL))),))
    parts = speculation(
        (
            ("speculative-config.model", SMALL),
            ("speculative-config.num_speculative_tokens", "3"),
        )
    )
    mixed = speculation(
        (
            ("speculative-config", '{"model": "x/y", "num_speculative_tokens": 3}'),
            ("speculative-config.model", SMALL),
        )
    )
    assert whole == parts == mixed
    assert (whole.tokens, whole.name) == (3, SMALL)


def test_the_flags_of_old_engines() -> None:
    """vLLM 0.6, engine/arg_utils.py."""
    old = speculation((("speculative-model", SMALL), ("num-speculative-tokens", "5")))
    assert (old.tokens, old.name) == (5, SMALL)
    assert speculation((("enable-lora", None),)) is NONE


def test_a_batch_takes_an_object_or_its_text() -> None:
    assert answer(draft(SMALL)) == answer(json.dumps(draft(SMALL)))


def test_the_draft_of_two_ranks() -> None:
    """On each of two ranks half of the draft, or all of it where it stays on one."""
    two = {"tensor_parallel_size": 2}
    plain = answer(args=two)["weights_gib"]
    half = answer(draft(SMALL), args=two)["weights_gib"] - plain
    whole = answer(draft(SMALL, draft_tensor_parallel_size=1), args=two)["weights_gib"] - plain
    assert half == pytest.approx(0.555, abs=0.03)
    assert whole == pytest.approx(1.110, abs=0.03)


def test_a_draft_has_its_own_format() -> None:
    """Matrices of 15,728,640 in 8 bit, the vocabulary in 16: 0.700 GiB, and 0.04 of scales,
    norms, rotary table and blocks rounded up."""
    more = answer(draft(SMALL, quantization="fp8"))["weights_gib"] - answer()["weights_gib"]
    assert more == pytest.approx(0.740, abs=0.01)


def test_a_draft_that_is_sampled_keeps_its_logits() -> None:
    """4 sequences x 3 tokens x 151936 x 4 bytes = 6.95 MiB."""
    sampled = answer(draft(SMALL, draft_sample_method="probabilistic"))
    more = sampled["weights_gib"] - answer(draft(SMALL))["weights_gib"]
    assert more == pytest.approx(4 * 3 * 151_936 * 4 / GIB, abs=2e-4)


@hypothesis.given(memory=st.integers(16, 96), tokens=st.integers(1, 8))
def test_a_draft_never_leaves_more_room(memory: int, tokens: int) -> None:
    plain, drafted = (answer(c, device_total_gib=memory) for c in (None, draft(SMALL, tokens)))
    assert drafted["kv_cache_tokens"] <= plain["kv_cache_tokens"]
    assert plain["starts"] or not drafted["starts"]
    larger = answer(draft(SMALL, tokens), device_total_gib=memory + 1)
    assert larger["kv_cache_tokens"] >= drafted["kv_cache_tokens"]


def test_a_plan_has_a_line_for_it() -> None:
    request = request_of(given(draft(SMALL)))
    made = plan(request)
    assert isinstance(made, Plan)
    terms = {t.name: t for t in explain(made, request).ledger.terms}
    assert terms["draft model"].bytes == pytest.approx(1.110 * GIB, abs=0.03 * GIB)
    assert terms["draft model"].inputs == "Qwen/Qwen3-0.6B, 3 token(s) per step"
    assert terms["weights"].bytes + terms["draft model"].bytes == made.ledger.weights_bytes
    assert sum(t.bytes for t in terms.values()) == made.ledger.visible_bytes
