"""LoRA slots: what the engine allocates for adapters at start, and where it takes it from."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.planner.requests import impossible, planned, request_of, spec
from tests.unit.planner.test_batch import ROW
from tests.unit.planner.test_terms import facts_of

from xpullm.catalog import models
from xpullm.planner import Arguments, Plan, estimate_row, explain, plan
from xpullm.planner.lora import lora_bytes

GIB = 1 << 30
QWEN = "Qwen/Qwen3-8B"


def slots(
    name: str,
    rank: int,
    loras: int = 1,
    *,
    tensor: int = 1,
    pipeline: int = 1,
    sharded: bool = False,
) -> int:
    extra: tuple[tuple[str, str | None], ...] = (
        ("enable-lora", None),
        ("max-lora-rank", str(rank)),
        ("max-loras", str(loras)),
    )
    if sharded:
        extra += (("fully-sharded-loras", None),)
    arguments = Arguments(
        2048, 4, 2048, tensor_parallel_size=tensor, pipeline_parallel_size=pipeline, extra=extra
    )
    return lora_bytes(facts_of(name), arguments)


def test_every_matrix_of_a_dense_model() -> None:
    """Qwen3-8B: hidden 4096, queries 4096, keys and values 1024 each, MLP 12288, 36 layers,
    vocabulary 151936. A x 3 and B of qkv, A and B of o, A x 2 and B of gate and up, of down:
    (3 x 4096 + 6144) + (4096 + 4096) + (2 x 4096 + 24576) + (12288 + 4096) = 75776 per layer,
    x 36 x rank 64 x 2 bytes = 349,175,808 (333 MiB); embedding and head are adapted too:
    2 x (151936 + 4096) x 64 x 2 = 39,944,192."""
    assert slots(QWEN, 64) == 349_175_808 + 39_944_192
    assert slots(QWEN, 64, 4) == 4 * (349_175_808 + 39_944_192)
    assert slots(QWEN, 16) == (349_175_808 + 39_944_192) // 4


def test_two_ranks_hold_all_of_one_side() -> None:
    """A of qkv and of gate and up, B of o and of down stay whole; the other sides are halved:
    (12288 + 3072) + (2048 + 4096) + (8192 + 12288) + (6144 + 4096) = 52224 per layer."""
    assert slots(QWEN, 64, tensor=2) == 52224 * 36 * 64 * 2 + 39_944_192


def test_fully_sharded_halves_both_sides() -> None:
    """75776 / 2 = 37888 per layer; embedding and head stay whole."""
    assert slots(QWEN, 64, tensor=2, sharded=True) == 37888 * 36 * 64 * 2 + 39_944_192


def test_every_expert_has_adapters() -> None:
    """Qwen3-30B-A3B: hidden 2048, queries 4096, keys 512, 128 experts of 768, 48 layers.
    qkv 3 x 2048 + 5120, o 4096 + 2048, router 2048 + 128, experts 128 x (2 x 2048 + 1536 + 768 +
    2048) = 1,081,344: 1,100,928 per layer; vocabulary 2 x (151936 + 2048); rank 16."""
    assert slots("Qwen/Qwen3-30B-A3B", 16) == (1_100_928 * 48 + 307_968) * 16 * 2


def test_stages_share_the_layers() -> None:
    """18 of 36 layers, and one of embedding and head."""
    assert slots(QWEN, 64, pipeline=2) == 349_175_808 // 2 + 39_944_192 // 2


@pytest.mark.parametrize("value", [None, "true", "True"])
def test_off_unless_enabled(value: str | None) -> None:
    facts = facts_of(QWEN)
    assert lora_bytes(facts, Arguments(2048, 4, 2048, extra=(("max-loras", "8"),))) == 0
    assert lora_bytes(facts, Arguments(2048, 4, 2048, extra=(("enable-lora", "false"),))) == 0
    assert lora_bytes(facts, Arguments(2048, 4, 2048, extra=(("enable-lora", value),))) > 0


def answer(**args: Any) -> dict[str, Any]:
    return estimate_row({**ROW, "args": {**ROW["args"], **args}})


def test_the_engine_takes_them_from_its_pool() -> None:
    """Llama-3.1-8B, rank 64, 2 slots: (3 x 4096 + 6144) + 8192 + (2 x 4096 + 28672) + (14336 +
    4096) = 81920 per layer, x 32; vocabulary 2 x (128256 + 4096); x 64 x 2 x 2 = 705.3 MiB."""
    without, adapted = answer(), answer(enable_lora=True, max_loras=2, max_lora_rank=64)
    taken = (81920 * 32 + 264_704) * 64 * 2 * 2 / GIB
    assert without["kv_cache_gib"] - adapted["kv_cache_gib"] == pytest.approx(taken, abs=2e-4)
    assert adapted["weights_gib"] - without["weights_gib"] == pytest.approx(taken, abs=2e-4)


def test_too_many_adapters_leave_no_room_for_a_request() -> None:
    """4 slots of rank 256 take 5.5 of the pool's 6.1 GiB; 40,000 tokens need 4.9."""
    assert answer(max_model_len=40000)["starts"] is True
    wanted = answer(max_model_len=40000, enable_lora=True, max_loras=4, max_lora_rank=256)
    assert (wanted["starts"], wanted["safe"]) == (False, False)
    assert "KV cache" in wanted["reason"]
    assert wanted["kv_cache_gib"] == pytest.approx(6.13 - 5.50, abs=0.02)


