"""The pod template: an init container brings the supervisor, the engine's image stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from xpullm.api import EnvVar, LLMDeployment, canonical_quantity, format_bytes
from xpullm.catalog.types import GPU
from xpullm.planner.types import Plan
from xpullm.resources import gpu, names
from xpullm.resources.command import RUNTIME, engine_argv, escaped, supervised
from xpullm.resources.model import CACHE_PATH, ModelFiles, model_files, secret_env
from xpullm.resources.settings import PodSettings
from xpullm_runtime.config import ENV as RUNTIME_ENV
from xpullm_runtime.config import RUNTIME_PORT, RuntimeConfig

RUNTIME_VOLUME, RUNTIME_PATH = "xpullm-runtime", "/xpullm"
HOME_VOLUME, HOME_PATH = "home", "/var/cache/xpullm/home"
SHM_VOLUME, SHM_PATH = "shm", "/dev/shm"  # noqa: S108 - a mount of its own, not a shared folder
NONROOT = 65532

# Long and constant: the supervisor ends an engine that shows no progress, by a deadline that
# healing can move up to 2 h without another probe; burn-in comes on top. 2160 x 5 s = 3 h.
STARTUP_PERIOD_SECONDS, STARTUP_FAILURES = 5, 2160
GRACE_SECONDS = 60  # spec.pod.terminationGracePeriodSeconds when absent
GRACE_MARGIN_SECONDS = 5  # the supervisor's own farewell
BURN_IN_OUTPUT_TOKENS = 64  # room for the answers beside the longest prompt

# Caches that compilers fill: per pod, never on the model's volume, where they would outlive the
# image they were made for (a stale Triton cache after an image change breaks the start).
HOME_ENV = {
    "HOME": HOME_PATH,
    "XDG_CACHE_HOME": f"{HOME_PATH}/.cache",
    "VLLM_CACHE_ROOT": f"{HOME_PATH}/.cache/vllm",
    "TRITON_CACHE_DIR": f"{HOME_PATH}/.triton",
    "HF_HOME": f"{CACHE_PATH}/huggingface",
    "MODELSCOPE_CACHE": f"{CACHE_PATH}/modelscope",
}


def pod_template(
    llmd: LLMDeployment,
    plan: Plan,
    card: GPU,
    *,
    allocation: str,
    model_positional: bool,
    settings: PodSettings,
    claim_template: str = "",
) -> dict[str, Any]:
    """`spec.template` of the Deployment. `allocation`: DevicePlugin or ResourceClaim; with the
    latter `claim_template` names the ResourceClaimTemplate."""
    pod = llmd.spec.pod
    files = model_files(llmd)
    by_claim = allocation == "ResourceClaim"
    spec: dict[str, Any] = {
        "initContainers": [_installer(settings)],
        "containers": [_engine(llmd, plan, card, files, settings, by_claim, model_positional)],
        "volumes": [
            {"name": RUNTIME_VOLUME, "emptyDir": {}},
            {"name": HOME_VOLUME, "emptyDir": {}},
            {
                "name": SHM_VOLUME,
                "emptyDir": {
                    "medium": "Memory",
                    "sizeLimit": format_bytes(plan.host.shm_bytes),
                },
            },
            *files.volumes,
        ],
        "affinity": gpu.affinity(card, allocation, plan.avoid_nodes, pod.affinity),
        "securityContext": {
            "supplementalGroups": sorted(settings.supplemental_groups),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _grace(llmd),
    }
    if by_claim:
        spec["resourceClaims"] = [{"name": gpu.CLAIM, "resourceClaimTemplateName": claim_template}]
    spec |= _wishes(llmd)
    return {
        "metadata": {
            "labels": {
                **pod.labels,
                **names.labels(llmd.metadata.name),
                names.LABEL_PLAN: plan.hash,
            },
            "annotations": {
                "kubectl.kubernetes.io/default-container": names.ENGINE_CONTAINER,
                **pod.annotations,
            },
        },
        "spec": spec,
    }


def _wishes(llmd: LLMDeployment) -> dict[str, Any]:
    """The user's scheduling fields, only where set."""
    pod = llmd.spec.pod
    wishes: dict[str, Any] = {
        "nodeSelector": dict(pod.node_selector),
        "tolerations": gpu.without_empty_text(pod.tolerations),
        "topologySpreadConstraints": gpu.without_empty_text(pod.topology_spread_constraints),
        "imagePullSecrets": [{"name": item.name} for item in pod.image_pull_secrets],
        "priorityClassName": pod.priority_class_name,
        "runtimeClassName": pod.runtime_class_name,
    }
    return {name: value for name, value in wishes.items() if value}


def _grace(llmd: LLMDeployment) -> int:
    wanted = llmd.spec.pod.termination_grace_period_seconds
    return GRACE_SECONDS if wanted is None else wanted


