"""Continuous batching keeps to its limits, and every request is served."""

from dataclasses import replace

from hack.simengine.plan import Arguments, Pool
from hack.simengine.scheduler import Scheduler, Sequence
from hypothesis import given
from hypothesis import strategies as st

_ARGUMENTS = Arguments(
    longest=64, fit_longest=False, sequences=3, batched_tokens=64, chunked=True, utilization=0.9,
    block_size=4, blocks_override=None, pinned_pool=None, kv_bytes=2, ranks=1, swap_bytes=0,
    low_bit="sym_int4", method="",
)  # fmt: skip
_REQUESTS = st.lists(st.tuples(st.integers(1, 48), st.integers(1, 16)), min_size=1, max_size=8)


@given(
    requests=_REQUESTS,
    chunked=st.booleans(),
    sequences=st.integers(1, 4),
    budget=st.integers(64, 128),
    blocks=st.integers(16, 40),
)
def test_limits_hold_and_everything_is_served(
    requests: list[tuple[int, int]], chunked: bool, sequences: int, budget: int, blocks: int
) -> None:
    arguments = replace(_ARGUMENTS, chunked=chunked, sequences=sequences, batched_tokens=budget)
    scheduler = Scheduler(arguments, Pool(blocks, 4, 0))
    everything = [Sequence(str(i), prompt, wanted) for i, (prompt, wanted) in enumerate(requests)]
    for sequence in everything:
        scheduler.add(sequence)
    for _ in range(2000):
        step = scheduler.step()
        if step is None:
            break
        assert 0 < step.tokens <= budget
        assert len(step.sampled) <= sequences
        assert scheduler.usage() <= 1
    assert [s.generated for s in everything] == [s.wanted for s in everything]
    assert not scheduler.waiting
    assert not scheduler.running


def test_a_full_load_of_long_prompts_fills_a_step() -> None:
    scheduler = Scheduler(_ARGUMENTS, Pool(1000, 4, 0))
    for name in "abc":
        scheduler.add(Sequence(name, 60, 4))
    steps = [scheduler.step() for _ in range(3)]
    assert [step.tokens for step in steps if step] == [64, 64, 55]


def test_without_chunked_prefill_prompts_stay_whole() -> None:
    scheduler = Scheduler(replace(_ARGUMENTS, chunked=False), Pool(1000, 4, 0))
    for name in "abc":
        scheduler.add(Sequence(name, 40, 4))
    steps = [scheduler.step() for _ in range(3)]
    assert [(s.tokens, [q.id for q in s.sampled]) for s in steps if s] == [
        (40, ["a"]),
        (40, ["b"]),
        (40, ["c"]),
    ]
