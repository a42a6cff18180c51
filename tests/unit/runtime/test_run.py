"""The supervisor around real processes: what goes through it, and what it says at the end."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pytest

from xpullm_runtime.report import Report

from .conftest import TINY_ENGINE, Supervise, eventually, free_port
from .tiny_engine import OOM

# Against hangs only: several processes start in each test, on machines that are shared.
pytestmark = pytest.mark.timeout(20)


def ours(stderr: bytes) -> list[bytes]:
    return [line for line in stderr.splitlines() if line.startswith(b"[xpullm] ")]


def engines(stderr: bytes) -> bytes:
    return b"".join(
        line for line in stderr.splitlines(keepends=True) if not line.startswith(b"[xpullm] ")
    )


def test_both_streams_pass_through_unchanged_even_binary(supervise: Supervise) -> None:
    run = supervise(
        """
        import os
        os.write(1, bytes(range(256)) * 1000 + b"\\xff\\xfe no newline at the end")
        os.write(2, b"\\x00\\x80\\n" * 1000)
        """
    )
    code, out, err = run.finish()
    assert code == 0
    assert out == bytes(range(256)) * 1000 + b"\xff\xfe no newline at the end"
    assert engines(err) == b"\x00\x80\n" * 1000


def test_a_line_of_ten_megabytes_passes_through(supervise: Supervise) -> None:
    run = supervise("import sys; sys.stdout.write('x' * 10_000_000 + '\\nlast\\n')")
    _, out, _ = run.finish()
    assert len(out) == 10_000_006
    assert hashlib.sha256(out).digest() == hashlib.sha256(b"x" * 10_000_000 + b"\nlast\n").digest()


def test_output_is_not_held_back(supervise: Supervise) -> None:
    run = supervise("import os, time; os.write(1, b'no newline yet'); time.sleep(60)")
    assert run.process.stdout is not None
    assert os.read(run.process.stdout.fileno(), 100) == b"no newline yet"


@pytest.mark.parametrize("code", [0, 1, 2, 77, 255])
def test_the_exit_code_is_the_engines(supervise: Supervise, code: int) -> None:
    run = supervise(f"raise SystemExit({code})")
    assert run.finish()[0] == code
    assert (run.report().exit_code, run.report().ended) == (code, True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_an_engine_ended_by_a_signal_gives_128_plus_it(
    supervise: Supervise, number: signal.Signals
) -> None:
    run = supervise(f"import os; os.kill(os.getpid(), {int(number)})")
    assert run.finish()[0] == 128 + number
    assert run.report().signal == number


def test_sigterm_reaches_the_engine_which_ends_in_its_own_way(supervise: Supervise) -> None:
    run = supervise(
        """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        print("ready", flush=True)
        time.sleep(60)
        """
    )
    assert run.process.stdout is not None
    assert run.process.stdout.readline() == b"ready\n"
    run.process.terminate()
    assert run.finish()[0] == 7
    assert run.report().cause == "sigterm"


def test_an_engine_that_ignores_sigterm_is_killed_after_the_grace(supervise: Supervise) -> None:
    run = supervise(
        """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ready", flush=True)
        time.sleep(60)
        """,
        grace_seconds=0.2,
    )
    assert run.process.stdout is not None
    run.process.stdout.readline()
    run.process.terminate()
    assert run.finish()[0] == 137


def test_other_signals_are_passed_on_and_stop_nothing(supervise: Supervise) -> None:
    run = supervise(
        """
        import signal, sys
        signal.signal(signal.SIGUSR1, lambda *_: print("usr1", flush=True))
        print("ready", flush=True)
        while True:
            signal.pause()
        """
    )
    assert run.process.stdout is not None
    run.process.stdout.readline()
    run.process.send_signal(signal.SIGUSR1)
    assert run.process.stdout.readline() == b"usr1\n"
    assert run.process.poll() is None


def test_orphans_come_to_the_supervisor_and_are_reaped(supervise: Supervise) -> None:
    run = supervise(
        """
        import os, time
        if os.fork() == 0:          # a child that leaves a grandchild behind
            child = os.getpid()
            if os.fork() == 0:
                while os.getppid() == child:
                    time.sleep(0.01)
                print(os.getpid(), os.getppid(), flush=True)
                os._exit(0)
            os._exit(0)
        time.sleep(60)
        """
    )
    assert run.process.stdout is not None
    orphan, parent = run.process.stdout.readline().split()
    assert int(parent) == run.process.pid
    eventually(lambda: not Path(f"/proc/{int(orphan)}").exists())


def test_what_the_engine_leaves_behind_is_ended_with_it(supervise: Supervise) -> None:
    run = supervise(
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            time.sleep(60)
        print("forked", flush=True)
        """
    )
    code, _, err = run.finish()
    assert code == 0
    assert b"1 processes left behind ended" in ours(err)[-1]


