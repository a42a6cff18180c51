"""`spec.healing` as healing takes it. Pure."""

from __future__ import annotations

from xpullm.api.llmdeployment import LLMDeploymentSpec
from xpullm.healing.history import LIMIT
from xpullm.healing.types import Growth, NodeMatter, Policy

START = 60  # per cent, where growth begins (the method of healing/growth.py)


def policy_of(
    spec: LLMDeploymentSpec,
    *,
    room_elsewhere: bool = False,
    node_memory_bytes: int | None = None,
    node_matter: NodeMatter | None = None,
) -> Policy:
    """`room_elsewhere`: another matching node has room for a pod. `node_memory_bytes`: what the
    largest node that may run it has. `node_matter`: why the failure to be answered is its node's.
    """
    healing, resources = spec.healing, spec.pod.resources
    growth = healing.growth
    return Policy(
        mode=healing.mode,
        max_attempts=min(healing.max_attempts, LIMIT),  # counted by the history, which is bounded
        may_change=frozenset(healing.may_change),
        growth=Growth(
            growth.mode,
            growth.after_healthy_seconds,
            growth.target_utilization_percent,
            growth.start_utilization_percent or min(START, growth.target_utilization_percent),
        ),
        user_memory_limit=bool(resources and resources.limits and "memory" in resources.limits),
        other_matching_node_has_room=room_elsewhere,
        node_memory_bytes=node_memory_bytes,
        node_matter=node_matter,
    )
