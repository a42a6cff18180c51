"""Signatures: what a decisive line looks like, read from data/signatures.json.

Fields of one signature:
  id, cause     `device_oom` is a family: the phase makes it device_oom_weights and so on
  rank          0 told to stop, 1 a root cause, 2 weak root cause, 3 how a process ended, 4 wrapper
  order         between hits of one traceback the lowest wins (default 3)
  where         head: the message begins so · line: anywhere in the line · k8s: a line of an event
                or a description · frame: a traceback's frame · raised: the exception line of a
                traceback whose last frame matches `frame`
  literals      one of them is in the line (fast); `regex` then decides; `exclude` undoes it
  native        only where neither a logger nor a Python exception speaks (raw SYCL exception); the
                same line then counts for no other signature
  native_end    native code ends the process with this line, without logger or traceback
  last          only where nothing else follows in the log
  repeats       so many lines are needed · needs: text within the next three lines
  soft          counts only where no other root cause is found
  phase         where it happens, if the message says so · move: variant of the cause's first move
  example       a text that must yield the cause (tested)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from .scan import without_digits


@dataclass(frozen=True, slots=True)
class Signature:
    """One row of the data file."""

    id: str
    cause: str
    rank: int
    where: str
    literals: tuple[str, ...]
    regex: str
    example: str
    order: int = 3
    phase: str = ""
    move: str = ""
    exclude: str = ""
    needs: str = ""
    frame: str = ""
    repeats: int = 1
    soft: bool = False
    native: bool = False
    native_end: bool = False
    last: bool = False
    self_correctable: bool = False


@cache
def data(name: str) -> Any:
    """Parse a data file of the package (works inside a zip)."""
    return json.loads(resources.files(__package__).joinpath("data", name).read_text("utf-8"))


@cache
def signatures() -> tuple[Signature, ...]:
    """Load all signatures."""
    return tuple(
        Signature(**{**raw, "literals": tuple(raw["literals"])})
        for raw in data("signatures.json")["signatures"]
    )


@cache
def causes() -> Mapping[str, Mapping[str, Any]]:
    """Cause -> helps, title, meaning, remedy, useless, first_move; `start_only` where an engine
    that was Ready cannot have it: no line of a log is then taken for it.
    """
    loaded: Mapping[str, Mapping[str, Any]] = data("causes.json")
    return loaded


@cache
def by_literal() -> Mapping[str, tuple[Signature, ...]]:
    """Literal without digits -> the signatures that it may announce."""
    table: dict[str, list[Signature]] = {}
    for signature in signatures():
        for literal in signature.literals:
            rows = table.setdefault(without_digits(literal), [])
            if signature not in rows:
                rows.append(signature)
    return {literal: tuple(rows) for literal, rows in table.items()}
