"""The game's world answers as a real vLLM 0.25 did (table in docs/healing.md)."""

import pytest
from tests.bench.healing.world import GIB, Flags, Geometry, Truth, World

QWEN3_8B = Geometry("qwen3-8b", 36, 4096, 12288, 8, 128, 151936, weights=int(5.71 * GIB))
NEMO = Geometry("mistral-nemo", 40, 5120, 14336, 8, 128, 131072, weights=int(7.82 * GIB))
CARDS = {
    "qwen3-8b": (QWEN3_8B, 11.9, Flags(length=8192, seqs=64, tokens=8192, utilization=0.94)),
    "mistral-nemo": (NEMO, 15.6, Flags(length=8192, seqs=128, tokens=8192, utilization=0.945)),
}
CONTEXT, RUNTIME = int(0.51 * GIB), int(0.22 * GIB)
TORN = int(0.19 * GIB)  # between 0.08 GiB of spare memory, which died, and 0.25, which held


def world(name: str) -> tuple[World, Flags]:
    geometry, total, flags = CARDS[name]
    truth = Truth(pool="v1", total=int(total * GIB), context=CONTEXT, runtime=RUNTIME, torn=TORN)
    return World(geometry, truth), flags


CHANGES = {
    "none": {},
    "tokens 2048": {"tokens": 2048},
    "sequences / 4": {"seqs": 4},
    "utilization - 0.03": {"utilization": -0.03},
    "pinned": {"pinned": 0},
    "pinned, sequences / 4": {"pinned": 0, "seqs": 4},
    "pinned, tokens 4096": {"pinned": 0, "tokens": 4096},
    "pinned, tokens 2048": {"pinned": 0, "tokens": 2048},
    "pinned - 0.35 GiB": {"pinned": int(0.35 * GIB)},
}
DIED = {
    "qwen3-8b": {"none", "tokens 2048", "sequences / 4", "pinned", "pinned, sequences / 4"},
    "mistral-nemo": {"none", "tokens 2048", "pinned"},
}


def changed(world: World, flags: Flags, change: dict) -> Flags:
    kv = None
    if "pinned" in change:
        kv = world.pool(flags) - change["pinned"]
    return Flags(
        length=flags.length,
        seqs=flags.seqs // change.get("seqs", 1),
        tokens=change.get("tokens", flags.tokens),
        utilization=flags.utilization + change.get("utilization", 0.0),
        kv_bytes=kv,
    )


@pytest.mark.parametrize("name", list(CARDS))
@pytest.mark.parametrize("change", list(CHANGES))
def test_the_same_changes_hold_and_die(name, change):
    engine, flags = world(name)
    result = engine.run(changed(engine, flags, CHANGES[change]))
    assert (result.failure != "") == (change in DIED[name])
    if result.failure:
        assert (result.failure, result.phase) == ("oom", "runtime")


@pytest.mark.parametrize(
    ("name", "tokens", "pool_gib"),
    [
        ("qwen3-8b", 8192, 4.44),
        ("qwen3-8b", 2048, 5.05),
        ("mistral-nemo", 8192, 5.74),
        ("mistral-nemo", 2048, 6.41),
    ],
)
def test_what_activations_give_back_becomes_pool(name, tokens, pool_gib):
    engine, flags = world(name)
    pool = engine.pool(Flags(flags.length, flags.seqs, tokens, flags.utilization))
    assert pool / GIB == pytest.approx(pool_gib, abs=0.1)