def test_killing_the_supervisor_leaves_a_valid_report_and_no_engine(supervise: Supervise) -> None:
    run = supervise(
        f"""
        import os, time
        print({OOM!r}, flush=True)
        print(os.getpid(), flush=True)
        time.sleep(60)
        """,
        plan_hash="abc",
    )
    assert run.process.stdout is not None
    run.process.stdout.readline()
    engine = int(run.process.stdout.readline())
    eventually(lambda: run.report().evidence)
    run.process.kill()
    run.process.wait()
    report = run.report()
    assert (report.ended, report.cause, report.plan_hash) == (False, "", "abc")
    assert "Tried to allocate 130.00 MiB" in report.evidence[0]
    assert report.figures["tried_bytes"] == 130 << 20
    eventually(lambda: not Path(f"/proc/{engine}").exists())


def test_a_program_that_does_not_exist_is_127(supervise: Supervise, tmp_path: Path) -> None:
    run = supervise(tmp_path / "missing.py")
    assert run.finish()[0] == 2  # Python is there, its script is not
    assert run.report().ended


def test_a_start_without_progress_is_ended_as_a_hang(supervise: Supervise) -> None:
    run = supervise(
        """
        import time
        while True:
            print("INFO 11-02 10:00:00 [shm_broadcast.py:1] No available shared memory broadcast "
                  "block found in 60 seconds", flush=True)
            time.sleep(0.05)
        """,
        no_progress_seconds=1.5,  # an interpreter is to start and print within that
        grace_seconds=5,
    )
    code, _, err = run.finish()
    assert code == 143
    assert run.report().cause == "engine_hang"
    assert any(b"no progress for 1.5 s, in starting" in line for line in ours(err))


def test_the_same_words_with_new_numbers_are_progress(supervise: Supervise) -> None:
    run = supervise(
        """
        import time
        for shard in range(8):
            print(f"Loading safetensors checkpoint shards: {shard}/8", flush=True)
            time.sleep(0.25)
        """,
        no_progress_seconds=1.5,
    )
    assert run.finish()[0] == 0


def test_a_start_beyond_its_deadline_is_ended(supervise: Supervise) -> None:
    run = supervise(
        """
        import itertools, time
        for number in itertools.count():
            print("step", number, flush=True)
            time.sleep(0.05)
        """,
        startup_deadline_seconds=0.4,
    )
    assert run.finish()[0] == 143
    assert (run.report().cause, run.report().helps) == ("startup_killed", "deadline")


def test_a_half_dead_engine_is_ended(supervise: Supervise) -> None:
    port = free_port()
    run = supervise(TINY_ENGINE, port, "dead", engine_port=port, hang_seconds=0.4)
    code, _, _ = run.finish()
    assert code == 143
    assert (run.report().cause, run.report().was_ready) == ("engine_dead", True)


def test_burn_in_comes_before_the_startup_probe_passes(supervise: Supervise) -> None:
    port = free_port()
    settings = {"burn_in_sequences": 4, "max_num_batched_tokens": 64, "max_model_len": 128}
    run = supervise(TINY_ENGINE, port, "good", engine_port=port, hang_seconds=4, **settings)
    eventually(lambda: run.get("/healthz")[0] == 200)
    ready = 503
    while run.get("/startupz")[0] != 200:
        assert ready == 503  # it was asked before a startup probe that did not pass
        ready = run.get("/readyz")[0]
    assert run.get("/readyz") == (200, "ready\n")
    status = run.status()
    assert status["burnIn"]["outcome"] == "passed"
    assert status["phase"] == "runtime"
    assert 'xpullm_engine_phase{phase="runtime"} 1' in run.get("/metrics")[1]
    assert run.get("/nothing")[0] == 404


