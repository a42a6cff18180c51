"""Take a log line's prefixes off: who wrote it, by which logger, and what it says.

The same message reaches us behind container runtime stamps, compose names, ANSI colours (also
spelled out), process tags, rank tags and the loggers of Python, glog, loguru and the kernel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MATCH_CHARS = 1500  # a pattern sees no more of one line: bounds every pattern's time

_ANSI = re.compile(r"(?:\x1b|\\x1b|\\u001b|\\033|#033|\^\[)\[[0-9;?]*[A-Za-z]|�\[[0-9;]*m")
_COLOUR_MARKS = ("\x1b[", "\\x1b[", "\\u001b[", "033[", "^[[", "�[")
_TAG = re.compile(r"\(([A-Za-z][^\n]{0,80}?) ?(?:rank=(\d+) )?\bpid=\d+[^)\n]{0,60}\) ?")
_LOGGER = re.compile(
    r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)? "
    r"(?:\[[^\]\n]{1,60}:\d+\]|[\w./]{1,60}:\d+\]) ?"
)
_LEVEL = re.compile(
    r"(?:\[?(DEBUG|INFO|WARNING|WARN|ERROR|ERR|CRITICAL|FATAL)\]?"
    r"(?::[\w.]{1,40}:|:\s{0,9}| - | \| |\s{1,9})"
    r"|([EFIW])\d{4} \d\d:\d\d:\d\d\.\d+\s{1,5}\d{0,9} ?[\w./-]{1,60}:\d+\] ?)"
)
_PLAIN = re.compile(
    r"(?:"
    r"\[?\d{4}[-/:]\d\d[-/:]\d\d[-T ]{0,2}\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
    r"(?:Z|[+-]\d\d:?\d\d)?\]?[ ,:|]{0,4}"
    r"|std(?:out|err) [FP] "
    r"|\[(?:E|W|I)?\d{0,4} ?\d\d:\d\d:\d\d[^\]\n]{0,80}\] ?"
    r"|\[[ \d]{1,9}\.\d{6}\] ?|\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\] ?"
    r"|\w{3} [ \d]\d \d\d:\d\d:\d\d [\w.-]{1,60} [\w.\[\]-]{1,40}: "
    r"|\[rank\d+\]:\s?|\[\w{1,30}=?\d{0,9}\]:? |\[[EW] [\w.]{1,60}:\d+\] ?"
    r"|\[[\w./-]{1,60}:\d+\]:? |[\w./-]{1,60}\.py:\d+(?:\]|:)? (?:-- )?"
    r"|\d\d:\d\d:\d\d[-.,]\d{1,9} |[\w.]{1,80}(?::\d{1,6})? - (?=(?:INFO|WARN|ERROR|CRIT))|- "
    r"|[A-Za-z][\w.-]{0,80} {0,9}\| |[>|] |- (?=> |\(|\[)"
    r"|\|CCL_ERROR\| (?=$)"
    r")"
)
_EXC = re.compile(
    r"((?:[A-Za-z_][\w]{0,60}\.){0,6}(?:[A-Z]\w{0,60}(?:Error|Exception|Exit|Interrupt|Dead)|Exception))"
    r"(?:\([A-Za-z]{1,40}\))?(?::\s{1,3}|\s*$)"
)
_NESTED = 3  # exceptions that name one another in one line
_WRAP = re.compile(
    r"(?:Value error, |Worker failed with error '|\(?[\"'](?=[A-Z])|what\(\):\s{1,3})"
)

# Text of a user that an engine or server echoes: never evidence.
_ECHO = re.compile(
    r"Received request|Generated (?:response|text)|\bprompt[\"']?\s?[:=]|[\"'](?:content|messages|"
    r"input|role)[\"']\s?[:=]|input_value\s?=(?!ArgsKwargs\()|\bmessages=|"
    r"\buser (?:said|asked|input)|"
    r"\b(?:body|payload|query|completion|echo)[\"']?\s?[:=]\s?[\"'{\[b]"
)
_SOURCE = re.compile(
    r"(?:raise|return|assert|logger\.|print\(|self\.|f?[\"'](?![A-Z]\w{1,40}(?:Error|Exception): ))"
    r"|\w+ = "
)
# A logger's warning that says how the software carries on is not a failure.
_GOES_ON = re.compile(
    r"[Ff]all(?:ing|s)? ?back|(?:will be|is|are) disabled|[Dd]isabling|not enabled:|[Cc]onsider "
    r"|\binstead\b|Retrying with a new port"
)
_BELOW_ERROR = ("DEBUG", "INFO", "WARNING", "WARN", "I", "W")
_RANKS = (("worker", 0), ("ray", 0), ("wrapperwithloadbit", 0), ("enginecore", 1), ("engine", 1))


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `full` without prefixes, `head` also without its exception class.

    `process`: 0 worker, 1 engine core or unknown, 2 API server. `logged`: a logger's own prefix or
    a process tag stood before it.
    """

    index: int
    full: str
    head: str
    exception: str
    tag: str
    process: int
    logged: bool
    level: str


def clean(raw: str) -> str:
    """Remove colours, real ones and those that a log collector spelled out."""
    if any(mark in raw for mark in _COLOUR_MARKS):
        raw = _ANSI.sub("", raw)
    return raw


def read(raw: str, index: int = 0) -> Line:
    """Normalise one line. Linear in its length; looks at the first MATCH_CHARS only."""
    text = clean(raw[: MATCH_CHARS + 400])
    tag = level = ""
    logged = False
    at = _skip_space(text, 0)
    for _ in range(12):
        start = at
        if found := _LOGGER.match(text, at):
            level, logged, at = found[1], True, found.end()
        elif found := _TAG.match(text, at):
            tag, logged, at = found[0].strip("() "), True, found.end()
        elif found := _LEVEL.match(text, at):
            level, logged, at = found[1] or found[2], True, found.end()
        elif found := _PLAIN.match(text, at):
            at = found.end()
        if at == start:
            break
        spaces = _skip_space(text, at)
        if not logged or spaces - at < 2:
            at = spaces
    inner = _skip_space(text, at)
    full = text[inner : inner + MATCH_CHARS].rstrip()
    exception, head = "", full
    for _ in range(_NESTED):  # "InductorError: LoweringException: AssertionError: …"
        found = _EXC.match(head)
        if not found:
            break
        exception, head = exception or found[1], head[found.end() :]
    while found := _WRAP.match(head):
        head = head[found.end() :]
    return Line(index, full, head, exception, tag, _process(tag), logged, level)


def is_echo(text: str) -> bool:
    """The line repeats what a user sent (request logging, a body, a message built from input)."""
    return text.startswith('{"') or bool(_ECHO.search(text))


def goes_on(line: Line) -> bool:
    """A logger says below ERROR what it does instead."""
    return line.level in _BELOW_ERROR and bool(_GOES_ON.search(line.full))


def is_source(text: str) -> bool:
    """A source line that a traceback quotes: the text of an exception stands there too."""
    return bool(_SOURCE.match(text))


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t":
        at += 1
    return at


def _process(tag: str) -> int:
    low = tag.lower().replace("_", "")
    if low.startswith("apiserver"):
        return 2
    for name, rank in _RANKS:
        if name in low:
            return rank
    return 1
