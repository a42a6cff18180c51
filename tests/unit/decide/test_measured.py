"""`status.measured`: written once per start, by whatever operator asks, and never without news."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.decide.world import World, manifest, oom, running

from xpullm_runtime.report import Report

GIB = 1 << 30


def test_what_the_running_engine_told_is_written_once() -> None:
    world = running()
    assert "measured" not in world.llmd["status"]
    ledger = world.llmd["status"]["plan"]["memory"]
    host = world.llmd["status"]["plan"]["hostMemory"]["requestBytes"]
    world.tell()
    assert world.settle() == ["status"]
    blocks = 20405 * 8 * 57344  # of 8 tokens; 28 layers × 4 heads × 128 × 2 (keys, values) × 2 B
    assert world.llmd["status"]["measured"] == {
        "planHash": world.plan_hash(),
        "weightsBytes": 4 * GIB,
        "kvCacheBytes": blocks,
        "kvCacheTokens": 20405 * 8,
        "vramPeakBytes": 9 * GIB,
        "hostPeakBytes": 5 * GIB,
        "startSeconds": 47,
        "predictionErrors": {
            "weightsBytes": 4 * GIB - ledger["weightsBytes"],
            "kvCacheBytes": blocks - ledger["kvCacheBytes"],
            "hostBytes": 5 * GIB - host,
        },
    }
    assert world.settle() == []


def test_load_and_later_peaks_write_nothing() -> None:
    world = running()
    world.tell()
    world.settle()
    world.tell(vram_peak_bytes=15 * GIB, kv_usage_percent=99, preemptions=7)
    assert world.settle() == []


def test_an_operator_that_comes_anew_writes_nothing_before_and_after_it_asked() -> None:
    world = running()
    world.tell()
    world.settle()
    world.runtime.clear()
    assert world.settle() == []
    world.tell()
    assert world.settle() == []


def test_the_oldest_pod_speaks_for_all() -> None:
    world = running(replicas=2)
    world.tell()
    second = world.pods[1]["metadata"]["uid"]
    world.runtime[second] = replace(world.runtime[second], host_peak_bytes=6 * GIB)
    world.settle()
    assert world.llmd["status"]["measured"]["hostPeakBytes"] == 5 * GIB
    del world.runtime[world.pods[0]["metadata"]["uid"]]
    assert world.settle() == []


def test_figures_of_another_run_or_plan_say_nothing() -> None:
    world = running()
    world.tell(plan_hash="other")
    assert world.settle() == []
    world.tell(restarts=1)
    assert world.settle() == []


def test_a_restart_is_measured_anew() -> None:
    world = running()
    world.tell()
    world.settle()
    world.pods[0]["status"]["containerStatuses"][0]["restartCount"] = 1
    assert world.settle() == []  # not asked yet: what is stored stays
    world.tell(start_seconds=12)
    assert world.settle() == ["status"]
    assert world.llmd["status"]["measured"]["startSeconds"] == 12


def test_an_engine_that_never_served_is_measured_by_its_last_words() -> None:
    world = World(manifest())
    world.settle()
    world.roll()
    report = oom(world.plan_hash())
    world.fail(replace(report, actionable=False, figures={"weights_bytes": 5 * GIB}))
    world.settle()
    assert world.llmd["status"]["measured"]["weightsBytes"] == 5 * GIB
    assert "startSeconds" not in world.llmd["status"]["measured"]
    world.serve()
    world.settle()
    world.tell()
    world.settle()
    assert world.llmd["status"]["measured"]["weightsBytes"] == 4 * GIB
    world.runtime.clear()
    assert world.settle() == []  # the older run's report is still in the pod


def test_a_new_plan_begins_without_figures() -> None:
    world = running()
    world.tell()
    world.settle()
    world.edit(serving={"contextLength": 2048, "concurrency": 2})
    world.settle()
    assert "measured" not in world.llmd["status"]


def test_what_is_compared_is_without_page_cache() -> None:
    world = World(manifest())
    world.settle()
    world.roll()
    figures = {"host_held_peak_bytes": 3 * GIB}
    world.fail(Report(cause="host_oom", host_peak_bytes=9 * GIB, figures=figures))
    world.settle()
    assert world.llmd["status"]["measured"]["hostPeakBytes"] == 3 * GIB