def _installer(settings: PodSettings) -> dict[str, Any]:
    return {
        "name": names.INSTALL_CONTAINER,
        "image": settings.runtime_image,
        "imagePullPolicy": settings.runtime_image_pull_policy,
        "command": ["python3", "/xpullm-runtime.pyz"],
        "args": ["install", "--to", RUNTIME_PATH],
        "volumeMounts": [{"name": RUNTIME_VOLUME, "mountPath": RUNTIME_PATH}],
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi"},
            "limits": {"memory": "128Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": NONROOT,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _engine(
    llmd: LLMDeployment,
    plan: Plan,
    card: GPU,
    files: ModelFiles,
    settings: PodSettings,
    by_claim: bool,
    model_positional: bool,
) -> dict[str, Any]:
    served = llmd.spec.serving.served_names or ((llmd.spec.model.id,) if files.local else ())
    argv = engine_argv(
        plan,
        files.argument,
        positional=model_positional,
        revision=None if files.local else plan.revision,
        served_names=served,
    )
    return {
        "name": names.ENGINE_CONTAINER,
        "image": plan.image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(RUNTIME),
        "args": supervised(argv),
        "env": _environment(llmd, plan, files, settings),
        "ports": [
            {"name": names.ENGINE_PORT_NAME, "containerPort": names.ENGINE_PORT, "protocol": "TCP"},
            {"name": names.RUNTIME_PORT_NAME, "containerPort": RUNTIME_PORT, "protocol": "TCP"},
        ],
        "volumeMounts": [
            {"name": RUNTIME_VOLUME, "mountPath": RUNTIME_PATH, "readOnly": True},
            {"name": HOME_VOLUME, "mountPath": HOME_PATH},
            {"name": SHM_VOLUME, "mountPath": SHM_PATH},
            *files.mounts,
        ],
        "resources": _resources(llmd, plan, card, by_claim),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": _probe("/startupz", STARTUP_PERIOD_SECONDS, STARTUP_FAILURES),
        "readinessProbe": _probe("/readyz", 5, 2),
        "livenessProbe": _probe("/healthz", 10, 6),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _probe(path: str, period_seconds: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": names.RUNTIME_PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _environment(
    llmd: LLMDeployment, plan: Plan, files: ModelFiles, settings: PodSettings
) -> list[dict[str, Any]]:
    """Later entries win by name; the supervisor's settings and the API key are not negotiable."""
    config = runtime_config(llmd, plan, files, settings)
    ours = [{"name": name, "value": value} for name, value in HOME_ENV.items()]
    planned = [{"name": name, "value": value} for name, value in sorted(plan.env.items())]
    fixed = [{"name": RUNTIME_ENV, "value": escaped(config.to_env())}]
    if llmd.spec.serving.api_key_secret_ref is not None:
        fixed.append(secret_env("VLLM_API_KEY", llmd.spec.serving.api_key_secret_ref))
    return _last_wins(
        [*ours, *files.env, *planned, *_users(llmd.spec.pod.env), *_users(llmd.spec.engine.env)],
        fixed,
    )


def _users(env: Iterable[EnvVar]) -> list[dict[str, Any]]:
    return [item.to_manifest() for item in env]


def _last_wins(
    entries: Sequence[dict[str, Any]], fixed: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {}
    for entry in (*entries, *fixed):
        merged.pop(entry["name"], None)  # at its own place: a value may refer to those before it
        merged[entry["name"]] = entry
    # An empty value is stored as none.
    return [{k: v for k, v in entry.items() if v != ""} for entry in merged.values()]


def runtime_config(
    llmd: LLMDeployment, plan: Plan, files: ModelFiles, settings: PodSettings
) -> RuntimeConfig:
    """What the supervisor needs to know of the plan."""
    arguments, ledger = plan.arguments, plan.ledger
    sequences = max(1, arguments.max_num_seqs)
    room = max(1, arguments.max_model_len - BURN_IN_OUTPUT_TOKENS)
    # All sequences at once, as long as the KV cache holds, and one whole batch in any case.
    share = max(ledger.kv_cache_tokens // sequences, arguments.max_num_batched_tokens, 1)
    burn_in = llmd.spec.verification.mode == "BurnIn"
    return RuntimeConfig(
        plan_hash=plan.hash,
        model_id=files.argument if files.hugging_face else "",
        model_revision=plan.revision if files.hugging_face else "",
        engine_port=names.ENGINE_PORT,
        runtime_port=RUNTIME_PORT,
        devices=plan.gpu_count if settings.check_devices else 0,
        vram_bytes=ledger.visible_bytes if settings.check_devices else 0,
        host_memory_bytes=plan.host.request_bytes,
        shm_bytes=plan.host.shm_bytes,
        max_model_len=arguments.max_model_len,
        max_num_seqs=arguments.max_num_seqs,
        max_num_batched_tokens=arguments.max_num_batched_tokens,
        burn_in_sequences=sequences if burn_in else 0,
        burn_in_prompt_tokens=min(room, share) if burn_in else 0,
        startup_deadline_seconds=float(plan.startup_deadline_seconds),
        grace_seconds=float(max(1, _grace(llmd) - GRACE_MARGIN_SECONDS)),
        env_scripts=plan.env_scripts,
    )


def _resources(llmd: LLMDeployment, plan: Plan, card: GPU, by_claim: bool) -> dict[str, Any]:
    """Host memory from the plan (which knows the user's own), the rest from the user."""
    host = llmd.spec.pod.resources
    requests = {name: canonical_quantity(size) for name, size in _items(host, "requests")}
    limits = {name: canonical_quantity(size) for name, size in _items(host, "limits")}
    requests["memory"] = format_bytes(min(plan.host.request_bytes, plan.host.limit_bytes))
    limits["memory"] = format_bytes(plan.host.limit_bytes)
    resources: dict[str, Any] = {"requests": requests, "limits": limits}
    if by_claim:
        resources["claims"] = [{"name": gpu.CLAIM}]
    else:
        requests[card.resource] = limits[card.resource] = str(plan.gpu_count)
    return resources


def _items(host: Any, field: str) -> list[tuple[str, int | str]]:
    values = getattr(host, field, None) or {}
    return sorted(values.items())
