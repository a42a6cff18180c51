"""Whether a failure is its node's matter: what other deployments did there, and elsewhere. Pure.

A node or one of its cards is to blame where two deployments fail on it in ways that a device
causes, or one whose very plan serves on another node, while the same image, card and kernel serve
elsewhere and do not fail the same way on any other node. Out of memory accuses no node by itself:
every plan may be wrong in the same way. It needs the same plan to hold elsewhere, or a lost or
missing device of another deployment beside it. Which causes these are is data (`ladder.toml`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from xpullm.healing.judge import held_bytes
from xpullm.healing.situation import torch_peak_bytes
from xpullm.healing.types import NodeMatter, PastStep
from xpullm.planner.types import Ledger
from xpullm_runtime.diagnosis.types import Diagnosis

MEMORY = "device_oom"
LEVER = "node"

Serving = Mapping[tuple[str, ...], Iterable[str]]  # a kind or a plan -> nodes where it is Ready


@dataclass(frozen=True, slots=True)
class Accusers:
    """Causes that speak of a device, those of them that do so alone, causes of memory, and how long
    a failure counts."""

    causes: frozenset[str]
    alone: frozenset[str]
    memory: frozenset[str]
    window_seconds: float

    def family(self, cause: str) -> str:
        """What is the same failure elsewhere; "" where the cause says nothing of a node."""
        if cause in self.memory:
            return MEMORY
        return cause if cause in self.causes else ""


@cache
def accusers() -> Accusers:
    """Raises KeyError or TypeError on a broken data file."""
    text = files("xpullm.healing").joinpath("ladder.toml").read_text("utf-8")
    raw = tomllib.loads(text)["node"]
    return Accusers(
        causes=frozenset(raw["causes"]),
        alone=frozenset(raw["alone"]),
        memory=frozenset(raw["memory"]),
        window_seconds=float(raw["window_seconds"]),
    )


@dataclass(frozen=True, slots=True)
class Trouble:
    """One deployment failing on one node. `kind`: image, card, kernel. `plan_hash`: of the plan
    wherever it runs (no nodes avoided). `early`: before it was ever Ready in that run.
    `within_plan`: its engine had asked for no more than was planned. `time`: seconds since the
    epoch, None where it fails just now."""

    deployment: str  # namespace/name
    node: str
    kind: tuple[str, str, str]
    plan_hash: str
    family: str
    early: bool = False
    within_plan: bool = False
    time: float | None = None

    @property
    def hard(self) -> bool:
        return self.family != MEMORY


def trouble_of(
    diagnosis: Diagnosis,
    ledger: Ledger | None,
    *,
    deployment: str,
    node: str,
    kind: tuple[str, str, str],
    plan_hash: str,
    was_ready: bool,
    time: float | None,
) -> Trouble | None:
    """None where the failure says nothing of its node."""
    family = accusers().family(diagnosis.cause)
    if not family or not node or not kind[2] or not diagnosis.actionable:
        return None
    within = family == MEMORY and ledger is not None and within_plan(ledger, diagnosis)
    return Trouble(deployment, node, kind, plan_hash, family, not was_ready, within, time)


def left(
    step: PastStep,
    *,
    deployment: str,
    kind: tuple[str, str, str],
    plan_hash: str,
    time: float | None,
) -> Trouble | None:
    """What a step that moved away says of the node it left: its pods no longer show it."""
    family = accusers().family(step.cause)
    if step.lever != LEVER or not family or not step.node or time is None:
        return None
    return Trouble(deployment, step.node, kind, plan_hash, family, True, True, time)


def within_plan(ledger: Ledger, diagnosis: Diagnosis) -> bool:
    """Whether memory was refused although the engine asked for no more than was planned."""
    held, tried = held_bytes(diagnosis.figures), diagnosis.figures.get("tried_bytes", 0)
    return held > 0 and tried > 0 and held + tried <= torch_peak_bytes(ledger, diagnosis.phase)


def node_matter(
    mine: Trouble, own: Sequence[Trouble], others: Sequence[Trouble], serving: Serving, home: str
) -> NodeMatter | None:
    """`own`: the deployment's other troubles; `others`: those of other deployments. `home`: a node
    with this kernel where pods of this very plan are Ready; "" where there is none."""
    seen = (*own, *others)
    if not _stands(mine, seen, serving):
        return None
    proven = _proven(mine, serving)
    there = [t for t in others if t.node == mine.node and _near(t, mine)]
    beside = [t for t in there if _stands(t, seen, serving)]
    hard = [t for t in beside if t.hard]
    if mine.hard:
        witnesses = [t for t in beside if t.hard or t.within_plan or _proven(t, serving)]
    elif proven:
        witnesses = [t for t in beside if t.hard or _proven(t, serving)]
    else:
        witnesses = hard if mine.within_plan else []
    names = tuple(sorted({t.deployment for t in witnesses if t.deployment != mine.deployment}))
    if names:
        return NodeMatter(mine.node, names)
    if home and (mine.hard or proven):
        return NodeMatter(mine.node, home=home)
    return None


def _stands(trouble: Trouble, seen: Iterable[Trouble], serving: Serving) -> bool:
    """The same image, card and kernel serve elsewhere, and fail so on no other node."""
    if not _elsewhere(trouble.kind, trouble.node, serving):
        return False
    return not any(
        other.node != trouble.node
        and (other.kind, other.family) == (trouble.kind, trouble.family)
        and _near(other, trouble)
        for other in seen
    )


def _proven(trouble: Trouble, serving: Serving) -> bool:
    """This very plan is Ready on another node, so it has borne its worst load there; and here the
    engine died before it was Ready, so no other load explains it."""
    plan = (trouble.plan_hash, trouble.kind[2])
    return trouble.early and _elsewhere(plan, trouble.node, serving)


def _elsewhere(what: tuple[str, ...], node: str, serving: Serving) -> bool:
    return any(other != node for other in serving.get(what, ()))


def _near(one: Trouble, other: Trouble) -> bool:
    if one.time is None or other.time is None:
        return True
    return abs(one.time - other.time) <= accusers().window_seconds
