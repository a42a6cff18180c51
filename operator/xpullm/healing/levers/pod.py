"""What is around the engine: host memory, /dev/shm, deadline, node, environment."""

from __future__ import annotations

from dataclasses import replace

from xpullm.api import format_bytes
from xpullm.healing.ladder import Move
from xpullm.healing.levers.common import Answer, proposal, user_rejection
from xpullm.healing.situation import GIB, MIB, Proposal, Rejection, Situation, Why


def memory_limit(situation: Situation, move: Move) -> Answer:
    """Raise limit and request together, so that the scheduler finds a node that really has it."""
    host, policy = situation.plan.host, situation.policy
    limit = situation.figure("memory_limit_bytes") or host.limit_bytes
    peak = situation.figure("host_peak_bytes") or 0
    if peak > limit:  # a peak beyond the limit was seen by a wider cgroup: plan from it
        limit = peak
    factor = float(move.data["factor"])
    raised = -(-int(max(limit, host.limit_bytes) * factor) // (256 * MIB)) * 256 * MIB
    before, after = format_bytes(host.limit_bytes), format_bytes(raised)
    if policy.user_memory_limit and not situation.may("UserMemoryLimit"):
        return Rejection(
            "memory-limit",
            Why.USER,
            f"the memory limit of {before} is yours: raise spec.pod.resources.limits.memory to "
            f"{after}, or add UserMemoryLimit to spec.healing.mayChange",
        )
    request = min(raised, int(host.request_bytes * raised / max(1, host.limit_bytes)))
    plan = situation.replan(
        situation.arguments,
        host=replace(host, limit_bytes=raised, request_bytes=request),
    )
    why = "the kernel killed the engine at its limit"
    return proposal("memory-limit", before, after, plan, why, direction=+1)


def shm_size(situation: Situation, move: Move) -> Answer:
    """Raise /dev/shm; it counts into the memory limit, which follows."""
    host = situation.plan.host
    most = int(move.data["limit_gib"]) * GIB
    size = min(most, int(max(host.shm_bytes, 8 * GIB) * float(move.data["factor"])))
    before, after = format_bytes(host.shm_bytes), format_bytes(size)
    if size <= host.shm_bytes:
        return Rejection("shm-size", Why.FLOOR, f"it is already {before}")
    extra = size - host.shm_bytes
    if situation.policy.user_memory_limit and not situation.may("UserMemoryLimit"):
        limits = host
    else:
        limits = replace(
            host,
            limit_bytes=host.limit_bytes + extra,
            request_bytes=host.request_bytes + extra,
        )
    plan = situation.replan(situation.arguments, host=replace(limits, shm_bytes=size))
    why = "/dev/shm was full"  # noqa: S108 - told, not used
    return proposal("shm-size", before, after, plan, why, direction=+1)


def startup_deadline(situation: Situation, move: Move) -> Answer:
    """Give a slow but progressing start more time."""
    now = situation.plan.startup_deadline_seconds
    longer = min(int(move.data["limit_seconds"]), int(now * float(move.data["factor"])))
    if longer <= now:
        return Rejection("startup-deadline", Why.FLOOR, f"the deadline is already {now} s")
    return Proposal(
        lever="startup-deadline",
        before=str(now),
        after=str(longer),
        plan=situation.replan(situation.arguments, startup_deadline_seconds=longer),
        text=f"startup-deadline {now} s → {longer} s: the start takes longer",
        direction=+1,
    )


def swap_space(situation: Situation, _move: Move) -> Answer:
    """V0 pins swap space in host memory: 4 GiB per GPU by default (vLLM 0.8 config)."""
    arguments = situation.arguments
    if owned := user_rejection(situation, "swap-space", arguments.swap_space_gib):
        return owned
    if not arguments.swap_space_gib:
        return Rejection("swap-space", Why.NOT_APPLICABLE, "no swap space is used")
    plan = situation.replan(replace(arguments, swap_space_gib=0.0))
    before = f"{arguments.swap_space_gib:g}"
    return proposal("swap-space", before, 0, plan, "it is pinned host memory", direction=-1)


def node(situation: Situation, move: Move) -> Answer:
    """Move away from a node, where another matching one has room."""
    if move.when == "foreign" and not foreign_memory(situation):
        return Rejection("node", Why.NOT_APPLICABLE, "nothing else seems to hold the card's memory")
    if not situation.node:
        return Rejection("node", Why.NOT_APPLICABLE, "the node is not known")
    avoided = situation.plan.avoid_nodes
    if situation.node in avoided:
        return Rejection("node", Why.USED_UP, f"{situation.node} is avoided already")
    if not situation.policy.other_matching_node_has_room:
        return Rejection("node", Why.NOT_APPLICABLE, "no other matching node has room")
    plan = situation.replan(situation.arguments, avoid_nodes=(*avoided, situation.node))
    matter = situation.policy.node_matter
    why = "the failure belongs to the node or its card"
    why += f": {matter.told}" if matter is not None else ""
    return proposal("node", situation.node, "another", plan, why)


def environment(situation: Situation, move: Move) -> Answer:
    """Set one environment variable that the driver or library reads."""
    name, value = str(move.data["name"]), str(move.data["value"])
    env = situation.plan.env
    lever = f"environment:{name}"
    if name in env and env[name] == value:
        return Rejection(lever, Why.USED_UP, f"{name}={value} is set already")
    if name in situation.user_env and not situation.may("UserArguments"):
        return Rejection(lever, Why.USER, f"{name} is yours: set it to {value} in spec.engine.env")
    return Proposal(
        lever=lever,
        before=env.get(name, ""),
        after=value,
        plan=situation.replan(situation.arguments, env={**env, name: value}),
        text=f"environment {name}={value}",
        relief_bytes=1,
    )


def foreign_memory(situation: Situation) -> bool:
    """True where the figures say that a tenth of the card is held by something else."""
    ledger = situation.plan.ledger
    held = situation.figure("reserved_bytes") or situation.figure("allocated_bytes")
    tried = situation.figure("tried_bytes")
    if held is None or tried is None:
        planned = ledger.context_bytes + ledger.weights_bytes + ledger.non_torch_bytes
        return planned < 0.8 * ledger.visible_bytes
    most = held + tried + ledger.context_bytes + ledger.non_torch_bytes
    return most < 0.9 * ledger.visible_bytes
