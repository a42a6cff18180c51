"""Single terms of the ledger against figures that engines printed, one model per family."""

import pytest

from xpullm.catalog import find_engine, find_model, gpus, quantizations
from xpullm.planner import Arguments, Estimate, ModelFacts, estimate, parse_config
from xpullm.planner.allocator import Allocator
from xpullm.planner.kv import KVLayout, kv_layout, state_bytes

GIB = 1 << 30
MIB = 1 << 20
H100_GIB = 79.19


def facts_of(name: str) -> ModelFacts:
    entry = find_model(name)
    assert entry is not None
    return parse_config(entry["config"])


def layout_of(
    name: str, *, tensor: int = 1, block: int = 16, batched: int = 8192, groups: bool = True
) -> KVLayout:
    return kv_layout(facts_of(name), tensor, 1, block, 2, batched, groups)


def printed(name: str, quantization: str = "bf16", tensor: int = 1) -> Estimate:
    """The start-up that many public logs of vLLM 0.19 show: one H100, its defaults."""
    engine = find_engine("vllm", "0.19.0")
    assert engine is not None
    return estimate(
        facts_of(name),
        quantizations()[quantization],
        None,
        engine,
        Arguments(
            max_model_len=8192,
            max_num_seqs=1024,
            max_num_batched_tokens=8192,
            gpu_memory_utilization=0.95,
            tensor_parallel_size=tensor,
            enforce_eager=False,
        ),
        platform="cuda",
        visible_bytes=int(H100_GIB * GIB),
    )


@pytest.mark.parametrize(
    ("name", "quantization", "tensor", "weights_gib"),
    [
        ("meta-llama/Llama-3.1-8B", "bf16", 1, 14.99),
        ("meta-llama/Llama-3.1-8B", "fp8", 1, 8.49),
        ("meta-llama/Llama-3.1-8B", "bf16", 4, 3.77),
        ("google/gemma-2-9b", "bf16", 1, 17.22),
        ("google/gemma-3-4b-it", "bf16", 1, 8.58),
        ("google/gemma-3-27b-it", "bf16", 1, 51.45),
        ("deepseek-ai/DeepSeek-V2-Lite", "bf16", 1, 29.43),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "bf16", 2, 43.51),
    ],
)
def test_resident_weights_as_printed(
    name: str, quantization: str, tensor: int, weights_gib: float
) -> None:
    ledger = printed(name, quantization, tensor).ledger
    assert ledger is not None
    assert ledger.weights_bytes / GIB == pytest.approx(weights_gib, rel=0.002)


@pytest.mark.parametrize(
    ("name", "token_bytes"),
    [
        ("meta-llama/Llama-2-7b-hf", 524_288),
        ("meta-llama/Meta-Llama-3-8B", 131_072),
        ("Qwen/Qwen2.5-0.5B", 12_288),
        ("Qwen/Qwen2-7B", 57_344),
        ("Qwen/Qwen3-8B", 147_456),
        ("mistralai/Mistral-Small-24B-Instruct-2501", 163_840),
        ("deepseek-ai/DeepSeek-V2-Lite", 31_104),
        ("deepseek-ai/DeepSeek-V3", 70_272),
    ],
)
def test_bytes_per_token_as_printed(name: str, token_bytes: int) -> None:
    assert layout_of(name).token_bytes == token_bytes


def test_kv_heads_are_replicated_where_there_are_more_ranks() -> None:
    assert layout_of("Qwen/Qwen2.5-1.5B", tensor=2).token_bytes == 14_336
    assert layout_of("Qwen/Qwen2.5-1.5B", tensor=4).token_bytes == 14_336


def test_a_latent_is_the_same_on_every_rank() -> None:
    one = layout_of("deepseek-ai/DeepSeek-V2-Lite").token_bytes
    assert layout_of("deepseek-ai/DeepSeek-V2-Lite", tensor=8).token_bytes == one


def test_window_layers_share_the_pool_in_groups() -> None:
    layout = layout_of("google/gemma-3-1b-it")
    assert (layout.group_layers, layout.full_groups, layout.window_groups) == (4, 1, 6)
    assert layout.blocks_for(2048) == 902  # 128 + 6 x 129, printed: 461.21 requests of 2048


def test_without_groups_window_layers_take_full_length() -> None:
    assert layout_of("google/gemma-3-1b-it", groups=False).token_bytes == 26_624


def test_a_hybrid_block_holds_one_state() -> None:
    facts = facts_of("Qwen/Qwen3.6-27B")
    assert state_bytes(facts, 2) == 1_603_584
    layout = layout_of("Qwen/Qwen3.6-27B", tensor=2, block=64)
    assert (layout.block_size, layout.block_bytes) == (832, 26 * MIB)
    assert layout.blocks_for(8192) == 10 + 3
    # Arc Pro B70, two cards: a pool of 13.67 GiB printed as 41.31 requests of 8192 tokens.
    assert layout.blocks(int(13.67 * GIB)) / 13 == pytest.approx(41.31, abs=0.01)


