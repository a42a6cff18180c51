"""TuningRecords: which ones speak of a plan, and what a deployment adds to them.

What an entry means, how entries merge and which failures bind is `xpullm.healing.tuning`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from xpullm.api import API_VERSION
from xpullm.controller.decide_pods import dig, text
from xpullm.controller.timestamps import epoch, rfc3339
from xpullm.controller.types import Object
from xpullm.healing.tuning import (
    EXPIRY,
    Key,
    Observation,
    decode_entries,
    key_of,
    learned_for,
    merge,
    observation_of,
    status_of,
)
from xpullm.planner.types import Learned, Plan
from xpullm.resources import names

REFRESH = timedelta(days=7)  # an entry seen again is written anew only when it is older


def learned(records: Sequence[Object], keys: Iterable[Key], now: float, node_count: int) -> Learned:
    """All that binds the next plan. `keys`: one per kernel of the nodes that have the card."""
    moment = datetime.fromtimestamp(now, UTC)
    found = [
        entry for key in keys for entry in learned_for(records, key, moment, node_count).entries
    ]
    return Learned(tuple(dict.fromkeys(found)))


def healthy(plan: Plan, node: str, kernel: str, now: float) -> tuple[Key, Observation]:
    seen = observation_of(plan, "Healthy", time=rfc3339(now), node=node, kernel=kernel)
    return key_of(plan, kernel), seen


def failed(
    plan: Plan, node: str, kernel: str, now: float, *, cause: str, phase: str
) -> tuple[Key, Observation]:
    seen = observation_of(
        plan, "Failed", time=rfc3339(now), cause=cause, phase=phase, node=node, kernel=kernel
    )
    return key_of(plan, kernel), seen


def updated(
    records: Sequence[Object],
    namespace: str,
    seen: Iterable[tuple[Key, Observation]],
    now: float,
) -> tuple[Object, ...]:
    """The records that these observations change. What is known already changes nothing: a
    success anywhere counts everywhere, a failure per node."""
    moment = datetime.fromtimestamp(now, UTC)
    by_key: dict[Key, list[Observation]] = {}
    for key, observation in seen:
        by_key.setdefault(key, []).append(observation)
    changed = []
    for key, observations in by_key.items():
        stored = _entries(records, key)
        news = [item for item in observations if not _known(item, stored, now)]
        merged = merge(stored, news, moment) if news else stored
        if merged != stored:
            changed.append(_record(namespace, key, merged))
    return tuple(changed)


def _entries(records: Sequence[Object], key: Key) -> tuple[Observation, ...]:
    for record in records:
        status = dig(record, "status")
        if text(record, "metadata", "name") == key.record_name and isinstance(status, dict):
            return decode_entries(status)
    return ()


def _known(item: Observation, stored: Sequence[Observation], now: float) -> bool:
    held = item.outcome == "Healthy"
    fresh = (REFRESH if held else EXPIRY).total_seconds()
    return any(
        (entry.arguments, entry.outcome, entry.cause, entry.phase)
        == (item.arguments, item.outcome, item.cause, item.phase)
        and (held or entry.node == item.node)
        and now - (epoch(entry.time) or 0.0) < fresh
        for entry in stored
    )


def _record(namespace: str, key: Key, entries: Sequence[Observation]) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "TuningRecord",
        "metadata": {
            "name": key.record_name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": names.MANAGER},
        },
        "status": status_of(key, entries),
    }
