"""The demo's three LLMDeployments."""

from __future__ import annotations

from typing import Any

Manifest = dict[str, Any]

# The node has 16 GB cards; their group of PCI id 56a0 is what Intel's NFD rules label.
NODE_LABELS = {
    "intel.feature.node.kubernetes.io/gpu": "true",
    "gpu.intel.com/device-id.0300-56a0.present": "true",
}
NODE_RESOURCES = {"gpu.intel.com/i915": "3"}
# A test machine is smaller than a GPU server: ask the scheduler for less than the plan would.
SMALL_REQUEST = {"requests": {"memory": "256Mi", "cpu": "10m"}}


def seed(image: str) -> Manifest:
    """Qwen2-7B-Instruct, sym_int4, one Arc A770 16 GB, ipex-llm: the case that began it all."""
    return {
        "apiVersion": "xpullm.io/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "qwen2-7b"},
        "spec": {
            "model": {"id": "Qwen/Qwen2-7B-Instruct"},
            "quantization": "sym_int4",
            "gpu": {"type": "arc-a770-16g"},
            "engine": {"name": "ipex-llm", "image": image},
            "serving": {"contextLength": 4096, "concurrency": 4},
            "pod": {"resources": SMALL_REQUEST},
        },
    }


def host_oom(image: str) -> Manifest:
    """A memory limit that is too small for loading: the kernel kills the engine, for real."""
    manifest = seed(image)
    manifest["metadata"] = {"name": "small-limit"}
    manifest["spec"]["pod"]["resources"] = SMALL_REQUEST | {"limits": {"memory": "320Mi"}}
    manifest["spec"]["healing"] = {"mayChange": ["Arguments", "UserMemoryLimit"]}
    return manifest


def too_big() -> Manifest:
    """Qwen2-72B in 16 bit on one card can't be: 135 GiB of weights for 15 GiB."""
    return {
        "apiVersion": "xpullm.io/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "qwen2-72b"},
        "spec": {
            "model": {"id": "Qwen/Qwen2-72B-Instruct"},
            "quantization": "fp16",
            "gpu": {"type": "arc-a770-16g", "count": 1},
            "engine": {"name": "ipex-llm"},
        },
    }
