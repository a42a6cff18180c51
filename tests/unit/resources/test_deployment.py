"""The seed's case as a whole Deployment, written out: what the kubelet gets to see."""

from __future__ import annotations

import json

from tests.unit.resources import builders

from xpullm import catalog
from xpullm.resources import codec
from xpullm.resources.deployment import deployment, read_truth, rolls_all_at_once, truth_of
from xpullm.resources.pod import pod_template
from xpullm.resources.settings import PodSettings

TEMPLATE = {
    "metadata": {
        "labels": {
            "app.kubernetes.io/component": "inference",
            "app.kubernetes.io/instance": "qwen2-7b",
            "app.kubernetes.io/managed-by": "xpullm",
            "app.kubernetes.io/name": "xpullm-engine",
            "xpullm.io/deployment": "qwen2-7b",
            "xpullm.io/plan-hash": "0123456789abcdef",
        },
        "annotations": {"kubectl.kubernetes.io/default-container": "engine"},
    },
    "spec": {
        "initContainers": [
            {
                "name": "install-runtime",
                "image": "registry.example/xpullm:1",
                "imagePullPolicy": "IfNotPresent",
                "command": ["python3", "/xpullm-runtime.pyz"],
                "args": ["install", "--to", "/xpullm"],
                "volumeMounts": [{"name": "xpullm-runtime", "mountPath": "/xpullm"}],
                "resources": {
                    "requests": {"cpu": "10m", "memory": "32Mi"},
                    "limits": {"memory": "128Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True,
                    "runAsUser": 65532,
                },
                "terminationMessagePolicy": "FallbackToLogsOnError",
            }
        ],
        "containers": [
            {
                "name": "engine",
                "image": "intelanalytics/ipex-llm-serving-xpu:0.8.3-b18",
                "imagePullPolicy": "IfNotPresent",
                "command": ["python3", "/xpullm/runtime.pyz"],
                "args": [
                    "run",
                    "--",
                    "python3",
                    "-m",
                    "ipex_llm.vllm.xpu.entrypoints.openai.api_server",
                    "--model",
                    "Qwen/Qwen2-7B-Instruct",
                    "--revision",
                    "main",
                    "--host",
                    "0.0.0.0",
                    "--port",
                    "8000",
                    "--load-in-low-bit",
                    "sym_int4",
                    "--max-model-len",
                    "8192",
                    "--max-num-seqs",
                    "4",
                    "--enforce-eager",
                ],
                "env": [
                    {"name": "HOME", "value": "/var/cache/xpullm/home"},
                    {"name": "XDG_CACHE_HOME", "value": "/var/cache/xpullm/home/.cache"},
                    {"name": "VLLM_CACHE_ROOT", "value": "/var/cache/xpullm/home/.cache/vllm"},
                    {"name": "TRITON_CACHE_DIR", "value": "/var/cache/xpullm/home/.triton"},
                    {"name": "HF_HOME", "value": "/var/cache/xpullm/models/huggingface"},
                    {"name": "MODELSCOPE_CACHE", "value": "/var/cache/xpullm/models/modelscope"},
                    {"name": "FI_PROVIDER", "value": "shm"},
                    {"name": "USE_XETLA", "value": "OFF"},
                    {
                        "name": "XPULLM_RUNTIME",
                        "value": (
                            '{"burn_in_prompt_tokens":8128,"burn_in_sequences":4,"devices":1,'
                            '"env_scripts":["/opt/intel/1ccl-wks/setvars.sh"],'
                            '"grace_seconds":55.0,"host_memory_bytes":21474836480,'
                            '"max_model_len":8192,"max_num_batched_tokens":8192,'
                            '"max_num_seqs":4,"model_id":"Qwen/Qwen2-7B-Instruct",'
                            '"model_revision":"main","plan_hash":"0123456789abcdef",'
                            '"shm_bytes":2147483648,"startup_deadline_seconds":3600.0,'
                            '"vram_bytes":16106127360}'
                        ),
                    },
                ],
                "ports": [
                    {"name": "http", "containerPort": 8000, "protocol": "TCP"},
                    {"name": "runtime", "containerPort": 9400, "protocol": "TCP"},
                ],
                "volumeMounts": [
                    {"name": "xpullm-runtime", "mountPath": "/xpullm", "readOnly": True},
                    {"name": "home", "mountPath": "/var/cache/xpullm/home"},
                    {"name": "shm", "mountPath": "/dev/shm"},
                    {"name": "model-cache", "mountPath": "/var/cache/xpullm/models"},
                ],
                "resources": {
                    "requests": {"memory": "20Gi", "gpu.intel.com/i915": "1"},
                    "limits": {"memory": "24Gi", "gpu.intel.com/i915": "1"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
                "startupProbe": {
                    "httpGet": {"path": "/startupz", "port": "runtime", "scheme": "HTTP"},
                    "periodSeconds": 5,
                    "timeoutSeconds": 5,
                    "failureThreshold": 2160,
                },
                "readinessProbe": {
                    "httpGet": {"path": "/readyz", "port": "runtime", "scheme": "HTTP"},
                    "periodSeconds": 5,
                    "timeoutSeconds": 5,
                    "failureThreshold": 2,
                },
                "livenessProbe": {
                    "httpGet": {"path": "/healthz", "port": "runtime", "scheme": "HTTP"},
                    "periodSeconds": 10,
                    "timeoutSeconds": 5,
                    "failureThreshold": 6,
                },
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "FallbackToLogsOnError",
            }
        ],
        "volumes": [
            {"name": "xpullm-runtime", "emptyDir": {}},
            {"name": "home", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
            {"name": "model-cache", "emptyDir": {}},
        ],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {
                                    "key": "xpullm.io/gpu-type",
                                    "operator": "In",
                                    "values": ["arc-a770-16g"],
                                }
                            ]
                        },
                        {
                            "matchExpressions": [
                                {"key": "xpullm.io/gpu-type", "operator": "DoesNotExist"},
                                {
                                    "key": "gpu.intel.com/device-id.0300-56a0.present",
                                    "operator": "In",
                                    "values": ["true"],
                                },
                            ]
                        },
                        {
                            "matchExpressions": [
                                {"key": "xpullm.io/gpu-type", "operator": "DoesNotExist"},
                                {
                                    "key": "gpu.intel.com/device-id.0380-56a0.present",
                                    "operator": "In",
                                    "values": ["true"],
                                },
                            ]
                        },
                    ]
                }
            }
        },
        "securityContext": {
            "supplementalGroups": [44, 992],
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 60,
    },
}


