"""Where the model's files come from, as volumes, environment and the engine's model argument."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from xpullm.api import LLMDeployment, SecretKeyRef
from xpullm.resources import names

CACHE_VOLUME, CACHE_PATH = "model-cache", "/var/cache/xpullm/models"
MODEL_VOLUME, MODEL_PATH = "model", "/model"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """`argument`: what the engine is told to load. `local`: nothing is downloaded; `hugging_face`:
    the Hub or a mirror of it is downloaded from."""

    argument: str
    local: bool
    volumes: tuple[dict[str, Any], ...]
    mounts: tuple[dict[str, Any], ...]
    env: tuple[dict[str, Any], ...] = field(default=())
    hugging_face: bool = False


def secret_env(name: str, ref: SecretKeyRef) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key}}}


def model_files(llmd: LLMDeployment) -> ModelFiles:
    """Files on a claim or in an image are mounted read-only; a hub's are downloaded to the cache.

    Variables: HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE (huggingface_hub, constants.py);
    VLLM_USE_MODELSCOPE (vllm/envs.py), MODELSCOPE_CACHE and MODELSCOPE_API_TOKEN (modelscope hub).
    """
    model = llmd.spec.model
    source = model.source
    if source is not None and source.persistent_volume_claim is not None:
        claim = source.persistent_volume_claim
        path = f"{MODEL_PATH}/{claim.path.rstrip('/')}" if claim.path else MODEL_PATH
        volume = {"persistentVolumeClaim": {"claimName": claim.claim_name, "readOnly": True}}
        return _mounted(path, volume)
    if source is not None and source.image is not None:
        image: dict[str, Any] = {"reference": source.image.reference}
        if source.image.pull_policy:
            image["pullPolicy"] = source.image.pull_policy
        return _mounted(MODEL_PATH, {"image": image})
    env: list[dict[str, Any]] = []
    if source is not None and source.model_scope is not None:
        env.append({"name": "VLLM_USE_MODELSCOPE", "value": "True"})
        if source.model_scope.token_secret_ref is not None:
            env.append(secret_env("MODELSCOPE_API_TOKEN", source.model_scope.token_secret_ref))
    elif source is not None and source.hugging_face is not None:
        if source.hugging_face.endpoint:
            env.append({"name": "HF_ENDPOINT", "value": source.hugging_face.endpoint})
        if source.hugging_face.token_secret_ref is not None:
            env.append(secret_env("HF_TOKEN", source.hugging_face.token_secret_ref))
    return ModelFiles(
        argument=model.id,
        local=False,
        volumes=({"name": CACHE_VOLUME, **_cache(llmd)},),
        mounts=({"name": CACHE_VOLUME, "mountPath": CACHE_PATH},),
        env=tuple(env),
        hugging_face=source is None or source.model_scope is None,
    )


def _mounted(path: str, volume: dict[str, Any]) -> ModelFiles:
    return ModelFiles(
        argument=path,
        local=True,
        volumes=(
            {"name": MODEL_VOLUME, **volume},
            {"name": CACHE_VOLUME, "emptyDir": {}},
        ),
        mounts=(
            {"name": MODEL_VOLUME, "mountPath": MODEL_PATH, "readOnly": True},
            {"name": CACHE_VOLUME, "mountPath": CACHE_PATH},
        ),
        env=({"name": "HF_HUB_OFFLINE", "value": "1"},),
    )


def _cache(llmd: LLMDeployment) -> dict[str, Any]:
    cache = llmd.spec.model.cache
    claim = cache.persistent_volume_claim if cache is not None else None
    if claim is None:
        return {"emptyDir": {}}
    name = claim.claim_name or names.cache_claim_name(llmd.metadata.name)
    return {"persistentVolumeClaim": {"claimName": name}}
