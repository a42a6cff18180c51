"""However a log was collected, it means the same: every failure through every collector."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xpullm_runtime.diagnosis import diagnose_row

DATA = Path(__file__).parents[1] / "data"
ROWS = [
    json.loads(line)
    for path in sorted(DATA.glob("failures*.jsonl"))
    for line in path.read_text().splitlines()
]
START = "\n".join(f"INFO 07-01 10:00:{n % 60:02} [x.py:{n}] ordinary line {n}" for n in range(400))
GOOD_START_NOISE = (
    "2026:07:01-10:00:00:(  12) |CCL_WARN| value of CCL_ZE_IPC_EXCHANGE changed to be pidfd\n"
    ":: initializing oneAPI environment ...\n"
)
END_NOISE = (
    "\n[rank0]:[W508 00:41:45.803 ProcessGroupNCCL.cpp:1496] Warning: destroy_process_group() was "
    "not called before program exit\n/usr/lib/python3.12/multiprocessing/resource_tracker.py:254: "
    "UserWarning: resource_tracker: There appear to be 1 leaked semaphore objects to clean up\n"
    "  warnings.warn('resource_tracker: There appear to be %d '"
)


def each(change):
    return lambda log: "\n".join(change(line) for line in log.split("\n"))


def as_json(line):
    return json.dumps({"log": line + "\n", "stream": "stderr", "time": "t"}, separators=(",", ":"))


COLLECTORS = {
    "kubectl --timestamps": each(lambda line: "2026-07-01T10:00:00.123456789Z " + line),
    "CRI": each(lambda line: "2026-07-01T10:00:00.123456789Z stderr F " + line),
    "compose": each(lambda line: "xpu-1  | " + line),
    "colours": each(lambda line: f"\x1b[1;36m{line[:3]}\x1b[0m{line[3:]}"),
    "colours spelled out": each(lambda line: f"^[[36m{line[:5]}^[[0m{line[5:]}"),
    "Windows": lambda log: log.replace("\n", "\r\n"),
    "Docker's json-file": each(as_json),
    "a long start": lambda log: f"{START}\n{GOOD_START_NOISE}{log}",
    "noise of the end": lambda log: log + END_NOISE,
    "two ranks": each(lambda line: f"{line}\n{line.replace('TP0', 'TP1')}"),
}


@pytest.mark.parametrize("collector", COLLECTORS)
def test_a_collector_changes_no_diagnosis(collector):
    changed = []
    for row in ROWS:
        if row["log"]:
            plain = diagnose_row(row)
            dressed = diagnose_row({**row, "log": COLLECTORS[collector](row["log"])})
            if plain["cause"] != dressed["cause"]:
                changed.append((row["id"], plain["cause"], dressed["cause"]))
    assert not changed


def test_a_terminals_width_changes_few():
    """Words broken at 118 columns are put together again; a lone broken line can't be told."""
    changed = 0
    for row in ROWS:
        lines = row["log"].split("\n")
        broken = [line[i : i + 118] for line in lines for i in range(0, max(1, len(line)), 118)]
        dressed = diagnose_row({**row, "log": "\n".join(broken)})
        changed += diagnose_row(row)["cause"] != dressed["cause"]
        assert (dressed["helps"] != "arguments") or diagnose_row(row)["helps"] == "arguments"
    assert changed <= len(ROWS) // 40
