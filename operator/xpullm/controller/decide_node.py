"""A failure in the light of its node: what a deployment's pods show, and whether the node is to
blame (`xpullm.healing.node`). The same functions make the facts that other deployments see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from xpullm.controller.decide_heal import Place, place
from xpullm.controller.decide_plan import Standing, placeless
from xpullm.controller.decide_pods import Failure, of_plan, over, ready
from xpullm.controller.timestamps import epoch
from xpullm.controller.types import Snapshot
from xpullm.healing.node import Trouble, left, node_matter, trouble_of
from xpullm.healing.types import NodeMatter, PastStep
from xpullm.planner.types import Plan

Kind = tuple[str, str, str]  # image, card, kernel


def to_blame(
    snapshot: Snapshot, standing: Standing, found: Sequence[Failure], failure: Failure, where: Place
) -> NodeMatter | None:
    """Why the failure is its node's matter; None where it is not."""
    identity = placeless(standing.truth.plan)
    if identity is None:
        return None
    plan, plan_hash = identity
    who = "/".join(snapshot.key)
    mine = trouble(failure, where, plan, plan_hash, who)
    if mine is None:
        return None
    own = [
        *(
            shown
            for other in found
            if (shown := trouble(other, place(snapshot, other.pod), plan, plan_hash, who))
        ),
        *moves(standing.history, (plan.image, plan.gpu, where.kernel), plan_hash, who),
    ]
    homes = sorted(
        spot.node
        for pod in of_plan(snapshot.pods, standing.plan.hash)
        if ready(pod) and (spot := place(snapshot, pod)).kernel == where.kernel
    )
    home = next((node for node in homes if node != where.node), "")
    serving: dict[tuple[str, ...], tuple[str, ...]] = dict(snapshot.fleet.serving or {})
    for what in (mine.kind, (plan_hash, where.kernel)):
        serving[what] = (*serving.get(what, ()), *homes)
    return node_matter(mine, own, snapshot.fleet.troubles, serving, home)


def trouble(failure: Failure, where: Place, plan: Plan, plan_hash: str, who: str) -> Trouble | None:
    """What one failure says of its node. `plan_hash`: of the plan wherever it runs. The record of a
    pod that was refused says no time, and so nothing of the node as it is now."""
    if over(failure.pod):
        return None
    return trouble_of(
        failure.diagnosis,
        plan.ledger,
        deployment=who,
        node=where.node,
        kind=(plan.image, plan.gpu, where.kernel),
        plan_hash=plan_hash,
        was_ready=failure.was_ready,
        time=failure.time,
    )


def moves(history: Iterable[PastStep], kind: Kind, plan_hash: str, who: str) -> Iterator[Trouble]:
    """The nodes that a deployment has left, as far as its steps tell."""
    for step in history:
        said = left(step, deployment=who, kind=kind, plan_hash=plan_hash, time=epoch(step.time))
        if said is not None:
            yield said
