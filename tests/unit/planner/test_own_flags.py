"""What the user's own flags do together: planned as they are, or refused with the way out."""

from typing import Any

import pytest
from tests.unit.planner.requests import impossible, planned, refusal_of, spec

from xpullm.api.llmdeployment import LLMDeploymentSpec
from xpullm.catalog import find_engine
from xpullm.catalog.load import flag_values


def with_flags(
    *rows: tuple[str, str | None],
    version: str = "0.26.0",
    count: int | None = 1,
    gpu: str = "arc-pro-b60",
    **fields: Any,
) -> LLMDeploymentSpec:
    """Qwen2-7B-Instruct in fp8 with these engine flags."""
    given = [{"name": n, "value": v} if v is not None else {"name": n} for n, v in rows]
    return spec(
        quantization="fp8",
        gpu={"type": gpu} | ({"count": count} if count else {}),
        engine={"name": "vllm", "version": version, "args": given},
        **fields,
    )


PINNED = ("kv-cache-memory-bytes", "4G")


@pytest.mark.parametrize("version", ["0.17.0", "0.19.1", "0.21.0"])
def test_a_share_that_is_not_free_at_start_is_refused_beside_a_pinned_cache(version: str) -> None:
    """These releases compare utilization x total, and torch's total is above what can be used."""
    answer = impossible(with_flags(("gpu-memory-utilization", "0.95"), PINNED, version=version))
    assert answer.term == "gpu-memory-utilization"
    assert answer.missing_bytes > 0
    assert (
        "--gpu-memory-utilization 0.95 asks for 0.1 GiB more than is free at start; lower it to at"
        " most 0.944, or leave it out"
    ) in answer.message
    assert answer.alternatives[0].field == "spec.engine.args[gpu-memory-utilization]"


def test_the_share_that_the_refusal_names_is_a_plan() -> None:
    flags = (("gpu-memory-utilization", "0.944"), PINNED)
    made = planned(with_flags(*flags, version="0.21.0"))
    assert made.arguments.kv_cache_memory_bytes == 4 << 30
    assert made.arguments.gpu_memory_utilization == 0.944


@pytest.mark.parametrize(
    ("count", "rows", "words"),
    [
        (1, [("data-parallel-size", "2")], "--data-parallel-size 2 needs 2 cards"),
        (
            4,
            [("data-parallel-size", "2"), ("tensor-parallel-size", "4")],
            "--data-parallel-size 2 and --tensor-parallel-size 4 needs 8 cards; set spec.gpu.count"
            " to 8, or lower the flag",
        ),
        (
            4,
            [("data-parallel-size", "2"), ("pipeline-parallel-size", "4")],
            "--data-parallel-size 2 and --pipeline-parallel-size 4 needs 8 cards",
        ),
    ],
)
def test_the_parallel_sizes_need_the_cards_of_their_product(
    count: int, rows: list[tuple[str, str]], words: str
) -> None:
    refusal = refusal_of(with_flags(*rows, count=count))
    assert (refusal.reason, refusal.field) == ("InvalidArgument", "spec.gpu.count")
    assert refusal.value == str(count)
    assert words in refusal.message


def test_copies_share_the_cards_that_were_asked_for() -> None:
    made = planned(with_flags(("data-parallel-size", "2"), count=4))
    assert (made.gpu_count, made.arguments.tensor_parallel_size) == (4, 2)
    assert dict(made.flags)["data-parallel-size"] == "2"
    assert made.notes == () or "idle" not in " ".join(made.notes)
    alone = planned(with_flags(count=2))
    engine, engines = alone.host.terms[0], made.host.terms[0]
    assert (engine.bytes, engines.bytes) == (4608 << 20, 6656 << 20)  # 1 GiB per further rank


@pytest.mark.parametrize(
    ("rows", "cards"),
    [
        ([("data-parallel-size", "3")], 3),
        ([("pipeline-parallel-size", "3")], 3),
        ([("tensor-parallel-size", "2"), ("pipeline-parallel-size", "3")], 6),
    ],
)
def test_without_a_number_the_sizes_are_filled(rows: list[tuple[str, str]], cards: int) -> None:
    made = planned(with_flags(*rows, count=None))
    assert made.gpu_count == cards
    assert "idle" not in " ".join(made.notes)


def test_idle_cards_are_noted() -> None:
    made = planned(with_flags(("tensor-parallel-size", "2"), count=8))
    assert (
        "6 of 8 devices stay idle with --tensor-parallel-size 2; lower spec.gpu.count or raise the"
        " flag"
    ) in made.notes


def test_copies_of_a_model_with_experts_are_refused() -> None:
    row = {"args": [{"name": "data-parallel-size", "value": "2"}]}
    gpu = {"type": "arc-pro-b60", "count": 4}
    refusal = refusal_of(spec("Qwen/Qwen3-30B-A3B", gpu=gpu, engine={"name": "vllm", **row}))
    assert refusal.field == "spec.engine.args[data-parallel-size]"
    assert "use spec.replicas" in refusal.message


