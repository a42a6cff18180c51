"""Plans: what they pass, what they keep free, what they do about wishes."""

import json
from dataclasses import replace

import pytest
from tests.unit.planner.requests import (
    GIB,
    flag,
    impossible,
    planned,
    refusal_of,
    request_of,
    seed_spec,
    spec,
)

from xpullm.api.llmdeployment import LLMDeploymentSpec
from xpullm.catalog import engines
from xpullm.planner import (
    Arguments,
    Learned,
    LearnedEntry,
    Plan,
    decode,
    encode,
    explain,
    inputs_hash,
    plan,
    with_arguments,
)
from xpullm.planner.build import choice_of, target_of
from xpullm.planner.shape import room
from xpullm.planner.sizes import sizes

MIB = 1 << 20
B60 = {"type": "arc-pro-b60"}


def test_the_flags_of_ipex_llm_in_order() -> None:
    made = planned(seed_spec(serving={"contextLength": 4096, "concurrency": 4}))
    assert made.command == ("python3", "-m", "ipex_llm.vllm.xpu.entrypoints.openai.api_server")
    blocks = flag(made, "num-gpu-blocks-override")
    share = flag(made, "gpu-memory-utilization")
    assert made.flags == (
        ("device", "xpu"),
        ("disable-async-output-proc", None),
        ("trust-remote-code", None),
        ("enforce-eager", None),
        ("load-in-low-bit", "sym_int4"),
        ("dtype", "float16"),
        ("max-model-len", "4096"),
        ("max-num-seqs", "4"),
        ("max-num-batched-tokens", "2048"),
        ("gpu-memory-utilization", share),
        ("num-gpu-blocks-override", blocks),
        ("block-size", "8"),
        ("swap-space", "0.5"),
        ("enable-chunked-prefill", None),
        ("disable-log-requests", None),
    )


def test_the_pool_is_pinned_where_the_engine_can() -> None:
    made = planned(spec("Qwen/Qwen3-8B", gpu=B60))
    assert int(flag(made, "kv-cache-memory-bytes") or 0) == made.ledger.kv_cache_bytes
    assert "kv-cache-memory-bytes" not in dict(planned(seed_spec()).flags)


def test_where_it_cannot_utilization_is_the_lever() -> None:
    made = planned(spec("Qwen/Qwen3-8B", gpu=B60, engine={"name": "vllm", "version": "0.10.2"}))
    names = dict(made.flags)
    assert "num-gpu-blocks-override" not in names
    assert "kv-cache-memory-bytes" not in names
    assert 0.5 < float(names["gpu-memory-utilization"] or 0) <= 0.95


def test_a_context_fits_the_pool_that_is_left_once_utilization_is_rounded() -> None:
    """In steps of 0.001 the engine gives up to 12 MB less here, and our sum may be 16 MiB off: a
    context of 47360 tokens would have been one block too long to start."""
    asked = spec(
        "Qwen/Qwen2.5-7B",
        quantization="bf16",
        gpu={"type": "arc-b580", "count": 2},
        engine={"name": "llm-scaler", "version": "0.14.0-b8.2.1"},
        serving={"concurrency": 1},
    )
    made = planned(asked)
    assert (flag(made, "gpu-memory-utilization"), made.context_length) == ("0.729", 46592)
    ledger = made.ledger
    needed = made.context_length * ledger.kv_bytes_per_token
    assert needed <= ledger.kv_cache_bytes - 16 * MIB < needed + 256 * ledger.kv_bytes_per_token
    assert ledger.max_model_len_fits >= made.context_length


def test_the_null_block_of_a_hybrid_is_not_taken_twice() -> None:
    asked = spec("Qwen/Qwen3.5-27B", quantization="fp8", gpu={"type": "arc-pro-b70", "count": 2})
    request = request_of(asked)
    made = planned(asked)
    where = target_of(request, choice_of(made, request), made.arguments.dtype)
    s = sizes(where, made.arguments)
    assert 0 <= room(where, s) - s.pool < s.layout.block_bytes


@pytest.mark.parametrize("version", [e.version for e in engines()["vllm"]])
def test_only_flags_of_the_version(version: str) -> None:
    entry = next(e for e in engines()["vllm"] if e.version == version)
    card = "arc-pro-b60" if "bmg-g21" in entry.architectures else "arc-a770-16g"
    made = planned(
        spec("Qwen/Qwen3-4B", gpu={"type": card}, engine={"name": "vllm", "version": version})
    )
    assert {name for name, _ in made.flags} <= entry.flags


