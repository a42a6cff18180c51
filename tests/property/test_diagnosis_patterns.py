"""No pattern is catastrophic: a backtracking explosion takes seconds to centuries on such lines,
and the suite's limit against hangs would tell. How fast they are is measured in tests/bench.
"""

from __future__ import annotations

import re

import pytest

from xpullm_runtime.diagnosis import signatures
from xpullm_runtime.diagnosis.figures import parse
from xpullm_runtime.diagnosis.normalize import MATCH_CHARS, read

FILLERS = ("a", " ", ".", "a.", "A", "(", "[", "'", "1", "ab ", ": ", "x_", "0x", "-", "\t", "é")


def worst(signature, filler):
    """Each literal of the signature, then repetition that cannot end in a match."""
    for literal in signature.literals:
        for text in (literal + filler * MATCH_CHARS, filler * MATCH_CHARS + literal, literal * 200):
            yield text[:MATCH_CHARS]


@pytest.mark.parametrize("filler", FILLERS)
def test_signatures_are_end_on_any_line(filler):
    for signature in signatures():
        pattern = re.compile(signature.regex)
        for text in worst(signature, filler):
            pattern.search(text)


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize("head", ["", "(", "[", "ERROR ", "(EngineCore pid=", "Tried to allocate "])
def test_prefixes_and_figures_are_end_on_any_line(filler, head):
    text = head + filler * 4000
    assert len(read(text).full) <= MATCH_CHARS
    assert isinstance(parse(text), dict)
