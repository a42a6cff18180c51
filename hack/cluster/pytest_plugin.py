"""Fixtures: a control plane for the session, and one with a real node where the machine can.

Load it with ``pytest_plugins = ["hack.cluster.pytest_plugin"]`` in the root conftest.
"""

import uuid
from collections.abc import Iterator

import pytest
from hack.cluster.cluster import Cluster
from hack.cluster.requirements import real_node_unavailable

_RESOURCES = {"gpu.intel.com/i915": "1"}


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A control plane with kwok, one for the whole session. Keep to a namespace of your own."""
    yield from _running(Cluster(), request)


@pytest.fixture(scope="session")
def real_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A control plane with a real node ``real-0`` that has one ``gpu.intel.com/i915``."""
    reason = real_node_unavailable()
    if reason:
        pytest.skip(reason)
    started = Cluster(real_node=True, resources=_RESOURCES, restart_backoff="2s")
    yield from _running(started, request)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace in ``cluster``, deleted afterwards (without waiting)."""
    yield from _namespace(cluster)


@pytest.fixture
def real_namespace(real_cluster: Cluster) -> Iterator[str]:
    """A fresh namespace in ``real_cluster``, deleted afterwards (without waiting)."""
    yield from _namespace(real_cluster)


def _running(started: Cluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    failed_before = request.session.testsfailed
    started.start()
    try:
        yield started
        if request.session.testsfailed > failed_before:
            started.keep_logs()
    finally:
        started.stop()


def _namespace(running: Cluster) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:8]}"
    running.kubectl("create", "namespace", name)
    yield name
    running.kubectl("delete", "namespace", name, "--wait=false", check=False)
