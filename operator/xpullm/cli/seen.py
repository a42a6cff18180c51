"""What `diagnose` was pointed at, and what would be done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xpullm_runtime.diagnosis import Evidence

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """`deployment` and `llmd`: what a pod of the operator's belongs to, where it was found."""

    where: str
    evidence: Evidence
    deployment: Object | None = None
    llmd: Object | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """What the operator would do. `text`: "would …" or "changes nothing: …". The argument that
    would change, and how; "" where none would, or where its values aren't known."""

    text: str
    move: str
    argument: str = ""
    before: str = ""
    after: str = ""


# xpullm.resources.names, whose imports take longer than a diagnosis.
LABEL_DEPLOYMENT = "xpullm.io/deployment"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "xpullm"


def owner_of(pod: Any) -> str:
    """The LLMDeployment that a pod says it belongs to, whose Deployment has the same name."""
    labels = dig(pod, "metadata", "labels")
    name = dig(labels, LABEL_DEPLOYMENT)
    ours = dig(labels, LABEL_MANAGED_BY) == MANAGER
    return name if ours and isinstance(name, str) else ""


def dig(value: Any, *path: str) -> Any:
    """A nested value; None where anything on the way is missing or of another kind."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
