"""Command line: run, install, probe, version."""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from . import __version__
from .build import archive, write
from .config import ENV, RUNTIME_PORT, ConfigError, RuntimeConfig, from_env

EXIT_USAGE = 64  # EX_USAGE (sysexits.h): no engine ends so by itself
PROBES = {"startup": "/startupz", "readiness": "/readyz", "liveness": "/healthz"}


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code; `run` returns the engine's."""
    words = list(sys.argv[1:] if argv is None else argv)
    engine: list[str] = []
    if "--" in words:
        cut = words.index("--")
        words, engine = words[:cut], words[cut + 1 :]
    args = _parser().parse_args(words)
    if args.command == "run":
        return _run(args, engine)
    if args.command == "install":
        return _install(Path(args.to))
    if args.command == "probe":
        return _probe(args.kind, args.port)
    print(__version__)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xpullm-runtime", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="supervise an engine",
        usage="xpullm-runtime run [options] -- ENGINE [ARGUMENT ...]",
        description=f"Settings come from ${ENV} (JSON); options win.",
        allow_abbrev=False,
    )
    default = RuntimeConfig()
    for item in fields(RuntimeConfig):
        value = getattr(default, item.name)
        kind: Any = str if isinstance(value, tuple) else type(value)
        run.add_argument(
            f"--{item.name.replace('_', '-')}",
            type=kind,
            action="append" if isinstance(value, tuple) else "store",
            default=None,
            help=f"default: {value}" if value or value == 0 else None,
        )
    install = commands.add_parser("install", help="copy this program into a folder")
    install.add_argument("--to", required=True, metavar="DIR")
    probe = commands.add_parser("probe", help="exit 0 if the probe passes, else 1")
    probe.add_argument("kind", choices=sorted(PROBES))
    probe.add_argument("--port", type=int, default=None)
    commands.add_parser("version", help="print the version")
    return parser


def _run(args: argparse.Namespace, engine: Sequence[str]) -> int:
    changes = {
        item.name: getattr(args, item.name)
        for item in fields(RuntimeConfig)
        if getattr(args, item.name) is not None
    }
    try:
        config = from_env(os.environ).with_changes(changes)
    except ConfigError as error:
        return _usage(str(error))
    if not engine:
        return _usage("no engine: xpullm-runtime run [options] -- ENGINE [ARGUMENT ...]")
    from .supervisor import Supervisor

    return Supervisor(config, engine, os.environ).run()


def _usage(text: str) -> int:
    print(f"[xpullm] {text}", file=sys.stderr)
    return EXIT_USAGE


def _install(folder: Path) -> int:
    """Copy the archive we run from; from a source tree, build one."""
    own = next((path for path in Path(__file__).parents if zipfile.is_zipfile(path)), None)
    try:
        write(folder / "runtime.pyz", own.read_bytes() if own else archive())
    except OSError as error:
        print(f"[xpullm] install: {error}", file=sys.stderr)
        return 1
    print(folder / "runtime.pyz")
    return 0


def _probe(kind: str, port: int | None) -> int:
    if port is None:
        try:
            port = from_env(os.environ).runtime_port
        except ConfigError:
            port = RUNTIME_PORT
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", PROBES[kind])
        response = connection.getresponse()
        print(response.read(500).decode("utf-8", "replace").strip())
        return 0 if response.status == 200 else 1
    except (OSError, http.client.HTTPException) as error:
        print(f"port {port}: {error}")
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    raise SystemExit(main())
