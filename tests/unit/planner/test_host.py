"""Host memory term by term, and weights that are moved there."""

from typing import Any

from tests.unit.planner.requests import GIB, planned, seed_spec, spec

from xpullm.planner import Plan

B60 = {"type": "arc-pro-b60"}
MIB = 1 << 20


def terms(made: Plan) -> dict[str, int]:
    return {t.name: t.bytes for t in made.host.terms}


def with_flags(card: str, count: int, **flags: str) -> Plan:
    rows: list[dict[str, Any]] = [
        {"name": n.replace("_", "-"), "value": v} for n, v in flags.items()
    ]
    given = {"type": card, "count": count}
    return planned(spec("Qwen/Qwen3-8B", gpu=given, engine={"name": "vllm", "args": rows}))


def test_one_rank_of_an_engine_that_loads_file_by_file() -> None:
    made = with_flags("arc-pro-b60", 1)
    assert terms(made) == {"engine": 3584 * MIB, "loader": 2 * GIB, "shared memory": 2 * GIB}
    assert made.host.shm_bytes == 2 * GIB
    assert made.host.request_bytes == 7680 * MIB  # 3584 + 2048 + 2048, a multiple of 256
    assert made.host.limit_bytes == 8960 * MIB  # 15 % more is 8832, rounded up to 35 x 256


def test_several_cards_are_mirrored_in_host_memory() -> None:
    """Whatever two cards hold, host pages hold too: weights and KV cache of both ranks."""
    made = with_flags("arc-pro-b60", 2)
    held = made.ledger.weights_bytes + made.ledger.kv_cache_bytes
    assert terms(made) == {
        "engine": 4608 * MIB,  # 1 GiB for the second rank
        "loader": 2 * GIB,
        "driver mirror": 2 * held,
        "shared memory": 8 * GIB,
    }
    assert held > 16 * GIB  # 7.7 GiB of weights each, the rest cache
    assert made.host.shm_bytes == 8 * GIB


def test_no_mirror_where_the_driver_has_none() -> None:
    assert "driver mirror" not in terms(with_flags("max-1100", 2))
    assert "driver mirror" not in terms(with_flags("arc-pro-b60", 1))


def test_swap_space_is_pinned_for_each_card() -> None:
    """The engine's own 0.5 GiB, and the user's 4 GiB on each of two cards."""
    assert terms(planned(seed_spec()))["swap space"] == 512 * MIB
    gpu = {"type": "arc-a770-16g", "count": 2}
    engine = {"name": "ipex-llm", "args": [{"name": "swap-space", "value": "4"}]}
    made = planned(spec(quantization="sym_int4", gpu=gpu, engine=engine))
    assert terms(made)["swap space"] == 8 * GIB


def test_weights_moved_to_the_host_are_off_the_card() -> None:
    plain, moved = with_flags("arc-pro-b60", 1), with_flags("arc-pro-b60", 1, cpu_offload_gb="4")
    assert plain.ledger.weights_bytes - moved.ledger.weights_bytes == 4 * GIB
    assert terms(moved)["weights offloaded"] == 4 * GIB
    assert moved.ledger.kv_cache_tokens > plain.ledger.kv_cache_tokens


def test_no_more_moves_than_there_is_and_the_vocabulary_stays() -> None:
    """Embedding and head of 151,936 rows of 4096 in 16 bit stay on the card: 2,489,319,424 bytes.
    36 layers of 192,946,432 parameters (qkv 4096 x 6144, o 4096 x 4096, gate and up 4096 x 24576,
    down 12288 x 4096, norms 2 x 4096 + 2 x 128) can move: 13,892,143,104 bytes."""
    made = with_flags("arc-pro-b60", 1, cpu_offload_gb="100")
    card, host = made.ledger.weights_bytes, terms(made)["weights offloaded"]
    assert 2_489_319_424 <= card <= 2_489_319_424 + 64 * MIB
    assert 13_892_143_104 <= host <= 13_892_143_104 + 128 * MIB
