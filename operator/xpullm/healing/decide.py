"""Walk the table under the laws: one situation in, one step, wait or stop out. Pure.

The table (`ladder.toml`) says which levers answer a failure, the levers say how far they move, and
this module keeps the laws: one lever per step, no floor and no user's argument is crossed, a
direction is reversed at most once, a step without effect is not repeated, attempts end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xpullm.healing.history import attempts
from xpullm.healing.judge import axis, episode, reversed_before, without_effect
from xpullm.healing.ladder import Move, Rule, rule_for
from xpullm.healing.levers import batch, budget, correct, memory, pod, storage
from xpullm.healing.levers.common import Answer, users_own
from xpullm.healing.situation import Proposal, Rejection, Situation, Why
from xpullm.healing.types import NodeMatter, PastStep, Step, Stop, Wait

LEVERS: dict[str, Callable[[Situation, Move], Answer]] = {
    "lower-budget": budget.lower,
    "raise-budget": budget.raise_,
    "free-share": budget.free_share,
    "max-num-batched-tokens": batch.batched_tokens,
    "max-num-seqs": batch.sequences,
    "max-model-len": batch.model_len,
    "kv-cache-dtype": storage.kv_cache_dtype,
    "dtype": storage.dtype,
    "enforce-eager": storage.enforce_eager,
    "quantization": storage.quantization,
    "gpu-count": storage.gpu_count,
    "correct-arguments": correct.correct,
    "memory-limit": memory.limit,
    "memory-request": memory.request,
    "shm-size": memory.shm_size,
    "startup-deadline": pod.startup_deadline,
    "swap-space": memory.swap_space,
    "node": pod.node,
    "environment": pod.environment,
}
# Levers that `mayChange: [Arguments]` does not cover: they are around the engine, or have a
# permission of their own.
BESIDE_ARGUMENTS = frozenset(
    {
        "node",
        "memory-limit",
        "memory-request",
        "shm-size",
        "startup-deadline",
        "quantization",
        "gpu-count",
    }
)
LEVERS_WITHOUT_EFFECT = 2
WAIT_CEILING_SECONDS = 600


def decide(situation: Situation) -> Step | Wait | Stop:
    """Walk the rule's moves in order, under the laws."""
    rule = rule_for(situation.diagnosis, situation.pool)
    if (back := _take_back(situation)) is not None:
        return back
    if situation.policy.node_matter is not None:
        return _leave(situation, situation.policy.node_matter, rule)
    rejections: list[Rejection] = []
    partial: list[Proposal] = []
    for move in rule.moves:
        if move.lever == "wait":
            if not move.times or situation.failures <= move.times:
                return _wait(situation, move, rejections)
            continue
        answer = _answer(situation, move)
        if isinstance(answer, Rejection):
            rejections.append(answer)
        elif answer.enough:
            return _taken(situation, answer)
        else:
            partial.append(answer)
    if partial:
        return _taken(situation, max(partial, key=lambda proposal: proposal.relief_bytes))
    return _stop(rule, rejections)


def _leave(situation: Situation, matter: NodeMatter, rule: Rule) -> Step | Wait | Stop:
    """Away from the node, or a person: nothing else may change.

    Where other deployments fail there too it goes at once. Else it is one pod of several, and
    moving it rolls the healthy ones as well: the cause's own restarts come first.
    """
    waits = () if matter.others else rule.moves
    for move in waits:
        if move.lever == "wait" and (not move.times or situation.failures <= move.times):
            return _wait(situation, move)
    answer = _answer(situation, Move("node"))
    if isinstance(answer, Rejection):
        return Stop(
            "NotHealable",
            f"node {matter.node} or its card fails, not the arguments: {matter.told}; look at the"
            f" node's kernel log, and cordon or repair it ({answer.text})",
        )
    return _taken(situation, answer)


