"""Names, labels and annotations of what we own; the same resource gives the same names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpullm.api import GROUP

MANAGER = "xpullm"

LABEL_DEPLOYMENT = f"{GROUP}/deployment"  # on every child and pod: the LLMDeployment's name
LABEL_PLAN = f"{GROUP}/plan-hash"  # on pods: which plan this pod runs
LABEL_GPU_TYPE = f"{GROUP}/gpu-type"  # on nodes, set by people: the catalogue's name of the card
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_HOSTNAME = "kubernetes.io/hostname"

# The truth about a deployment, in one object and one write: the Deployment's annotations.
ANNOTATION_INPUTS = f"{GROUP}/inputs-hash"  # hash of the plan-relevant spec
ANNOTATION_PLAN = f"{GROUP}/plan"  # the plan that the template serves, compressed
ANNOTATION_HISTORY = f"{GROUP}/history"  # the steps that led to it, JSON
ANNOTATION_ATTEMPT = f"{GROUP}/attempt"  # how many steps since the inputs changed
ANNOTATION_NEWS = f"{GROUP}/news"  # what the last change has to tell, compressed
ANNOTATION_TEMPLATE = f"{GROUP}/template"  # the pod template as applied, compressed

ENGINE_CONTAINER = "engine"
INSTALL_CONTAINER = "install-runtime"  # brings the supervisor
ENGINE_PORT = 8000
ENGINE_PORT_NAME = "http"
RUNTIME_PORT_NAME = "runtime"


def cache_claim_name(name: str) -> str:
    return f"{name}-model-cache"


def selector(name: str) -> dict[str, str]:
    """The Deployment's selector: immutable, so nothing that a user or a plan can change."""
    return {LABEL_DEPLOYMENT: name}


def labels(name: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/component": "inference",
        "app.kubernetes.io/instance": name,
        LABEL_MANAGED_BY: MANAGER,
        "app.kubernetes.io/name": "xpullm-engine",
        LABEL_DEPLOYMENT: name,
    }


def owner_reference(owner: Mapping[str, Any]) -> dict[str, Any]:
    """`owner`: the LLMDeployment as the API server returned it."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def metadata(owner: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Metadata of a child called `name`."""
    return {
        "name": name,
        "namespace": owner["metadata"]["namespace"],
        "labels": labels(owner["metadata"]["name"]),
        "ownerReferences": [owner_reference(owner)],
    }
