"""Conditions by kstatus: Ready, Planned and Available always; Reconciling, Stalled while true.

Rules (cli-utils pkg/kstatus/status, fluxcd/pkg runtime/conditions): never both abnormal ones,
neither beside Ready=True, and lastTransitionTime moves only with `status`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xpullm.api import ConditionType, Reason
from xpullm.controller.timestamps import rfc3339

MESSAGE_LIMIT = 1024
ORDER = (
    ConditionType.READY,
    ConditionType.PLANNED,
    ConditionType.AVAILABLE,
    ConditionType.RECONCILING,
    ConditionType.STALLED,
)


@dataclass(frozen=True, slots=True)
class Said:
    """One condition's content."""

    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Health:
    """What is to be said in all. `progress` names the abnormal condition: nothing (settled),
    "Reconciling" (we or Kubernetes work on it), "Stalled" (a person must act)."""

    ready: Said
    planned: Said
    available: Said
    progress: str = ""

    def wanted(self) -> dict[str, Said]:
        said = {
            ConditionType.READY: self.ready,
            ConditionType.PLANNED: self.planned,
            ConditionType.AVAILABLE: self.available,
        }
        if self.progress and self.ready.status != "True":
            said[ConditionType(self.progress)] = Said("True", self.ready.reason, self.ready.message)
        return {str(kind): content for kind, content in said.items()}


def conditions(
    live: Sequence[Any], wanted: Mapping[str, Said], generation: int, now: float
) -> list[dict[str, Any]]:
    """The list as it is to be stored. `live`: the stored one, whose times are kept."""
    before = {item.get("type"): item for item in live if isinstance(item, Mapping)}
    result = []
    for kind in map(str, ORDER):
        said = wanted.get(kind)
        if said is None:
            continue
        old = before.get(kind) or {}
        same = old.get("status") == said.status and isinstance(old.get("lastTransitionTime"), str)
        result.append(
            {
                "type": kind,
                "status": said.status,
                "reason": str(said.reason),
                "message": shorten(said.message),
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if same else rfc3339(now),
            }
        )
    return result


def shorten(message: str, limit: int = MESSAGE_LIMIT) -> str:
    """At most `limit` characters, printable: a message may quote what an engine printed."""
    text = message
    if not message.isprintable():
        text = "".join(c if c.isprintable() else " " for c in message)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def reason_of(text: str, fallback: Reason) -> Reason:
    """A reason from the closed list; healing and the planner say theirs as plain words."""
    try:
        return Reason(text)
    except ValueError:
        return fallback
