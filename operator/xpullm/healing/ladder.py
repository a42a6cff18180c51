"""The ladder as data: which levers answer which failure, in order (`ladder.toml`)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from xpullm_runtime.diagnosis.types import Diagnosis

ANY = "*"
_NO_DATA: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Move:
    """One rung: a lever, when it applies, how often, and its own figures (`data`)."""

    lever: str
    when: str = ""
    times: int = 0
    data: Mapping[str, Any] = field(default_factory=lambda: _NO_DATA)


@dataclass(frozen=True, slots=True)
class Rule:
    """The rungs for one kind of failure, and what a person can do when none is left."""

    cause: str
    moves: tuple[Move, ...]
    stop: str
    phase: str = ANY
    pool: tuple[str, ...] = ()
    evidence: str = ""
    figure: str = ""
    reason: str = "NotHealable"
    source: str = ""

    def answers(self, diagnosis: Diagnosis, pool: str) -> bool:
        """True where this rule is about this failure on an engine with this kind of pool."""
        cause, phase = diagnosis.cause, diagnosis.phase
        return (
            self.cause in (cause, ANY)
            and self.phase in (phase, ANY)
            and (not self.pool or pool in self.pool)
            and (not self.evidence or any(self.evidence in line for line in diagnosis.evidence))
            and (not self.figure or self.figure in diagnosis.figures)
        )


def _move(raw: Mapping[str, Any]) -> Move:
    known = {"lever", "when", "times"}
    return Move(
        lever=raw["lever"],
        when=raw.get("when", ""),
        times=raw.get("times", 0),
        data=MappingProxyType({k: v for k, v in raw.items() if k not in known}),
    )


@cache
def rules() -> tuple[Rule, ...]:
    """All rules in file order. Raises KeyError or TypeError on a broken data file."""
    text = files("xpullm.healing").joinpath("ladder.toml").read_text("utf-8")
    return tuple(
        Rule(
            **{
                **raw,
                "moves": tuple(_move(move) for move in raw.get("moves", ())),
                "pool": tuple(raw.get("pool", ())),
            }
        )
        for raw in tomllib.loads(text)["rule"]
    )


def rule_for(diagnosis: Diagnosis, pool: str) -> Rule:
    """The first rule that answers; the last one of the table answers everything."""
    return next(rule for rule in rules() if rule.answers(diagnosis, pool))
