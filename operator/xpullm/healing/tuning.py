"""TuningRecord: what held and what failed for one model on one kind of card. Pure.

A record is a projection: every entry can be derived again from a pod's report, so a crash between
two writes loses nothing, and merging the same observation twice changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from xpullm.healing.flags import from_flags, to_flags
from xpullm.healing.pareto import (
    EXPIRY,
    FAILED,
    HEALTHY,
    LIMIT,
    Observation,
    at_most,
    expired,
    merge,
)
from xpullm.planner.types import Arguments, Learned, LearnedEntry, Plan

NODES_TO_BIND = 2  # one card with a foreign process must not shrink a fleet


@dataclass(frozen=True, slots=True)
class Key:
    """What an entry depends on: another image, driver or card teaches something else."""

    model: str
    quantization: str
    engine_image: str
    gpu: str
    gpu_count: int
    kernel: str = ""

    @property
    def record_name(self) -> str:
        """A DNS name, the same for the same key on every operator."""
        text = "\n".join(
            (
                self.model,
                self.quantization,
                self.engine_image,
                self.gpu,
                str(self.gpu_count),
                self.kernel,
            )
        )
        return f"tr-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def key_of(plan: Plan, kernel: str = "") -> Key:
    """The key of a plan's record."""
    return Key(plan.model, plan.quantization, plan.image, plan.gpu, plan.gpu_count, kernel)


def observation_of(
    plan: Plan,
    outcome: str,
    *,
    time: str,
    cause: str = "",
    phase: str = "",
    node: str = "",
    kernel: str = "",
) -> Observation:
    """What a plan taught."""
    ledger = plan.ledger
    planned = (  # what the engine accounts for itself: the planner compares pools by it
        ledger.weights_bytes
        + ledger.activation_bytes
        + ledger.non_torch_bytes
        + ledger.graph_bytes
        + ledger.kv_cache_bytes
    )
    return Observation(
        arguments=_memory_arguments(plan.arguments),
        outcome=outcome,
        time=time,
        cause=cause,
        phase=phase,
        node=node,
        kernel=kernel,
        planned_bytes=planned,
    )


def learned_for(
    records: Iterable[Mapping[str, Any]], key: Key, now: datetime, node_count: int = 0
) -> Learned:
    """What binds the next plan for `key`, from TuningRecord objects as the API server returns them.

    People's own entries (`spec`) bind. A failure that the operator saw binds when two nodes had it,
    or when no more than one node matches (`node_count`); a success always counts. A record without
    `kernel` is for any driver.
    """
    found: list[LearnedEntry] = []
    seen: list[Observation] = []
    for record in records:
        for part in ("spec", "status"):
            body = record.get(part)
            if not isinstance(body, Mapping) or not _matches(body, key):
                continue
            entries = [entry for entry in decode_entries(body) if not expired(entry, now)]
            if part == "spec":
                found.extend(_learned(entry) for entry in entries)
            else:
                seen.extend(entries)
    healthy = [entry for entry in seen if entry.outcome == HEALTHY]
    failed = [entry for entry in seen if entry.outcome == FAILED]
    found.extend(_learned(entry) for entry in healthy)
    found.extend(_learned(entry) for entry in failed if _binds(entry, failed, node_count))
    return Learned(tuple(dict.fromkeys(found)))


def status_of(key: Key, entries: Sequence[Observation]) -> dict[str, Any]:
    """`status` of the key's record, as the API takes it."""
    body: dict[str, Any] = {
        "model": key.model,
        "quantization": key.quantization,
        "engineImage": key.engine_image,
        "gpu": key.gpu,
        "gpuCount": key.gpu_count,
        "kernel": key.kernel,
        "entries": [_encode(entry) for entry in entries],
    }
    return {name: value for name, value in body.items() if value != ""}


def decode_key(body: Mapping[str, Any]) -> Key:
    """The key of a record's spec or status; "" and 0 for what is missing or rubbish."""
    named = ("model", "quantization", "engineImage", "gpu", "kernel")
    texts = {name: body[name] if isinstance(body.get(name), str) else "" for name in named}
    count = body.get("gpuCount")
    return Key(
        model=texts["model"],
        quantization=texts["quantization"],
        engine_image=texts["engineImage"],
        gpu=texts["gpu"],
        gpu_count=count if type(count) is int else 0,
        kernel=texts["kernel"],
    )


def joined(stored: Any, news: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """One record's status with the entries of both; `stored` may be missing or rubbish."""
    before = decode_entries(stored) if isinstance(stored, Mapping) else ()
    entries = merge(before, decode_entries(news), now)
    return {**news, "entries": [_encode(entry) for entry in entries]}


def decode_entries(body: Mapping[str, Any]) -> tuple[Observation, ...]:
    """The entries of a record's spec or status; what cannot be read is left out."""
    rows = body.get("entries")
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        return ()
    return tuple(
        entry for row in rows if isinstance(row, Mapping) and (entry := _decode(row)) is not None
    )


def _encode(entry: Observation) -> dict[str, Any]:
    row: dict[str, Any] = {
        "arguments": to_flags(entry.arguments),
        "outcome": entry.outcome,
        "cause": entry.cause,
        "phase": entry.phase,
        "node": entry.node,
        "kernel": entry.kernel,
        "time": entry.time,
        "plannedBytes": entry.planned_bytes,
    }
    return {name: value for name, value in row.items() if value not in ("", 0)}


def _decode(row: Mapping[str, Any]) -> Observation | None:
    arguments = from_flags(row.get("arguments"))
    outcome = row.get("outcome")
    if arguments is None or outcome not in (HEALTHY, FAILED):
        return None
    planned = row.get("plannedBytes", 0)
    text = {name: row.get(name) for name in ("time", "cause", "phase", "node", "kernel")}
    return Observation(
        arguments=arguments,
        outcome=str(outcome),
        planned_bytes=planned if type(planned) is int and planned >= 0 else 0,
        **{name: value if isinstance(value, str) else "" for name, value in text.items()},
    )


def _matches(body: Mapping[str, Any], key: Key) -> bool:
    return (
        body.get("model") == key.model
        and body.get("quantization", "") == key.quantization
        and body.get("engineImage") == key.engine_image
        and body.get("gpu") == key.gpu
        and body.get("gpuCount") == key.gpu_count
        and body.get("kernel", "") in ("", key.kernel)
    )


def _memory_arguments(arguments: Arguments) -> Arguments:
    """Without what is not about memory: other flags, and whose they are."""
    return replace(arguments, extra=(), user=frozenset())


def _learned(entry: Observation) -> LearnedEntry:
    return LearnedEntry(
        entry.arguments, entry.outcome, entry.cause, entry.phase, entry.planned_bytes
    )


def _binds(entry: Observation, failed: Sequence[Observation], node_count: int) -> bool:
    if node_count == 1:
        return True
    nodes = {
        other.node
        for other in failed
        if (other.cause, other.phase) == (entry.cause, entry.phase) and at_most(other, entry)
    }
    return len(nodes) >= NODES_TO_BIND


__all__ = [
    "EXPIRY",
    "FAILED",
    "HEALTHY",
    "LIMIT",
    "Key",
    "Observation",
    "decode_entries",
    "key_of",
    "learned_for",
    "merge",
    "observation_of",
    "status_of",
]
