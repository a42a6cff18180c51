"""What is around the engine: deadline, node, environment."""

from __future__ import annotations

from xpullm.healing.ladder import Move
from xpullm.healing.levers.common import Answer, proposal
from xpullm.healing.situation import Proposal, Rejection, Situation, Why


def startup_deadline(situation: Situation, move: Move) -> Answer:
    """Give a slow but progressing start more time."""
    now = situation.plan.startup_deadline_seconds
    longer = min(int(move.data["limit_seconds"]), int(now * float(move.data["factor"])))
    if longer <= now:
        return Rejection("startup-deadline", Why.FLOOR, f"the deadline is already {now} s")
    plan = situation.replan(situation.arguments, startup_deadline_seconds=longer)
    why = f"the start takes longer than {now} s"
    return proposal("startup-deadline", now, longer, plan, why, direction=+1)


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
