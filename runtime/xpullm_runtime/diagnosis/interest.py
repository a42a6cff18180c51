"""Cheap questions asked of every line that an engine prints: remember it? a new phase?"""

from __future__ import annotations

from functools import lru_cache

from .matching import on_line
from .normalize import is_echo, read
from .phases import marker_literals, public
from .scan import without_digits
from .signatures import by_literal

_CHARS = 2000  # of a longer line only the beginning is looked at
_SHAPES = 4096  # an engine repeats itself with other numbers: shapes that are remembered


def interesting(line: str) -> bool:
    """Whether a line matches a signature (an error, a refusal, an end) and is no user's echo."""
    words = _words(without_digits(line[:_CHARS]))
    if not words:
        return False
    table = by_literal()
    return bool(on_line([one for word in words for one in table[word]], read(line)))


def marks(line: str) -> str:
    """The phase (types.PHASES) that a line of the log announces, "" for an ordinary line."""
    phase = _marker(without_digits(line[:_CHARS]))
    return public(phase) if phase and not is_echo(line[:_CHARS]) else ""


@lru_cache(maxsize=_SHAPES)
def _words(shape: str) -> tuple[str, ...]:
    return tuple(word for word in by_literal() if word in shape)


@lru_cache(maxsize=_SHAPES)
def _marker(shape: str) -> str:
    return next((phase for word, phase in marker_literals().items() if word in shape), "")
