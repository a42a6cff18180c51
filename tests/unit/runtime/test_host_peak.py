"""Real processes in a memory cgroup of their own: what is told of the host memory they held.

Ranges: what the program takes itself, and above it at most SLACK: its interpreter (8 MiB), page
tables (1/512), kernel stacks, and for each CPU what it keeps charged in advance and has not yet
added up in memory.stat (64 pages each, MEMCG_CHARGE_BATCH in linux/memcontrol.h).
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from xpullm_runtime.cgroup import HostMemory, MemoryCgroup
from xpullm_runtime.config import RuntimeConfig
from xpullm_runtime.observer import Observer, StartSampler
from xpullm_runtime.state import State

from .conftest import Group, Supervise, eventually, needs_memory_cgroup

pytestmark = [needs_memory_cgroup, pytest.mark.timeout(20)]  # against hangs, on shared machines
MIB = 1 << 20
SLACK = 20 * MIB + (os.cpu_count() or 1) * 2 * 64 * mmap.PAGESIZE
TAKE = """
import mmap, os, sys, time
def take(mib):
    memory = mmap.mmap(-1, mib << 20)
    for page in range(0, mib << 20, 4096):
        memory[page] = 1
    return memory
def high_water():  # VmHWM: unlike ru_maxrss nothing of the program before exec is in it
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
def own_peak():
    print(high_water(), flush=True)
"""


@contextmanager
def program(group: Group, source: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-S", "-c", TAKE + textwrap.dedent(source), *arguments]
    with subprocess.Popen(
        [*group.enter, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process


def afterwards(group: Group, source: str, *arguments: str) -> tuple[HostMemory, int]:
    """What one look tells after the program's end, and what the program printed."""
    cgroup = MemoryCgroup(group.folder, group.version)
    with program(group, source, *arguments) as process:
        printed = process.communicate()[0]
    assert process.returncode == 0
    return cgroup.sample(), int(printed or 0)


@pytest.fixture
def weights() -> Iterator[str]:
    """A file of 200 MiB on a disk: all of it a hole, whose pages are cached like any other's."""
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:  # never in memory, unlike /tmp (FHS)
        file.truncate(200 * MIB)
        yield file.name


def test_memory_taken_for_a_tenth_of_a_second_is_seen_without_a_look_meanwhile(
    group: Group,
) -> None:
    seen, own_peak = afterwards(
        group, "held = take(200); time.sleep(0.1); held.close(); own_peak()"
    )
    assert 200 * MIB <= seen.held_peak_bytes < 200 * MIB + SLACK
    assert abs(own_peak - seen.held_peak_bytes) < SLACK  # the kernel counts alike per process
    assert seen.usage_bytes < SLACK  # all over


def test_shared_memory_is_held(group: Group) -> None:
    seen, _ = afterwards(
        group,
        """
        file = os.memfd_create("exchange")
        os.truncate(file, 64 << 20)
        with mmap.mmap(file, 64 << 20) as memory:
            for page in range(0, 64 << 20, 4096):
                memory[page] = 1
        """,
    )
    assert 64 * MIB <= seen.held_peak_bytes < 64 * MIB + SLACK


READ = """
with open(sys.argv[1], "rb", 0) as file:
    while file.readinto(bytearray(1 << 20)):
        pass
"""
MAP = """
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
    sum(mapped[page] for page in range(0, len(mapped), 4096))
"""


def test_a_file_that_is_only_read_is_not_held(group: Group, weights: str) -> None:
    seen, _ = afterwards(group, READ, weights)
    # It was there, and the kernel's own peak counts it, less what it took back meanwhile.
    assert seen.peak_bytes >= 150 * MIB
    assert 0 < seen.held_peak_bytes < SLACK


def test_a_file_that_is_mapped_is_not_held(group: Group, weights: str) -> None:
    seen, own_peak = afterwards(group, MAP + "own_peak()", weights)  # as safetensors are read
    assert seen.peak_bytes >= 150 * MIB
    assert own_peak >= 150 * MIB  # even the process's own peak counts it
    assert 0 < seen.held_peak_bytes < SLACK


def test_a_short_peak_above_the_page_cache_is_seen_without_a_look_meanwhile(
    group: Group, weights: str
) -> None:
    cgroup = MemoryCgroup(group.folder, group.version)
    source = """
print("read", flush=True)
sys.stdin.readline()
take(100).close()
"""
    with program(group, READ + source, weights) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"read\n"
        assert cgroup.sample().held_peak_bytes < SLACK
        process.communicate(b"\n")
    assert 100 * MIB <= cgroup.sample().held_peak_bytes < 100 * MIB + SLACK


def test_what_forked_processes_share_is_counted_once(group: Group) -> None:
    seen, summed = afterwards(
        group,
        """
        held = take(100)
        here, gone = os.pipe(), os.pipe()
        children = []
        for _ in range(3):
            if not (child := os.fork()):
                os.close(gone[1])
                more = take(20)
                sum(held[page] for page in range(0, 100 << 20, 4096))
                os.write(here[1], b".")
                os.read(gone[0], 1)  # until all three have theirs
                os._exit(0)
            children.append(child)
        for _ in children:
            os.read(here[0], 1)
        os.close(gone[1])
        peaks = [os.wait4(child, 0)[2].ru_maxrss << 10 for child in children]
        print(sum(peaks) + high_water())
        """,
    )
    assert 160 * MIB <= seen.held_peak_bytes < 160 * MIB + SLACK
    assert summed >= (4 * 100 + 3 * 20) * MIB  # what the peaks of the processes would have said


def test_at_the_limit_where_the_kernels_record_stands_still_looks_see_it(
    group: Group, weights: str
) -> None:
    group.limit(128 * MIB)
    state = State(RuntimeConfig())
    cgroup = MemoryCgroup(group.folder, group.version)
    sampler = StartSampler(Observer(state.config, state, cgroup), state)
    source = """
print("full", flush=True)
sys.stdin.readline()
held = take(64)  # page cache has to go for it
sys.stdin.readline()
"""
    with program(group, READ + source, weights) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"full\n"
        assert cgroup.sample().peak_bytes > 112 * MIB  # the page cache alone
        sampler.start()
        process.stdin.write(b"\n")
        process.stdin.flush()
        eventually(lambda: cgroup.held_peak_bytes >= 64 * MIB)
        state.begin_stop()
        sampler.join()
        process.communicate(b"\n")
    seen = cgroup.sample()
    assert seen.held_peak_bytes < 64 * MIB + SLACK
    assert seen.oom_kills == 0


def test_looking_often_ends_with_the_start() -> None:
    state = State(RuntimeConfig())
    sampler = StartSampler(Observer(state.config, state, MemoryCgroup(None, 2)), state)
    sampler.start()
    state.start_complete()
    sampler.join()


def test_a_supervised_engine_is_told_with_its_short_peak(
    group: Group, supervise: Supervise
) -> None:
    run = supervise(TAKE + "take(200).close()", wrapper=group.enter)
    assert run.finish()[0] == 0
    held = run.report().figures["host_held_peak_bytes"]
    assert 200 * MIB <= held < 200 * MIB + 2 * SLACK  # the supervisor is in the same container
