"""Who has the last word: the kernel, then the engine's own clear words, then what was watched."""

from __future__ import annotations

from xpullm_runtime.cgroup import HostMemory
from xpullm_runtime.config import RuntimeConfig
from xpullm_runtime.judge import judge
from xpullm_runtime.preflight import Finding
from xpullm_runtime.state import State
from xpullm_runtime.watch import Verdict

from .tiny_engine import OOM

HANG = Verdict("engine_hang", "no progress for 900 s, in profile")


def state(log: str = "", oom_kills: int = 0) -> State:
    made = State(RuntimeConfig())
    made.on_output("stderr", log.encode() + b"\n")
    made.on_host(HostMemory(oom_kills=oom_kills))
    return made


def test_a_kill_for_host_memory_is_believed_over_any_log() -> None:
    verdict = Verdict("host_oom", "the kernel killed 1 of the engine's processes")
    found = judge(state(OOM, oom_kills=1), -15, verdict, stopped=False)
    assert (found.cause, found.helps, found.actionable) == ("host_oom", "resources", True)
    assert found.evidence[0] == "[xpullm] the kernel killed 1 of the engine's processes"


def test_an_engine_killed_by_the_kernel_is_host_oom_without_any_line() -> None:
    assert judge(state(oom_kills=1), -9, None, stopped=False).cause == "host_oom"


def test_a_hang_without_clear_words_is_a_hang() -> None:
    found = judge(state(), -15, HANG, stopped=False)
    assert (found.cause, found.helps, found.actionable) == ("engine_hang", "reschedule", True)
    assert found.evidence == ("[xpullm] no progress for 900 s, in profile",)


def test_someone_elses_sigterm_is_no_failure_of_the_engine() -> None:
    found = judge(state("KeyboardInterrupt: terminated"), -15, None, stopped=True)
    assert (found.cause, found.actionable) == ("sigterm", False)


def test_an_early_end_without_a_cause_is_explained_by_pre_flight() -> None:
    made = state("something unheard of")
    made.findings = [Finding("permission_denied", "/dev/dri/renderD128 cannot be opened")]
    found = judge(made, 1, None, stopped=False)
    assert found.cause == "permission_denied"
    made.enter("profile")  # it came past the device: the finding explains nothing
    assert judge(made, 1, None, stopped=False).cause != "permission_denied"


DEAD = Verdict("engine_dead", "/health answers 500 for 15 s")
TOO_LONG = (
    "ERROR 11-02 10:00:00 [core.py:700] ValueError: The model's max seq len (8192) is larger than "
    "the maximum number of tokens that can be stored in KV cache (4096)."
)
NO_HOST_MEMORY = (
    "ERROR 11-02 10:00:00 [core.py:700] RuntimeError: [enforce fail at alloc_cpu.cpp:118] . "
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1000000000 bytes."
)


def served(log: str, **host: int) -> State:
    made = state(log)
    made.start_complete()
    made.on_host(HostMemory(**host))
    return made


def test_an_engine_that_we_ended_ourselves_may_have_said_why_it_died() -> None:
    """The signal is ours: it contradicts nothing."""
    found = judge(served(OOM), -9, DEAD, stopped=False)
    assert (found.cause, found.actionable) == ("device_oom_runtime", True)
    assert not judge(served(OOM), -9, None, stopped=False).actionable


def test_it_cannot_have_died_of_what_only_a_start_can_have() -> None:
    assert judge(state(TOO_LONG), 1, None, stopped=False).cause == "max_model_len_exceeds_kv"
    found = judge(served(TOO_LONG), -9, DEAD, stopped=False)
    assert (found.cause, found.helps) == ("engine_dead", "wait")


def test_the_peak_of_host_memory_is_a_witness_without_page_cache() -> None:
    full = {"limit_bytes": 32 << 30, "peak_bytes": 32 << 30}
    found = judge(served(NO_HOST_MEMORY, **full, held_peak_bytes=31 << 30), -9, None, stopped=False)
    assert (found.cause, found.actionable) == ("host_oom", True)
    cached = served(NO_HOST_MEMORY, **full, held_peak_bytes=9 << 30)
    assert not judge(cached, -9, None, stopped=False).actionable
