"""A spec is checked against the catalogue: each refusal names field, value and way out."""

from typing import Any

import pytest
from tests.unit.planner.requests import QWEN2, planned, refusal_of, request_of, seed_spec, spec

from xpullm.api import LLMDeploymentSpec


def args(*rows: tuple[str, str | None]) -> dict[str, Any]:
    return {"args": [{"name": n, "value": v} if v else {"name": n} for n, v in rows]}


@pytest.mark.parametrize(
    ("given", "reason", "field", "words"),
    [
        (
            spec("Qwen/Qwen3-9B"),
            "UnknownModel",
            "spec.model.id",
            ["Qwen/Qwen3-8B", "spec.model.facts"],
        ),
        (
            spec(quantization="sym-int4", gpu={"type": "arc-a770-16g"}),
            "UnknownQuantization",
            "spec.quantization",
            ["sym_int4"],
        ),
        (spec(gpu={"type": "arc-a770"}), "UnknownGPU", "spec.gpu.type", ["arc-a770-16g"]),
        (spec(engine={"name": "vlm"}), "UnknownEngine", "spec.engine.name", ["vllm"]),
        (
            spec(engine={"name": "vllm", "version": "latest"}),
            "UnknownEngine",
            "spec.engine.version",
            ["0.26.0"],
        ),
        (
            spec(engine={"name": "vllm", "version": "0.40.0"}),
            "UnknownEngine",
            "spec.engine.version",
            ["no image of vllm 0.40.0", "0.26.0", "spec.engine.image"],
        ),
        (spec(gpu={"type": "B60"}), "UnknownGPU", "spec.gpu.type", ["nearest: arc-pro-b60"]),
        (
            spec(engine={"version": "0.26.0"}),
            "UnknownEngine",
            "spec.engine.version",
            ["spec.engine.name"],
        ),
        (
            spec(gpu={"type": "arc-pro-b60"}, engine={"name": "ipex-llm"}),
            "IncompatibleEngine",
            "spec.engine.name",
            ["use vllm"],
        ),
        (
            spec(quantization="sym_int4", gpu={"type": "arc-pro-b60"}),
            "IncompatibleQuantization",
            "spec.quantization",
            ["vllm 0.26.0 can't serve sym_int4"],
        ),
        (
            spec(quantization="gptq", gpu={"type": "arc-pro-b60"}),
            "IncompatibleQuantization",
            "spec.quantization",
            ["isn't stored so", "fp8"],
        ),
        (
            spec("Qwen/Qwen3-8B-AWQ", quantization="fp8", gpu={"type": "arc-pro-b60"}),
            "IncompatibleQuantization",
            "spec.quantization",
            ["stored as awq"],
        ),
        (
            spec("openai/gpt-oss-20b", gpu={"type": "arc-a770-16g"}),
            "IncompatibleQuantization",
            "spec.quantization",
            ["can't serve mxfp4"],
        ),
        (
            spec("Qwen/Qwen3-8B", gpu={"type": "arc-pro-b60"}, serving={"contextLength": 65536}),
            "ContextTooLong",
            "spec.serving.contextLength",
            ["40960"],
        ),
    ],
)
def test_what_the_catalogue_refuses(given: Any, reason: str, field: str, words: list[str]) -> None:
    refusal = refusal_of(given)
    assert (refusal.reason, refusal.field) == (reason, field)
    for word in words:
        assert word in refusal.message


