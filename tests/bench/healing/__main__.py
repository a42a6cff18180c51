"""`python -m tests.bench.healing [--worlds N] [--first SEED] [--verbose]`: the game of failures."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.bench.healing.draw import draw
from tests.bench.healing.loop import Played, play


def main() -> int:
    options = _options()
    began = time.perf_counter()
    seeds = range(options.first, options.first + options.worlds)
    with ProcessPoolExecutor(options.jobs) as pool:
        games = [game for game in pool.map(_one, seeds, chunksize=50) if game is not None]
    seconds = time.perf_counter() - began
    if options.verbose:
        _failures(games)
    report(games, len(seeds), seconds)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.healing", description=__doc__)
    parser.add_argument("--worlds", type=int, default=4000)
    parser.add_argument("--first", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--verbose", action="store_true", help="show worlds that were not healed")
    return parser.parse_args()


def _one(seed: int) -> Played | None:
    return play(draw(seed))


def report(games: Sequence[Played], drawn: int, seconds: float) -> None:
    """The figures as one table, then by what was hidden."""
    failed = [game for game in games if game.steps or not game.healthy]
    healable = [game for game in failed if game.healable]
    healed = [game for game in healable if game.healthy]
    steps = [game.steps for game in healed if game.steps]
    print(f"worlds drawn {drawn}, with a plan {len(games)}, {seconds:.0f} s")
    print(f"first plan held        {len(games) - len(failed)}")
    print(f"failed                 {len(failed)}, healable {len(healable)}")
    print(f"healed of healable     {_percent(len(healed), len(healable))}")
    print(f"re-rolls to healthy    median {_at(steps, 0.5)}, p95 {_at(steps, 0.95)}")
    for name, shares in (
        ("share of best safe KV", [game.share for game in healed]),
        ("  same batch           ", [game.share_as_is for game in healed]),
    ):
        if shares:
            print(
                f"{name}  mean {statistics.mean(shares):.3f}, median "
                f"{statistics.median(shares):.3f}, p5 {_at(shares, 0.05):.3f}"
            )
    print(f"useless tightenings    {sum(game.useless for game in games)}")
    print(
        f"stopped, not healable  {sum(not g.healthy for g in failed if not g.healable)} of "
        f"{sum(not g.healable for g in failed)}"
    )
    print()
    print(f"{'hidden truth':26}{'failed':>8}{'healable':>10}{'healed':>8}{'steps':>7}{'share':>8}")
    for name in sorted({game.case.cause for game in failed}):
        rows = [game for game in failed if game.case.cause == name]
        able = [game for game in rows if game.healable]
        good = [game for game in able if game.healthy]
        share = statistics.mean([game.share for game in good]) if good else 0.0
        mean = statistics.mean([game.steps for game in good]) if good else 0.0
        print(f"{name:26}{len(rows):8}{len(able):10}{len(good):8}{mean:7.2f}{share:8.3f}")


def _failures(games: Sequence[Played]) -> None:
    kinds: Counter[str] = Counter()
    for game in games:
        if (game.healable and not game.healthy) or game.useless:
            case = game.case
            kinds[f"{case.cause} {case.setup.accounting} {case.setup.sizing}"] += 1
            print(
                f"{case.number} {case.cause} {case.setup.engine} {case.setup.sizing} "
                f"{case.truth.figures} steps={game.steps} useless={game.useless} "
                f"causes={','.join(game.causes)} levers={','.join(game.levers)}\n    {game.end}"
            )
    for name, count in kinds.most_common():
        print(count, name)


def _percent(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.1f} %)" if whole else "none"


def _at(values: Sequence[float], quantile: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else 0


if __name__ == "__main__":
    sys.exit(main())