def test_the_reserve() -> None:
    made = planned(spec("Qwen/Qwen3-8B", gpu=B60))
    ledger = made.ledger
    used = ledger.visible_bytes - ledger.free_bytes - ledger.reserve_bytes - ledger.outside_bytes
    assert ledger.free_bytes > 0
    assert ledger.visible_bytes - used >= GIB
    assert used <= 0.95 * ledger.visible_bytes
    assert made.utilization_percent <= 95


def test_wishes_are_reached_and_the_rest_is_filled() -> None:
    small = planned(seed_spec(serving={"contextLength": 2048, "concurrency": 2}))
    assert (small.context_length, small.concurrency) == (2048, 2)
    assert small.ledger.kv_cache_bytes > 8 * GIB


def test_sequences_do_not_fall_when_the_wished_context_is_reached() -> None:
    """A little below it 19 fit, because the context goes in steps; at full length only 18 do."""
    made = planned(
        spec(
            "microsoft/Phi-3-mini-4k-instruct",
            quantization="fp16",
            gpu={"type": "flex-170", "count": 2},
            engine={"name": "vllm", "version": "0.8.3"},
            serving={"contextLength": 2560, "concurrency": 19, "minConcurrency": 18},
        )
    )
    assert (made.context_length, made.concurrency) == (2304, 18)
    assert any(note.startswith("room for 18 full-length requests") for note in made.notes)


def test_where_nothing_is_asked_a_useful_context_comes_before_room_for_several() -> None:
    made = planned(spec("Qwen/Qwen3-8B", gpu={**B60, "count": 1}))
    assert (made.context_length, made.concurrency, made.arguments.max_num_seqs) == (8192, 4, 8)
    small = planned(spec("Qwen/Qwen3-8B", quantization="fp8", gpu={"type": "arc-b580", "count": 1}))
    assert (small.context_length, small.concurrency, small.arguments.max_num_seqs) == (5376, 1, 8)
    large = planned(spec("Qwen/Qwen3-4B", gpu={"type": "arc-pro-b70", "count": 1}))
    assert large.context_length > 8192
    assert large.concurrency == 8


def test_both_tiles_serve_where_one_does_not_hold_what_is_asked() -> None:
    wishes = {"contextLength": 8192, "concurrency": 64}
    gpu = {"type": "max-1550", "count": 1}
    made = planned(spec("meta-llama/Meta-Llama-3-8B", gpu=gpu, serving=wishes))
    assert made.arguments.tensor_parallel_size == 2
    assert (made.context_length, made.concurrency) == (8192, 64)
    one = planned(spec("meta-llama/Meta-Llama-3-8B", gpu=gpu, serving={**wishes, "concurrency": 8}))
    assert one.arguments.tensor_parallel_size == 1


@pytest.mark.parametrize("version", ["0.8.3", "0.9.0"])
def test_prompts_run_whole_where_the_engine_cannot_split_them(version: str) -> None:
    gpu = {"type": "arc-a770-16g", "count": 2}
    made = planned(spec(gpu=gpu, engine={"name": "vllm", "version": version}))
    assert "enable-chunked-prefill" not in dict(made.flags)
    assert made.arguments.max_num_batched_tokens >= made.context_length > 2048
    rows = [{"name": "max-num-batched-tokens", "value": "3072"}]
    own = planned(spec(gpu=gpu, engine={"name": "vllm", "version": version, "args": rows}))
    assert own.context_length == 3072
    rows = [{"name": "enable-chunked-prefill"}]
    refusal = refusal_of(spec(gpu=gpu, engine={"name": "vllm", "version": version, "args": rows}))
    assert "isn't supported by vllm" in refusal.message


def test_a_batch_without_chunked_prefill_bounds_the_context() -> None:
    rows = [
        {"name": "no-enable-chunked-prefill"},
        {"name": "max-num-batched-tokens", "value": "4096"},
    ]
    made = planned(spec("Qwen/Qwen3-4B", gpu=B60, engine={"name": "vllm", "args": rows}))
    assert made.context_length == 4096


