"""Reasons are a closed, documented list, and no part of the operator says another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xpullm.api import ConditionType, EventReason, Reason
from xpullm.api.reasons import EVENT_REASON_TEXT, REASON_TEXT

OPERATOR = Path(__file__).parents[3] / "operator" / "xpullm"
SAID = re.compile(r'\b(?:Stop|Refusal|Infeasible|_?refuse|_?stop)\(\s*(?:reason=)?"([A-Za-z]+)"')


def test_every_reason_is_documented() -> None:
    assert set(REASON_TEXT) == set(Reason)
    assert set(EVENT_REASON_TEXT) == set(EventReason)
    for text in (*REASON_TEXT.values(), *EVENT_REASON_TEXT.values()):
        assert text.endswith(".")
        assert len(text) <= 100


@pytest.mark.parametrize("word", [*Reason, *EventReason, *ConditionType])
def test_words_are_camel_case(word: str) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z]{2,40}", word)


def test_nothing_in_the_code_is_said_beside_the_list() -> None:
    said = {
        (path.name, reason)
        for path in OPERATOR.rglob("*.py")
        for reason in SAID.findall(path.read_text(encoding="utf-8"))
    }
    assert said, "the pattern finds nothing any more"
    assert {pair for pair in said if pair[1] not in set(Reason)} == set()


@pytest.mark.parametrize("reason", [*Reason, *EventReason])
def test_nothing_is_on_the_list_that_the_code_never_says(reason: Reason | EventReason) -> None:
    said = re.compile(rf'\b{type(reason).__name__}\.{reason.name}\b|"{reason}"')
    assert any(
        said.search(path.read_text(encoding="utf-8"))
        for path in (*OPERATOR.rglob("*.py"), OPERATOR / "healing" / "ladder.toml")
        if path != OPERATOR / "api" / "reasons.py"
    )


def test_reasons_of_the_healing_table_are_in_the_list() -> None:
    table = (OPERATOR / "healing" / "ladder.toml").read_text(encoding="utf-8")
    assert set(re.findall(r'^reason = "(\w+)"', table, re.MULTILINE)) <= set(Reason)
