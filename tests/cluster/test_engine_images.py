"""The simulated engine in a real container, without anything of ours around it."""

import json
import urllib.request
from collections.abc import Mapping
from typing import Any

import pytest
from hack.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.node, pytest.mark.timeout(120)]

_IPEX_LLM = "python3 -m ipex_llm.vllm.xpu.entrypoints.openai.api_server --model"
_SMALL = "--max-model-len 2048 --max-num-seqs 4"


def _pod(
    namespace: str, image: str, command: str, truth: Mapping[str, str], memory: str = "1Gi"
) -> dict[str, Any]:
    container = {
        "name": "engine",
        "image": image,
        "command": ["/bin/bash", "-c", f". /opt/intel/1ccl-wks/setvars.sh; exec {command}"],
        "env": [{"name": f"SIMENGINE_{k.upper()}", "value": v} for k, v in truth.items()],
        "resources": {"limits": {"memory": memory}},
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "engine", "namespace": namespace},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    }


@pytest.mark.parametrize(
    ("which", "command"),
    [
        (0, f"{_IPEX_LLM} Qwen/Qwen2-7B-Instruct --gpu-memory-utilization 0.7 {_SMALL}"),
        (1, f"vllm serve Qwen/Qwen3-0.6B {_SMALL}"),
    ],
)
def test_it_answers_from_a_pod(
    real_cluster: Cluster, real_namespace: str, which: int, command: str
) -> None:
    image = real_cluster.engine_images("test-1")[which]
    real_cluster.apply(_pod(real_namespace, image, command, {}))
    real_cluster.kubectl(
        "wait", "pod/engine", "-n", real_namespace, "--for=condition=Ready", "--timeout=60s"
    )
    with real_cluster.port_forward("pod/engine", 8000, real_namespace) as url:
        body = json.dumps({"messages": [{"role": "user", "content": "hello"}]}).encode()
        with urllib.request.urlopen(f"{url}/v1/chat/completions", body, timeout=20) as response:
            answer = json.load(response)
    assert answer["choices"][0]["message"]["content"]


def test_the_kernel_kills_the_engine_that_takes_too_much_host_memory(
    real_cluster: Cluster, real_namespace: str
) -> None:
    """The engine is a child: its server sees the death and names it, the kubelet the reason."""
    image = real_cluster.engine_images("test-1")[0]
    command = f"{_IPEX_LLM} Qwen/Qwen2-7B-Instruct {_SMALL}"
    real_cluster.apply(_pod(real_namespace, image, command, {"host_load": "600Mi"}, "300Mi"))
    reason = "{.status.containerStatuses[0].lastState.terminated.reason}"
    real_cluster.kubectl(
        "wait", "pod/engine", "-n", real_namespace, f"--for=jsonpath={reason}=OOMKilled",
        "--timeout=60s",
    )  # fmt: skip
    log = real_cluster.kubectl("logs", "engine", "-n", real_namespace, "--previous").stdout
    assert "Loading safetensors checkpoint shards:" in log
