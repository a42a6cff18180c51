"""``python -m tests.bench [NAME…]``: run the benches one after another; each prints its table."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from pathlib import Path

BENCHES = ("estimator", "diagnosis", "healing", "controller", "controller.failures")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], metavar="NAME")
    chosen = parser.parse_args().names or BENCHES
    print(f"## {_machine()}\n", flush=True)
    codes = [subprocess.run([sys.executable, "-m", f"tests.bench.{n}"]).returncode for n in chosen]
    return max(codes)


def _machine() -> str:
    """What the figures were measured on."""
    processors = Path("/proc/cpuinfo").read_text().split("model name\t: ")
    name = processors[1].splitlines()[0] if len(processors) > 1 else platform.machine()
    return f"{len(processors) - 1} × {name}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
