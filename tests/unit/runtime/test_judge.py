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
