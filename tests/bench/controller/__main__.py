"""``python -m tests.bench.controller``: run the fleet, print its table."""

from __future__ import annotations

import argparse
import asyncio

from hack.cluster import Cluster
from tests.bench.controller.figures import Row, table
from tests.bench.controller.fleet import fleet


async def measure(count: int, rest_seconds: float) -> list[Row]:
    """Run the whole scenario on a cluster of its own."""
    with Cluster() as cluster:
        async with fleet(cluster, count) as made:
            operator = made.operator("first")
            try:
                made.note("start of the operator, empty cluster", f"{operator.start_seconds:.1f} s")
                await made.appear(operator)
                await made.rest(operator, rest_seconds)
                operator = await made.restart(operator)
                await made.fail(operator, 1, first=0)
                await made.fail(operator, min(100, count - 1), first=1)
                for problem in operator.problems[:10]:
                    print(f"  logged: {problem}")
            finally:
                operator.stop()
            return made.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="LLMDeployments (default: 200)")
    parser.add_argument("--rest", type=float, default=30.0, help="seconds of rest (default: 30)")
    options = parser.parse_args()
    rows = asyncio.run(measure(options.count, options.rest))
    print(table(rows, f"Operator, {options.count} LLMDeployments on simulated nodes"))


if __name__ == "__main__":
    main()
