"""Accuracy on labelled failures, and throughput. CPU time, so that a busy machine changes little.

Targets: cause ≥ 97 %, tighten-or-not ≥ 99 % and no tightening of what it cannot help, on
tests/data/failures.jsonl; ≥ 20 MB/s of an ordinary log, ≥ 5 MB/s of a hostile one.
"""

from __future__ import annotations

import json
import sys
import time
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.diagnosis.logs import HOSTILE, SIZE, ordinary

from xpullm_runtime.diagnosis import Evidence, causes, classify, diagnose_row, interesting

DATA = Path(__file__).parents[2] / "data"
SETS = {
    "failures.jsonl": "public threads, labelled by hand",
    "failures_public.jsonl": "further public threads (blind when first run: 45 of 58)",
    "failures_public_2.jsonl": "a second such set (blind: 33 of 44)",
    "failures_public_3.jsonl": "a third, after vLLM's own sources were read (blind: 18 of 20)",
    "failures_written.jsonl": "written by us",
}
TIGHTEN = {cause for cause, known in causes().items() if known["helps"] == "arguments"}


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")


def accuracy(name: str, what: str, by_label: dict[str, Counter[str]] | None) -> None:
    rows = [json.loads(line) for line in (DATA / name).read_text().splitlines()]
    right = tighten = wrong = family = decided = decided_right = 0
    for row in rows:
        answer = diagnose_row(row)
        got, label = answer["cause"], row["label"]
        right += got == label
        family += got == label or (got.startswith("device_oom") and label.startswith("device_oom"))
        tighten += (answer["helps"] == "arguments") == (label in TIGHTEN)
        wrong += answer["helps"] == "arguments" and label not in TIGHTEN
        if "NO-DECIDING-LINE" not in (row.get("notes") or ""):
            decided, decided_right = decided + 1, decided_right + (got == label)
        if by_label is not None:
            by_label[label][got] += 1
    total = len(rows)
    say(f"{name}: {what}")
    say(f"  cause            {right}/{total}  {right / total:.1%}")
    say(f"  device_oom as one {family}/{total}  {family / total:.1%}")
    say(f"  with a deciding line {decided_right}/{decided}  {decided_right / decided:.1%}")
    say(f"  tighten or not   {tighten}/{total}  {tighten / total:.1%}")
    say(f"  tightened what it cannot help  {wrong}")


def table(by_label: dict[str, Counter[str]]) -> None:
    say("\nlabel                      rows  right  else")
    for label, got in sorted(by_label.items()):
        other = ", ".join(f"{one} {n}" for one, n in got.items() if one != label)
        say(f"{label:26} {got.total():4}  {got[label]:5}  {other}")


def rate(work: Callable[[], Any], size: int) -> float:
    best = 1e9
    for _ in range(5):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return size / 1e6 / best


def throughput() -> None:
    say("\nthroughput (best of 5, CPU time)     MB/s")
    text = ordinary()
    speed = rate(lambda: classify(Evidence(log=text)), SIZE)
    say(f"  classify, ordinary log            {speed:7.1f}")
    for name, make in HOSTILE.items():
        hostile = make()
        speed = rate(lambda log=hostile: classify(Evidence(log=log, exit_code=1)), len(hostile))
        say(f"  classify, hostile: {name:15}{speed:7.1f}")
    lines = text.split("\n")
    say(
        f"  interesting(line), ordinary log   {rate(lambda: [*map(interesting, lines)], SIZE):7.1f}"
    )
    tracemalloc.start()
    classify(Evidence(log=ordinary(20_000_000), exit_code=1))
    tracemalloc.reset_peak()
    big = ordinary(20_000_000)
    before = tracemalloc.get_traced_memory()[0]
    classify(Evidence(log=big, exit_code=1))
    peak = tracemalloc.get_traced_memory()[1] - before
    say(f"  memory beside a 20 MB log          {peak / 1e6:7.1f} MB")


def main() -> None:
    by_label: dict[str, Counter[str]] = defaultdict(Counter)
    for name, what in SETS.items():
        if (DATA / name).exists():
            accuracy(name, what, by_label if name == "failures.jsonl" else None)
    table(by_label)
    throughput()


if __name__ == "__main__":
    main()
