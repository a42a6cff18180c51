"""ipex-llm's V0 engine: the pool takes all of u·M, a forward pass comes on top."""

import re
from dataclasses import replace

import pytest
from hack.simengine import rules_v0
from hack.simengine.card import Card
from hack.simengine.model import find
from hack.simengine.plan import Arguments, Pool
from hack.simengine.truth import GIB, Truth
from hack.simengine.wording import EngineError

_MODEL = find("Qwen/Qwen2-7B-Instruct")
_SEED = Arguments(
    longest=4096, fit_longest=False, sequences=256, batched_tokens=4096, chunked=False,
    utilization=0.7, block_size=16, blocks_override=None, pinned_pool=None, kv_bytes=2, ranks=1,
    swap_bytes=0, low_bit="sym_int4", method="",
)  # fmt: skip


def _start(arguments: Arguments, truth: Truth) -> tuple[Card, Pool]:
    card = Card(truth)
    rules_v0.load(card, _MODEL, arguments)
    rules_v0.profile(card, _MODEL, arguments)
    pool = rules_v0.size_pool(card, _MODEL, arguments)
    rules_v0.allocate_pool(card, _MODEL, pool)
    return card, pool


def test_the_pool_is_what_the_weights_leave_of_the_budget() -> None:
    card, pool = _start(_SEED, Truth())
    assert card.allocated == pytest.approx(0.7 * card.total, abs=1 << 20)
    assert pool.tokens == pytest.approx((0.7 * 15.11 - 4.51) * GIB / 57_344, rel=0.01)


def test_activations_come_on_top_and_fail_where_the_card_is_shared() -> None:
    card, _ = _start(_SEED, Truth(foreign=7 * GIB // 2))
    with pytest.raises(EngineError) as failure:
        rules_v0.step(card, _MODEL, _SEED, tokens=4096, sampled=256)
    assert re.fullmatch(
        r"XPU out of memory\. Tried to allocate \d+\.\d\d (MiB|GiB) \(GPU 0; 15\.11 GiB total "
        r"capacity; 10\.\d\d GiB already allocated; 10\.\d\d GiB reserved in total by PyTorch\)",
        failure.value.message,
    )


def test_the_same_load_holds_on_a_card_of_ones_own() -> None:
    card, _ = _start(_SEED, Truth())
    rules_v0.step(card, _MODEL, _SEED, tokens=4096, sampled=256)


def test_fewer_sequences_heal_it() -> None:
    fewer = replace(_SEED, sequences=4)
    card, _ = _start(fewer, Truth(foreign=7 * GIB // 2))
    rules_v0.step(card, _MODEL, fewer, tokens=4096, sampled=4)


def test_a_pool_larger_than_the_card_fails_while_it_is_allocated() -> None:
    with pytest.raises(EngineError, match="XPU out of memory") as failure:
        _start(replace(_SEED, utilization=0.9), Truth(foreign=3 * GIB))
    assert failure.value.frames[-1][2] == "_allocate_kv_cache"


def test_too_little_for_the_longest_sequence() -> None:
    short = replace(_SEED, longest=32_768, batched_tokens=32_768, utilization=0.35)
    with pytest.raises(EngineError, match=r"max seq len \(32768\) is larger than .* \(14\d\d\d\)"):
        _start(short, Truth())


def test_no_block_at_all() -> None:
    with pytest.raises(EngineError, match="No available memory for the cache blocks"):
        _start(replace(_SEED, utilization=0.25), Truth())


def test_one_block_above_four_gib_is_refused_whatever_is_free() -> None:
    huge = replace(_SEED, longest=32_768, batched_tokens=65_536, sequences=1)
    with pytest.raises(EngineError, match="memory block with size larger than 4GB"):
        _start(huge, Truth())


def test_a_leak_ends_in_out_of_memory() -> None:
    card, _ = _start(_SEED, Truth())
    rules_v0.leak(card, 4 * GIB)
    with pytest.raises(EngineError, match="XPU out of memory"):
        rules_v0.leak(card, GIB)
