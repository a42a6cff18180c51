"""Laws of what Events add: whoever writes them, they change nothing by themselves."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from xpullm.controller.decide_silence import MOST, NOTE_CHARS, delay, kept, said, stuck
from xpullm.controller.timestamps import rfc3339
from xpullm_runtime.diagnosis.signatures import data

START = 1_700_000_000
EXAMPLES = [str(row["example"]) for row in data("signatures.json")["signatures"]]
TEXTS = st.one_of(st.text(max_size=60), st.sampled_from(EXAMPLES))
POD = {
    "metadata": {"name": "p", "uid": "u", "creationTimestamp": "2023-01-01T00:00:00Z"},
    "spec": {"nodeName": "n"},
}


def warning(reason: str, note: str, number: int) -> dict[str, Any]:
    return {
        "regarding": {"uid": "u"},
        "type": "Warning",
        "reason": reason,
        "note": note,
        "eventTime": rfc3339(START + number),
    }


@given(texts=st.lists(st.tuples(st.sampled_from(["FailedMount", "x"]), TEXTS), max_size=3))
def test_whatever_is_said_of_a_pod_that_does_not_start_can_change_nothing(
    texts: list[tuple[str, str]],
) -> None:
    """What is not actionable moves no lever (tests/unit/healing)."""
    items = [warning(*text, number) for number, text in enumerate(texts)]
    found = stuck([POD], (), kept(items, "u"))
    assert len(found) <= 1
    for failure in found:
        assert not failure.diagnosis.actionable
        assert failure.diagnosis.helps in ("person", "wait")
    told = delay([POD], kept(items, "u"), START)
    assert "has not started" in told


RUBBISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["regarding", "uid", "note", "reason", "eventTime", "series", "type"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=4,
)


TEXT_EVENTS = st.builds(warning, TEXTS, TEXTS, st.integers(0, 10**6))


@given(
    items=st.lists(
        st.dictionaries(st.text(max_size=9), RUBBISH, max_size=4) | TEXT_EVENTS, max_size=24
    )
)
def test_a_listing_is_bounded_whatever_is_in_it(items: list[dict[str, Any]]) -> None:
    found = kept(items, "u")
    assert len(found) <= MOST
    assert all(len(said(event)) <= NOTE_CHARS + 130 for event in found)
    assert all(said(event).isprintable() for event in found)
