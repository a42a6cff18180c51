"""Steps taken so far: as small JSON in the child's annotation, and as rows of status.

The annotation is the truth; it is read back by a newer or older operator, or after a person edited
it, so decoding keeps what it understands and never raises.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from xpullm.healing.judge import held_bytes
from xpullm.healing.types import PastStep, Step
from xpullm_runtime.diagnosis.types import Diagnosis

LIMIT = 64  # more than maxAttempts can be (50); 64 steps of 1 KiB leave room in 256 KiB
STATUS_LIMIT = 20
EVIDENCE_CHARS = 300
VALUE_CHARS = 256

_NUMBERS = frozenset({"attempt", "tried_bytes", "held_bytes", "relief_bytes"})
_DEFAULTS = PastStep(attempt=0, time="", cause="", phase="", lever="", before="", after="")


def attempts(history: Sequence[PastStep]) -> int:
    """How many steps answered a failure: not those of growth, nor those that took one back."""
    return sum(_counts(step, history[i - 1] if i else None) for i, step in enumerate(history))


def _counts(step: PastStep, before: PastStep | None) -> bool:
    if step.cause == "growth":
        return False
    grown = before is not None and before.cause == "growth" and before.effect == "Worse"
    return not (grown and before is not None and _reverses(step, before))


def _reverses(step: PastStep, before: PastStep) -> bool:
    return (step.lever, step.before, step.after) == (before.lever, before.after, before.before)


def past_step(
    step: Step,
    diagnosis: Diagnosis,
    history: Sequence[PastStep],
    *,
    time: str,
    failure_id: str = "",
    plan_hash: str = "",
    node: str = "",
) -> PastStep:
    """What is remembered of a step: written in the same object and write as its plan."""
    taken = PastStep(
        attempt=0,
        time=time,
        cause=diagnosis.cause,
        phase=diagnosis.phase,
        lever=step.lever,
        before=step.before[:VALUE_CHARS],
        after=step.after[:VALUE_CHARS],
        failure_id=failure_id,
        evidence=(diagnosis.evidence[0] if diagnosis.evidence else "")[:EVIDENCE_CHARS],
        tried_bytes=max(0, diagnosis.figures.get("tried_bytes", 0)),
        plan_hash=plan_hash,
        node=node,
        held_bytes=max(0, held_bytes(diagnosis.figures)),
        relief_bytes=max(0, step.relief_bytes),
    )
    return replace(taken, attempt=attempts((*history, taken)))


def encode_history(history: Sequence[PastStep]) -> str:
    """Compact JSON of the newest steps, empty fields left out."""
    rows = [
        {
            field.name: getattr(step, field.name)
            for field in fields(step)
            if getattr(step, field.name) not in ("", 0)
        }
        for step in history[-LIMIT:]
    ]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def decode_history(text: str | None) -> tuple[PastStep, ...]:
    """The steps of an annotation; what cannot be read is left out, in order."""
    try:
        rows = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return ()
    if not isinstance(rows, list):
        return ()
    return tuple(_step(row) for row in rows[-LIMIT:] if isinstance(row, dict))


def _step(row: Mapping[str, Any]) -> PastStep:
    good = {
        field.name: row[field.name]
        for field in fields(PastStep)
        if type(row.get(field.name)) is (int if field.name in _NUMBERS else str)
    }
    return replace(_DEFAULTS, **good)


def status_history(history: Sequence[PastStep]) -> list[dict[str, Any]]:
    """Rows for `status.healing.history`: the newest 20, oldest first."""
    rows: list[dict[str, Any]] = []
    for step in history[-STATUS_LIMIT:]:
        row: dict[str, Any] = {
            "attempt": step.attempt,
            "time": step.time,
            "cause": step.cause,
            "phase": step.phase,
            "evidence": step.evidence,
            "argument": step.lever,
            "from": step.before,
            "to": step.after,
            "result": "Pending" if step.effect in ("", "Unclear") else step.effect,
            "planHash": step.plan_hash,
            "node": step.node,
        }
        rows.append({name: value for name, value in row.items() if value != ""})
    return rows
