"""The bar: 64 letters, each a 64th of the card, whatever the sizes are."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.examples import examples

from xpullm.cli.membar import WIDTH, memory_bar
from xpullm.planner.types import Ledger

GIB = 1 << 30
EMPTY = Ledger(
    visible_bytes=16 * GIB, context_bytes=0, weights_bytes=0, activation_bytes=0,
    non_torch_bytes=0, graph_bytes=0, kv_cache_bytes=0, outside_bytes=0, reserve_bytes=0,
    free_bytes=16 * GIB, kv_bytes_per_token=1, kv_cache_tokens=0, max_model_len_fits=0,
    block_size=16,
)  # fmt: skip


def test_each_letter_is_a_64th_of_the_card() -> None:
    ledger = replace(
        EMPTY, weights_bytes=8 * GIB, kv_cache_bytes=4 * GIB, reserve_bytes=GIB, free_bytes=3 * GIB
    )
    bar, legend = memory_bar(ledger)
    assert bar == "  [" + "W" * 32 + "K" * 16 + "-" * 4 + "." * 12 + "]"
    assert legend == "   GiB:  W weights 8.00  K KV cache 4.00  - reserve 1.00  . free 3.00"


def test_what_is_too_much_runs_over_the_end() -> None:
    ledger = replace(EMPTY, weights_bytes=20 * GIB, free_bytes=-4 * GIB)
    bar, legend = memory_bar(ledger)
    assert bar == "  [" + "W" * 64 + "]!"
    assert legend == "   GiB:  W weights 20.00  ! missing 4.00"


@examples(40)
@given(st.lists(st.integers(0, 40 * GIB), min_size=7, max_size=7))
def test_the_bar_is_as_wide_as_ever(sizes: list[int]) -> None:
    fields = (
        "weights_bytes", "activation_bytes", "kv_cache_bytes", "non_torch_bytes", "graph_bytes",
        "context_bytes", "outside_bytes",
    )  # fmt: skip
    ledger = replace(
        EMPTY, **dict(zip(fields, sizes, strict=True)), free_bytes=16 * GIB - sum(sizes)
    )
    bar, *legend = memory_bar(ledger)
    assert len(bar.rstrip("!")) == len("  []") + WIDTH
    assert bar.endswith("!") is (sum(sizes) > 16 * GIB)
    assert all(len(line) < 80 for line in legend)
