"""Signatures: what a decisive line looks like, read from data/signatures.json.

Fields of one signature:
  id, cause     `device_oom` is a family: the phase makes it device_oom_weights and so on
  rank          0 told to stop, 1 a root cause, 2 weak root cause, 3 how a process ended, 4 wrapper
  order         between hits of one traceback the lowest wins (default 3)
  where         head: the message begins so · line: anywhere in the line · k8s: a line of an event
                or a description · frame: a traceback's frame
  literals      one of them is in the line (fast); `regex` then decides; `exclude` undoes it
  native        only where neither a logger nor a Python exception speaks (raw SYCL exception); the
                same line then counts for no other signature
  last          only where nothing else follows in the log
  repeats       so many lines are needed · needs: text within the next three lines
  soft          counts only where no other root cause is found
  phase         where it happens, if the message says so · move: variant of the cause's first move
  example       a text that must yield the cause (tested)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from .normalize import MATCH_CHARS, Line, read
from .scan import Log, without_digits


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
    repeats: int = 1
    soft: bool = False
    native: bool = False
    last: bool = False
    self_correctable: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """A signature found in a line. `weak`: not at the head of the message."""

    signature: Signature
    line: Line
    weak: bool


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
    """Cause -> helps, title, meaning, remedy, useless, first_move."""
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


@cache
def _compiled(regex: str) -> re.Pattern[str]:
    return re.compile(regex)


def hits(log: Log) -> list[Hit]:
    """All signatures found in a log, in the order of its lines."""
    table = by_literal()
    out: list[Hit] = []
    for index, literals in log.find(table).items():
        line = read(log.lines[index], index)
        if line.echo:
            continue
        tried: set[str] = set()
        for literal in sorted(literals):
            for signature in table[literal]:
                if signature.id not in tried:
                    tried.add(signature.id)
                    if hit := match(signature, line, log.lines):
                        out.append(hit)
    native = {hit.line.index for hit in out if hit.signature.native}
    return [
        hit
        for hit in out
        if (hit.signature.repeats <= 1 or _repeated(hit, out))
        and (hit.signature.native or hit.line.index not in native)
    ]


def match(signature: Signature, line: Line, lines: list[str] | None = None) -> Hit | None:
    """Try one signature on a line; where it is cut, on the line with what follows."""
    pattern = _compiled(signature.regex)
    if signature.exclude and _compiled(signature.exclude).search(line.full):
        return None
    if signature.native and (line.logged or line.exception):
        return None
    if signature.last and lines is not None and any(row.strip() for row in lines[line.index + 3 :]):
        return None
    if signature.where == "frame":
        at = line.index
        near = "" if lines is None else "\n".join(lines[at : at + 4])
        found = pattern.match(line.full) and signature.needs in near
        return Hit(signature, line, weak=True) if found else None
    if signature.where != "head":
        return Hit(signature, line, weak=False) if pattern.search(line.full) else None
    if pattern.match(line.head) or pattern.match(line.full):
        return Hit(signature, line, weak=False)
    if lines is not None and len(line.full) > 60 and (rest := _continuation(lines, line)):
        joined = (line.full + " " + rest)[:MATCH_CHARS]
        if pattern.match(joined) or pattern.match(joined[len(line.full) - len(line.head) :]):
            return Hit(signature, line, weak=False)
    if not _is_source(line.full) and pattern.search(line.full):
        return Hit(signature, line, weak=True)
    return None


def _continuation(lines: list[str], line: Line) -> str:
    """The next two lines, where they carry on a wrapped record."""
    parts = []
    for raw in lines[line.index + 1 : line.index + 3]:
        after = read(raw)
        if after.level or after.full.startswith(("File ", "Traceback")):
            break
        parts.append(after.full)
    return " ".join(parts)


_SOURCE = re.compile(r"(?:raise|return|assert|logger\.|print\(|self\.|f?[\"'])|\w+ = ")


def _is_source(text: str) -> bool:
    """A source line that a traceback quotes: the text of an exception stands there too."""
    return bool(_SOURCE.match(text))


def _repeated(hit: Hit, found: list[Hit]) -> bool:
    same = sum(1 for other in found if other.signature.id == hit.signature.id)
    return same >= hit.signature.repeats