def test_the_commit_that_was_loaded_is_told_once_the_engine_is_ready(
    supervise: Supervise, tmp_path: Path
) -> None:
    commit = "f2826a00ceef68f0f2b946d945ecc0477ce4450c"
    reference = tmp_path / "huggingface/hub/models--org--tiny/refs/main"
    reference.parent.mkdir(parents=True)
    reference.write_text(commit)
    port = free_port()
    hub = {"model_id": "org/tiny", "model_revision": "main"}
    run = supervise(TINY_ENGINE, port, "good", engine_port=port, **hub)
    eventually(lambda: run.get("/startupz")[0] == 200)
    assert run.status()["start"]["modelRevision"] == commit
    reference.write_text("0" * 40)  # another pod on the same volume got a later one
    assert run.status()["start"]["modelRevision"] == commit


def test_an_engine_that_dies_in_burn_in_was_never_ready(supervise: Supervise) -> None:
    port = free_port()
    run = supervise(
        TINY_ENGINE, port, "dies", engine_port=port, burn_in_sequences=2, max_model_len=128
    )
    assert run.finish()[0] == 1
    report = run.report()
    assert (report.was_ready, report.phase, report.ended) == (False, "runtime", True)
    assert report.figures["tried_bytes"] == 130 << 20
    assert report.cause == "device_oom_runtime"


def test_a_taken_port_is_named_before_the_engine_starts(supervise: Supervise) -> None:
    port = free_port()
    first = supervise("import time; time.sleep(60)", runtime_port=port)
    eventually(lambda: first.get("/healthz")[0] == 200)
    second = supervise("print('started')", runtime_port=port)
    code, out, err = second.finish()
    assert (code, out) == (78, b"")
    assert second.report().cause == "port_in_use"
    assert b"Address already in use" in err


TOO_LONG = (
    "ERROR 11-02 10:00:00 [core.py:700] ValueError: To serve at least one request with the "
    "model's max seq len (8192), (1.00 GiB KV cache is needed, which is larger than the available "
    "KV cache memory (0.50 GiB). Based on the available memory, the estimated maximum model "
    "length is 4096."
)
NO_HOST_MEMORY = (
    "ERROR 11-02 10:00:00 [core.py:700] RuntimeError: [enforce fail at alloc_cpu.cpp:118] . "
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1000000000 bytes."
)
DEAD = (
    "ERROR 11-02 10:00:02 [async_llm.py:480] vllm.v1.engine.exceptions.EngineDeadError: "
    "EngineCore encountered an issue. See stack trace (above) for the root cause."
)


def said(supervise: Supervise, form: str, number: int, *forged: str) -> Report:
    """The last word of an engine that was Ready, printed this user's text, and died."""
    port = free_port()
    run = supervise(TINY_ENGINE, port, f"logs-{form}-{number}", engine_port=port)
    eventually(lambda: run.get("/startupz")[0] == 200)
    run.complete(port, "\n".join(["hi", *forged, ""]))
    assert run.finish()[0] == (128 + number if number else 1)
    report = run.report()
    assert (report.was_ready, report.ended) == (True, True)
    return report


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
@pytest.mark.parametrize("form", ["repr", "raw"])
def test_a_users_text_before_a_death_by_a_signal_changes_nothing(
    supervise: Supervise, form: str, number: signal.Signals
) -> None:
    assert not said(supervise, form, number, OOM, DEAD).actionable


@pytest.mark.parametrize("forged", [TOO_LONG, NO_HOST_MEMORY], ids=["too-long", "host-memory"])
def test_nor_does_one_that_speaks_of_other_things(supervise: Supervise, forged: str) -> None:
    assert not said(supervise, "raw", signal.SIGKILL, forged).actionable


def test_a_users_text_is_no_failure_of_a_start_however_the_engine_ends(
    supervise: Supervise,
) -> None:
    report = said(supervise, "raw", 0, TOO_LONG)
    assert (report.cause, report.actionable) == ("unknown", False)
    assert report.evidence[0] == TOO_LONG  # for people to see


def test_a_text_that_forges_the_last_error_of_an_engine_that_gives_up_is_believed(
    supervise: Supervise,
) -> None:
    """What remains by nature (SECURITY.md): how it ended does not contradict the text."""
    assert said(supervise, "raw", 0, OOM, DEAD).actionable
