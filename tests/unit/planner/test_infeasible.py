"""What can't be planned says which term is too big, and names ways out that are proven."""

import pytest
from tests.unit.planner.requests import (
    GIB,
    impossible,
    planned,
    request_of,
    seed_spec,
    spec,
)

from xpullm.api.llmdeployment import LLMDeploymentSpec
from xpullm.planner import (
    Arguments,
    Infeasible,
    Learned,
    LearnedEntry,
    plan,
)

B60 = {"type": "arc-pro-b60"}


def test_an_unsafe_flag_of_the_user_is_no_plan() -> None:
    rows = [{"name": "gpu-memory-utilization", "value": "0.99"}]
    answer = impossible(
        spec("Qwen/Qwen3-8B", gpu={**B60, "count": 1}, engine={"name": "vllm", "args": rows})
    )
    assert answer.alternatives[0].field == "spec.engine.args[gpu-memory-utilization]"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            ("num-gpu-blocks-override", "100"),
            "--num-gpu-blocks-override 100 leaves 44 MiB for the KV cache; 69 MiB are missing for"
            " 1 request(s) of 2048 tokens",
        ),
        (
            ("num-gpu-blocks-override", "40000"),
            "--num-gpu-blocks-override 40000 makes the KV cache 8.1 GiB larger than is safe",
        ),
    ],
)
def test_the_users_own_size_of_the_kv_cache_is_named(row: tuple[str, str], words: str) -> None:
    answer = impossible(seed_spec(engine={"args": [{"name": row[0], "value": row[1]}]}))
    assert words in answer.message
    assert answer.term == row[0]
    assert answer.alternatives[0].field == f"spec.engine.args[{row[0]}]"


def test_earlier_failures_are_named_where_they_forbid_the_least() -> None:
    failed = LearnedEntry(
        Arguments(512, 1, 512), "Failed", "device_oom_runtime", planned_bytes=3 * GIB
    )
    answer = plan(request_of(seed_spec()), Learned((failed,)))
    assert isinstance(answer, Infeasible)
    assert "earlier failures (TuningRecord) forbid it: 2.5 GiB are missing" in answer.message
    assert answer.ledger is not None
    assert answer.ledger.free_bytes == -answer.missing_bytes


def test_72b_in_16_bit_on_one_card() -> None:
    answer = impossible(spec("Qwen/Qwen2-72B", gpu={"type": "arc-a770-16g", "count": 1}))
    assert answer.term == "weights"
    assert answer.missing_bytes / GIB == pytest.approx(122.7, abs=1)
    assert len(answer.alternatives) >= 3
    assert "weights take 135.5 GiB of 15.1 GiB visible" in answer.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gpu-memory-utilization", "1"),
        ("max-num-seqs", "1000000"),
        ("num-gpu-blocks-override", "1"),
        ("kv-cache-memory-bytes", "500G"),
    ],
)
def test_three_ways_out_of_an_own_size_that_is_impossible(name: str, value: str) -> None:
    rows = [{"name": name, "value": value}]
    answer = impossible(
        spec("Qwen/Qwen3-8B", gpu={**B60, "count": 1}, engine={"name": "vllm", "args": rows})
    )
    assert len(answer.alternatives) >= 3
    first, *others = answer.alternatives
    assert (first.field, first.value) == (f"spec.engine.args[{name}]", "(leave it out)")
    for way in others:  # a lower value, or anything else without the flag
        assert way.field == first.field or f"without spec.engine.args[{name}]" in way.value


def test_lower_floors_are_ways_out() -> None:
    asked = {"minConcurrency": 64}
    answer = impossible(spec("Qwen/Qwen3-8B", gpu={**B60, "count": 1}, serving=asked))
    assert [(a.field, a.value) for a in answer.alternatives[:2]] == [
        ("spec.serving.minConcurrency", "16"),
        ("spec.serving.minConcurrency", "8"),
    ]


def test_where_few_cards_hold_a_model_it_is_said() -> None:
    """405B in 8 bit takes 378 GiB: 47 on each of the eight tiles of four Max cards, of whose 61 GiB
    80 % may be used, and runtime and activations don't fit beside it; 24 on each of sixteen."""
    answer = impossible(spec("meta-llama/Meta-Llama-3.1-405B", gpu={**B60, "count": 1}))
    assert len(answer.alternatives) >= 3
    assert {a.value.split(", ")[0] for a in answer.alternatives} == {"max-1450", "max-1550"}


def test_what_no_card_holds_is_said() -> None:
    facts: dict[str, object] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": 2000,
        "hidden_size": 16384,
        "intermediate_size": 53248,
        "num_attention_heads": 128,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
    }
    given = {"model": {"id": "me/giant", "facts": facts}, "gpu": {**B60, "count": 1}}
    answer = impossible(LLMDeploymentSpec.model_validate(given))
    assert answer.alternatives == ()
    assert "nothing fits on up to 8 of any card of the catalogue, in any format" in answer.message


def test_an_alternative_is_feasible() -> None:
    answer = impossible(spec("Qwen/Qwen3-14B", gpu={"type": "arc-pro-b60", "count": 1}))
    chosen = next(a for a in answer.alternatives if a.field == "spec.quantization")
    made = planned(spec("Qwen/Qwen3-14B", quantization=chosen.value, gpu={**B60, "count": 1}))
    assert (made.context_length, made.concurrency) == (chosen.context_length, chosen.concurrency)


def test_a_floor_of_concurrency_that_does_not_fit() -> None:
    impossible(spec("Qwen/Qwen3-8B", gpu=B60, serving={"minConcurrency": 4000}))
