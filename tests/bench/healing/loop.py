"""The loop as the operator runs it: plan, start, fail, diagnose, heal; to health or to a stop.

Nothing is handed over but what an engine prints and a kubelet reports.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.bench.healing.best import best_pool, best_pool_as_is
from tests.bench.healing.draw import Case
from tests.bench.healing.logs import render
from tests.bench.healing.request import opening
from tests.bench.healing.world import Flags, World

from xpullm.healing import Policy, Step, Wait, heal, past_step
from xpullm.healing.judge import judge
from xpullm.healing.types import PastStep
from xpullm.planner.types import Plan
from xpullm_runtime.diagnosis import Diagnosis, Evidence, classify

NODE = "node-1"
RUNS = 24  # restarts and re-rolls together; the policy ends it long before


@dataclass(frozen=True, slots=True)
class Played:
    """What came of one world. `share`: of the best safe KV pool; `useless`: tightenings that did
    not lessen what was missing."""

    case: Case
    healthy: bool
    steps: int
    pool: int
    best: int
    best_as_is: int
    useless: int
    causes: tuple[str, ...]
    levers: tuple[str, ...]
    end: str

    @property
    def healable(self) -> bool:
        """By what healing may change here: arguments, environment, host memory."""
        return self.best > 0

    @property
    def share(self) -> float:
        return self.pool / self.best if self.best else 0.0

    @property
    def share_as_is(self) -> float:
        return self.pool / self.best_as_is if self.best_as_is else 0.0


def play(case: Case, policy: Policy | None = None) -> Played | None:
    """Heal one world; None where the planner has no plan to begin with."""
    begun = opening(case)
    if begun is None:
        return None
    request, plan = begun
    policy = policy or Policy()
    world = World(case.geometry, case.truth)
    first, floors = flags_of(plan), _floors(case, plan)
    history: tuple[PastStep, ...] = ()
    causes: list[str] = []
    useless, failures, healthy, end = 0, 1, False, "runs"
    for _ in range(RUNS):
        found = run(world, case, plan)
        if found is None:
            healthy, end = True, "healthy"
            break
        causes.append(found.cause)
        answer = heal(plan, found, history, policy, request, failures=failures, node=NODE)
        if isinstance(answer, Wait):
            failures += 1
            continue
        if not isinstance(answer, Step):
            end = f"{answer.reason}: {answer.text}"
            break
        useless += _useless(world, case, plan, answer)
        judged = judge(history, found, NODE)  # as the operator stores it with the step
        history = (*judged, past_step(answer, found, judged, time="", node=NODE))
        plan, failures = answer.plan, 1
    relaxed = replace(first, env=first.env | RELAXED) if case.truth.largest else first
    curable = not case.truth.other
    return Played(
        case=case,
        healthy=healthy,
        steps=len(history),
        pool=world.pool(flags_of(plan)),
        best=best_pool(world, relaxed, *floors) if curable else 0,
        best_as_is=best_pool_as_is(world, flags_of(plan), floors[0]) if curable else 0,
        useless=useless,
        causes=tuple(causes),
        levers=tuple(step.lever for step in history),
        end=end,
    )


RELAXED = frozenset({("UR_L0_ENABLE_RELAXED_ALLOCATION_LIMITS", "1")})


def run(world: World, case: Case, plan: Plan) -> Diagnosis | None:
    """One start and its worst load; None when it held."""
    if case.truth.host_peak > plan.host.limit_bytes:
        return classify(Evidence(log="", exit_code=137, host_oom_kills=1, was_ready=False))
    flags = flags_of(plan)
    result = world.run(flags)
    if not result.failure:
        return None
    return classify(
        Evidence(log=render(world, flags, result), exit_code=1, was_ready=result.phase == "runtime")
    )


def flags_of(plan: Plan) -> Flags:
    """What the engine is started with, read from the rendered command line."""
    given = dict(plan.flags)
    number = {name: value for name, value in given.items() if value is not None}
    return Flags(
        length=int(number["max-model-len"]),
        seqs=int(number["max-num-seqs"]),
        tokens=int(number["max-num-batched-tokens"]),
        utilization=_float(number.get("gpu-memory-utilization")),
        kv_bytes=_int(number.get("kv-cache-memory-bytes")),
        blocks=_int(number.get("num-gpu-blocks-override")),
        env=frozenset(plan.env.items()),
    )


def _useless(world: World, case: Case, before: Plan, step: Step) -> int:
    """1 for a step that tightens an argument and leaves as much missing as before."""
    was, now = flags_of(before), flags_of(step.plan)
    if (was.length, was.seqs, was.tokens, was.utilization, was.kv_bytes, was.blocks) == (
        now.length, now.seqs, now.tokens, now.utilization, now.kv_bytes, now.blocks,
    ):  # fmt: skip
        return 0
    if case.truth.other or case.truth.host_peak > before.host.limit_bytes:
        return 1
    return int(world.deficit(now) >= world.deficit(was))


def _floors(case: Case, plan: Plan) -> tuple[int, int]:
    """The user's minimum context and concurrency (defaults of the API)."""
    return min(2048, case.context or plan.arguments.max_model_len), 1


def _float(text: str | None) -> float | None:
    return None if text is None else float(text)


def _int(text: str | None) -> int | None:
    return None if text is None else int(text)
