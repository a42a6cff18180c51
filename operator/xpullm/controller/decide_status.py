"""The status as a projection of what was seen and decided. No time of the pass is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xpullm.api import LLMDeployment
from xpullm.controller.decide_conditions import Health, conditions, shorten
from xpullm.controller.decide_pods import entries
from xpullm.controller.types import Object
from xpullm.healing.history import attempts, status_history
from xpullm.healing.types import PastStep
from xpullm.planner.types import Plan
from xpullm.resources import names, others

VALUE_CHARS = 256
NOTES = 16

LEDGER = {
    "visible_bytes": "visibleBytes",
    "context_bytes": "contextBytes",
    "weights_bytes": "weightsBytes",
    "activation_bytes": "activationBytes",
    "non_torch_bytes": "nonTorchBytes",
    "graph_bytes": "graphBytes",
    "kv_cache_bytes": "kvCacheBytes",
    "outside_bytes": "outsideBytes",
    "reserve_bytes": "reserveBytes",
    "free_bytes": "freeBytes",
}


def plan_status(plan: Plan) -> dict[str, Any]:
    ledger, host = plan.ledger, plan.host
    status = {
        "hash": plan.hash,
        "engine": plan.engine,
        "engineVersion": plan.engine_version,
        "image": plan.image,
        "gpu": plan.gpu,
        "gpuCount": plan.gpu_count,
        "quantization": plan.quantization,
        "contextLength": plan.context_length,
        "concurrency": plan.concurrency,
        "kvCacheTokens": ledger.kv_cache_tokens,
        "utilizationPercent": max(0, min(100, plan.utilization_percent)),
        "arguments": [_argument(name, value) for name, value in plan.flags],
        "memory": {camel: getattr(ledger, snake) for snake, camel in LEDGER.items()},
        "hostMemory": {
            "requestBytes": host.request_bytes,
            "limitBytes": host.limit_bytes,
            "shmBytes": host.shm_bytes,
        },
        "notes": [shorten(note) for note in plan.notes[:NOTES]],
    }
    return {name: value for name, value in status.items() if value not in ("", [])}


def _argument(name: str, value: str | None) -> dict[str, str]:
    return {"name": name} if value is None else {"name": name, "value": value}


def healing_status(
    history: Sequence[PastStep], cause: str, phase: str, proposal: Mapping[str, str] | None
) -> dict[str, Any]:
    last = history[-1] if history else None
    status: dict[str, Any] = {
        "attempt": attempts(history),
        "lastCause": cause or (last.cause if last else ""),
        "lastPhase": phase or (last.phase if last else ""),
        "proposal": {
            name: shorten(value, 1024 if name == "message" else VALUE_CHARS)
            for name, value in (proposal or {}).items()
            if value
        },
        "history": [_row(row) for row in status_history(history)],
    }
    return {name: value for name, value in status.items() if value not in ("", {}, [])}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    limits = {"evidence": 1024, "cause": 63, "phase": 63, "planHash": 63}
    return {
        name: shorten(value, limits.get(name, VALUE_CHARS)) if isinstance(value, str) else value
        for name, value in row.items()
    }


def status(
    live: Object,
    health: Health,
    now: float,
    *,
    llmd: LLMDeployment | None = None,
    plan: Plan | None = None,
    history: Sequence[PastStep] = (),
    cause: str = "",
    phase: str = "",
    proposal: Mapping[str, str] | None = None,
    measured: Mapping[str, Any] | None = None,
    model_revision: str | None = None,
    replicas: int = 0,
    ready_replicas: int = 0,
) -> dict[str, Any]:
    """`live`: the stored LLMDeployment. Without a plan the stored one's is not shown any more."""
    stored = live.get("status")
    before = stored if isinstance(stored, Mapping) else {}
    generation = live["metadata"].get("generation", 0)
    name = live["metadata"]["name"]
    result: dict[str, Any] = {
        "observedGeneration": generation,
        "replicas": replicas,
        "readyReplicas": ready_replicas,
        "selector": ",".join(f"{key}={value}" for key, value in names.selector(name).items()),
        "endpoint": others.endpoint(llmd) if llmd is not None else before.get("endpoint"),
        "modelRevision": model_revision if plan is not None else None,
        "plan": plan_status(plan) if plan is not None else None,
        "measured": measured if plan else None,
        "healing": healing_status(history, cause, phase, proposal) if plan else None,
        "conditions": conditions(entries(before, "conditions"), health.wanted(), generation, now),
    }
    return {key: value for key, value in result.items() if value is not None}


def frozen(
    live: Object, health: Health, now: float, replicas: int, ready_replicas: int
) -> dict[str, Any]:
    """The stored status with new conditions and counts: suspended, or the spec can't be read."""
    stored = live.get("status")
    before = dict(stored) if isinstance(stored, Mapping) else {}
    generation = live["metadata"].get("generation", 0)
    name = live["metadata"]["name"]
    return before | {
        "observedGeneration": generation,
        "replicas": replicas,
        "readyReplicas": ready_replicas,
        "selector": ",".join(f"{key}={value}" for key, value in names.selector(name).items()),
        "conditions": conditions(entries(before, "conditions"), health.wanted(), generation, now),
    }