def test_the_longest_request_of_a_pool() -> None:
    layout = layout_of("Qwen/Qwen3-8B", block=64)
    assert layout.longest(1000 * layout.block_bytes, 40960) == 40960
    assert layout.longest(100 * layout.block_bytes, 40960) == 6400
    assert layout.longest(0, 40960) == 0


@pytest.mark.parametrize(
    ("name", "tensor", "activation_gib"),
    [
        ("meta-llama/Llama-3.1-8B", 1, 1.89),
        ("meta-llama/Llama-3.1-8B", 4, 1.89),
        ("google/gemma-2-9b", 1, 3.65),
        ("deepseek-ai/DeepSeek-V2-Lite", 1, 1.93),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 2, 1.21),
    ],
)
def test_the_activation_peak_as_printed(name: str, tensor: int, activation_gib: float) -> None:
    ledger = printed(name, tensor=tensor).ledger
    assert ledger is not None
    assert ledger.activation_bytes / GIB == pytest.approx(activation_gib, rel=0.055)


def test_an_intel_log_to_the_block() -> None:
    """One tile of a Max 1550 with every argument a default printed 90,816 tokens."""
    engine = find_engine("vllm", "0.10.1rc2")
    assert engine is not None
    answer = estimate(
        facts_of("meta-llama/Llama-2-7b-hf"),
        quantizations()["fp16"],
        gpus()["max-1550"],
        engine,
        Arguments(
            max_model_len=4096,
            max_num_seqs=256,
            max_num_batched_tokens=2048,
            gpu_memory_utilization=0.9,
            dtype="float16",
        ),
        visible_bytes=65520 * MIB,
    )
    assert answer.ledger is not None
    assert answer.ledger.kv_cache_tokens == pytest.approx(90_816, rel=0.01)


class TestAllocator:
    def test_large_blocks_are_rounded_to_2_mib(self) -> None:
        heap = Allocator(0)
        assert heap.take(11 * MIB) == 12 * MIB

    def test_what_is_left_of_more_than_1_mib_is_split_off(self) -> None:
        heap = Allocator(0)
        assert heap.take(int(10.5 * MIB)) == int(10.5 * MIB)

    def test_while_loading_large_blocks_are_never_split(self) -> None:
        heap = Allocator(20 * MIB)
        assert heap.take(int(24.5 * MIB)) == 26 * MIB

    def test_a_freed_block_is_reused_whole(self) -> None:
        heap = Allocator(20 * MIB)
        heap.give(heap.take(64 * MIB))
        assert heap.take(48 * MIB) == 64 * MIB
        assert heap.allocated == 64 * MIB

    def test_a_much_larger_block_is_not(self) -> None:
        heap = Allocator(20 * MIB)
        heap.give(heap.take(64 * MIB))
        assert heap.take(30 * MIB) == 30 * MIB
        assert heap.peak == 64 * MIB


# gpt-oss-20b: 24 layers of 32 experts, 2880 wide in both directions, 17 bits per 32 weights.
# Attention, router, norms, sinks and vocabulary in 16 bit are 3.37 GiB of all figures.
GPT_OSS = ("openai/gpt-oss-20b", "mxfp4")


def mxfp4_weights(version: str, platform: str, tensor: int = 1) -> float:
    engine = find_engine("vllm", version)
    assert engine is not None
    ledger = estimate(
        facts_of(GPT_OSS[0]),
        quantizations()[GPT_OSS[1]],
        None,
        engine,
        Arguments(4096, 16, 2048, tensor_parallel_size=tensor),
        platform=platform,
        visible_bytes=24 * GIB,
    ).ledger
    assert ledger is not None
    return ledger.weights_bytes / GIB


def test_experts_are_padded_for_their_kernel() -> None:
    """Printed: 13.27 GiB by 0.14 on XPU (hidden and intermediate 2944), 12.87 on a B70 with XPU's
    own kernel (nothing padded), 13.72 by 0.19 on an A100 (hidden 3072, intermediate 2944)."""
    assert mxfp4_weights("0.14.1", "xpu") == pytest.approx(13.27, rel=0.01)
    assert mxfp4_weights("0.26.0", "xpu") == pytest.approx(12.87, rel=0.01)
    assert mxfp4_weights("0.19.1", "cuda") == pytest.approx(13.72, rel=0.01)
    layers_x_experts = 24 * 32
    weights_14, weights_26 = (3 * n * n * 17 / 32 for n in (2944, 2880))
    biases_14, biases_26 = (3 * n * 2 for n in (2944, 2880))
    more = layers_x_experts * (weights_14 + biases_14 - weights_26 - biases_26) / GIB
    assert more == pytest.approx(0.4250, abs=0.001)
    padded = mxfp4_weights("0.14.1", "xpu") - mxfp4_weights("0.26.0", "xpu")
    assert padded == pytest.approx(more, abs=0.03)  # blocks are rounded by the allocator


def test_a_rank_pads_its_own_share_of_the_experts() -> None:
    """Half of 2880 is 1440: 1472 on XPU today, 1536 on CUDA; printed by 0.19 on two H100: 7.01."""
    assert mxfp4_weights("0.26.0", "xpu", 2) == pytest.approx(6.56, abs=0.05)
    assert 7.01 <= mxfp4_weights("0.19.1", "cuda", 2) <= 7.01 * 1.02
