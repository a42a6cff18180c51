"""Try signatures on the lines that their literals announce."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

from .normalize import MATCH_CHARS, Line, goes_on, is_echo, is_source, read
from .scan import Log
from .signatures import Signature, by_literal

_CLAUSE = re.compile(r"[:,;.!\])] ?['\"]?|- |\w(?=[A-Z][a-z]+: )|[^\x00-\x7f](?=\w)")
_FRAME_LINES = 8  # a frame, its source line, carets, and a few lines of a raise
_CLAUSES = 24  # places in a line where a message may begin
_WRAPPED = 60  # a shorter line was not broken by a terminal's or collector's width


@dataclass(frozen=True, slots=True)
class Hit:
    """A signature found in a line. `weak`: not at the head of the message."""

    signature: Signature
    line: Line
    weak: bool


def hits(log: Log) -> list[Hit]:
    """All signatures found in a log, in the order of its lines."""
    table = by_literal()
    found: list[Hit] = []
    for index, literals in log.find(table).items():
        line = read(log.lines[index], index)
        wanted = {one.id: one for literal in sorted(literals) for one in table[literal]}
        found += on_line(wanted.values(), line, log.lines, log.end)
    counts = Counter(hit.signature.id for hit in found)
    native = {hit.line.index for hit in found if hit.signature.native}
    return [
        hit
        for hit in found
        if counts[hit.signature.id] >= hit.signature.repeats
        and (hit.signature.native or hit.line.index not in native)
    ]


def on_line(
    wanted: Iterable[Signature], line: Line, lines: Sequence[str] = (), end: int = 0
) -> list[Hit]:
    """The signatures that a line bears out; none where the line repeats what a user sent.

    Without the `lines` around it only what the line says at its head counts.
    """
    out: list[Hit] = []
    joined: str | None = None
    clauses: list[int] | None = None
    for signature in wanted:
        hit = _on_its_own(signature, line, lines, end)
        if hit is None and signature.where == "head" and len(line.full) > _WRAPPED and lines:
            if joined is None:
                joined = _joined(lines, line)
            hit = _on_joined(signature, line, joined)
        if hit is None and signature.where == "head" and lines:
            if clauses is None:
                clauses = _clauses(line.full)
            hit = _in_the_middle(signature, line, clauses)
        if hit is not None:
            out.append(hit)
    return [] if out and (is_echo(line.full) or goes_on(line)) else out


@cache
def _compiled(regex: str) -> re.Pattern[str]:
    return re.compile(regex)


def _excluded(signature: Signature, line: Line) -> bool:
    if signature.native and (line.logged or line.exception):
        return True
    return bool(signature.exclude and _compiled(signature.exclude).search(line.full))


def _on_its_own(signature: Signature, line: Line, lines: Sequence[str], end: int) -> Hit | None:
    pattern = _compiled(signature.regex)
    if _excluded(signature, line) or (signature.last and lines and end - line.index > 3):
        return None
    if signature.where == "frame":
        near = "\n".join(lines[line.index : line.index + 4])
        framed = pattern.match(line.full) and signature.needs in near
        return Hit(signature, line, weak=True) if framed else None
    if signature.where == "raised":
        raised = pattern.match(line.full) and _last_frame(signature.frame, lines, line.index)
        return Hit(signature, line, weak=False) if raised else None
    if signature.where == "head":
        found = pattern.match(line.head) or pattern.match(line.full)
    else:
        found = pattern.search(line.full)
    return Hit(signature, line, weak=False) if found else None


def _last_frame(frame: str, lines: Sequence[str], index: int) -> bool:
    """Whether the frame right above an exception line is in a certain file."""
    for raw in reversed(lines[max(0, index - _FRAME_LINES) : index]):
        at = raw.find('File "')
        if at >= 0:
            return bool(_compiled(frame).search(raw[at : at + MATCH_CHARS]))
    return False


def _joined(lines: Sequence[str], line: Line) -> str:
    """The line with the next two, where they carry on a wrapped record."""
    parts = [line.full]
    for raw in lines[line.index + 1 : line.index + 3]:
        after = read(raw)
        if after.level or after.full.startswith(("File ", "Traceback")):
            break
        parts.append(after.full)
    return " ".join(parts)[:MATCH_CHARS] if len(parts) > 1 else ""


def _on_joined(signature: Signature, line: Line, joined: str) -> Hit | None:
    if not joined or _excluded(signature, line):
        return None
    pattern = _compiled(signature.regex)
    head = joined[len(line.full) - len(line.head) :]
    found = pattern.match(joined) or pattern.match(head)
    return Hit(signature, line, weak=False) if found else None


def _in_word(text: str, at: int) -> bool:
    before = text[at - 1 : at]
    return before.isascii() and before.isalnum()


def _clauses(text: str) -> list[int]:
    """Where a message may begin within a line; nowhere in a source line."""
    if is_source(text):
        return []
    starts = (found.end() for found in islice(_CLAUSE.finditer(text), _CLAUSES))
    return [at for at in starts if not _in_word(text, at)]


def _in_the_middle(signature: Signature, line: Line, clauses: Sequence[int]) -> Hit | None:
    pattern, text = _compiled(signature.regex), line.full
    starts = (text.find(literal) for literal in signature.literals)
    own = [at for at in starts if at >= 0 and not _in_word(text, at)]
    if not any(pattern.match(text, at) for at in (*own, *clauses)):
        return None
    if is_source(text) or _excluded(signature, line):
        return None
    return Hit(signature, line, weak=True)