@pytest.mark.parametrize(
    ("rows", "field", "words"),
    [
        ([("max-num-seq", "4")], "max-num-seq", ["isn't a flag of ipex-llm", "--max-num-seqs"]),
        ([("kv-cache-memory-bytes", "1")], "kv-cache-memory-bytes", ["isn't a flag"]),
        ([("max-num-seqs", "many")], "max-num-seqs", ["whole number of at least 1"]),
        ([("max-num-seqs", "0")], "max-num-seqs", ["whole number of at least 1"]),
        ([("gpu-memory-utilization", "1.5")], "gpu-memory-utilization", ["at most 1"]),
        ([("gpu-memory-utilization", "nan")], "gpu-memory-utilization", ["at most 1"]),
        ([("load-in-low-bit", "fp8")], "load-in-low-bit", ["use spec.quantization"]),
        ([("device", "cuda")], "device", ["use spec.gpu.type"]),
        ([("kv-cache-dtype", "int3")], "kv-cache-dtype", ["use auto, fp8"]),
        (
            [("max-num-batched-tokens", "4"), ("max-num-seqs", "8")],
            "max-num-batched-tokens",
            ["below max-num-seqs 8"],
        ),
        (
            [("num-gpu-blocks-override", "9"), ("max-model-len", "999999")],
            "max-model-len",
            ["32768"],
        ),
        ([("tensor-parallel-size", "3")], "tensor-parallel-size", ["28 attention heads"]),
    ],
)
def test_the_users_own_flags_are_checked(
    rows: list[tuple[str, str | None]], field: str, words: list[str]
) -> None:
    refusal = refusal_of(seed_spec(engine=args(*rows)))
    assert refusal.field == f"spec.engine.args[{field}]"
    for word in words:
        assert word in refusal.message


A770 = "arc-a770-16g"


@pytest.mark.parametrize(
    ("model", "count", "rows", "value", "words"),
    [
        (
            QWEN2, 3, [], "3",
            "spec.gpu.count 3: 28 attention heads are not divisible by 3; use 1, 2 or 4, or divide"
            " the layers instead: spec.engine.args pipeline-parallel-size 3",
        ),
        (
            "Qwen/Qwen2.5-0.5B-Instruct", 8, [("pipeline-parallel-size", "2")], "8",
            "14 attention heads are not divisible by 4; use 2 or 4",
        ),
        (
            QWEN2, 2, [("tensor-parallel-size", "4")], "2",
            "spec.gpu.count 2 is too few: --tensor-parallel-size 4 needs 4 cards; set"
            " spec.gpu.count to 4, or lower the flag",
        ),
        (
            QWEN2, 2, [("pipeline-parallel-size", "2"), ("tensor-parallel-size", "2")], "2",
            "--pipeline-parallel-size 2 and --tensor-parallel-size 2 needs 4 cards",
        ),
        (
            "Qwen/Qwen1.5-7B-Chat", None, [("tensor-parallel-size", "16")], "",
            "--tensor-parallel-size 16 needs 16 cards; set spec.gpu.count to 16",
        ),
    ],
)  # fmt: skip
def test_a_number_of_cards_on_which_the_model_cannot_be_divided(
    model: str, count: int | None, rows: list[tuple[str, str | None]], value: str, words: str
) -> None:
    gpu = {"type": A770} | ({"count": count} if count else {})
    refusal = refusal_of(spec(model, quantization="sym_int4", gpu=gpu, engine=args(*rows)))
    assert (refusal.reason, refusal.field) == ("InvalidArgument", "spec.gpu.count")
    assert refusal.value == value
    assert words in refusal.message


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_ways_out_of_an_indivisible_number_are_plans(count: int) -> None:
    made = planned(spec(quantization="sym_int4", gpu={"type": A770, "count": count}))
    assert made.arguments.tensor_parallel_size == count


def test_layers_are_divided_among_any_number_of_cards() -> None:
    rows = args(("pipeline-parallel-size", "3"))
    made = planned(spec(quantization="sym_int4", gpu={"type": A770, "count": 3}, engine=rows))
    assert (made.gpu_count, made.arguments.tensor_parallel_size) == (3, 1)
    assert dict(made.flags)["pipeline-parallel-size"] == "3"


def test_a_flag_against_the_wish() -> None:
    given = seed_spec(engine=args(("max-model-len", "4096")), serving={"contextLength": 8192})
    assert "contradicts spec.serving.contextLength 8192" in refusal_of(given).message