def test_prefix_caching_of_a_hybrid_takes_a_state_block_more_and_a_batch_that_holds_a_block() -> (
    None
):
    def made_with(*rows: dict[str, str]) -> LLMDeploymentSpec:
        gpu = {"type": "arc-pro-b70", "count": 2}
        engine = {"name": "vllm", "args": list(rows)}
        return spec("Qwen/Qwen3.6-35B-A3B", quantization="fp8", gpu=gpu, engine=engine)

    caching = {"name": "enable-prefix-caching"}
    batch = {"name": "max-num-batched-tokens", "value": "1024"}
    plain, cached = planned(made_with()), planned(made_with(caching))
    assert plain.ledger.block_size == cached.ledger.block_size > 1024
    assert cached.context_length < plain.context_length
    assert planned(made_with(batch)).arguments.max_num_batched_tokens == 1024
    answer = impossible(made_with(caching, batch))
    assert "must hold one cache block" in answer.message
    larger = planned(made_with(caching, {"name": "kv-cache-dtype", "value": "fp8"}))
    assert larger.arguments.max_num_batched_tokens == larger.ledger.block_size == 2112


def test_a_wish_that_is_too_long_is_shortened_and_said() -> None:
    made = planned(
        spec(
            "Qwen/Qwen3-8B",
            gpu={**B60, "count": 1},
            serving={"contextLength": 40960, "concurrency": 4},
        )
    )
    assert made.context_length == 40960
    assert made.concurrency == 1
    assert any("instead of the wished 4" in note for note in made.notes)


def test_the_nearest_higher_precision_is_a_note() -> None:
    (note,) = [n for n in planned(seed_spec()).notes if "higher precision" in n]
    assert note.startswith("fp6 fits too")


def test_the_16_bit_format_of_the_note_is_the_checkpoints_own() -> None:
    made = planned(spec("Qwen/Qwen3-8B", quantization="fp8", gpu={**B60, "count": 1}))
    (note,) = [n for n in made.notes if "higher precision" in n]
    assert note.startswith("bf16 fits too")


def test_the_smallest_number_of_cards() -> None:
    made = planned(spec("Qwen/Qwen3-32B", quantization="fp8", gpu={"type": "arc-pro-b60"}))
    assert made.gpu_count == 2
    assert flag(made, "tensor-parallel-size") == "2"
    assert flag(made, "distributed-executor-backend") == "mp"


def test_the_smallest_card_that_fits() -> None:
    made = planned(spec("Qwen/Qwen3-8B", quantization="fp8"), cards=("arc-pro-b70", "arc-pro-b50"))
    assert made.gpu == "arc-pro-b50"


def test_the_users_flags_win() -> None:
    rows = [
        {"name": "max-num-seqs", "value": "3"},
        {"name": "gpu-memory-utilization", "value": "0.6"},
        {"name": "seed", "value": "7"},
    ]
    made = planned(spec("Qwen/Qwen3-4B", gpu=B60, engine={"name": "vllm", "args": rows}))
    assert (flag(made, "max-num-seqs"), flag(made, "seed")) == ("3", "7")
    assert flag(made, "gpu-memory-utilization") == "0.6"
    assert "kv-cache-memory-bytes" not in dict(made.flags)
    assert made.arguments.user == {"max-num-seqs", "gpu-memory-utilization", "seed"}


def test_host_memory_holds_the_checkpoint_while_quantizing() -> None:
    made = planned(seed_spec())
    assert made.host.request_bytes / GIB == pytest.approx(27, abs=1)
    assert made.host.limit_bytes > made.host.request_bytes
    assert made.host.request_bytes % (1 << 20) == 0
    assert planned(spec("Qwen/Qwen3-8B", gpu=B60)).host.request_bytes < 10 * GIB


@pytest.mark.parametrize("floor", [16, 100])
def test_a_floor_of_concurrency_above_the_default_is_kept(floor: int) -> None:
    made = planned(spec("Qwen/Qwen3-8B", gpu=B60, serving={"minConcurrency": floor}))
    assert made.concurrency >= floor
    assert int(dict(made.flags)["max-num-seqs"] or 0) >= floor


def test_prompts_are_not_logged() -> None:
    assert "disable-log-requests" in dict(planned(seed_spec()).flags)
    assert "enable-log-requests" not in dict(planned(spec("Qwen/Qwen3-8B", gpu=B60)).flags)


