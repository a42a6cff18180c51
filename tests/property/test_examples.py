"""`--hypothesis-profile long` means 2,000 examples for every law: none has a number of its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import settings
from tests.examples import examples

TESTS = Path(__file__).parents[1]
# The profiles, and the one helper that knows them.
MAY = {TESTS / "conftest.py", TESTS / "examples.py"}


def numbers(path: Path) -> list[int]:
    """Lines that give `max_examples` to whatever they call."""
    return [
        node.value.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.keyword) and node.arg == "max_examples"
    ]


def test_no_law_sets_its_own_number():
    assert all(numbers(path) for path in MAY)
    own = {str(p): lines for p in TESTS.rglob("*.py") if p not in MAY and (lines := numbers(p))}
    assert not own, "say @examples(n) of tests.examples"


@pytest.mark.parametrize(
    ("profile", "told", "given"), [("ci", 15, 15), ("ci", 200, 200), ("long", 15, 2000)]
)
def test_a_number_holds_for_the_profile_ci_alone(profile, told, given):
    before = settings.get_current_profile_name()
    settings.load_profile(profile)
    try:
        assert examples(told).max_examples == given
        assert examples(told, stateful_step_count=7).stateful_step_count == 7
    finally:
        settings.load_profile(before)