@pytest.mark.parametrize(
    ("row", "serving", "words"),
    [
        (("max-model-len", "1024"), {"minContextLength": 2048}, "spec.serving.minContextLength"),
        (("max-num-seqs", "4"), {"minConcurrency": 8}, "spec.serving.minConcurrency 8; raise it"),
    ],
)
def test_a_flag_below_a_floor(row: tuple[str, str], serving: dict[str, int], words: str) -> None:
    assert words in refusal_of(seed_spec(engine=args(row), serving=serving)).message


def test_without_a_card_the_choices_are_those_that_take_the_flags() -> None:
    flag = args(("kv-cache-memory-bytes", "1G"))
    made = planned(spec(engine={"name": "vllm", **flag}))
    assert (made.gpu, made.engine_version) == ("arc-pro-b60", "0.26.0")
    wrong = refusal_of(spec(engine={"name": "vllm", **args(("max-num-seq", "4"))}))
    assert "isn't a flag of vllm 0.26.0" in wrong.message


def test_an_older_engine_among_the_choices_takes_nothing_from_the_newer_ones() -> None:
    made = planned(spec(engine={"name": "vllm"}))
    assert made.engine_version == "0.26.0"
    assert "no-enable-chunked-prefill" not in dict(made.flags)


def test_an_engine_that_refuses_the_flags_together_gives_way_to_one_that_does_not() -> None:
    """vLLM 0.9 has no chunked prefill on a client card, so that a batch must hold the context."""
    flags = args(("max-num-batched-tokens", "2048"))
    given = spec("Qwen/Qwen2.5-1.5B", engine={"name": "vllm", **flags})
    both = planned(given, cards=("arc-a770-16g", "arc-pro-b60"))
    assert (both.gpu, both.engine_version) == ("arc-pro-b60", "0.26.0")
    alone = planned(given, cards=("arc-a770-16g",))
    assert (alone.gpu, alone.context_length) == ("arc-a770-16g", 2048)


def test_no_chunked_prefill_needs_a_batch_of_the_context() -> None:
    given = spec(
        gpu={"type": "arc-pro-b60"},
        engine={
            "name": "vllm",
            **args(("no-enable-chunked-prefill", None), ("max-num-batched-tokens", "2048")),
        },
        serving={"contextLength": 4096},
    )
    assert "without chunked prefill; raise it to 4096" in refusal_of(given).message


@pytest.mark.parametrize(
    ("model", "quantization", "engine"),
    [
        ("google/gemma-3-12b-it", "sym_int4", {"name": "llm-scaler"}),
        ("google/gemma-2-9b", "fp16", {"name": "vllm", "version": "0.10.2"}),
    ],
)
def test_no_float16_where_the_engine_refuses_it(
    model: str, quantization: str, engine: dict[str, str]
) -> None:
    """vLLM: "The model type 'gemma3' does not support float16. Reason: Numerical instability."."""
    b60 = {"type": "arc-pro-b60"}
    refusal = refusal_of(spec(model, quantization=quantization, gpu=b60, engine=engine))
    assert refusal.reason == "IncompatibleQuantization"
    assert "refuses for gemma" in refusal.message
    assert "use fp8" in refusal.message or "use bf16" in refusal.message
    request_of(spec(model, quantization="fp8", gpu=b60, engine=engine))
    request_of(spec(model, quantization="sym_int4", gpu={"type": "arc-a770-16g"}))


@pytest.mark.parametrize(
    ("model", "dtype"), [("google/gemma-3-12b-it", "bfloat16"), ("Qwen/Qwen3-8B", "float16")]
)
def test_a_4_bit_checkpoint_runs_in_bfloat16_where_float16_is_refused(
    model: str, dtype: str
) -> None:
    stored = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}
    inspected = {"quantization_config": stored}
    made = planned(spec(model, gpu={"type": "arc-pro-b60"}), facts=inspected)
    assert made.quantization == "gptq"
    assert made.arguments.dtype in (dtype, None if dtype == "bfloat16" else dtype)