def test_a_version_newer_than_the_catalogue_says_so() -> None:
    engine = {"name": "vllm", "version": "0.40.0", "image": "me/vllm:0.40.0"}
    made = planned(spec("Qwen/Qwen3-8B", gpu=B60, engine=engine))
    assert any("vllm 0.40.0 isn't in the catalogue" in note for note in made.notes)


class TestLearned:
    def test_what_failed_is_not_planned_again(self) -> None:
        request = request_of(seed_spec(serving={"contextLength": 4096, "concurrency": 8}))
        first = plan(request)
        assert isinstance(first, Plan)
        used = first.ledger.weights_bytes + first.ledger.activation_bytes
        used += first.ledger.non_torch_bytes + first.ledger.kv_cache_bytes
        failed = LearnedEntry(first.arguments, "Failed", "device_oom_runtime", "serving", used)
        second = plan(request, Learned((failed,)))
        assert isinstance(second, Plan)
        assert second.ledger.kv_cache_bytes < first.ledger.kv_cache_bytes

    def test_failures_of_other_causes_say_nothing(self) -> None:
        request = request_of(seed_spec())
        entry = LearnedEntry(Arguments(2048, 1, 512), "Failed", "host_oom", "loading", 1)
        assert plan(request, Learned((entry,))) == plan(request)


class TestWithArguments:
    def test_ledger_flags_and_hash_follow(self) -> None:
        request = request_of(spec("Qwen/Qwen3-8B", gpu=B60))
        made = plan(request)
        assert isinstance(made, Plan)
        pinned = made.ledger.kv_cache_bytes // 2
        changed = with_arguments(
            made, request, replace(made.arguments, kv_cache_memory_bytes=pinned)
        )
        assert flag(changed, "kv-cache-memory-bytes") == str(pinned)
        assert changed.ledger.kv_cache_tokens < made.ledger.kv_cache_tokens
        assert changed.hash != made.hash
        assert changed.host == made.host

    def test_nothing_changed_is_the_same_plan(self) -> None:
        request = request_of(seed_spec())
        made = plan(request)
        assert isinstance(made, Plan)
        assert with_arguments(made, request, made.arguments) == made

    def test_more_cards(self) -> None:
        request = request_of(spec("Qwen/Qwen3-8B", gpu=B60))
        made = plan(request)
        assert isinstance(made, Plan)
        two = with_arguments(made, request, made.arguments, gpu_count=2)
        assert (two.gpu_count, two.arguments.tensor_parallel_size) == (2, 2)
        assert two.ledger.weights_bytes < made.ledger.weights_bytes

    def test_another_node_is_another_plan(self) -> None:
        request = request_of(seed_spec())
        made = plan(request)
        assert isinstance(made, Plan)
        moved = with_arguments(made, request, made.arguments, avoid_nodes=("node-a",))
        assert moved.avoid_nodes == ("node-a",)
        assert moved.hash != made.hash


class TestCodec:
    def test_a_plan_survives_json(self) -> None:
        made = planned(seed_spec())
        assert decode(json.loads(json.dumps(encode(made)))) == made

    def test_fields_of_a_newer_version_are_ignored(self) -> None:
        data = encode(planned(seed_spec()))
        assert decode({**data, "tomorrow": 1}).hash == data["hash"]

    def test_inputs_hash_leaves_out_what_no_plan_depends_on(self) -> None:
        base = inputs_hash(seed_spec())
        assert inputs_hash(seed_spec(replicas=7, suspend=True)) == base
        assert inputs_hash(seed_spec(service={"port": 80}, healing={"mode": "Off"})) == base
        assert inputs_hash(seed_spec(serving={"contextLength": 2048})) != base


def test_the_explained_ledger_adds_up() -> None:
    request = request_of(seed_spec())
    made = plan(request)
    assert isinstance(made, Plan)
    terms = explain(made, request).ledger.terms
    assert sum(t.bytes for t in terms) == made.ledger.visible_bytes
    assert all(t.formula for t in terms)
    assert all(t.source for t in terms if t.name != "free")


def test_gpu_auto_without_any_card_is_refused() -> None:
    assert refusal_of(spec(), cards=("nothing-known",)).reason == "NoGPU"