def lora_spec(rank: int, loras: int = 1, **fields: Any) -> Any:
    args = [
        {"name": "enable-lora"},
        {"name": "max-lora-rank", "value": str(rank)},
        {"name": "max-loras", "value": str(loras)},
    ]
    gpu = {"type": "arc-pro-b60", "count": 1}
    return spec(QWEN, quantization="fp8", gpu=gpu, engine={"args": args}, **fields)


def test_a_plan_has_a_line_for_them() -> None:
    request = request_of(lora_spec(64))
    made = plan(request)
    assert isinstance(made, Plan)
    terms = {t.name: t for t in explain(made, request).ledger.terms}
    line = terms["LoRA adapters"]
    assert line.bytes == 389_120_000
    assert line.inputs == "max-loras 1, max-lora-rank 64, 1 rank(s)"
    assert "create_lora_weights" in line.source
    assert terms["weights"].bytes + line.bytes == made.ledger.weights_bytes
    assert sum(t.bytes for t in terms.values()) == made.ledger.visible_bytes


def test_a_plans_pool_makes_room_for_them() -> None:
    few, many = planned(lora_spec(16)), planned(lora_spec(256))
    more = 389_120_000 // 64 * (256 - 16)
    lost = few.ledger.kv_cache_bytes - many.ledger.kv_cache_bytes
    assert abs(lost - more) < 16 << 20  # whole blocks
    assert many.ledger.free_bytes >= 0


def test_the_host_keeps_adapters_to_swap_in() -> None:
    """8 adapters of Qwen3-8B at rank 64, 389,120,000 bytes each, on the one rank."""
    args = [
        {"name": "enable-lora"},
        {"name": "max-lora-rank", "value": "64"},
        {"name": "max-cpu-loras", "value": "8"},
    ]
    gpu = {"type": "arc-pro-b60", "count": 1}
    made = planned(spec(QWEN, quantization="fp8", gpu=gpu, engine={"args": args}))
    terms = {t.name: t.bytes for t in made.host.terms}
    assert terms["LoRA adapters"] == 8 * 389_120_000


@given(st.sampled_from([8, 16, 64, 256]), st.integers(1, 8), st.sampled_from(sorted(models())))
def test_more_slots_never_leave_more_room(rank: int, loras: int, name: str) -> None:
    few, many = slots(name, rank, loras), slots(name, 2 * rank, loras + 1)
    assert 0 < few < many
    assert slots(name, rank, loras, tensor=2, sharded=True) <= slots(name, rank, loras, tensor=2)
    assert slots(name, rank, loras, tensor=2) <= few


def test_adapters_that_do_not_fit_are_refused() -> None:
    assert impossible(lora_spec(512, 16)).missing_bytes > GIB
