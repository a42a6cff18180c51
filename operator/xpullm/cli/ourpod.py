"""What the operator would do about the failure of one of its own pods: its own healing, run here.

The plan, the steps so far and the spec are read from the objects, as the operator reads them. What
it knows of other nodes and pods is left out, and said where it would matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from xpullm.api import ManifestError, parse
from xpullm.cli.seen import Act, Object, Seen, dig
from xpullm.healing import Step, Stop, Wait, decode_history, heal
from xpullm.healing.policy import policy_of
from xpullm.planner.behind import resolve_behind
from xpullm.planner.types import Refusal
from xpullm.resources import names
from xpullm.resources.deployment import read_truth, stored_plan
from xpullm_runtime import report as reports
from xpullm_runtime.diagnosis import Diagnosis


def act(seen: Seen, found: Diagnosis) -> Act | None:
    """None where the objects don't say enough."""
    notes = dig(seen.deployment, "metadata", "annotations")
    if not isinstance(notes, Mapping):
        return None
    texts = {name: text for name, text in notes.items() if isinstance(text, str)}
    truth = read_truth({"metadata": {"annotations": texts}})
    plan = stored_plan(truth.plan) if truth is not None else None
    pod = seen.evidence.pod
    if truth is None or plan is None or seen.llmd is None or pod is None:
        return None
    history = decode_history(truth.history)
    ran = dig(pod, "metadata", "labels", names.LABEL_PLAN)
    if ran != plan.hash:
        taken = next((step for step in reversed(history) if step.plan_hash == ran), None)
        if taken is None:
            return _nothing(f"the pod ran plan {ran}, and plan {plan.hash} is in force since")
        change = f"{taken.lever} {taken.before} → {taken.after}"
        text = f"has changed {change} since"
        return Act(text, change, taken.lever, taken.before, taken.after)
    try:
        spec = parse(seen.llmd, check=False).spec
    except ManifestError:
        return None
    request = resolve_behind(spec, plan)
    if isinstance(request, Refusal):
        return _nothing(f"{request.field}: {request.message}")
    status = _container(pod, seen.evidence.container)
    node, runs = dig(pod, "spec", "nodeName"), _runs(status)

    def healed(room: bool) -> Act:
        policy = policy_of(spec, room_elsewhere=room)
        where = node if isinstance(node, str) else ""
        return _told(heal(plan, found, history, policy, request, failures=runs, node=where))

    here, elsewhere = healed(False), healed(True)
    if elsewhere.argument != here.argument:
        text = f"would move to another matching node where one has room; else {here.text}"
        return replace(here, text=text)
    if here.argument and runs == 1 and _served(status):
        return replace(elsewhere, text=f"{elsewhere.text}, if it fails again: {_SERVED}")
    return elsewhere


_SERVED = "an engine that has served is first restarted as it is"


def _told(answer: Step | Wait | Stop) -> Act:
    match answer:
        case Step():
            bound = ", where a node has so much" if answer.lever.startswith("memory-") else ""
            text = f"would change {answer.text}{bound}"
            return Act(text, answer.text, answer.lever, answer.before, answer.after)
        case Wait():
            return Act(f"would wait: {answer.text}", "wait")
    return _nothing(answer.text)


def _nothing(why: str) -> Act:
    return Act(f"changes nothing: {why}", f"none: {why}")


def _container(pod: Object, name: str) -> Object:
    listed = dig(pod, "status", "containerStatuses")
    for status in listed if isinstance(listed, list) else ():
        if dig(status, "name") == name:
            found: Object = status
            return found
    return {}


def _runs(status: Object) -> int:
    """How many runs of the container have failed."""
    restarts = status.get("restartCount")
    if not isinstance(restarts, int):
        return 1
    running = isinstance(dig(status, "state", "running"), Mapping)
    return max(0, restarts - 1 if running else restarts) + 1


def _served(status: Object) -> bool:
    """Whether the run that failed was Ready, by its supervisor's word."""
    for state in ("state", "lastState"):
        message = dig(status, state, "terminated", "message")
        told = reports.decode(message) if isinstance(message, str) else None
        if told is not None:
            return told.was_ready
    return False
