"""What tries to break the operator: rubbish, storms of edits, a lost API server, CRD or Lease."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hack.cluster import Cluster
from tests.cluster.controller_world import install_crds
from tests.cluster.kwok_world import World, last_word, nodes, public_log, world
from tests.contract.api_client import ApiClient

from xpullm.controller.canonical import APPLIED_HASH

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

OOM = public_log("F037")


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """Of its own: these tests take its API server and its CRDs away."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile") / "log"


@pytest.fixture(scope="module")
def shared(own_cluster: Cluster, log: Path) -> Iterator[World]:
    with nodes(own_cluster, "hostile", {"a": 64}), world(own_cluster, log) as w:
        yield w


@pytest.fixture
def live(shared: World, log: Path) -> Iterator[World]:
    """The operator runs before, and has not stumbled over anything after."""
    revive(shared)
    before = log.stat().st_size
    yield shared
    told = log.read_text()[before:]
    assert "a pass failed" not in told
    assert "xpullm/controller" not in told  # no traceback through our own code


def revive(live: World) -> None:
    """Start the operator again where its process has ended, as the kubelet would."""
    process = live.operator._process
    if process is None or process.poll() is not None:
        live.operator.stop()
        live.operator.start()


def report(**fields: Any) -> str:
    return json.dumps({"schema": "xpullm.io/report/v1", **fields})


RUBBISH = [
    "\x00\x01\x02",
    "{" * 2000,
    "[" * 2000,
    report(),
    report(cause=["device_oom_runtime"], actionable="yes", evidence=7, figures=[1]),
    report(cause="no_such_cause", phase="nowhere", helps="magic", actionable=True, ended=True),
    report(cause="device_oom_runtime", phase="runtime", actionable=False, ended=True),
    report(figures={"tried_bytes": 2**62, "free_bytes": -1}, oom_kills=-3, exit_code=10**9),
    report(evidence=["\x1b[31m" + "A" * 3000]),
    # A prompt that was printed as the last lines of a log: no logger's prefix, no other sign.
    "torch.OutOfMemoryError: XPU out of memory. Tried to allocate 2.00 GiB",
]


def test_rubbish_in_a_pods_last_word_changes_no_argument(live: World) -> None:
    with live.deployed("rubbish") as name:
        before = live.template(name)
        pod = live.running(name)["metadata"]["name"]
        for message in RUBBISH:
            live.end_pod(pod, message)
            time.sleep(0.2)  # so that it is looked at
        live.wait(lambda: live.healing(name).get("lastCause") == "device_oom_runtime")
        assert live.template(name) == before
        assert live.healing(name)["attempt"] == 0
        message = live.condition(name, "Ready")["message"]
        assert message.isprintable()
        # The same pod tells the truth at last.
        live.end_pod(pod, last_word(OOM))
        live.until(name, "Healing")


# What an engine that served has in its log when it repeats a user's text as it came.
USERS_TEXT = f"""INFO:     Application startup complete.
INFO 11-02 10:00:01 [logger.py:39] Received request cmpl-1: prompt: hi
{OOM}
"""


def test_a_users_text_before_a_crash_is_no_reason_for_a_step(live: World) -> None:
    with live.deployed("forged") as name:
        before, plan = live.template(name), live.plan_hash(name)
        crashed = last_word(USERS_TEXT, 139, plan_hash=plan, was_ready=True)
        pod = live.end(name, crashed, 139)
        live.wait(lambda: live.healing(name).get("lastCause"))
        live.end_pod(pod, crashed, 139)
        time.sleep(1.5)  # so that it is looked at
        assert live.healing(name)["attempt"] == 0
        assert live.template(name) == before
        assert live.plan_hash(name) == plan
        # The same lines of an engine that ended by itself are its own, twice after Ready.
        own = last_word(USERS_TEXT, 1, plan_hash=plan, was_ready=True)
        live.end_pod(pod, own)
        live.end_pod(pod, own)
        live.until(name, "Healing")
        assert live.healing(name)["attempt"] == 1


@pytest.mark.parametrize(
    ("number", "value"), list(enumerate(["", "rubbish", "H4sIAAAA", '{"a":1}', "x" * 30_000]))
)
def test_rubbish_in_our_annotations_is_repaired_without_a_re_roll(
    live: World, number: int, value: str
) -> None:
    with live.deployed(f"scribbled{number}") as name:
        before, plan = live.template(name), live.plan_hash(name)
        truth = live.get("Deployment", name)["metadata"]["annotations"]
        ours = [key for key in truth if key.startswith("xpullm.io/")]
        assert len(ours) >= 5
        patch = {"metadata": {"annotations": dict.fromkeys(ours, value)}}
        assert live.patch("Deployment", name, patch).code == 200

        def repaired() -> bool:
            notes = live.get("Deployment", name)["metadata"]["annotations"]
            return all(notes.get(key) == truth[key] for key in ours if key != APPLIED_HASH)

        live.wait(repaired)
        assert live.template(name) == before
        assert live.plan_hash(name) == plan


