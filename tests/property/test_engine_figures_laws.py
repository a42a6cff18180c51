"""Whatever an engine's container answers, what comes out is bounded."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from xpullm.controller.engine_figures import NAMES, decode

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {
            "start": st.fixed_dictionaries(
                {"seconds": st.floats(0, 1e6)},
                optional={
                    "hostHeldPeakBytes": anything,
                    "hostPeakBytes": anything,
                    "vramPeakBytes": anything,
                    "modelRevision": anything,
                    "figures": st.dictionaries(st.sampled_from(NAMES), anything) | anything,
                },
            ),
            "gpu": anything,
            "load": st.fixed_dictionaries(
                {"kvCacheUsagePeakPercent": anything, "preemptions": anything}
            ),
        }
    )
)
def test_every_figure_is_bounded(raw: dict[str, Any]) -> None:
    data = json.dumps({"planHash": "p1", "startedUp": True, **raw}).encode()
    told = decode(data, plan_hash="p1", restarts=3, fetched=12.5)
    assert told is not None
    sizes = [*told.figures.values(), told.host_peak_bytes, told.vram_peak_bytes]
    assert all(type(size) is int and 0 <= size <= 1 << 53 for size in sizes)
    assert told.model_revision == "" or len(told.model_revision) == 40
    assert 0 <= told.preemptions < 1 << 31
    assert told.kv_usage_percent is None or 0 <= told.kv_usage_percent <= 100


@given(st.binary(max_size=200) | anything.map(lambda raw: json.dumps(raw).encode()))
def test_any_answer_is_survived(data: bytes) -> None:
    assert decode(data, plan_hash="p1", restarts=0, fetched=0.0) is None
