"""How fast the planner is, in process and as a command."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median

from tests.bench.estimator.rows import asked, load

from xpullm.catalog import default_engine, gpus, models, quantizations
from xpullm.planner import (
    Choice,
    Infeasible,
    Plan,
    PlanRequest,
    Serving,
    estimate_row,
    parse_config,
    plan,
)
from xpullm.planner.combine import incompatible, own_format
from xpullm.planner.request import UserArguments

EXAMPLE = Path(__file__).parents[3] / "examples/qwen2-7b-a770.yaml"
XPULLM = (sys.executable, "-m", "xpullm.cli.main")
STARTS = 9
PIPED = 5000


def print_speeds() -> None:
    print_estimate_speed()
    print_batch_speed()
    print_plan_speed()
    print_own_flags_speed()
    print_cold_start()


def print_estimate_speed() -> None:
    rows = [asked(row) for name in ("vllm_measured", "vllm_boundary") for row in load(name)]
    for row in rows:
        estimate_row(row)
    start = time.process_time()
    for _ in range(20):
        for row in rows:
            estimate_row(row)
    seconds = time.process_time() - start
    print(f"\nestimate: {20 * len(rows) / seconds:,.0f} rows per second of one core")


def print_plan_speed() -> None:
    """CPU time of plan() for every model on every card, alternatives proven where nothing fits."""
    feasible: list[float] = []
    infeasible: list[float] = []
    for name, entry in models().items():
        facts = parse_config(entry["config"])
        for gpu in gpus().values():
            engine = default_engine(gpu.default_engine, gpu.architecture)
            if engine is None:
                continue
            stored = own_format(facts, gpu, engine)
            if incompatible(facts, gpu, engine, stored) is not None:
                continue
            choice = Choice(gpu, engine, quantizations()[stored])
            request = PlanRequest(name, "main", facts, (choice,), 1, Serving())
            start = time.process_time()
            made = plan(request)
            milliseconds = (time.process_time() - start) * 1000
            (feasible if isinstance(made, Plan) else infeasible).append(milliseconds)
    print_times("feasible", feasible)
    print_times("with alternatives", infeasible)


# Sizes that no card holds: every way out is one without them, or with less.
IMPOSSIBLE = (
    UserArguments((("gpu-memory-utilization", "1"),), gpu_memory_utilization=1.0),
    UserArguments((("max-num-seqs", "1000000"),), max_num_seqs=1000000),
    UserArguments((("max-num-batched-tokens", "1000000"),), max_num_batched_tokens=1000000),
    UserArguments((("kv-cache-memory-bytes", "1T"),), kv_cache_memory_bytes=10**12),
)


def print_own_flags_speed() -> None:
    """The same where it is a flag of the user's that can't be, on a card of 24 GB."""
    times: list[float] = []
    fewest = 99
    gpu = gpus()["arc-pro-b60"]
    engine = default_engine(gpu.default_engine, gpu.architecture)
    for name, entry in models().items():
        facts = parse_config(entry["config"])
        stored = own_format(facts, gpu, engine) if engine else ""
        if engine is None or incompatible(facts, gpu, engine, stored) is not None:
            continue
        choice = Choice(gpu, engine, quantizations()[stored])
        for user in IMPOSSIBLE:
            request = PlanRequest(name, "main", facts, (choice,), 1, Serving(), user)
            start = time.process_time()
            made = plan(request)
            times.append((time.process_time() - start) * 1000)
            if isinstance(made, Infeasible):
                fewest = min(fewest, len(made.alternatives))
    print_times(f"with alternatives (at least {fewest}) to impossible flags", times)


def print_times(title: str, times: list[float]) -> None:
    """In milliseconds."""
    times.sort()
    p99 = times[int(0.99 * len(times))]
    print(f"plan, {title}: {len(times)} plans, p50 {median(times):.2f} ms, p99 {p99:.2f} ms")


def print_batch_speed() -> None:
    """Rows through `xpullm estimate --batch`, in CPU time of the whole process; that of a batch of
    one row, the start, is taken off."""
    lines = [
        json.dumps(asked(r)) for name in ("vllm_measured", "vllm_boundary") for r in load(name)
    ]
    many = (lines * (PIPED // len(lines) + 1))[:PIPED]
    start = min(_batch_seconds(lines[:1]) for _ in range(3))
    seconds = min(_batch_seconds(many) for _ in range(3)) - start
    rate = (PIPED - 1) / seconds
    print(f"xpullm estimate --batch: {rate:,.0f} rows per second of one core, start taken off")


def _batch_seconds(lines: Iterable[str]) -> float:
    before = _cpu_of_children()
    command = (*XPULLM, "estimate", "--batch")
    text = "\n".join(lines).encode()
    subprocess.run(command, input=text, stdout=subprocess.DEVNULL, check=True)
    return _cpu_of_children() - before


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def print_cold_start() -> None:
    """Wall and CPU time of a whole `xpullm plan`, as a user waits for it; the first run, which
    reads files from disk, is not counted."""
    command = (*XPULLM, "plan", "-f", str(EXAMPLE))
    times, used = [], []
    for _ in range(STARTS + 1):
        start, before = time.monotonic(), _cpu_of_children()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(time.monotonic() - start)
        used.append(_cpu_of_children() - before)
    warm = sorted(times[1:])
    print(
        f"xpullm plan, cold: {STARTS} runs, median {median(warm):.2f} s,"
        f" {warm[0]:.2f} to {warm[-1]:.2f} s; CPU time {median(used[1:]):.2f} s"
    )
