"""The operator calls what the chart's rules allow, and every rule is one that it calls.

The witness is the API server's audit log: it tells of every request of the ServiceAccount, of
refused ones too, whoever in the process made it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hack.cluster import Cluster
from tests.cluster.kwok_world import CARD, World, last_word, nodes, public_log, world

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

USER = "system:serviceaccount:xpullm-system:xpullm"
Call = tuple[str, str, str]  # verb, API group, resource (with subresource)

# Rules that no call need show, each with its reason.
WITHOUT_A_CALL: dict[Call, str] = {
    ("get", "xpullm.io", "llmdeployments"): "after its status was refused as out of date",
    ("get", "xpullm.io", "tuningrecords"): "after somebody else made the same one first",
    ("update", "xpullm.io", "llmdeployments/finalizers"): (
        "asked for by the admission plugin OwnerReferencesPermissionEnforcement, where it is on,"
        " when an owner reference has blockOwnerDeletion"
    ),
}


@pytest.fixture(scope="module")
def live(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    log = tmp_path_factory.mktemp("rbac") / "log"
    with nodes(cluster, "rbac", {"a": 8}), world(cluster, log, everywhere=True) as w:
        yield w


def rendered(cluster: Cluster) -> set[Call]:
    """What the chart's (Cluster)Roles of the operator allow, as installed by default."""
    manifest = cluster.helm("get", "manifest", "xpullm", "--namespace", "xpullm-system").stdout
    roles = [
        document
        for document in yaml.safe_load_all(manifest)
        if document
        and document["kind"] in ("Role", "ClusterRole")
        and not document["metadata"]["name"].endswith("-edit")  # for people
    ]
    return {
        (verb, group, resource)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def recorded(log: str, since: str) -> tuple[set[Call], list[dict[str, Any]]]:
    """The calls of the operator's ServiceAccount since then, and those that were refused.

    By the time of the request: the server writes its log later than it answers.
    """
    calls: set[Call] = set()
    refused = []
    for line in log.rpartition("\n")[0].splitlines():  # the rest is being written
        event = json.loads(line)
        if event["user"]["username"] != USER or event["requestReceivedTimestamp"] < since:
            continue
        code = event.get("responseStatus", {}).get("code", 0)
        if code in (401, 403):
            refused.append({key: event.get(key) for key in ("verb", "requestURI", "objectRef")})
        where = event.get("objectRef")
        if where is None:
            continue  # discovery, which every account may do
        resource = "/".join(filter(None, (where["resource"], where.get("subresource"))))
        calls.add((event["verb"], where.get("apiGroup", ""), resource))
        if event["verb"] == "patch" and code == 201:
            # A server-side apply that creates: the API server asks for both rights.
            calls.add(("create", where.get("apiGroup", ""), resource))
    return calls, refused


def play(live: World) -> None:
    """Everything that the operator does: plan, heal, learn, cache, claims by DRA, clean up."""
    cluster = live.cluster
    with live.deployed("healed"):
        live.end("healed", last_word(public_log("F037")))
        live.until("healed", "Healing")
        live.serve("healed")
        live.wait(lambda: live.list("TuningRecord"))
    with live.deployed("silent"):
        live.end("silent", "", exit_code=137, times=2)  # no word: ask for Events
        live.until("silent", "CauseUnknown")
    with live.deployed("lost", pod={"nodeSelector": {"test.xpullm.io/nodes": "rbac"}}):
        live.end("lost", last_word(public_log("F008")), times=2)  # told on the node, too
        live.until("lost", "NotHealable")
    model = {"id": "Qwen/Qwen2-7B-Instruct"}
    live.apply("cached", model={**model, "cache": {"persistentVolumeClaim": {"size": "20Gi"}}})
    (claim,) = live.wait(lambda: live.list("PersistentVolumeClaim"))
    live.apply("cached", model=model)  # the cache is given up
    live.wait(lambda: _going(live.find("PersistentVolumeClaim", claim["metadata"]["name"])))
    device_class = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": "gpu.intel.com"},
        "spec": {},
    }
    cluster.apply(device_class)
    try:
        gpu = {"type": CARD, "allocation": "ResourceClaim"}
        live.apply("claimed", gpu={**gpu, "count": 1})
        live.wait(lambda: live.list("ResourceClaimTemplate"))
        # Two cards instead of one: the old template goes once no pod refers to it.
        live.apply("claimed", gpu={**gpu, "count": 2})
        live.wait(lambda: len(live.list("ResourceClaimTemplate")) == 2)
        live.apply("claimed", gpu={"type": CARD})
        live.running("claimed")
        live.serve("claimed")
        live.wait(lambda: live.list("ResourceClaimTemplate") == [])
    finally:
        cluster.kubectl("delete", "deviceclass", "gpu.intel.com", "--wait=false", check=False)


def test_every_call_is_allowed_and_every_rule_is_used(live: World) -> None:
    live.operator.stop()
    live.cluster.kubectl("delete", "tuningrecords", "--all", "-n", live.namespace)
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    lease = ("lease", "xpullm", "-n", "xpullm-system")
    live.cluster.kubectl("delete", *lease, "--ignore-not-found")  # it is Ready before it leads
    live.operator.start()
    play(live)
    allowed = rendered(live.cluster)

    def unused() -> list[Call]:
        calls, _ = recorded(live.cluster.audit_log.read_text(), since)
        return sorted(allowed - calls - WITHOUT_A_CALL.keys())

    # Some calls follow by themselves, as the Lease's renewal two seconds after it was taken, and
    # the server writes its log later than it answers: patience, but no mercy.
    deadline = time.monotonic() + 60
    while unused() and time.monotonic() < deadline:
        time.sleep(0.5)
    calls, refused = recorded(live.cluster.audit_log.read_text(), since)
    assert refused == []
    assert calls - allowed == set()
    assert unused() == [], "the chart allows what nothing needs"
    assert WITHOUT_A_CALL.keys() <= allowed


def test_a_missing_right_is_told_and_comes_back_by_itself(live: World) -> None:
    """An administrator takes a right away: the deployment says which one; nothing crashes."""
    role = json.loads(live.cluster.kubectl("get", "clusterrole", "xpullm", "-o", "json").stdout)
    less = [rule for rule in role["rules"] if rule["resources"] != ["deployments"]]
    more = [{**rule, "verbs": ["get", "list", "watch"]} for rule in role["rules"]
            if rule["resources"] == ["deployments"]]  # fmt: skip
    whole = json.dumps({"rules": role["rules"]})
    patch = ("patch", "clusterrole", "xpullm", "--type=merge", "-p")
    live.cluster.kubectl(*patch, json.dumps({"rules": less + more}))
    try:
        live.wait(lambda: _may(live, "patch") == "no")
        live.apply("poor")
        message = live.until("poor", "Retrying")
        assert "deployments.apps" in message
        assert "cannot patch" in message
        assert live.condition("poor", "Reconciling")["status"] == "True"
    finally:
        live.cluster.kubectl(*patch, whole)
    live.running("poor")
    live.wait(live.operator.ready)


def _going(found: dict[str, Any] | None) -> bool:
    return found is None or "deletionTimestamp" in found["metadata"]


def _may(live: World, verb: str) -> str:
    done = live.cluster.kubectl(
        "auth", "can-i", verb, "deployments.apps", "--as", USER, check=False
    )
    return done.stdout.strip()
