"""TuningRecord: what is kept, what expires, and what binds the next plan."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from xpullm.api.tuningrecord import TuningRecord
from xpullm.healing.tuning import (
    HEALTHY,
    LIMIT,
    decode_entries,
    key_of,
    learned_for,
    merge,
    observation_of,
    status_of,
)

from .builders import arguments, pinned, plan_of

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
PLAN = plan_of(pinned(7))
KEY = key_of(PLAN, "6.14.0")


def seen(outcome="Failed", *, gib=7.0, days=0, node="node-1", cause="device_oom_runtime"):
    time = (NOW - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    cause = cause if outcome == "Failed" else ""
    plan = plan_of(pinned(gib))
    return observation_of(plan, outcome, time=time, cause=cause, phase="runtime", node=node)


def record(*entries, key=KEY, part="status"):
    return {part: status_of(key, entries)}


def test_the_name_is_the_keys_and_a_dns_label():
    assert KEY.record_name == key_of(PLAN, "6.14.0").record_name
    assert KEY.record_name.startswith("tr-")
    assert len(KEY.record_name) == 19
    others = {
        replace(KEY, kernel="6.15").record_name,
        replace(KEY, gpu_count=2).record_name,
        replace(KEY, engine_image="example.org/vllm:0.26").record_name,
    }
    assert len(others | {KEY.record_name}) == 4


def test_the_largest_that_held_and_the_smallest_that_failed_are_kept():
    held = [seen(HEALTHY, gib=4), seen(HEALTHY, gib=5), seen(HEALTHY, gib=3)]
    failed = [seen(gib=7), seen(gib=6), seen(gib=8)]
    kept = merge((), [*held, *failed], NOW)
    assert {(e.outcome, e.arguments.kv_cache_memory_bytes >> 30) for e in kept} == {
        ("Healthy", 5),
        ("Failed", 6),
    }


def test_merging_again_changes_nothing_and_order_does_not_matter():
    new = [seen(gib=6), seen(gib=7, node="node-2"), seen(HEALTHY, gib=4)]
    once = merge((), new, NOW)
    assert merge(once, new, NOW) == once
    assert merge((), reversed(new), NOW) == once


def test_what_was_seen_later_replaces_what_was_seen_before():
    assert merge([seen(gib=6, days=2)], [seen(HEALTHY, gib=6)], NOW) == (seen(HEALTHY, gib=6),)
    assert merge([seen(HEALTHY, gib=6, days=2)], [seen(gib=6)], NOW) == (seen(gib=6),)


def test_a_success_with_more_memory_on_the_same_node_outdates_a_failure():
    assert merge([seen(gib=6, days=2)], [seen(HEALTHY, gib=7)], NOW) == (seen(HEALTHY, gib=7),)
    other_node = merge([seen(gib=6, days=2)], [seen(HEALTHY, gib=7, node="node-2")], NOW)
    assert len(other_node) == 2


def test_entries_expire_after_thirty_days():
    assert merge([seen(days=31)], [seen(HEALTHY, gib=3, days=29)], NOW) == (
        seen(HEALTHY, gib=3, days=29),
    )
    assert learned_for([record(seen(days=31))], KEY, NOW, 1).entries == ()


def test_at_most_thirty_two_are_kept():
    many = [
        replace(seen(HEALTHY), arguments=arguments(max_model_len=64 * i, max_num_seqs=100 - i))
        for i in range(1, 60)
    ]
    assert len(merge((), many, NOW)) == LIMIT


def test_one_nodes_failure_does_not_bind_a_fleet_two_do():
    assert learned_for([record(seen(gib=6))], KEY, NOW, node_count=5).entries == ()
    two = record(seen(gib=6), seen(gib=7, node="node-2"))
    bound = learned_for([two], KEY, NOW, node_count=5).entries
    # two nodes failed with 7 GiB or less; with 6 GiB only one of them
    assert [entry.arguments.kv_cache_memory_bytes >> 30 for entry in bound] == [7]


def test_on_the_only_node_one_failure_binds():
    assert len(learned_for([record(seen(gib=6))], KEY, NOW, node_count=1).entries) == 1


def test_what_held_counts_wherever_it_was_seen():
    entries = learned_for([record(seen(HEALTHY, gib=5))], KEY, NOW, node_count=5).entries
    assert [entry.outcome for entry in entries] == ["Healthy"]


def test_peoples_own_entries_bind():
    shipped = record(seen(gib=6), part="spec")
    assert len(learned_for([shipped], KEY, NOW, node_count=5).entries) == 1


def test_another_key_teaches_nothing_but_one_without_a_driver_does():
    other = record(seen(HEALTHY), key=replace(KEY, engine_image="example.org/vllm:0.26"))
    assert learned_for([other], KEY, NOW).entries == ()
    any_driver = record(seen(HEALTHY), key=replace(KEY, kernel=""))
    assert len(learned_for([any_driver], KEY, NOW).entries) == 1


def test_a_record_goes_through_the_api_and_back():
    entries = merge((), [seen(gib=6), seen(HEALTHY, gib=4)], NOW)
    body = status_of(KEY, entries)
    parsed = TuningRecord.model_validate({"metadata": {"name": KEY.record_name}, "status": body})
    assert parsed.status.entries[0].planned_bytes == entries[0].planned_bytes
    assert decode_entries(body) == entries


def test_broken_entries_are_left_out():
    rows = [
        None,
        {},
        {"arguments": [], "outcome": "Healthy"},
        {"arguments": [{"name": "max-model-len", "value": "-5"}], "outcome": "Healthy"},
        {"arguments": "x", "outcome": "Failed"},
    ]
    assert decode_entries({"entries": rows}) == ()
    assert decode_entries({"entries": "x"}) == ()
