"""The chart's rules are enough: the real operator runs a life with them and is never refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hack.cluster import Cluster
from hack.demo.install import free_port
from tests.cluster.controller_world import install_crds, llmd
from tests.cluster.kwok_world import nodes

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

CHART = Path(__file__).parents[2] / "charts" / "xpullm"
RIGHTS = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


@pytest.fixture
def account(cluster: Cluster, namespace: str) -> Iterator[Path]:
    """A kubeconfig of the chart's ServiceAccount, with the chart's rules and nothing else."""
    install_crds(cluster)
    rendered = cluster.helm(
        "template", namespace, str(CHART), "--namespace", namespace,
        "--set", f"watchNamespaces={{{namespace}}}",
    ).stdout  # fmt: skip
    objects = [o for o in yaml.safe_load_all(rendered) if o and o["kind"] in RIGHTS]
    cluster.apply(*objects)
    name = next(o["metadata"]["name"] for o in objects if o["kind"] == "ServiceAccount")
    yield cluster.service_account_kubeconfig(namespace, name)
    for o in objects:
        if o["kind"].startswith("Cluster"):
            cluster.kubectl("delete", o["kind"], o["metadata"]["name"], check=False)


@pytest.fixture
def node(cluster: Cluster, namespace: str) -> Iterator[None]:
    """With a card; it goes again, or pods of other tests would come to it."""
    with nodes(cluster, namespace, {"a": 1}):
        yield


def requests(port: int) -> dict[tuple[str, str, str], float]:
    """Requests by verb, resource and code."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    pattern = r'xpullm_api_requests_total\{code="(\d+)",resource="([^"]*)",verb="(\w+)"\} (\S+)'
    return {(m[3], m[2], m[1]): float(m[4]) for m in re.finditer(pattern, text)}


@pytest.mark.usefixtures("node")
def test_a_life_with_the_rights_of_the_chart(
    cluster: Cluster, namespace: str, account: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    port = free_port()
    command = [
        sys.executable, "-m", "xpullm", "--kubeconfig", str(account), "--namespaces", namespace,
        "--lease-namespace", namespace, "--lease-name", f"{namespace}-xpullm",
        "--probe-port", "-1", "--metrics-port", str(port), "--probe-address", "127.0.0.1",
    ]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith("XPULLM_")}
    with log.open("wb") as out:
        operator = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        cluster.apply(
            llmd(
                namespace,
                quantization="sym_int4",
                gpu={"type": "arc-a770-16g"},
                engine={"name": "ipex-llm"},
                serving={"contextLength": 4096},
            )
        )
        ready = ("wait", "llmd/m", "-n", namespace, "--for=condition=Ready", "--timeout=60s")
        cluster.kubectl(*ready)
        pod = cluster.get("pods", "-n", namespace)["items"][0]["metadata"]["name"]
        notes = ("test.xpullm.io/fail=OOMKilled", "test.xpullm.io/fail-times=1")
        cluster.kubectl("annotate", "pod", pod, "-n", namespace, *notes)
        healed = "--for=jsonpath={.status.healing.attempt}=1"
        cluster.kubectl("wait", "llmd/m", "-n", namespace, healed, "--timeout=60s")
        cluster.kubectl(*ready)
        time.sleep(3)
        seen = requests(port)
    finally:
        operator.terminate()
        operator.wait(timeout=20)
    assert {key for key in seen if key[2] in ("401", "403")} == set(), log.read_text()
    assert {(verb, resource) for verb, resource, _ in seen} >= {
        ("patch", "deployments"),
        ("patch", "services"),
        ("patch", "llmdeployments/status"),
        ("create", "events"),
        ("update", "leases"),
    }
    assert operator.returncode == 0
    assert "ERROR" not in log.read_text()
