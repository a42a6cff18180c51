"""The loop converges: plan, a world's log, the classifier, healing; until it holds or must stop.

The worlds' rules of memory are their own (`tests/bench/healing/world.py`, proven against a real
vLLM in `tests/unit/healing/test_world.py`). `python -m tests.bench.healing` plays thousands.
"""

import statistics

from hypothesis import given
from hypothesis import strategies as st
from tests.bench.healing.draw import draw
from tests.bench.healing.loop import play
from tests.examples import examples

SAMPLE = range(5_000_000, 5_000_160)


@examples(60)
@given(st.integers(0, 10**6))
def test_every_world_ends(seed):
    game = play(draw(seed))
    if game is None:
        return
    assert game.steps <= 6
    assert game.healthy or ":" in game.end
    if game.case.truth.other:
        assert not game.healthy
        assert game.levers in ((), ("environment:CCL_ENABLE_SYCL_KERNELS",))


def test_what_can_be_healed_is_healed_in_few_steps_with_most_of_the_memory():
    games = [game for seed in SAMPLE if (game := play(draw(seed))) is not None]
    failed = [game for game in games if game.steps or not game.healthy]
    healable = [game for game in failed if game.healable]
    healed = [game for game in healable if game.healthy]
    steps = sorted(game.steps for game in healed)
    assert len(healable) >= 30
    assert len(healed) >= 0.95 * len(healable)
    assert statistics.median(steps) == 1
    assert steps[int(0.95 * len(steps))] <= 3
    # Over 4,000 worlds the mean is 0.901 (docs/benchmarks.md); these, always the same, lie above.
    assert statistics.mean(game.share for game in healed) >= 0.90
    assert sum(game.useless for game in games) == 0
