"""Host memory: limit, request, /dev/shm, swap space; never more than the largest node has."""

from __future__ import annotations

from dataclasses import replace

from xpullm.api import format_bytes, quantity_bytes
from xpullm.healing.ladder import Move
from xpullm.healing.levers.common import Answer, proposal, user_rejection
from xpullm.healing.situation import GIB, MIB, Rejection, Situation, Why
from xpullm.healing.types import PastStep
from xpullm.planner.types import HostMemory

GRAIN = 256 * MIB  # limits are planned in whole ones (planner/host.py)
RAISES = ("memory-limit", "shm-size")  # the request follows
LEVERS = (*RAISES, "memory-request")
WORTH_PERCENT = 10  # own rule: to gain less is not worth a re-roll


def limit(situation: Situation, move: Move) -> Answer:
    """Raise limit and request together, so that the scheduler finds a node that really has it. A
    request that had to be taken back once stays where it is."""
    host, policy = situation.plan.host, situation.policy
    # A peak beyond the limit was seen by a wider cgroup: plan from it.
    figures = [situation.figure(name) or 0 for name in ("memory_limit_bytes", "host_peak_bytes")]
    reached = max(host.limit_bytes, *figures)
    raised = -(-int(reached * float(move.data["factor"])) // GRAIN) * GRAIN
    if policy.node_memory_bytes is not None:
        raised = min(raised, policy.node_memory_bytes // GRAIN * GRAIN)
    if not _worth(reached, raised):
        needed = f"it needs more than {format_bytes(reached)} of host memory"
        return Rejection("memory-limit", Why.UNPLANNABLE, f"{needed}, and {_largest(situation)}")
    before, after = format_bytes(host.limit_bytes), format_bytes(raised)
    if not _free(situation):
        return Rejection(
            "memory-limit",
            Why.USER,
            f"the memory limit of {before} is yours: raise spec.pod.resources.limits.memory to "
            f"{after}, or add UserMemoryLimit to spec.healing.mayChange",
        )
    asked = host.request_bytes
    if not situation.times("memory-request"):
        asked = min(raised, asked * raised // max(1, host.limit_bytes) // MIB * MIB)
    memory = replace(host, limit_bytes=raised, request_bytes=asked)
    plan = situation.replan(situation.arguments, host=memory)
    why = "the kernel killed the engine at its limit"
    return proposal("memory-limit", before, after, plan, why, direction=+1)


def request(situation: Situation, _move: Move) -> Answer:
    """Take the request back to where the pod found a node before healing raised it; the limit
    stays. A step that has helped already is kept: then a node has only to become free."""
    host, history = situation.plan.host, situation.history
    now = format_bytes(host.request_bytes)
    if history and not history[-1].effect and _free(situation):
        had = _before(history[-1], host)
        if 0 < had < host.request_bytes:
            plan = situation.replan(situation.arguments, host=replace(host, request_bytes=had))
            why = (
                f"no node has free what it was raised to against {history[-1].cause}; the limit of"
                f" {format_bytes(host.limit_bytes)} stays"
            )
            return proposal("memory-request", now, format_bytes(had), plan, why, direction=-1)
    asked = f"the pod requests {now} of host memory"
    if any(situation.times(lever) for lever in RAISES):
        asked += ", which healing has changed"
    most = situation.policy.node_memory_bytes
    if most is not None and most < host.request_bytes:
        way_out = "add a larger node, or set spec.pod.resources.requests.memory"
        asked += f", and {_largest(situation)}: {way_out}"
    elif most is not None:
        asked += f"; {_largest(situation)}, and other pods hold some of it"
    return Rejection("memory-request", Why.UNPLANNABLE, asked)


def shm_size(situation: Situation, move: Move) -> Answer:
    """Raise /dev/shm; it counts into the memory limit, which follows."""
    host, most = situation.plan.host, situation.policy.node_memory_bytes
    ceiling = int(move.data["limit_gib"]) * GIB
    size = min(ceiling, int(max(host.shm_bytes, 8 * GIB) * float(move.data["factor"])))
    before = format_bytes(host.shm_bytes)
    if size <= host.shm_bytes:
        return Rejection("shm-size", Why.FLOOR, f"it is already {before}")
    memory = replace(host, shm_bytes=size)
    if _free(situation):
        if most is not None:
            size = min(size, host.shm_bytes + (most - host.limit_bytes) // GRAIN * GRAIN)
        if not _worth(host.shm_bytes, size):
            counts = f"it counts into the memory limit of {format_bytes(host.limit_bytes)}"
            return Rejection("shm-size", Why.UNPLANNABLE, f"{counts}, and {_largest(situation)}")
        extra = size - host.shm_bytes
        memory = replace(
            host,
            limit_bytes=host.limit_bytes + extra,
            request_bytes=host.request_bytes + extra,
            shm_bytes=size,
        )
    plan = situation.replan(situation.arguments, host=memory)
    why = "/dev/shm was full"  # noqa: S108 - told, not used
    return proposal("shm-size", before, format_bytes(size), plan, why, direction=+1)


def swap_space(situation: Situation, _move: Move) -> Answer:
    """V0 pins swap space in host memory: 4 GiB per GPU by default (vLLM 0.8 config). Limit and
    request stay: what swap gives back is for the rest."""
    arguments, host = situation.arguments, situation.plan.host
    if owned := user_rejection(situation, "swap-space", arguments.swap_space_gib):
        return owned
    if not arguments.swap_space_gib:
        return Rejection("swap-space", Why.NOT_APPLICABLE, "no swap space is used")
    without = replace(arguments, swap_space_gib=0.0)
    plan = situation.replan(without, host=replace(host, terms=situation.replan(without).host.terms))
    before = f"{arguments.swap_space_gib:g}"
    return proposal("swap-space", before, 0, plan, "it is pinned host memory", direction=-1)


def _free(situation: Situation) -> bool:
    """Whether the memory limit may move."""
    return not situation.policy.user_memory_limit or situation.may("UserMemoryLimit")


def _worth(before: int, after: int) -> bool:
    return after * 100 >= before * (100 + WORTH_PERCENT)


def _largest(situation: Situation) -> str:
    size = (situation.policy.node_memory_bytes or 0) / GIB
    return f"the largest node that the pod may run on has {size:.1f} GiB"


def _before(step: PastStep, host: HostMemory) -> int:
    """The request before a step that raised it together with the limit; else as it is."""
    if step.lever not in RAISES:
        return host.request_bytes
    try:
        was, now = quantity_bytes(step.before), quantity_bytes(step.after)
    except ValueError:  # an annotation that a person has edited
        return host.request_bytes
    if step.lever == "shm-size":
        return host.request_bytes - max(0, now - was)
    return -(-host.request_bytes * was // max(1, now) // MIB) * MIB
