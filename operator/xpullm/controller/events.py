"""Kubernetes Events with deterministic names: the same news is told once, whoever crashes when."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from xpullm.api import GROUP
from xpullm.controller.kinds import EVENT
from xpullm.controller.types import EventSpec, Object

REPORTER = f"{GROUP}/operator"
_NOTE_LIMIT = 1024  # events.k8s.io/v1: note is at most 1 kB
_ACTION_LIMIT = 128  # events.k8s.io/v1: reason and action are at most 128 characters
_NAME_LIMIT = 253 - 17


def event(spec: EventSpec, llmd: Object, instance: str, now: float) -> dict[str, Any]:
    """The Event object. ``now`` is its time; it is no part of its name. What is said of a node
    lies in ``default``, as the API server asks for cluster-scoped objects."""
    regarding = spec.regarding or llmd
    metadata = regarding["metadata"]
    namespace = metadata.get("namespace", "")
    text = "\0".join((metadata["uid"], spec.reason, spec.discriminator))
    name = f"{metadata['name'][:_NAME_LIMIT]}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    time = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"namespace": namespace or "default", "name": name},
        "eventTime": time,
        "type": spec.type,
        "reason": spec.reason[:_ACTION_LIMIT],
        "action": spec.action[:_ACTION_LIMIT],
        "note": _shorten(spec.message),
        "reportingController": REPORTER,
        "reportingInstance": instance[:_ACTION_LIMIT],
        "regarding": {
            "apiVersion": regarding["apiVersion"],
            "kind": regarding["kind"],
            **({"namespace": namespace} if namespace else {}),
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }


def _shorten(note: str) -> str:
    raw = note.encode()
    if len(raw) <= _NOTE_LIMIT:
        return note
    return raw[: _NOTE_LIMIT - 3].decode("utf-8", "ignore") + "…"
