"""Find the few lines of a log that matter, fast: literals before patterns.

A serving engine repeats itself with other numbers. So digits are taken out, equal lines are
counted once, and literals are looked for in what is left; patterns only see the lines hit.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable

from .normalize import clean

TAIL_CHARS = 2_000_000  # the cause stands 60–200 lines above the end; this is 100 times that
SEARCHED_CHARS = 250_000  # of what is left once repetition is taken out
NARROW, WIDE = 78, 260  # widths of terminals that people copy logs from
LONG = 2000  # a longer line may have lost its newlines
PER_SHAPE = 60  # occurrences of one line shape that are looked at, first and last ones
PER_LITERAL = 14  # shapes with one literal that are looked at, first and last ones
MAX_LINES = 600  # lines that patterns are tried on, at most

_DIGITS = b"0123456789"
_NO_DIGITS = str.maketrans("", "", _DIGITS.decode())
# What begins a record of its own: a process tag, a level, a stamp, a traceback.
_RECORD = re.compile(
    r"\([A-Z]\w{0,40}[^)\n]{0,40}pid=|(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b|\[|\d{4}-\d\d-\d\d"
    r"|Traceback |[\w.-]{1,60} {0,9}\| |[\w.]{1,80}(?:Error|Exception)\b"
)
_LOST_NEWLINE = re.compile(
    r" (?=(?:\([A-Z]\w{1,40} [^)\n]{0,40}pid=\d+\) )?"
    r"(?:INFO|ERROR|WARNING|CRITICAL) \d\d-\d\d \d\d:)"
    r"| (?=Traceback \(most recent call last\):)| {1,4}(?=File \"[^\"\n]{1,300}\", line \d)"
    r"| (?=(?:[a-z_]\w{0,40}\.){0,5}[A-Z]\w{1,40}(?:Error|Exception): )"
)
_RECORD_CHARS = 20_000
_LEVEL_KEY = re.compile(r'"(?:level|levelname|severity|log_level|lvl)": ?"')
_MESSAGE_KEYS = ("message", "msg", "text", "event")
_TAG = re.compile(r"\([A-Z]\w{1,40} [^)\n]{0,40}pid=\d+\)")


class Log:
    """The tail of a log as lines, with a lookup of literals."""

    def __init__(self, text: str) -> None:
        """Cut to the tail, split (also at carriage returns and where newlines were lost)."""
        if len(text) > TAIL_CHARS:
            text = text[-TAIL_CHARS:].partition("\n")[2] or text[-TAIL_CHARS:]
        if "\x00" in text:
            text = text.replace("\x00", "")
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = clean(text).split("\n")
        if lines[0].startswith('{"log":"'):
            lines = [_message(line) for line in lines]
        lines = unwrapped(lines)
        self.rejoined = False  # True: line starts are our guess, nothing can be trusted
        if any(len(line) > 400 for line in lines[:5000]) or len(lines) < 3:
            lines = self._split_long(lines)
        self.structured: set[int] = set()  # lines out of JSON records, which a user can send too
        if any(line.startswith('{"') for line in lines):
            lines = self._structured(lines)
        self.lines = lines
        shapes = [without_digits(line) if line.isascii() else _shape(line) for line in lines]
        self._shapes = shapes
        first: dict[str, int] = {}
        for index, shape in enumerate(shapes):
            if shape not in first:
                first[shape] = index
        self._unique = _within(list(first))
        self._starts: list[int] = []
        at = 0
        for shape in self._unique:
            self._starts.append(at)
            at += len(shape) + 1
        self._text = " ".join(self._unique)
        self.end = max(
            (i for i, line in enumerate(lines) if line and not line.isspace()), default=0
        )

    def find(self, literals: Iterable[str]) -> dict[int, set[str]]:
        """Line index -> literals (digits removed) that the line holds, or that begin in it."""
        by_shape: dict[str, set[str]] = {}
        for literal in literals:
            at = self._text.find(literal)
            for _ in range(PER_LITERAL):
                if at < 0:
                    break
                number = bisect_right(self._starts, at) - 1
                by_shape.setdefault(self._unique[number], set()).add(literal)
                if number + 1 >= len(self._starts):
                    break
                at = self._text.find(literal, self._starts[number + 1])
            else:
                self._find_last(literal, by_shape)
        if not by_shape:
            return {}
        return self._occurrences(by_shape)

    def _find_last(self, literal: str, by_shape: dict[str, set[str]]) -> None:
        """The last shapes with a literal, where there are too many to look at all of them."""
        end = len(self._text)
        for _ in range(PER_LITERAL):
            at = self._text.rfind(literal, 0, end)
            number = bisect_right(self._starts, at) - 1
            by_shape.setdefault(self._unique[number], set()).add(literal)
            end = self._starts[number]

    def _occurrences(self, by_shape: dict[str, set[str]]) -> dict[int, set[str]]:
        seen: dict[str, list[int]] = {}
        for index, shape in enumerate(self._shapes):
            if shape in by_shape:
                seen.setdefault(shape, []).append(index)
        found: dict[int, set[str]] = {}
        for shape, indexes in seen.items():
            if len(indexes) > PER_SHAPE:
                indexes = indexes[: PER_SHAPE // 2] + indexes[-PER_SHAPE // 2 :]
            for index in indexes:
                found[index] = by_shape[shape]
        if len(found) > MAX_LINES:
            keys = sorted(found)
            found = {key: found[key] for key in keys[: MAX_LINES // 2] + keys[-MAX_LINES // 2 :]}
        return dict(sorted(found.items()))

    def _structured(self, lines: list[str]) -> list[str]:
        out: list[str] = []
        for line in lines:
            text = _structured(line) if line.startswith('{"') else None
            parts = [line] if text is None else text.split("\n")
            if text is not None:
                self.structured.update(range(len(out), len(out) + len(parts)))
            out.extend(parts)
        return out

    def _split_long(self, lines: list[str]) -> list[str]:
        out: list[str] = []
        for line in lines:
            if _LEVEL_KEY.search(line, 0, 400) and line.startswith('{"'):
                out.append(line)
            elif len(line) > 400 and (line.count('File "') > 1 or len(line) > LONG):
                parts = _records(line)
                self.rejoined = self.rejoined or len(parts) > 1
                out.extend(part if len(part) <= 2 * LONG else _ends(part) for part in parts)
            else:
                out.append(line)
        return out


def _records(line: str) -> list[str]:
    """A long line cut where newlines were lost; a process tag stays with what it is the tag of."""
    parts: list[str] = []
    for part in _LOST_NEWLINE.split(line):
        if parts and _TAG.fullmatch(parts[-1]):
            parts[-1] += f" {part}"
        elif part:
            parts.append(part)
    return parts


def _within(shapes: list[str]) -> list[str]:
    """Where hardly two lines are equal, keep the beginning and, mostly, the end."""
    if sum(map(len, shapes)) <= SEARCHED_CHARS:
        return shapes
    ends: list[str] = []
    room = SEARCHED_CHARS * 3 // 4
    for shape in reversed(shapes):
        room -= len(shape)
        if room < 0:
            break
        ends.append(shape)
    begins: list[str] = []
    room = SEARCHED_CHARS // 4
    for shape in shapes:
        room -= len(shape)
        if room < 0:
            break
        begins.append(shape)
    return begins + ends[::-1]


def unwrapped(lines: list[str]) -> list[str]:
    """Put together what a terminal broke at its width: all such lines are equally long."""
    width = max(map(len, lines))
    if not NARROW <= width <= WIDE or len({one for one in lines if len(one) == width}) < 2:
        return lines
    out: list[str] = []
    going_on = False
    for line in lines:
        if going_on and line and not line[0].isspace() and not _RECORD.match(line):
            out[-1] += line
        else:
            out.append(line)
        going_on = len(line) == width
    return out


def without_digits(literal: str) -> str:
    """The form in which `Log.find` takes literals."""
    return literal.translate(_NO_DIGITS)


def _shape(line: str) -> str:
    """A line's form to search in. Literals are ASCII: one odd character would make the whole text
    wide and slow to search, and `str.translate` is ten times slower on such a line than this.
    """
    return line.encode("ascii", "replace").translate(None, _DIGITS).decode("ascii")


def _ends(line: str) -> str:
    return line[:LONG] + " … " + line[-LONG:]


def _structured(line: str) -> str | None:
    """The message of a JSON record that a logger wrote: it names its level."""
    if len(line) > _RECORD_CHARS or not _LEVEL_KEY.search(line):
        return None
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError):
        return None
    text = next((raw[key] for key in _MESSAGE_KEYS if isinstance(raw.get(key), str)), None)
    return None if text is None else clean(text)


def _message(line: str) -> str:
    """Docker's json-file driver: one JSON object per line."""
    if not line.startswith('{"log":"'):
        return line
    try:
        raw = json.loads(line)
    except ValueError:
        return line
    inner = raw.get("log") if isinstance(raw, dict) else None
    return inner.rstrip("\n") if isinstance(inner, str) else line