def rendered() -> dict[str, object]:
    return pod_template(
        builders.llmd(),
        builders.plan(),
        catalog.gpus()["arc-a770-16g"],
        allocation="DevicePlugin",
        model_positional=False,
        settings=PodSettings("registry.example/xpullm:1", supplemental_groups=(992, 44)),
    )


def test_the_seeds_pod_template() -> None:
    assert rendered() == TEMPLATE


def test_the_seeds_deployment() -> None:
    truth = truth_of("inputs", "the plan", "[]", 0, rendered())
    built = deployment(builders.manifest(), truth, replicas=1, all_at_once=False)
    assert built["metadata"] == {
        "name": "qwen2-7b",
        "namespace": "default",
        "labels": {
            "app.kubernetes.io/component": "inference",
            "app.kubernetes.io/instance": "qwen2-7b",
            "app.kubernetes.io/managed-by": "xpullm",
            "app.kubernetes.io/name": "xpullm-engine",
            "xpullm.io/deployment": "qwen2-7b",
        },
        "ownerReferences": [
            {
                "apiVersion": "xpullm.io/v1alpha1",
                "kind": "LLMDeployment",
                "name": "qwen2-7b",
                "uid": "11111111-2222-3333-4444-555555555555",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
        "annotations": {
            "xpullm.io/inputs-hash": "inputs",
            "xpullm.io/plan": "the plan",
            "xpullm.io/history": "[]",
            "xpullm.io/attempt": "0",
            "xpullm.io/template": codec.pack(TEMPLATE),
        },
    }
    assert built["spec"] == {
        "replicas": 1,
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": 86_400,
        "selector": {"matchLabels": {"xpullm.io/deployment": "qwen2-7b"}},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
        },
        "template": TEMPLATE,
    }


def test_the_truth_is_read_back_from_what_was_written() -> None:
    truth = truth_of("inputs", "the plan", "[]", 3, rendered())
    stored = json.loads(
        json.dumps(deployment(builders.manifest(), truth, replicas=1, all_at_once=True))
    )
    assert read_truth(stored) == truth
    assert rolls_all_at_once(stored)


def test_damaged_annotations_are_no_truth() -> None:
    truth = truth_of("inputs", "the plan", "[]", 3, rendered())
    for name in ("inputs-hash", "plan", "template"):
        stored = deployment(builders.manifest(), truth, replicas=1, all_at_once=False)
        del stored["metadata"]["annotations"][f"xpullm.io/{name}"]
        assert read_truth(stored) is None
    stored = deployment(builders.manifest(), truth, replicas=1, all_at_once=False)
    stored["metadata"]["annotations"]["xpullm.io/template"] = codec.pack(["no", "template"])
    assert read_truth(stored) is None
    assert read_truth(None) is None
    assert read_truth({"metadata": {"annotations": None}}) is None
