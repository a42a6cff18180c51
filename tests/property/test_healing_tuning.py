"""Laws of a TuningRecord's list: merging is a projection, so no order and no repetition matters."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.healing.builders import pinned, plan_of

from xpullm.healing.tuning import (
    LIMIT,
    decode_entries,
    key_of,
    learned_for,
    merge,
    observation_of,
    status_of,
)

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
KEY = key_of(plan_of(pinned(7)), "6.14.0")


@st.composite
def observations(draw):
    outcome = draw(st.sampled_from(["Healthy", "Failed"]))
    cause = draw(st.sampled_from(["device_oom_runtime", "host_oom"]))
    hours = draw(st.integers(0, 24 * 40))
    plan = plan_of(
        pinned(
            draw(st.integers(2, 9)),
            max_num_seqs=draw(st.sampled_from([4, 8, 16])),
            max_num_batched_tokens=draw(st.sampled_from([1024, 2048])),
        )
    )
    return observation_of(
        plan,
        outcome,
        time=(NOW - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        cause=cause if outcome == "Failed" else "",
        phase="runtime" if outcome == "Failed" else "",
        node=draw(st.sampled_from(["a", "b", "c"])),
    )


SEEN = st.lists(observations(), max_size=25)


@given(SEEN, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(seen, random):
    once = merge((), seen, NOW)
    assert merge(once, seen, NOW) == once
    assert merge(once, (), NOW) == once
    shuffled = list(seen)
    random.shuffle(shuffled)
    assert merge((), shuffled, NOW) == once


@given(SEEN)
def test_nothing_is_made_up_and_nothing_old_is_kept(seen):
    kept = merge((), seen, NOW)
    assert set(kept) <= set(seen)
    assert len(kept) <= LIMIT
    for entry in kept:
        assert NOW - datetime.fromisoformat(entry.time) <= timedelta(days=30)


@given(SEEN)
def test_a_record_survives_the_api(seen):
    kept = merge((), seen, NOW)
    assert decode_entries(status_of(KEY, kept)) == kept


@given(SEEN)
def test_one_nodes_failures_never_bind_a_fleet(seen):
    kept = merge((), [entry for entry in seen if entry.node == "a"], NOW)
    learned = learned_for([{"status": status_of(KEY, kept)}], KEY, NOW, node_count=8)
    assert all(entry.outcome == "Healthy" for entry in learned.entries)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["arguments", "outcome", "name", "value", "time", "entries"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_a_foreign_record_is_no_record_and_no_crash(body):
    decode_entries({"entries": body})
    record = {"spec": body, "status": {"entries": body}}
    assert learned_for([record], KEY, NOW).entries == ()
