"""The supervisor around a real vLLM: what the simulated engine stands in for elsewhere."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.engine.supervised import supervised
from tests.unit.runtime.conftest import Group, group, needs_memory_cgroup

GIB = 2**30
KIB = 2**10  # of KV cache per token: 2 x 2 layers x 2 heads x 64 x 2 bytes


def test_it_starts_is_proven_serves_and_ends(engine_python: Path, tmp_path: Path) -> None:
    with supervised(tmp_path, engine_python, "--max-model-len", "256") as running:
        status = running.until(lambda s: s["startedUp"])
        assert (status["phase"], status["healthy"]) == ("runtime", True)
        burn_in = status["burnIn"]
        assert (burn_in["outcome"], burn_in["sequences"]) == ("passed", 2)
        assert burn_in["promptTokens"] == 200
        assert status["figures"]["kv_cache_tokens"] == GIB // KIB
        usage = running.complete([5, 6, 7], 4)["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (3, 4)
        running.process.send_signal(signal.SIGTERM)
        code, report = running.ended(120)
    assert code == 0
    assert (report.cause, report.was_ready, report.ended) == ("sigterm", True, True)
    assert report.host_peak_bytes > GIB // 2


def test_a_context_beyond_the_pool_is_named_with_the_engine_s_own_limit(
    engine_python: Path, tmp_path: Path
) -> None:
    with supervised(tmp_path, engine_python, "--max-model-len", "2000000") as running:
        code, report = running.ended()
    assert code == 1
    assert (report.cause, report.phase) == ("max_model_len_exceeds_kv", "kv_alloc")
    assert report.actionable
    assert report.figures["max_model_len"] == 2_000_000
    fits = report.figures["max_model_len_fits"]
    assert GIB // KIB - 128 <= fits <= GIB // KIB  # whole blocks, and one of them kept
    assert report.figures["kv_available_bytes"] == GIB


def test_a_flag_of_another_version_is_nobody_s_but_ours(
    engine_python: Path, tmp_path: Path
) -> None:
    with supervised(tmp_path, engine_python, "--swap-space", "1") as running:
        code, report = running.ended()
    assert code == 2
    assert (report.cause, report.actionable) == ("bad_arguments", True)
    assert any("--swap-space" in line for line in report.evidence)


HOST_LIMIT_BYTES = 3 * GIB // 2  # the three processes of an idle vLLM take 4 GiB together


__all__ = ["group"]  # a fixture: a memory cgroup as a container has it


@needs_memory_cgroup
def test_a_kill_by_the_kernel_is_named_whichever_process_it_hits(
    engine_python: Path, tmp_path: Path, group: Group
) -> None:
    group.limit(HOST_LIMIT_BYTES)
    flags = ("--max-model-len", "256")
    with supervised(tmp_path, engine_python, *flags, wrapper=tuple(group.enter)) as running:
        code, report = running.ended()
    assert code != 0
    assert (report.cause, report.helps, report.actionable) == ("host_oom", "resources", True)
    assert report.oom_kills >= 1
    assert report.host_limit_bytes == HOST_LIMIT_BYTES
    assert not report.was_ready
