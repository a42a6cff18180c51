"""What the in-memory double takes for granted, asked of a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hack.cluster import Cluster
from tests.cluster.controller_world import connect, install_crds, llmd

from xpullm.controller.apply import status_manifest
from xpullm.controller.client import Api
from xpullm.controller.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RejectedError,
)
from xpullm.controller.kinds import CONFIG_MAP, LLMDEPLOYMENT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(60)]


@pytest.fixture
async def api(cluster: Cluster) -> AsyncIterator[Api]:
    install_crds(cluster)
    made = await connect(cluster)
    yield made
    await made.close()


def config_map(namespace: str, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": "c"},
        "data": data,
    }


def guarded(obj: dict[str, Any], **guard: str) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], **guard}}


async def test_an_equal_apply_changes_nothing_and_a_dropped_field_is_removed(
    api: Api, namespace: str
) -> None:
    first = await api.apply(config_map(namespace, a="1", b="2"))
    again = await api.apply(config_map(namespace, a="1", b="2"))
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    less = await api.apply(config_map(namespace, a="1"))
    assert less["data"] == {"a": "1"}
    assert int(less["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])


async def test_uid_and_version_together_are_a_conflict_whatever_became_of_the_object(
    api: Api, namespace: str
) -> None:
    first = await api.apply(config_map(namespace, a="1"))
    guard = {key: first["metadata"][key] for key in ("uid", "resourceVersion")}
    await api.apply(config_map(namespace, a="2"))
    with pytest.raises(ConflictError):  # it is newer
        await api.apply(guarded(config_map(namespace, a="3"), **guard))
    await api.delete(CONFIG_MAP, namespace, "c", guard["uid"])
    with pytest.raises(ConflictError):  # it is gone
        await api.apply(guarded(config_map(namespace, a="3"), **guard))
    await api.apply(config_map(namespace, a="4"))
    with pytest.raises(ConflictError):  # it is another one
        await api.apply(guarded(config_map(namespace, a="3"), **guard))
    assert (await api.get(CONFIG_MAP, namespace, "c"))["data"] == {"a": "4"}


async def test_each_guard_alone_has_a_hole(api: Api, namespace: str) -> None:
    await api.apply(guarded(config_map(namespace, a="1"), resourceVersion="7"))  # created!
    with pytest.raises(RejectedError, match="immutable"):  # no conflict
        await api.apply(guarded(config_map(namespace, a="2"), uid="7"))


async def test_a_status_decided_on_an_old_version_is_refused(
    api: Api, cluster: Cluster, namespace: str
) -> None:
    await asyncio.to_thread(cluster.apply, llmd(namespace))
    old = await api.get(LLMDEPLOYMENT, namespace, "m")
    assert old["status"] == {"observedGeneration": -1}
    await asyncio.to_thread(cluster.apply, llmd(namespace, replicas=2))
    with pytest.raises(ConflictError):
        await api.apply(status_manifest(old, {"observedGeneration": 1}), "status")
    new = await api.get(LLMDEPLOYMENT, namespace, "m")
    written = await api.apply(status_manifest(new, {"observedGeneration": 2}), "status")
    assert written["status"] == {"observedGeneration": 2}
    assert written["spec"]["replicas"] == 2


async def test_deletion_of_another_object_of_this_name_is_refused(api: Api, namespace: str) -> None:
    made = await api.create(config_map(namespace))
    with pytest.raises(AlreadyExistsError):
        await api.create(config_map(namespace))
    with pytest.raises(ConflictError):
        await api.delete(CONFIG_MAP, namespace, "c", "another")
    await api.delete(CONFIG_MAP, namespace, "c", made["metadata"]["uid"])
    with pytest.raises(NotFoundError):
        await api.get(CONFIG_MAP, namespace, "c")


async def test_an_unknown_field_is_refused_by_name(api: Api, namespace: str) -> None:
    with pytest.raises(RejectedError, match="dta"):
        await api.apply({**config_map(namespace), "dta": {}})


async def test_a_quota_is_a_refusal_that_may_pass(
    api: Api, cluster: Cluster, namespace: str
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"namespace": namespace, "name": "q"},
        "spec": {"hard": {"count/configmaps": "0"}},
    }
    await asyncio.to_thread(cluster.apply, quota)
    await asyncio.to_thread(
        cluster.kubectl, "wait", "resourcequota/q", "-n", namespace,
        "--for=jsonpath={.status.hard}", "--timeout=20s",
    )  # fmt: skip
    with pytest.raises(ForbiddenError, match="exceeded quota"):
        await api.create(config_map(namespace))


async def test_a_long_listing_comes_in_pages(api: Api, cluster: Cluster, namespace: str) -> None:
    manifests = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "namespace": namespace,
                "name": f"c{number:04d}",
                "labels": {"app.kubernetes.io/managed-by": "xpullm"},
            },
        }
        for number in range(520)
    ]
    gate = asyncio.Semaphore(16)

    async def create(manifest: dict[str, Any]) -> None:
        async with gate:
            await api.create(manifest)

    await asyncio.gather(*map(create, manifests))
    pages = [len(items) async for items, _ in api.pages(CONFIG_MAP, namespace)]
    assert pages == [500, 20]
    found, version = await api.list(CONFIG_MAP, namespace)
    assert len({obj["metadata"]["name"] for obj in found}) == 520
    assert version >= max(int(obj["metadata"]["resourceVersion"]) for obj in found)
