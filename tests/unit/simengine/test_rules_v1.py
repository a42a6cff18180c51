"""vLLM's V1 engine: the pool takes what is left, and the first sampling is in no account."""

from dataclasses import replace

import pytest
from hack.simengine import rules_v1
from hack.simengine.card import Card
from hack.simengine.model import find
from hack.simengine.plan import Arguments, Pool
from hack.simengine.truth import GIB, MIB, Truth
from hack.simengine.wording import EngineError

_MODEL = find("Qwen/Qwen3-8B")
_B60 = Truth(device_total=int(22.7 * GIB), single_allocation_limit=0)
_BASE = Arguments(
    longest=8192, fit_longest=False, sequences=64, batched_tokens=8192, chunked=True,
    utilization=0.9, block_size=64, blocks_override=None, pinned_pool=None, kv_bytes=2, ranks=1,
    swap_bytes=0, low_bit="", method="",
)  # fmt: skip


def _start(arguments: Arguments, truth: Truth = _B60) -> tuple[Card, Pool]:
    card, account = Card(truth), rules_v1.Account()
    rules_v1.open_card(card, arguments, account)
    rules_v1.load(card, _MODEL, arguments, account)
    rules_v1.profile(card, _MODEL, arguments, account, truth)
    memory = rules_v1.available(arguments, account)
    pool = rules_v1.size_pool(_MODEL, arguments, memory)
    rules_v1.allocate_pool(card, _MODEL, pool)
    rules_v1.warm_up(card, _MODEL, arguments)
    return card, pool


def _load(card: Card, arguments: Arguments) -> None:
    rules_v1.step(card, _MODEL, arguments, arguments.batched_tokens, arguments.sequences)


def test_fewer_batched_tokens_only_turn_activation_into_pool() -> None:
    wide, wide_pool = _start(_BASE)
    narrow, narrow_pool = _start(replace(_BASE, batched_tokens=2048))
    assert narrow_pool.size > wide_pool.size
    assert narrow.truly_free() < wide.truly_free()


def test_pinned_pool_keeps_its_size_whatever_else_changes() -> None:
    pinned = replace(_BASE, pinned_pool=4 * GIB)
    sizes = {_start(replace(pinned, batched_tokens=n))[1].size for n in (2048, 4096, 8192)}
    assert len(sizes) == 1


def test_the_gate_asks_for_free_memory_that_is_reported() -> None:
    seen = replace(_B60, foreign=4 * GIB, foreign_visible=True)
    with pytest.raises(EngineError, match=r"Free memory on device xpu:0 \(18.36/22.7 GiB\) on st"):
        _start(_BASE, seen)


def test_what_is_not_reported_fails_later() -> None:
    hidden = replace(_B60, foreign=4 * GIB)
    with pytest.raises(EngineError, match="XPU out of memory") as failure:
        _start(_BASE, hidden)
    assert failure.value.frames[-1][2] == "_allocate_kv_cache_tensors"


def test_the_engine_names_the_length_that_fits() -> None:
    long = replace(_BASE, longest=40_960, utilization=0.8)
    with pytest.raises(EngineError, match="estimated maximum model length is") as failure:
        _start(long)
    fits = int(failure.value.message.partition("model length is ")[2].partition(".")[0])
    assert _start(replace(long, longest=fits))[1].tokens >= fits


def test_the_length_can_be_fitted() -> None:
    _, pool = _start(replace(_BASE, longest=40_960, fit_longest=True, utilization=0.8))
    assert 0 < pool.tokens < 40_960


def test_weights_above_the_budget_leave_no_blocks() -> None:
    with pytest.raises(EngineError, match="No available memory for the cache blocks"):
        _start(replace(_BASE, utilization=0.6))


def test_many_sequences_at_high_utilization_die_at_the_first_sampling() -> None:
    with pytest.raises(EngineError, match="warming up sampler with 1024 dummy requests"):
        _start(replace(_BASE, sequences=1024, utilization=0.97))


def test_a_start_is_no_promise_for_the_load() -> None:
    """It starts, dies under its own worst case, and heals by the budget: so do real ones."""
    shared = replace(_B60, foreign=int(1.1 * GIB), fragmentation=0)
    edge = replace(_BASE, pinned_pool=int(5.2 * GIB), sequences=8)
    card, _ = _start(edge, shared)
    with pytest.raises(EngineError, match="XPU out of memory"):
        _load(card, edge)
    for healed in (
        replace(edge, batched_tokens=2048),
        replace(edge, pinned_pool=edge.pinned_pool - 512 * MIB),
    ):
        card, _ = _start(healed, shared)
        _load(card, healed)
