"""Host memory that the user sets in spec.pod.resources; it wins over what was computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from xpullm.api import LLMDeploymentSpec, format_bytes, quantity_bytes
from xpullm.planner import PlanRequest, with_arguments
from xpullm.planner.types import Plan


def with_users_memory(spec: LLMDeploymentSpec, plan: Plan, request: PlanRequest) -> Plan:
    """The plan with the host memory that the user set, which wins over what was computed."""
    limit, asked = users_memory(spec)
    if limit is None and asked is None:
        return plan
    host = plan.host
    most = limit if limit is not None else max(host.limit_bytes, asked or 0)
    least = min(most, asked if asked is not None else host.request_bytes)
    if most < host.request_bytes:
        note = (
            f"spec.pod.resources limits memory to {format_bytes(most)}; loading is planned"
            f" with {format_bytes(host.request_bytes)}"
        )
        plan = replace(plan, notes=(*plan.notes, note))
    memory = replace(host, request_bytes=least, limit_bytes=most)
    return with_arguments(plan, request, plan.arguments, host=memory)


def users_memory(spec: LLMDeploymentSpec) -> tuple[int | None, int | None]:
    """The limit and the request that the spec sets, bytes."""
    resources = spec.pod.resources
    if resources is None:
        return None, None
    return _memory(resources.limits), _memory(resources.requests)


def _memory(sizes: Mapping[str, int | str] | None) -> int | None:
    size = (sizes or {}).get("memory")
    return quantity_bytes(size) if size is not None else None
