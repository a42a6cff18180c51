"""Log lines, for people or as JSON. Never a body of an object: names, not contents."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

# Chatty or not ours: kopf logs each event that it passes on, aiohttp each probe.
_QUIET = ("kopf", "aiohttp.access", "asyncio", "kubernetes")


def configure(level: str, form: str) -> None:
    """Log to stderr at ``level``, as ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(
            JsonFormatter(
                "{asctime}{levelname}{name}{message}",
                style="{",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
                datefmt="%Y-%m-%dT%H:%M:%S%z",
            )
        )
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
