"""The operator dies at each of its writes to a real API server; the end is always the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hack.cluster import Cluster
from tests.cluster.controller_world import connect, install_crds, llmd
from tests.unit.controller.double import Crash
from tests.unit.controller.world import Operator

from xpullm.controller.client import Api

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


class Dying:
    """An API on which the k-th write kills the caller, before it is sent or after the answer."""

    def __init__(self, api: Api, namespace: str, k: int = 0, mode: str = "") -> None:
        self._api = api
        self._namespace = namespace
        self._k = k
        self._mode = mode
        self._dead = False
        self.writes: list[str] = []

    async def list(self, kind: Any, namespace: str | None = None) -> Any:
        return await self._api.list(kind, self._namespace if kind.namespaced else None)

    async def get(self, *place: Any) -> Any:
        return await self._api.get(*place)

    async def create(self, obj: Mapping[str, Any]) -> Any:
        return await self._write(f"create {obj['kind']}", self._api.create, obj)

    async def apply(self, obj: Mapping[str, Any], subresource: str = "") -> Any:
        what = f"apply {obj['kind']} {subresource}".strip()
        return await self._write(what, self._api.apply, obj, subresource)

    async def delete(self, *place: Any) -> None:
        await self._write("delete", self._api.delete, *place)

    async def _write(self, what: str, write: Any, *arguments: Any) -> Any:
        if self._dead:
            raise Crash(what)
        self.writes.append(what)
        fatal = len(self.writes) == self._k
        self._dead = fatal and self._mode == "before"
        if not self._dead:
            answer = await write(*arguments)
            self._dead |= fatal
        if self._dead:
            raise Crash(what)
        return answer


def end_state(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """Specs, statuses and annotations without identities, versions and times."""
    state: dict[str, Any] = {}
    for item in cluster.get("llmd,tuningrecords,deploy,svc", "-n", namespace)["items"]:
        spec = dict(item.get("spec", {}))
        for assigned in ("clusterIP", "clusterIPs"):
            spec.pop(assigned, None)
        status = item.get("status", {})
        conditions = [
            (c["type"], c["status"], c.get("reason"), c.get("message"))
            for c in status.get("conditions", ())
            if item["kind"] == "LLMDeployment"
        ]
        notes = item["metadata"].get("annotations", {})
        state[f"{item['kind']}/{item['metadata']['name']}"] = (
            spec,
            notes.get("xpullm.io/attempt"),
            conditions,
            status.get("entries"),
        )
    events = cluster.get("events.events.k8s.io", "-n", namespace)["items"]
    state["events"] = sorted(
        e["note"] for e in events if e.get("reportingController") == "xpullm.io/operator"
    )
    return state


async def live(cluster: Cluster, namespace: str, k: int, mode: str) -> tuple[int, list[str]]:
    """Fail a pod of an LLMDeployment that runs, die at write k, live again; writes afterwards."""
    api = await connect(cluster)
    try:
        await Operator(Dying(api, namespace)).settle()  # type: ignore[arg-type]
        labels = {
            "app.kubernetes.io/managed-by": "xpullm",
            "xpullm.io/deployment": "m",
            "xpullm.io/plan-hash": "plan-0",
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": namespace, "name": "failed", "labels": labels},
            # A name of its own: the pods of a node that is missing for 40 s are deleted.
            "spec": {
                "containers": [{"name": "engine", "image": "x:1"}],
                "nodeName": f"nowhere-{namespace}",
            },
        }
        cluster.apply(pod)
        cluster.kubectl(
            "patch", "pod", "failed", "-n", namespace, "--subresource=status",
            "--type=merge", "-p", '{"status":{"phase":"Failed"}}',
        )  # fmt: skip
        dying = Dying(api, namespace, k, mode)
        try:
            await Operator(dying).settle()  # type: ignore[arg-type]
        except Crash:
            assert len(dying.writes) >= k  # of writes that go out together, the next one too
        after = Dying(api, namespace)
        await Operator(after).settle()  # type: ignore[arg-type]
        last = Dying(api, namespace)
        await Operator(last).settle()  # type: ignore[arg-type]
        assert last.writes == []
        return len(dying.writes), after.writes
    finally:
        await api.close()


async def test_the_end_is_the_same_whichever_write_was_the_last(
    cluster: Cluster, namespace: str
) -> None:
    install_crds(cluster)
    spaces = [f"{namespace}-{i}" for i in range(11)]
    for space in spaces:
        cluster.kubectl("create", "namespace", space)
        cluster.apply(llmd(space))
    try:
        writes, _ = await live(cluster, spaces[0], 0, "")
        assert writes == 5  # Deployment, Event, record, its status, status
        reference = end_state(cluster, spaces[0])
        assert reference["Deployment/m"][1] == "1"
        assert reference["events"] == ["memory"]
        cases = [(k, mode) for k in range(1, writes + 1) for mode in ("before", "after")]
        for space, (k, mode) in zip(spaces[1:], cases, strict=True):
            await live(cluster, space, k, mode)
            assert end_state(cluster, space) == reference, (k, mode)
    finally:
        for space in spaces:
            cluster.kubectl("delete", "namespace", space, "--wait=false", check=False)
