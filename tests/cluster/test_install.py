"""The chart as a user installs it: the operator is a pod, under restricted Pod Security."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from typing import Any

import pytest
from hack.cluster import Cluster, ClusterError
from hack.containerfile import Built
from hack.demo import objects
from tests.cluster.release import NAMESPACE, Release, eventually, installed

pytestmark = [pytest.mark.cluster, pytest.mark.node]
Object = dict[str, Any]
MODELS = "models-of-install"
CRDS = ("llmdeployments.xpullm.io", "tuningrecords.xpullm.io")


@pytest.fixture(scope="module")
def the_release(real_cluster: Cluster, built: Built) -> Iterator[Release]:
    with installed(real_cluster, built) as release:
        yield release


@pytest.fixture
def release(the_release: Release) -> Release:
    """Installed as at first, whatever the test before did."""
    the_release.ensure()
    return the_release


@pytest.fixture(scope="module")
def serving(the_release: Release) -> Iterator[Release]:
    """A model that the operator has planned, and that serves."""
    the_release.ensure()
    cluster = the_release.cluster
    image = cluster.engine_images("install")[0]
    cluster.kubectl("create", "namespace", MODELS)
    manifest = objects.seed(image)
    manifest["metadata"]["namespace"] = MODELS
    cluster.apply(manifest)
    wait = ("llmd/qwen2-7b", "-n", MODELS, "--for=condition=Ready", "--timeout=90s")
    cluster.kubectl("wait", *wait)
    yield the_release
    cluster.kubectl("delete", "llmd", "--all", "-n", MODELS)
    cluster.kubectl("delete", "namespace", MODELS, "--wait=false")


def engine(release: Release) -> Object:
    """What a re-roll would change: the Deployment's version and the pods."""
    found = release.cluster.get("deployments,pods,services", "-n", MODELS)["items"]
    return {f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["uid"] for o in found} | {
        "template": [o["metadata"]["generation"] for o in found if o["kind"] == "Deployment"]
    }


def metrics(release: Release) -> dict[str, float]:
    with (
        release.cluster.port_forward("svc/xpullm-metrics", 8080, NAMESPACE) as url,
        urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer,
    ):
        lines = answer.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def passes(release: Release) -> float | None:
    """None also where the way led to a pod that is going."""
    with suppress(OSError, HTTPException, ClusterError):
        return metrics(release).get('xpullm_reconcile_total{result="ok"}', 0.0) or None
    return None


def test_the_namespace_refuses_what_is_not_restricted(release: Release) -> None:
    """Else the next test would prove nothing."""
    options = ("--image=a.local/b:1", "--dry-run=server", "-n", NAMESPACE)
    done = release.cluster.kubectl("run", "free", *options, check=False)
    assert done.returncode != 0
    assert 'violates PodSecurity "restricted:latest"' in done.stderr


def test_the_pod_is_restricted_and_ready(release: Release) -> None:
    pod = release.leads()
    (status,) = pod["status"]["containerStatuses"]
    assert (status["ready"], status["restartCount"]) == (True, 0)
    assert release.run("id", "-u").stdout.strip() == "65532"
    assert release.run("id", "-g").stdout.strip() == "65532"
    refused = release.run("touch", "/app/x", check=False)
    assert "Read-only file system" in refused.stderr
    release.run("touch", "/tmp/x")
    capabilities = release.run("grep", "CapEff", "/proc/1/status").stdout.split()
    assert capabilities == ["CapEff:", "0000000000000000"]


def test_it_plans_a_model_that_becomes_available(serving: Release, release: Release) -> None:
    deployment = release.cluster.get("deployment", "qwen2-7b", "-n", MODELS)
    conditions = {c["type"]: c["status"] for c in deployment["status"]["conditions"]}
    assert conditions["Available"] == "True"
    spec = deployment["spec"]["template"]["spec"]
    operator = release.leads()["spec"]["containers"][0]
    assert spec["initContainers"][0]["image"] == operator["image"]
    (llmd,) = release.cluster.get("llmd", "-n", MODELS)["items"]
    assert llmd["status"]["plan"]["gpu"] == "arc-a770-16g"


def test_metrics_tell_of_work_and_of_no_missing_right(serving: Release, release: Release) -> None:
    release.leads()
    eventually(lambda: passes(release))
    found = metrics(release)
    assert found["xpullm_leader"] == 1.0
    requests = [name for name in found if name.startswith("xpullm_api_requests_total")]
    assert requests
    assert not [name for name in requests if 'code="403"' in name]
    name = release.leads()["metadata"]["name"]
    log = release.cluster.kubectl("logs", name, "-n", NAMESPACE).stdout
    assert "Traceback" not in log


def test_sigterm_frees_the_lease(release: Release) -> None:
    release.leads()
    release.upgrade(replicaCount="0")
    eventually(lambda: True if not release.pods() else None)
    eventually(lambda: True if release.holder() == "" else None)


def test_an_upgrade_of_the_operator_re_rolls_nothing(serving: Release, release: Release) -> None:
    operator, before = release.leads()["metadata"]["uid"], engine(release)
    release.upgrade(logging__level="debug", maxConcurrentRerolls="5")
    assert release.leads()["metadata"]["uid"] != operator
    eventually(lambda: passes(release))
    assert engine(release) == before


def test_with_some_namespaces_the_rights_of_a_role_are_enough(
    serving: Release, release: Release
) -> None:
    before = engine(release)
    release.upgrade(watchNamespaces=f"{{{MODELS}}}")
    cluster = release.cluster
    manifest = objects.too_big()
    manifest["metadata"]["namespace"] = MODELS
    release.leads()
    cluster.apply(manifest)
    cluster.kubectl(
        "wait", "llmd/qwen2-72b", "-n", MODELS, "--for=condition=Stalled", "--timeout=90s"
    )
    assert not [name for name in metrics(release) if 'code="403"' in name]
    cluster.kubectl("delete", "llmd", "qwen2-72b", "-n", MODELS)
    assert engine(release) == before


def test_uninstalling_keeps_models_and_a_second_install_adopts_them(
    serving: Release, release: Release
) -> None:
    release.leads()
    before = engine(release)
    release.uninstall()
    cluster = release.cluster
    left = cluster.get("deployments,serviceaccounts,roles", "-n", NAMESPACE)["items"]
    assert [o["metadata"]["name"] for o in left if o["metadata"]["name"] != "default"] == []
    cluster.kubectl("get", "crd", *CRDS)
    assert engine(release) == before
    release.install()
    release.leads()
    eventually(lambda: passes(release))
    assert engine(release) == before
    cluster.kubectl("wait", "llmd/qwen2-7b", "-n", MODELS, "--for=condition=Ready", "--timeout=5s")