@pytest.mark.parametrize(
    ("card", "engine", "way"),
    [
        ("max-1100", {"name": "vllm", "version": "0.10.2"}, "use version 0.26.0"),
        ("arc-pro-b60", {"name": "llm-scaler", "version": "0.14.0-b8.2.1"}, "version 0.21.0-b2"),
        ("arc-a770-16g", {"name": "ipex-llm"}, "use a card that vllm 0.21.0"),
    ],
)
def test_latent_attention_needs_an_engine_that_has_it(
    card: str, engine: dict[str, str], way: str
) -> None:
    given = spec("deepseek-ai/DeepSeek-V2-Lite", gpu={"type": card}, engine=engine)
    refusal = refusal_of(given)
    assert refusal.reason == "IncompatibleEngine"
    assert way in refusal.message


def test_fp8_by_its_plain_name_on_an_xe_hpg_card() -> None:
    """ipex-llm's documentation and start script say fp8, which is its fp8_e5m2."""
    made = planned(spec(quantization="fp8", gpu={"type": "arc-a770-16g", "count": 1}))
    assert dict(made.flags)["load-in-low-bit"] == "fp8"
    assert made.env["IPEX_LLM_LOWBIT"] == "fp8"
    e5m2 = planned(spec(quantization="fp8_e5m2", gpu={"type": "arc-a770-16g", "count": 1}))
    assert made.ledger.weights_bytes == e5m2.ledger.weights_bytes


def test_defaults_by_card() -> None:
    request = request_of(spec(gpu={"type": "arc-a770-16g"}))
    (choice,) = request.choices
    assert (choice.engine.name, choice.quantization.name) == ("ipex-llm", "fp16")
    request = request_of(spec("Qwen/Qwen3-8B", gpu={"type": "arc-pro-b60"}))
    (choice,) = request.choices
    assert (choice.engine.name, choice.quantization.name) == ("vllm", "bf16")


def test_the_cards_of_the_cluster_the_smallest_first() -> None:
    request = request_of(spec(), cards=("arc-pro-b70", "arc-b580", "unknown-card"))
    assert [c.gpu.name for c in request.choices] == ["arc-b580", "arc-pro-b70"]


def test_facts_of_an_unknown_model() -> None:
    facts = {
        "hidden_size": 2048,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "vocab_size": 32000,
        "intermediate_size": 5632,
    }
    given = spec("me/mine", gpu={"type": "arc-pro-b60"})
    assert request_of(given, facts=facts).facts.layers == 24
    own = given.model_copy(
        update={"model": given.model.model_validate({"id": "me/mine", "facts": facts})}
    )
    assert request_of(own).facts.hidden == 2048


def test_incomplete_facts_say_what_is_missing() -> None:
    refusal = refusal_of(spec("me/mine"), facts={"hidden_size": 2048})
    assert refusal.reason == "InvalidModelFacts"
    assert "num_hidden_layers is missing" in refusal.message


def test_absurd_facts_are_named() -> None:
    given = spec(QWEN2, gpu={"type": "arc-pro-b60"})
    refusal = refusal_of(given, facts={"num_hidden_layers": "many"})
    assert refusal.field == "spec.model.facts.num_hidden_layers"


@pytest.mark.parametrize(
    ("model", "revision"),
    [
        ({}, "main"),
        ({"source": {"huggingFace": {"endpoint": "https://hf-mirror.com"}}}, "main"),
        ({"source": {"modelScope": {}}}, ""),
        ({"source": {"modelScope": {}}, "revision": "v1.0.2"}, "v1.0.2"),
        ({"revision": "v2"}, "v2"),
    ],
)
def test_the_revision_is_the_users_or_the_hubs_default(
    model: dict[str, Any], revision: str
) -> None:
    given = LLMDeploymentSpec.model_validate(
        {"model": {"id": QWEN2, **model}, "gpu": {"type": "arc-pro-b60"}}
    )
    assert request_of(given).revision == revision
