"""Manifests with one value at one path, and what must stand beside it to be otherwise valid."""

from __future__ import annotations

import copy
import re
from typing import Any

from tests.contract.rows import ABSENT

API_VERSION = "xpullm.io/v1alpha1"

CONDITION = {
    "type": "Ready",
    "status": "False",
    "lastTransitionTime": "2026-11-23T02:29:22Z",
    "reason": "Pending",
    "message": "",
}
RECORD = {"model": "a/b", "engineImage": "x/y:z", "gpu": "arc-a770-16g", "gpuCount": 1}

# Path of an object -> the fields it needs when a test builds it around one value.
BESIDE: dict[str, dict[str, Any]] = {
    "spec.model": {"id": "Qwen/Qwen2-7B-Instruct"},
    "spec.model.source.huggingFace.tokenSecretRef": {"name": "n", "key": "k"},
    "spec.model.source.modelScope.tokenSecretRef": {"name": "n", "key": "k"},
    "spec.model.source.persistentVolumeClaim": {"claimName": "c"},
    "spec.model.source.image": {"reference": "registry.example/model:1"},
    "spec.serving.apiKeySecretRef": {"name": "n", "key": "k"},
    "spec.engine.args[]": {"name": "max-num-seqs"},
    "spec.pod.imagePullSecrets[]": {"name": "n"},
    "status.conditions[]": CONDITION,
    "status.plan.arguments[]": {"name": "max-num-seqs"},
    "spec.entries[]": {"outcome": "Healthy"},
    "status.entries[]": {"outcome": "Healthy"},
    "spec.entries[].arguments[]": {"name": "max-num-seqs"},
    "status.entries[].arguments[]": {"name": "max-num-seqs"},
}
for _env in ("spec.engine.env[]", "spec.pod.env[]"):
    BESIDE[_env] = {"name": "NAME"}
    for _ref in ("secretKeyRef", "configMapKeyRef"):
        BESIDE[f"{_env}.valueFrom.{_ref}"] = {"name": "n", "key": "k"}

STEP = re.compile(r"[A-Za-z_]\w*|\[\]|\{\}")


def llmdeployment(name: str = "qwen2-7b", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "LLMDeployment",
        "metadata": {"name": name},
        "spec": {"model": dict(BESIDE["spec.model"]), **spec},
    }


def tuning_record(name: str = "mine", **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "TuningRecord",
        "metadata": {"name": name},
        **more,
    }


def minimal(kind: str, name: str, part: str) -> dict[str, Any]:
    """The least valid object of a kind, with the part (`spec`, `status`) that is to be filled."""
    if kind == "LLMDeployment":
        return llmdeployment(name)
    return tuning_record(name, **{part: dict(RECORD)})


def with_value(kind: str, path: str, value: Any, name: str = "tried") -> dict[str, Any]:
    """A manifest of `kind` that has `value` at `path` (ABSENT: lacks the field)."""
    steps = STEP.findall(path)
    manifest = minimal(kind, name, steps[0])
    holder: Any = manifest
    done = ""
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        done += step if step in ("[]", "{}") else f".{step}" if done else step
        key = _enter(holder, step)
        if following is None:
            _put(holder, key, value)
        elif following == "[]":
            holder[key] = []
            holder = holder[key]
        else:
            if step == "[]" or key not in holder:
                _put(holder, key, copy.deepcopy(BESIDE.get(done, {})))
            holder = holder[key]
    return manifest


def _enter(holder: Any, step: str) -> Any:
    return {"[]": 0, "{}": "memory"}.get(step, step)


def _put(holder: Any, key: Any, value: Any) -> None:
    if value is ABSENT:
        holder.pop(key, None)
    elif isinstance(holder, list):
        holder.append(value)
    else:
        holder[key] = value
