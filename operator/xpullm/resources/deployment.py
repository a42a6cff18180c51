"""The Deployment: the pods, and in its annotations the whole truth about how they came to be.

Arguments, plan, attempt and the step that led to them are one object and one write: a crash before
or after it loses nothing and repeats nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xpullm.catalog import gpus
from xpullm.planner import decode
from xpullm.planner.types import Plan
from xpullm.resources import codec, names

# A rollout may wait hours for downloads and loads; only the condition depends on it.
PROGRESS_DEADLINE_SECONDS = 86_400
REVISIONS_KEPT = 2


@dataclass(frozen=True, slots=True)
class Truth:
    """The annotations. `template` is the pod template as applied; all other values are encoded.
    `news`: what the last change has to tell, "" for nothing."""

    inputs_hash: str
    plan: str
    history: str
    attempt: int
    template: Mapping[str, Any]
    packed_template: str
    news: str = ""


def truth_of(
    inputs_hash: str, plan: str, history: str, attempt: int, template: Mapping[str, Any]
) -> Truth:
    return Truth(inputs_hash, plan, history, attempt, template, codec.pack(template))


def read_truth(deployment: Mapping[str, Any] | None) -> Truth | None:
    """What a Deployment says of itself; None where anything is missing or unreadable."""
    notes = ((deployment or {}).get("metadata") or {}).get("annotations") or {}
    packed = notes.get(names.ANNOTATION_TEMPLATE) or ""
    template = codec.unpack(packed)
    inputs, plan = notes.get(names.ANNOTATION_INPUTS), notes.get(names.ANNOTATION_PLAN)
    if not inputs or not plan or not isinstance(template, dict) or "spec" not in template:
        return None
    attempt = str(notes.get(names.ANNOTATION_ATTEMPT, ""))
    return Truth(
        inputs_hash=inputs,
        plan=plan,
        history=notes.get(names.ANNOTATION_HISTORY) or "[]",
        attempt=int(attempt) if attempt.isascii() and attempt.isdigit() else 0,
        template=template,
        packed_template=packed,
        news=notes.get(names.ANNOTATION_NEWS) or "",
    )


def stored_plan(packed: str) -> Plan | None:
    """The plan of an annotation; None for what another version or a person left there."""
    data = codec.unpack(packed)
    try:
        plan = decode(data) if isinstance(data, dict) else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return plan if plan is not None and plan.gpu in gpus() else None


def deployment(
    owner: Mapping[str, Any], truth: Truth, *, replicas: int, all_at_once: bool
) -> dict[str, Any]:
    """`owner`: the LLMDeployment as stored. `all_at_once`: no pod is Ready, so none is spared.

    No surge: a new pod would need a card that the old one still holds.
    """
    name = owner["metadata"]["name"]
    metadata = names.metadata(owner, name)
    metadata["annotations"] = {
        names.ANNOTATION_INPUTS: truth.inputs_hash,
        names.ANNOTATION_PLAN: truth.plan,
        names.ANNOTATION_HISTORY: truth.history,
        names.ANNOTATION_ATTEMPT: str(truth.attempt),
        names.ANNOTATION_TEMPLATE: truth.packed_template,
        **({names.ANNOTATION_NEWS: truth.news} if truth.news else {}),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": REVISIONS_KEPT,
            "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
            "selector": {"matchLabels": names.selector(name)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {
                    "maxSurge": 0,
                    "maxUnavailable": "100%" if all_at_once else 1,
                },
            },
            "template": truth.template,
        },
    }


def rolls_all_at_once(live: Mapping[str, Any] | None) -> bool:
    """Which of the two strategies a Deployment has; kept until the next change of the template."""
    strategy = ((live or {}).get("spec") or {}).get("strategy") or {}
    return (strategy.get("rollingUpdate") or {}).get("maxUnavailable") == "100%"
