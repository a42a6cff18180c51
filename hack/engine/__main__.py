"""`python -m hack.engine build`: make the environment; `path`: print its interpreter."""

from __future__ import annotations

import argparse
import sys
import time

from hack.engine.environment import VERSION, EngineError, build, is_built, python


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.engine", description=__doc__)
    parser.add_argument("command", choices=("build", "path"))
    if parser.parse_args().command == "path":
        print(python())
        return 0 if is_built() else 1
    began = time.monotonic()
    try:
        interpreter = build()
    except EngineError as error:
        print(f"engine: {error}", file=sys.stderr)
        return 1
    print(f"engine: vLLM {VERSION} in {interpreter} ({time.monotonic() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
