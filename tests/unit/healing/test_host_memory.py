"""Host memory on the toy plan: limit 16Gi, request 8Gi, /dev/shm 2Gi; what the nodes have bounds
every step."""

import pytest
from tests.unit.healing.builders import failure, past, pinned, plan_of, situation

from xpullm.healing.decide import decide
from xpullm.healing.history import past_step
from xpullm.healing.judge import judge
from xpullm.healing.situation import GIB
from xpullm.healing.types import Policy, Step, Stop, Wait

KILLED = failure("host_oom", "weights")
NO_PLACE = failure(
    "unschedulable_gpu",
    "scheduling",
    "Unschedulable: 0/1 nodes are available: 1 Insufficient memory.",
)


def course(plan, failures, policy=None):
    """The steps that answer these failures one after another, and the last answer."""
    history, steps, answer = (), [], None
    for diagnosis in failures:
        history = judge(history, diagnosis)
        answer = decide(situation(plan, diagnosis, history=history, policy=policy))
        if not isinstance(answer, Step):
            break
        history = (*history, past_step(answer, diagnosis, history, time=""))
        plan = answer.plan
        steps.append((answer.lever, answer.before, answer.after))
    return steps, plan, answer


def test_the_limit_grows_to_the_largest_node_then_swap_space_goes_then_a_person_is_asked():
    plan = plan_of(pinned(7, swap_space_gib=4.0))
    policy = Policy(node_memory_bytes=40 * GIB + 12345)
    steps, last, stop = course(plan, [KILLED] * 4, policy)
    assert steps == [
        ("memory-limit", "16Gi", "24Gi"),
        ("memory-limit", "24Gi", "40Gi"),
        ("swap-space", "4", "0"),
    ]
    assert (last.host.limit_bytes, last.host.request_bytes) == (40 * GIB, 20 * GIB)
    assert isinstance(stop, Stop)
    assert stop.reason == "LadderExhausted"
    assert "add a larger node" in stop.text
    assert (
        "it needs more than 40Gi of host memory, and the largest node that the pod may run on has"
        " 40.0 GiB"
    ) in stop.text


def test_without_knowledge_of_nodes_it_is_raised_three_times():
    steps, _, stop = course(plan_of(pinned(7)), [KILLED] * 9)
    assert steps == [
        ("memory-limit", "16Gi", "24Gi"),
        ("memory-limit", "24Gi", "48Gi"),
        ("memory-limit", "48Gi", "96Gi"),
    ]
    assert isinstance(stop, Stop)


@pytest.mark.parametrize("size", [12, 16, 17])
def test_a_node_that_has_hardly_more_is_not_worth_a_step(size):
    policy = Policy(node_memory_bytes=size * GIB)
    stop = decide(situation(plan_of(pinned(7)), KILLED, policy=policy))
    assert isinstance(stop, Stop)
    assert f"the pod may run on has {size}.0 GiB" in stop.text


def test_a_peak_beyond_the_node_is_not_answered_with_the_node():
    seen = failure("host_oom", "weights", host_peak_bytes=30 * GIB)
    stop = decide(situation(plan_of(pinned(7)), seen, policy=Policy(node_memory_bytes=32 * GIB)))
    assert isinstance(stop, Stop)
    assert "needs more than 30Gi" in stop.text


def test_a_users_limit_is_advised_no_higher_than_a_node_has():
    policy = Policy(user_memory_limit=True, node_memory_bytes=20 * GIB)
    stop = decide(situation(plan_of(pinned(7)), KILLED, policy=policy))
    assert stop.reason == "UserArgumentInTheWay"
    assert "spec.pod.resources.limits.memory to 20Gi" in stop.text


def test_dev_shm_grows_as_far_as_its_node():
    full = failure("shm_exhausted", "startup")
    steps, last, stop = course(plan_of(pinned(7)), [full] * 2, Policy(node_memory_bytes=20 * GIB))
    assert steps == [("shm-size", "2Gi", "6Gi")]
    assert (last.host.limit_bytes, last.host.request_bytes) == (20 * GIB, 12 * GIB)
    assert isinstance(stop, Stop)
    assert "it counts into the memory limit of 20Gi, and the largest node" in stop.text


def test_a_raised_request_that_no_node_has_free_is_taken_back_and_stays():
    steps, last, _ = course(plan_of(pinned(7)), [KILLED, NO_PLACE, KILLED])
    assert steps == [
        ("memory-limit", "16Gi", "24Gi"),
        ("memory-request", "12Gi", "8Gi"),
        ("memory-limit", "24Gi", "48Gi"),
    ]
    assert (last.host.limit_bytes, last.host.request_bytes) == (48 * GIB, 8 * GIB)


def test_the_raises_are_counted_across_a_request_that_was_taken_back():
    turns = [KILLED, NO_PLACE, KILLED, KILLED, KILLED]
    steps, _, stop = course(plan_of(pinned(7)), turns)
    assert [lever for lever, _, _ in steps].count("memory-limit") == 3
    assert isinstance(stop, Stop)


def test_a_request_that_dev_shm_raised_is_taken_back():
    steps, last, _ = course(plan_of(pinned(7)), [failure("shm_exhausted", "startup"), NO_PLACE])
    assert steps == [("shm-size", "2Gi", "16Gi"), ("memory-request", "22Gi", "8Gi")]
    assert (last.host.limit_bytes, last.host.shm_bytes) == (30 * GIB, 16 * GIB)


def test_attempts_that_are_used_up_ask_a_person_about_the_request():
    _, _, stop = course(plan_of(pinned(7)), [KILLED, NO_PLACE], Policy(max_attempts=1))
    assert isinstance(stop, Stop)
    assert stop.reason == "AttemptsExhausted"
    assert "memory-request 12Gi → 8Gi" in stop.text


def test_a_request_that_served_is_waited_for():
    helped = past("memory-limit", "16Gi", "24Gi", cause="host_oom", effect="Helped")
    plan = plan_of(pinned(7))
    policy = Policy(node_memory_bytes=64 * GIB)
    assert decide(situation(plan, NO_PLACE, history=(helped,), policy=policy)) == Wait(
        60,
        "unschedulable_gpu: no argument helps; tried again unchanged in 60 s (the pod requests 8Gi"
        " of host memory, which healing has changed; the largest node that the pod may run on has"
        " 64.0 GiB, and other pods hold some of it)",
    )


def test_a_first_plan_that_no_node_can_hold_says_so():
    policy = Policy(node_memory_bytes=6 * GIB)
    wait = decide(situation(plan_of(pinned(7)), NO_PLACE, policy=policy))
    assert isinstance(wait, Wait)
    assert (
        "(the pod requests 8Gi of host memory, and the largest node that the pod may run on has"
        " 6.0 GiB: add a larger node, or set spec.pod.resources.requests.memory)"
    ) in wait.text


def test_no_free_card_is_no_matter_of_memory():
    lacking = failure("unschedulable_gpu", "scheduling", "1 Insufficient gpu.intel.com/i915.")
    raised = past("memory-limit", "16Gi", "24Gi", cause="host_oom")
    wait = decide(situation(plan_of(pinned(7)), lacking, history=(raised,)))
    assert wait == Wait(60, "unschedulable_gpu: no argument helps; tried again unchanged in 60 s")
