"""The children beside the Deployment: Service, model cache, claim template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xpullm.api import LLMDeployment, canonical_quantity, parse_quantity
from xpullm.catalog.types import GPU
from xpullm.resources import codec, gpu, names


def service(owner: Mapping[str, Any], llmd: LLMDeployment) -> dict[str, Any]:
    name = llmd.metadata.name
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": names.metadata(owner, name),
        "spec": {
            "type": llmd.spec.service.type,
            "selector": names.selector(name),
            "ports": [
                {
                    "name": names.ENGINE_PORT_NAME,
                    "port": llmd.spec.service.port,
                    "protocol": "TCP",
                    "targetPort": names.ENGINE_PORT_NAME,
                }
            ],
        },
    }


def endpoint(llmd: LLMDeployment) -> str:
    """URL of the OpenAI-compatible API inside the cluster."""
    host = f"{llmd.metadata.name}.{llmd.metadata.namespace}.svc"
    return f"http://{host}:{llmd.spec.service.port}/v1"


def cache_claim(
    owner: Mapping[str, Any], llmd: LLMDeployment, live: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """The claim for downloaded models, where the spec asks for one of ours; it only ever grows."""
    cache = llmd.spec.model.cache
    claim = cache.persistent_volume_claim if cache is not None else None
    if claim is None or claim.size is None:
        return None
    size = canonical_quantity(claim.size)
    stored = _requested((live or {}).get("spec"))
    if stored is not None and parse_quantity(stored) > parse_quantity(size):
        size = stored
    spec: dict[str, Any] = {
        "accessModes": list(claim.access_modes or ("ReadWriteOnce",)),
        "resources": {"requests": {"storage": size}},
    }
    if claim.storage_class_name is not None:
        spec["storageClassName"] = claim.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": names.metadata(owner, names.cache_claim_name(llmd.metadata.name)),
        "spec": spec,
    }


def _requested(spec: Any) -> str | None:
    try:
        size = str(spec["resources"]["requests"]["storage"])
        parse_quantity(size)
    except (KeyError, TypeError, ValueError):
        return None
    return size


def claim_template_name(name: str, card: GPU, count: int, catalogue: Iterable[GPU]) -> str:
    """A claim template can't be changed, so another content gets another name."""
    return f"{name}-gpu-{codec.digest(gpu.claim_template_spec(card, count, catalogue))[:8]}"


def claim_template(
    owner: Mapping[str, Any], name: str, card: GPU, count: int, catalogue: Iterable[GPU]
) -> dict[str, Any]:
    """A claim for whole cards of one kind. `name` is the one that the pod template refers to."""
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": names.metadata(owner, name),
        "spec": gpu.claim_template_spec(card, count, catalogue),
    }