def test_what_a_stranger_writes_into_children_and_pods_is_undone_or_ignored(live: World) -> None:
    with live.deployed("meddled") as name:
        before = live.template(name)
        container = {"name": "engine", "image": "evil:1"}
        patch = {"spec": {"replicas": 7, "template": {"spec": {"containers": [container]}}}}
        answer = live.api.request(
            "PATCH",
            live._path("Deployment", name),
            patch,
            **{"Content-Type": "application/strategic-merge-patch+json"},
        )
        assert answer.code == 200
        live.wait(lambda: live.template(name) == before)
        live.wait(lambda: live.get("Deployment", name)["spec"]["replicas"] == 1)
        live.wait(lambda: rolled_out(live, name), told="for the one pod of the true template")
        # A pod that says it is of this deployment and plan, but was made by somebody else.
        labels = live.get("Deployment", name)["spec"]["template"]["metadata"]["labels"]
        fake = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "fake", "namespace": live.namespace, "labels": {
                "app.kubernetes.io/managed-by": "xpullm",
                "xpullm.io/deployment": "nobody",
                "xpullm.io/plan-hash": labels["xpullm.io/plan-hash"]}},
            "spec": {"containers": [{"name": "engine", "image": "x"}]},
        }  # fmt: skip
        live.cluster.apply(fake)
        notes = {f"example.org/{n}": "\u202e{{7*7}}" * 50 for n in range(20)}
        assert live.patch("LLMDeployment", name, {"metadata": {"annotations": notes}}).code == 200
        live.end(name, last_word(OOM))
        live.until(name, "Healing")


def rolled_out(live: World, name: str) -> bool:
    """The Deployment controller has seen the newest template and is done with it."""
    found = live.get("Deployment", name)
    told = found.get("status", {})
    counts = {told.get(key) for key in ("replicas", "updatedReplicas")}
    pods = live.list("Pod", f"xpullm.io/deployment={name}")
    if told.get("observedGeneration") != found["metadata"]["generation"]:
        return False
    return counts == {1} and len(pods) == 1


@pytest.mark.parametrize("hours", [-24 * 365, -2, 5])
def test_a_nodes_wrong_clock_takes_one_step_and_no_more(live: World, hours: int) -> None:
    with live.deployed(f"skewed{abs(hours)}") as name:
        then = datetime.now(UTC) + timedelta(hours=hours)
        times = {
            "startedAt": (then + timedelta(minutes=3)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "finishedAt": then.strftime("%Y-%m-%dT%H:%M:%SZ"),  # before it began
        }
        pod = str(live.running(name)["metadata"]["name"])
        live.end_pod(pod, last_word(OOM), **times)
        live.until(name, "Healing")
        live.running(name)
        time.sleep(1.5)
        healing = live.healing(name)
        assert healing["attempt"] == 1
        assert len(healing["history"]) == 1


def test_ten_deployments_edited_over_and_over_end_as_last_said(live: World) -> None:
    names = [f"storm{number}" for number in range(10)]
    try:
        for length in (2048, 8192, 3072, 4096):
            for name in names:
                live.apply(name, serving={"contextLength": length})
        for name in names:

            def said(name: str = name) -> bool:
                engine = (live.find("Deployment", name) or {}).get("spec", {})
                args = str(engine.get("template", {}).get("spec", {}).get("containers"))
                return "'--max-model-len', '4096'" in args

            live.wait(said)
            live.running(name)
        for name in names:

            def caught_up(name: str = name) -> bool:  # status is written last
                found = live.get("LLMDeployment", name)
                generation: int = found["metadata"]["generation"]
                return bool(found["status"]["observedGeneration"] == generation)

            live.wait(caught_up)
    finally:
        for name in names:
            live.api.request("DELETE", live._path("LLMDeployment", name))


def test_an_api_server_that_is_killed_and_comes_back_is_survived(live: World) -> None:
    with live.deployed("outage") as name:
        with live.cluster.api_server_killed():
            time.sleep(1)
        live.api = ApiClient(live.cluster.kubeconfig)
        live.end(name, last_word(OOM))
        # An outage longer than the Lease's deadline of 10 s ends the process, a shorter one not.
        live.wait(lambda: revive(live) or live.healing(name).get("attempt"), 90)
        assert live.healing(name)["attempt"] == 1
        assert live.condition(name, "Ready")["reason"] == "Healing"


def test_a_lost_lease_ends_the_process_and_the_next_one_goes_on(live: World) -> None:
    with live.deployed("deposed") as name:
        process = live.operator._process
        assert process is not None
        patch = ("patch", "lease", "xpullm", "-n", "xpullm-system", "--type=merge", "-p")
        live.cluster.kubectl(*patch, '{"spec":{"holderIdentity":"thief"}}')
        assert process.wait(30) != 0
        assert "held by thief" in live.operator.tail()
        live.end(name, last_word(OOM))  # nobody leads
        live.cluster.kubectl(*patch, '{"spec":{"holderIdentity":""}}')
        live.operator.stop()
        live.operator.start()
        live.until(name, "Healing")
        assert live.healing(name)["attempt"] == 1


def test_crds_taken_away_and_given_back_cost_the_objects_only(live: World) -> None:
    live.apply("before")
    live.running("before")
    names = ("llmdeployments.xpullm.io", "tuningrecords.xpullm.io")
    try:
        live.cluster.kubectl("delete", "crd", *names, "--timeout=60s")
        process = live.operator._process
        assert process is not None
        assert process.wait(60) == 1  # it says so, and Kubernetes starts it again
        assert "a watch ended: 404 page not found; starting anew" in live.operator.log.read_text()
    finally:
        install_crds(live.cluster)
    # It is served a moment after it is established.
    live.wait(lambda: live.api.apply(live.manifest("after"), live.namespace).code < 300)
    live.wait(lambda: revive(live) or live.find("Deployment", "after"))
    live.running("after")
    live.wait(live.operator.ready)
