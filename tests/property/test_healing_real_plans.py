"""Whatever is diagnosed, on plans of the real planner: an answer, never a crash, and a plan that
its own ledger does not contradict."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st
from tests.bench.healing.draw import draw
from tests.bench.healing.request import opening
from tests.property.test_healing_laws import PERMISSIONS, diagnoses

from xpullm.healing import Policy, Step, Stop, Wait, heal, judge, past_step
from xpullm.planner import with_arguments

PLANS = 12


@cache
def openings():
    """A few random models on random cards, pinned and not, that the planner accepts."""
    found = []
    for seed in range(7_000_000, 7_000_100):
        if (made := opening(draw(seed))) is not None:
            found.append(made)
        if len(found) == PLANS:
            break
    return found


@given(
    st.integers(0, PLANS - 1),
    st.lists(diagnoses(), min_size=1, max_size=6),
    st.sets(st.sampled_from([*PERMISSIONS, "GPUCount", "Quantization"])),
    st.booleans(),
)
def test_every_failure_has_an_answer(index, failures, may, room):
    request, plan = openings()[index]
    policy = Policy(may_change=frozenset(may) | {"Arguments"}, other_matching_node_has_room=room)
    history = ()
    for number, failure in enumerate(failures):
        answer = heal(plan, failure, history, policy, request, failures=number + 1, node="a")
        assert isinstance(answer, Step | Stop | Wait)
        if isinstance(answer, Stop):
            assert answer.text or not failure.actionable
        if not isinstance(answer, Step):
            continue
        assert answer.plan.hash != plan.hash
        assert len(answer.text) < 1000
        if any(c.quantization.name == answer.plan.quantization for c in request.choices):
            assert with_arguments(answer.plan, request, answer.plan.arguments) == answer.plan
        before = judge(history, failure)
        history = (*before, past_step(answer, failure, before, time=""))
        plan = answer.plan
