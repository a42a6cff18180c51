"""The CRDs in the session's control plane, and a client for its raw answers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hack.cluster.cluster import Cluster
from tests.contract.api_client import ApiClient

CRDS = Path(__file__).parents[2] / "crds"


@pytest.fixture(scope="session")
def crds(cluster: Cluster) -> Cluster:
    """The cluster, with our CRDs served."""
    cluster.apply(*sorted(CRDS.glob("*.yaml")))
    # A CRD has no conditions at first, which kubectl's wait for one takes for an error.
    for what in ("jsonpath={.status.acceptedNames.kind}", "condition=Established"):
        cluster.kubectl("wait", f"--for={what}", "--timeout=60s", "-f", str(CRDS))
    return cluster


@pytest.fixture(scope="session")
def api(crds: Cluster) -> ApiClient:
    return ApiClient(crds.kubeconfig)


@pytest.fixture(scope="module")
def namespace(crds: Cluster) -> Iterator[str]:
    """One for the module: most of what is tried is a dry run."""
    name = f"contract-{uuid.uuid4().hex[:8]}"
    crds.kubectl("create", "namespace", name)
    yield name
    crds.kubectl("delete", "namespace", name, "--wait=false", check=False)
