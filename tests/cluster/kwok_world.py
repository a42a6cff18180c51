"""The operator with the chart's rights over simulated nodes: what a user applies, how a pod leaves.

Pods are real objects that the real scheduler places. kwok starts them, and a test ends them in the
shape that a kubelet gives a container in a back-off; what they leave behind is made by the runtime:
its classifier, its verdict, its report.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from hack.cluster import Cluster
from hack.demo.install import Operator, install_chart, uninstall_chart
from tests.cluster.controller_world import install_crds, versions
from tests.contract.api_client import MERGE, Answer, ApiClient

from xpullm import catalog
from xpullm_runtime.cgroup import HostMemory
from xpullm_runtime.config import RuntimeConfig
from xpullm_runtime.judge import judge
from xpullm_runtime.report import encode
from xpullm_runtime.state import State
from xpullm_runtime.watch import Verdict

T = TypeVar("T")
Object = dict[str, Any]
CARD = "arc-a770-16g"
_LOGS = Path(__file__).parents[1] / "data" / "failures.jsonl"
_PLURALS = {
    "LLMDeployment": "apis/xpullm.io/v1alpha1/{}/llmdeployments",
    "TuningRecord": "apis/xpullm.io/v1alpha1/{}/tuningrecords",
    "Deployment": "apis/apps/v1/{}/deployments",
    "Service": "api/v1/{}/services",
    "PersistentVolumeClaim": "api/v1/{}/persistentvolumeclaims",
    "Pod": "api/v1/{}/pods",
    "Event": "apis/events.k8s.io/v1/{}/events",
    "ResourceClaimTemplate": "apis/resource.k8s.io/v1/{}/resourceclaimtemplates",
}


def _now(seconds_ago: float = 0.0) -> str:
    moment = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def public_log(row: str) -> str:
    """The log of a public failure by its id in tests/data/failures.jsonl."""
    with _LOGS.open() as lines:
        return next(str(r["log"]) for r in map(json.loads, lines) if r["id"] == row)


def last_word(
    log: str,
    exit_code: int = 1,
    *,
    plan_hash: str = "",
    verdict: Verdict | None = None,
    was_ready: bool = False,
    host: HostMemory | None = None,
) -> str:
    """The termination message of a supervised engine that printed this log and ended so."""
    state = State(RuntimeConfig(plan_hash=plan_hash))
    if was_ready:
        state.start_complete()
    if host is not None:
        state.on_host(host)
    state.on_output("stderr", log.encode())
    state.on_output("stderr", b"")
    status = exit_code if exit_code < 128 else 128 - exit_code
    diagnosis = judge(state, status, verdict, stopped=False)
    return encode(state.report(diagnosis, exit_code=exit_code)).decode()


@dataclass
class World:
    """One namespace, served by one operator."""

    cluster: Cluster
    api: ApiClient
    namespace: str
    operator: Operator

    # -- any object -----------------------------------------------------------------------------

    def _path(self, kind: str, name: str = "") -> str:
        place = f"namespaces/{self.namespace}"
        return "/" + _PLURALS[kind].format(place) + (f"/{name}" if name else "")

    def find(self, kind: str, name: str) -> Object | None:
        answer = self.api.request("GET", self._path(kind, name))
        assert answer.code in (200, 404), answer
        return answer.body if answer.code == 200 else None

    def get(self, kind: str, name: str) -> Object:
        found = self.find(kind, name)
        assert found is not None, f"there is no {kind} {name}"
        return found

    def list(self, kind: str, selector: str = "") -> list[Object]:
        query = f"?labelSelector={selector}" if selector else ""
        answer = self.api.request("GET", self._path(kind) + query)
        assert answer.code == 200, answer
        return list(answer.body["items"])

    def patch(self, kind: str, name: str, patch: Object, subresource: str = "") -> Answer:
        path = self._path(kind, name) + (f"/{subresource}" if subresource else "")
        return self.api.request("PATCH", path, patch, **{"Content-Type": MERGE})

    def wait(self, look: Callable[[], T | None], seconds: float = 90.0, told: str = "") -> T:
        """The first answer that is not empty."""
        end = time.monotonic() + seconds
        while True:
            found = look()
            if found:
                return found
            if time.monotonic() > end:
                raise AssertionError(f"nothing after {seconds} s {told}: {self.operator.tail()}")
            time.sleep(0.05)

    # -- the user -------------------------------------------------------------------------------

    def manifest(self, name: str, **spec: Any) -> Object:
        """The seed's case. Its pods do not become Ready by themselves, and its image is its own:
        what befalls one of them teaches nothing about the others."""
        whole: Object = {
            "model": {"id": "Qwen/Qwen2-7B-Instruct"},
            "quantization": "sym_int4",
            "gpu": {"type": CARD},
            **spec,
        }
        whole["engine"] = {"name": "ipex-llm", "image": f"test/{name}:1", **spec.get("engine", {})}
        pod = dict(spec.get("pod", {}))
        notes = {"test.xpullm.io/fail-phase": "start", **pod.get("annotations", {})}
        whole["pod"] = {**pod, "annotations": notes}
        return {
            "apiVersion": "xpullm.io/v1alpha1",
            "kind": "LLMDeployment",
            "metadata": {"namespace": self.namespace, "name": name},
            "spec": whole,
        }

    def apply(self, name: str, **spec: Any) -> None:
        answer = self.api.apply(self.manifest(name, **spec), self.namespace, manager="user")
        assert answer.code in (200, 201), answer.message

    @contextmanager
    def deployed(self, name: str, **spec: Any) -> Iterator[str]:
        """An LLMDeployment whose pods run; it and they are gone at the end, so that the next test
        finds the nodes free."""
        self.apply(name, **spec)
        try:
            self.running(name)
            yield name
        finally:
            # The garbage collector sees kinds that are new to the API server after 30 s only, so
            # that the Deployment, which it knows, is deleted too.
            for kind in ("LLMDeployment", "Deployment"):
                self.api.request("DELETE", self._path(kind, name))
            self.wait(lambda: not self.list("Pod", f"xpullm.io/deployment={name}"), told="to go")

    def running(self, name: str) -> Object:
        """The pod of the newest template, once it runs; the first where there are several."""
        return self.running_pods(name, 1)[0]

    def running_pods(self, name: str, count: int) -> Sequence[Object]:
        """The pods of the newest template, once at least so many run."""

        def look() -> Sequence[Object] | None:
            wanted = self.plan_hash(name)
            found = [
                pod
                for pod in self.list("Pod", f"xpullm.io/deployment={name}")
                if pod["metadata"]["labels"].get("xpullm.io/plan-hash") == wanted
                and "deletionTimestamp" not in pod["metadata"]
                and pod["status"].get("phase") == "Running"
            ]
            return found if len(found) >= count else None

        return self.wait(look, told=f"for {count} running pods of {name}")

    # -- the kubelet ----------------------------------------------------------------------------

    def end(
        self, name: str, message: str, exit_code: int = 1, reason: str = "Error", times: int = 1
    ) -> str:
        """The engine of this deployment's pod ends, `times` times, and waits to be restarted;
        which pod that was."""
        pod = str(self.running(name)["metadata"]["name"])
        for _ in range(times):
            self.end_pod(pod, message, exit_code, reason)
        return pod

    def end_pod(
        self, pod: str, message: str, exit_code: int = 1, reason: str = "Error", **ended: Any
    ) -> None:
        """As the kubelet shows it: how the last run ended, and a back-off before the next."""
        before = self.get("Pod", pod)["status"]["containerStatuses"][0]
        terminated = {
            "exitCode": exit_code,
            "reason": reason,
            "message": message,
            "startedAt": before["state"].get("running", {}).get("startedAt") or _now(),
            "finishedAt": _now(),
            **ended,
        }
        container = {
            "name": "engine",
            "image": before["image"],
            "imageID": "",
            "ready": False,
            "started": False,
            "restartCount": before["restartCount"] + ("waiting" in before["state"]),
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": terminated},
        }
        self._status(pod, container, ready=False)

    def _status(
        self, pod: str, container: Object, *, ready: bool, since: float = 0.0, address: str = ""
    ) -> None:
        value = "True" if ready else "False"
        moment = _now(since)
        conditions = [
            {"type": kind, "status": value, "lastTransitionTime": moment}
            for kind in ("Ready", "ContainersReady")
        ]
        status = {"phase": "Running", "conditions": conditions, "containerStatuses": [container]}
        if address:
            status |= {"podIP": address, "podIPs": [{"ip": address}]}
        answer = self.patch("Pod", pod, {"status": status}, "status")
        assert answer.code == 200, answer

    def serve(self, name: str, **how: Any) -> None:
        """The engine of the newest plan comes up; `how` as for `serve_pod`."""
        self.serve_pod(str(self.running(name)["metadata"]["name"]), **how)
        self.until(name, "ReplicasReady")

    def serve_pod(self, pod: str, *, since: float = 0.0, address: str = "") -> None:
        """This pod is Ready since so many seconds, and its supervisor has this address."""
        container = {
            "name": "engine",
            "image": "e",
            "imageID": "",
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": _now(since)}},
        }
        self._status(pod, container, ready=True, since=since, address=address)

    # -- what a user sees -----------------------------------------------------------------------

    def condition(self, name: str, kind: str) -> dict[str, str]:
        """One condition; empty strings where it does not exist."""
        conditions = self.get("LLMDeployment", name).get("status", {}).get("conditions", ())
        found: Object = next((c for c in conditions if c["type"] == kind), {})
        return {key: str(found.get(key, "")) for key in ("status", "reason", "message")}

    def until(self, name: str, reason: str) -> str:
        """Wait until Ready has this reason; its message."""

        def look() -> str | None:
            ready = self.condition(name, "Ready")
            return ready["message"] if ready["reason"] == reason else None

        try:
            return self.wait(look)
        except AssertionError as error:
            raise AssertionError(f"{self.condition(name, 'Ready')}: {error}") from None

    def healing(self, name: str) -> Object:
        return dict(self.get("LLMDeployment", name)["status"].get("healing", {}))

    def plan_hash(self, name: str) -> str:
        found = self.find("Deployment", name)
        labels = found["spec"]["template"]["metadata"]["labels"] if found else {}
        return str(labels.get("xpullm.io/plan-hash", ""))

    def template(self, name: str) -> Object:
        """The pod template without the plan's hash, which differs by design."""
        template = dict(self.get("Deployment", name)["spec"]["template"])
        del template["metadata"]["labels"]["xpullm.io/plan-hash"]
        return template

    def events(self, name: str) -> dict[str, str]:
        """The operator's Events about a deployment: reason → note."""
        return {
            item["reason"]: item["note"]
            for item in self.list("Event")
            if item.get("reportingController") == "xpullm.io/operator"
            and item["regarding"]["name"] == name
        }

    def versions(self, *names: str) -> Mapping[str, str]:
        """resourceVersion of every object that the operator writes for deployments of these names;
        others of the namespace may still be going."""
        found = versions(self.cluster, self.namespace).items()
        return {k: v for k, v in found if any(f"/{name}" in k for name in names)}

    def quiet(self, *names: str) -> Mapping[str, str]:
        """The same, once nothing of it has changed for a second: the Deployment controller has its
        say after the operator."""

        def look() -> Mapping[str, str] | None:
            before = self.versions(*names)
            time.sleep(1)
            return before if self.versions(*names) == before else None

        return self.wait(look, told=f"for {names} to be quiet")


