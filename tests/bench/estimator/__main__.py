"""How exact the estimator is: `python -m tests.bench.estimator`."""

from collections.abc import Iterable, Iterator
from typing import Any

from tests.bench.estimator.rows import Row, asked, from_log, load
from tests.bench.estimator.speed import print_speeds
from tests.bench.estimator.table import HEAD, Deviation, line, verdicts

from xpullm.catalog import find_engine
from xpullm.planner import estimate_row

QUANTITIES = (
    "weights_gib",
    "activation_peak_gib",
    "non_torch_gib",
    "kv_cache_gib",
    "kv_cache_tokens",
)
Pair = tuple[Row, dict[str, Any]]


def deviations(pairs: Iterable[Pair], quantity: str) -> list[Deviation]:
    return [
        Deviation(row["id"], answer[quantity], row[quantity])
        for row, answer in pairs
        if row.get(quantity) and answer[quantity] is not None
    ]


def print_quantities(title: str, pairs: list[Pair]) -> None:
    print(f"\n{title}\n{HEAD}")
    for quantity in QUANTITIES:
        print(line(quantity, deviations(pairs, quantity)))


def print_measured(name: str) -> None:
    pairs = [(row, estimate_row(asked(row))) for row in load(name)]
    print_quantities(f"{name} (vLLM 0.25, CUDA)", pairs)
    started = [(r["id"], a["starts"], r["outcome"] == "started") for r, a in pairs]
    print(verdicts(started).text("starts"))
    loaded = [
        (r["id"], a["safe"], r["held_under_load"])
        for r, a in pairs
        if r["held_under_load"] is not None
    ]
    print(verdicts(loaded).text("safe under load"))


def log_pairs() -> Iterator[Pair]:
    for row in load("engine_logs"):
        question = from_log(row)
        if question is None or not row["outcome"].startswith("started"):
            continue
        answer = estimate_row(question)
        if answer["starts"] is not None:
            yield row, answer


def generation(row: Row) -> str:
    """The engine generation that a log belongs to, for the table's title."""
    engine = find_engine("vllm", row["engine_version"])
    if engine is None:
        return "unknown"
    cuda = engine.accounting_cuda if row["platform"] == "cuda" else None
    return (cuda or engine.accounting).title


def print_logs() -> None:
    """A table for each platform and engine generation: CUDA's errors say nothing of Intel."""
    pairs = list(log_pairs())
    total = len(load("engine_logs"))
    print(f"\nengine_logs: {len(pairs)} of {total} logs say enough and started")
    for platform, title in (("xpu", "Intel (XPU)"), ("cuda", "CUDA")):
        mine = [p for p in pairs if p[0]["platform"] == platform]
        print_quantities(f"engine_logs, {title}, {len(mine)} logs", mine)
        for name in sorted({generation(row) for row, _ in mine}):
            same = [p for p in mine if generation(p[0]) == name]
            print_quantities(f"engine_logs, {title}, {name}: {len(same)} logs", same)
    print_layouts()
    print_weights()


def print_weights() -> None:
    """The weights alone, also of logs that don't tell the release, the length or the memory: these
    don't move them."""
    silent = {"engine_version": "0.26.0", "max_model_len": 4096, "gpu_total_gib": 64}
    print(f"\nengine_logs: weights, also where the log tells no more\n{HEAD}")
    for platform in ("xpu", "cuda"):
        pairs = []
        for row in load("engine_logs"):
            if row["platform"] != platform or row["outcome"] == "failed":
                continue
            told = {key: value for key, value in row.items() if value is not None}
            question = from_log({**row, **silent, **told})
            if question is not None:
                pairs.append((row, estimate_row(question)))
        print(line(platform, deviations(pairs, "weights_gib")))


def print_layouts() -> None:
    """The cache layout alone: capacity in tokens of the pool that the log prints."""
    pairs = []
    for row in load("engine_logs"):
        question = from_log(row, weights_matter=False)
        if question is None or not row["kv_cache_gib"] or not row["kv_cache_tokens"]:
            continue
        pinned = {**question["args"], "kv_cache_memory_bytes": int(row["kv_cache_gib"] * 2**30)}
        answer = estimate_row({**question, "args": pinned})
        if answer["starts"] is not None:
            pairs.append((row, answer))
    print(f"\nengine_logs: tokens of the printed pool\n{HEAD}")
    for platform in ("xpu", "cuda"):
        mine = [p for p in pairs if p[0]["platform"] == platform]
        print(line(platform, deviations(mine, "kv_cache_tokens")))


def main() -> None:
    print_measured("vllm_measured")
    print_measured("vllm_boundary")
    print_measured("vllm_validation")
    print_measured("vllm_plans")
    print_logs()
    print_speeds()


if __name__ == "__main__":
    main()