def _answer(situation: Situation, move: Move) -> Answer:
    """One lever's answer after the laws that all levers share."""
    if not situation.diagnosis.actionable:
        return Rejection(
            move.lever, Why.NOT_APPLICABLE, "nothing but the log says so, so nothing is changed"
        )
    if move.lever not in BESIDE_ARGUMENTS and not situation.may("Arguments"):
        return Rejection(
            move.lever, Why.NOT_ALLOWED, "add Arguments to spec.healing.mayChange to let it change"
        )
    answer = LEVERS[move.lever](situation, move)
    if isinstance(answer, Rejection):
        return answer
    if answer.before == answer.after:
        return Rejection(answer.lever, Why.USELESS, f"{answer.lever} is {answer.before} already")
    if (touched := users_own(situation, answer.plan.arguments)) is not None:
        return touched
    lever, steps = answer.lever, episode(situation.history, situation.diagnosis)
    stuck = without_effect(steps)
    if axis(lever) in stuck:
        return Rejection(lever, Why.NO_EFFECT, f"{lever} was changed before without effect")
    if len(tried := stuck - {"node"}) >= LEVERS_WITHOUT_EFFECT:  # a move says nothing of arguments
        return Rejection(
            lever, Why.NO_EFFECT, f"changing {' and '.join(sorted(tried))} did nothing"
        )
    if move.times and sum(step.lever == lever for step in steps) >= _allowance(situation, move):
        return Rejection(lever, Why.USED_UP, f"{lever} was changed {move.times} times already")
    if reversed_before(situation.history, lever, answer.direction):
        return Rejection(lever, Why.REVERSED, f"{lever} went both ways already")
    return answer


def _allowance(situation: Situation, move: Move) -> int:
    """How often this rung and those before it on the same lever may be used together."""
    rule = rule_for(situation.diagnosis, situation.pool)
    total = 0
    for other in rule.moves:
        if other.lever == move.lever and other.data.get("name") == move.data.get("name"):
            total += other.times
        if other is move:
            break
    return total


def _taken(situation: Situation, proposal: Proposal) -> Step | Stop:
    most = situation.policy.max_attempts
    taken = attempts(situation.history)
    if taken >= most:
        return Stop(
            "AttemptsExhausted",
            f"{taken} of {most} attempts are used; next would have been {proposal.text}. "
            f"The way so far: {way(situation.history)}. Change the spec to start anew.",
        )
    return _step(proposal)


def _step(proposal: Proposal) -> Step:
    return Step(
        proposal.lever,
        proposal.before,
        proposal.after,
        proposal.text,
        proposal.plan,
        proposal.relief_bytes,
    )


def _take_back(situation: Situation) -> Step | None:
    """A growth step that ends in a failure of memory is undone before anything else is tried."""
    if not situation.history:
        return None
    last = situation.history[-1]
    grown = last.cause == "growth" and last.effect == "Worse"
    if not grown or not situation.diagnosis.actionable:
        return None
    undone = budget.set_to(situation, last.lever, last.before)
    # Whatever the number of attempts: growth must not leave a deployment worse off.
    return undone if undone is None else _step(undone)


def _wait(situation: Situation, move: Move, rejections: Sequence[Rejection] = ()) -> Wait:
    seconds = int(move.data["seconds"]) * 2 ** min(10, max(0, situation.failures - 1))
    seconds = min(WAIT_CEILING_SECONDS, seconds)
    what = f"{situation.diagnosis.cause}: no argument helps; tried again unchanged"
    times = f" ({situation.failures} of {move.times})" if move.times else ""
    short = "; ".join(r.text for r in rejections if r.why is Why.UNPLANNABLE)
    return Wait(seconds, f"{what} in {seconds} s{times}" + (f" ({short})" if short else ""))


_FINAL = frozenset({Why.NO_EFFECT, Why.USED_UP, Why.REVERSED})


def _stop(rule: Rule, rejections: list[Rejection]) -> Stop:
    """Say what a person must do: the rule's advice, and why each lever stays where it is."""
    reasons = "; ".join(dict.fromkeys(rejection.text for rejection in rejections))
    text = f"{rule.stop} ({reasons})" if reasons else rule.stop
    whys = {rejection.why for rejection in rejections}
    if rule.reason != "NotHealable" or not rule.moves:
        return Stop(rule.reason, text)
    if whys & _FINAL:
        return Stop("LadderExhausted", text)
    if Why.USER in whys:
        return Stop("UserArgumentInTheWay", text)
    if whys <= {Why.NOT_APPLICABLE}:
        return Stop("NotHealable", text)
    return Stop("LadderExhausted", text)


def way(history: tuple[PastStep, ...]) -> str:
    """The steps so far in one line."""
    return ", ".join(f"{step.lever} {step.before} → {step.after}" for step in history)