@contextmanager
def world(
    cluster: Cluster, log: Path, *, everywhere: bool = False, **environment: str
) -> Iterator[World]:
    """CRDs, chart, one namespace and the operator; all but the CRDs are gone afterwards."""
    install_crds(cluster)
    if everywhere:
        # Those of other tests may still be there, in namespaces that are going: an operator that
        # sees them is refused, as nothing new may be made there.
        cluster.kubectl("delete", "llmdeployments", "--all", "--all-namespaces", "--wait=true")
    namespace = f"test-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", namespace)
    settings = ["crds.enabled=false"]
    if not everywhere:
        settings.append(f"watchNamespaces={{{namespace}}}")
        environment["XPULLM_NAMESPACES"] = namespace
    install_chart(cluster, *settings)
    try:
        with Operator(cluster, log, environment) as operator:
            yield World(cluster, ApiClient(cluster.kubeconfig), namespace, operator)
    finally:
        uninstall_chart(cluster)
        cluster.kubectl("delete", "namespace", namespace, "--wait=false", check=False)


@contextmanager
def nodes(cluster: Cluster, prefix: str, cards: dict[str, int], card: str = CARD) -> Iterator[None]:
    """Simulated nodes: name → number of cards. Tests that need to know all matching nodes select
    these by `test.xpullm.io/nodes`: those of other tests may still be going."""
    resource = catalog.gpus()[card].resource
    for name, count in cards.items():
        labels = {"xpullm.io/gpu-type": card, "test.xpullm.io/nodes": prefix}
        capacity = {resource: str(count), "memory": "8Ti"}
        cluster.add_kwok_node(f"{prefix}-{name}", labels, capacity)
    try:
        yield
    finally:
        names = [f"{prefix}-{name}" for name in cards]
        cluster.kubectl("delete", "node", *names, "--wait=false", check=False)