@pytest.mark.parametrize(
    ("rows", "field", "words"),
    [
        ([("decode-context-parallel-size", "2")], "decode-context-parallel-size", "leave it out"),
        ([("prefill-context-parallel-size", "2")], "prefill-context-parallel-size", "leave it out"),
        ([("data-parallel-size-local", "1")], "data-parallel-size-local", "use spec.replicas"),
        ([("nnodes", "2")], "nnodes", "use spec.replicas"),
        ([("data-parallel-size", "two")], "data-parallel-size", "whole number of at least 1"),
        (
            [("enable-chunked-prefill", None), ("no-enable-chunked-prefill", None)],
            "no-enable-chunked-prefill",
            "contradicts --enable-chunked-prefill; keep one of them",
        ),
        (
            [("no-enable-prefix-caching", None), ("enable-prefix-caching", None)],
            "no-enable-prefix-caching",
            "contradicts --enable-prefix-caching",
        ),
    ],
)
def test_flags_that_no_plan_can_follow(
    rows: list[tuple[str, str | None]], field: str, words: str
) -> None:
    refusal = refusal_of(with_flags(*rows))
    assert (refusal.reason, refusal.field) == ("InvalidArgument", f"spec.engine.args[{field}]")
    assert words in refusal.message


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("hf-overrides", '{"num_hidden_layers": 2}'), "changes num_hidden_layers"),
        (("hf-overrides", '{"text_config": {"num_key_value_heads": 2}}'), "use spec.model.facts"),
        (("hf-overrides.head_dim", "64"), "changes head_dim"),
        (("hf-overrides", '{"architectures": ["LlamaForCausalLM"]}'), "leave it out"),
        (("hf-overrides", "layers=2"), "must be a JSON object"),
        (("hf-overrides", "[" * 4096), "must be a JSON object"),
    ],
)
def test_overrides_of_geometry_are_refused(row: tuple[str, str], words: str) -> None:
    refusal = refusal_of(with_flags(row))
    assert refusal.field == f"spec.engine.args[{row[0]}]"
    assert words in refusal.message


def test_overrides_that_facts_hold_too_are_planned() -> None:
    same = ("hf-overrides", '{"num_hidden_layers": 28, "rope_theta": 1000000}')
    assert dict(planned(with_flags(same)).flags)["hf-overrides"] == same[1]
    fewer = with_flags(("hf-overrides", '{"num_hidden_layers": 2}'))
    assert planned(fewer, facts={"num_hidden_layers": 2}).ledger.weights_bytes < 4 << 30


@pytest.mark.parametrize(
    ("version", "row", "words"),
    [
        ("0.26.0", ("dtype", "banana"), "must be one of auto, bfloat16, float, float16,"),
        ("0.26.0", ("dtype", "float32"), "isn't supported for fp8; use bfloat16 or float16"),
        ("0.26.0", ("max-lora-rank", "abc"), "must be one of 1, 8, 16, 32, 64, 128, 256, 320, 512"),
        ("0.10.2", ("max-lora-rank", "abc"), "must be a whole number"),
        ("0.26.0", ("max-loras", "1.5"), "must be a whole number"),
        ("0.26.0", ("max-loras", None), "must be a whole number"),
        ("0.26.0", ("block-size", "7"), "must be a multiple of 16"),
        ("0.17.0", ("block-size", "7"), "must be one of 1, 8, 16, 32, 64, 128, 256"),
        ("0.17.0", ("block-size", "8"), "must be a multiple of 16"),
    ],
)
def test_values_that_the_release_refuses(
    version: str, row: tuple[str, str | None], words: str
) -> None:
    refusal = refusal_of(with_flags(row, version=version))
    assert (refusal.reason, refusal.field) == ("InvalidArgument", f"spec.engine.args[{row[0]}]")
    assert words in refusal.message


@pytest.mark.parametrize(
    "row", [("dtype", "half"), ("max-lora-rank", "64"), ("block-size", "128"), ("seed", "-1")]
)
def test_values_that_it_takes(row: tuple[str, str]) -> None:
    assert dict(planned(with_flags(row)).flags)[row[0]] == row[1]


def test_a_release_without_an_entry_takes_what_its_own_package_says() -> None:
    newest = find_engine("vllm", "0.33.0")
    assert newest is not None
    assert newest.values == flag_values()["0.33.0"] != flag_values()["0.26.0"]
    image_line = find_engine("llm-scaler", "0.33.0")
    assert image_line is not None
    assert image_line.values == flag_values()["0.26.0"]


def test_a_type_that_the_card_has_not_leaves_cards_that_have_it() -> None:
    args = {"args": [{"name": "dtype", "value": "bfloat16"}]}
    a770 = spec("Qwen/Qwen3-4B", gpu={"type": "arc-a770-16g"}, engine=args)
    refusal = refusal_of(a770)
    assert refusal.field == "spec.engine.args[dtype]"
    assert refusal.message == "--dtype bfloat16 isn't usable on arc-a770-16g; use float16"
    both = spec("Qwen/Qwen3-4B", engine=args)
    assert planned(both, cards=("arc-a770-16g", "arc-pro-b60")).gpu == "arc-pro-b60"


def test_a_type_that_the_engine_refuses_for_the_model() -> None:
    args = {"args": [{"name": "dtype", "value": "half"}]}
    given = spec("google/gemma-3-12b-it", gpu={"type": "arc-pro-b60"}, engine=args)
    assert (
        "refused by vllm 0.26.0 for gemma3_text models; use bfloat16" in refusal_of(given).message
    )
