"""A cluster in memory for one LLMDeployment: what the API server, the Deployment controller and the
kubelet would do, one move at a time. Nothing here knows what `decide` will say."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.kstatus import lint_status
from tests.unit.resources import builders

from xpullm.controller.apply import unchanged
from xpullm.controller.canonical import with_hash
from xpullm.controller.decide import Settings, decide
from xpullm.controller.timestamps import rfc3339
from xpullm.controller.types import Capabilities, Decision, EngineFigures, Fleet, Snapshot
from xpullm.resources.names import LABEL_PLAN
from xpullm_runtime.report import Report, encode

START = 1_700_000_000.0
KERNEL = "6.14.0-33-generic"
LABELS = {
    "gpu.intel.com/device-id.0300-56a0.present": "true",
    "xpullm.io/gpu-type": "arc-a770-16g",
}


def manifest(**spec: Any) -> dict[str, Any]:
    """The seed's LLMDeployment as a user's apply and the schema's defaults leave it."""
    made = builders.manifest(**{"replicas": 1, **spec})
    return {**made, "status": {"observedGeneration": -1}}


def node(name: str = "node-a", **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"uid": f"uid-{name}", "name": name, "labels": {**LABELS, **labels}},
        "spec": {},
        "status": {
            "allocatable": {"gpu.intel.com/i915": "1", "memory": "64Gi"},
            "nodeInfo": {"kernelVersion": KERNEL},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def oom(plan_hash: str = "", *, was_ready: bool = False, tried: int = 130 << 20) -> Report:
    """The seed's failure as the supervisor reports it."""
    return Report(
        cause="device_oom_runtime",
        phase="runtime",
        helps="arguments",
        actionable=True,
        ended=True,
        was_ready=was_ready,
        exit_code=1,
        plan_hash=plan_hash,
        evidence=(
            "RuntimeError: XPU out of memory. Tried to allocate 130.00 MiB (GPU 0; 15.11 GiB total"
            " capacity; 11.09 GiB already allocated; 11.37 GiB reserved in total by PyTorch)",
        ),
        figures={"tried_bytes": tried, "allocated_bytes": 11_907_796_746},
    )


@dataclass
class World:
    """`writes` lists every effective write by kind; `events` every Event by its identity, `of_pods`
    what Kubernetes tells of pods."""

    llmd: dict[str, Any]
    nodes: list[dict[str, Any]] = field(default_factory=lambda: [node()])
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    pods: list[dict[str, Any]] = field(default_factory=list)
    events: dict[tuple[str, str], str] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    slices: list[dict[str, Any]] = field(default_factory=list)
    of_pods: list[dict[str, Any]] = field(default_factory=list)
    capabilities: Capabilities = field(default_factory=Capabilities)
    fleet: Fleet = field(default_factory=Fleet)
    runtime: dict[str, EngineFigures] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    now: float = START
    made: int = 0
    last: Decision = field(default_factory=Decision)

    # -- the operator ---------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        def one(kind: str) -> dict[str, Any] | None:
            return next((o for (k, _), o in self.objects.items() if k == kind), None)

        def many(kind: str) -> tuple[dict[str, Any], ...]:
            return tuple(o for (k, _), o in self.objects.items() if k == kind)

        return copy.deepcopy(
            Snapshot(
                key=("default", self.llmd["metadata"]["name"]),
                llmd=self.llmd,
                deployment=one("Deployment"),
                service=one("Service"),
                claim=one("PersistentVolumeClaim"),
                claim_template=one("ResourceClaimTemplate"),
                claim_templates=many("ResourceClaimTemplate"),
                pods=tuple(self.pods),
                events=tuple(self.of_pods),
                nodes=tuple(self.nodes),
                resource_slices=tuple(self.slices),
                records=many("TuningRecord"),
                capabilities=self.capabilities,
                fleet=self.fleet,
                runtime=self.runtime,
            )
        )

    def step(self, until: str = "status") -> Decision:
        """One pass; `until`: where the operator crashes (objects, events, records, status)."""
        decision = decide(self.snapshot(), self.now, self.settings)
        self.last = decision
        for obj in decision.apply:
            self._apply(obj)
        if until == "objects":
            return decision
        for event in decision.events:
            self.events.setdefault((event.reason, event.discriminator), event.message)
        if until == "events":
            return decision
        for record in decision.records:
            self._apply(record)
        if until == "records":
            return decision
        for _, kind, name, _uid in decision.delete:
            del self.objects[kind, name]
            self.writes.append(f"delete {kind}")
        if decision.status is not None and decision.status != self.llmd.get("status"):
            self.llmd["status"] = json.loads(json.dumps(decision.status))
            self.writes.append("status")
        assert lint_status(self.llmd) == []
        return decision

    def settle(self) -> list[str]:
        """Pass until a pass writes nothing; what was written since the call."""
        before = len(self.writes)
        for _ in range(8):
            count = len(self.writes)
            self.step()
            self.now += 1
            if len(self.writes) == count:
                return self.writes[before:]
        raise AssertionError(f"never quiet: {self.writes[before:]}")

    def _apply(self, wanted: Mapping[str, Any]) -> None:
        key = (wanted["kind"], wanted["metadata"]["name"])
        live = self.objects.get(key)
        if live is not None and unchanged(wanted, live):
            return
        if live is not None and key[0] == "ResourceClaimTemplate":
            return
        stored = json.loads(json.dumps(with_hash(wanted)))
        assert all(isinstance(v, str) for v in stored["metadata"]["annotations"].values())
        old = live or {"metadata": {"generation": 0, "uid": f"uid-{key[0]}-{key[1]}"}}
        grown = live is None or live.get("spec") != stored.get("spec")
        stored["metadata"] |= {
            "generation": old["metadata"]["generation"] + (1 if grown else 0),
            "uid": old["metadata"]["uid"],
            "resourceVersion": str(len(self.writes) + 1),
        }
        if "status" in old and key[0] != "TuningRecord":
            stored["status"] = old["status"]
        self.objects[key] = stored
        self.writes.append(key[0])

    # -- the user -------------------------------------------------------------------------------

    def edit(self, **spec: Any) -> None:
        self.llmd["spec"] |= spec
        self.llmd["metadata"]["generation"] += 1

    # -- Kubernetes -----------------------------------------------------------------------------

    @property
    def deployment(self) -> dict[str, Any]:
        return self.objects["Deployment", self.llmd["metadata"]["name"]]

    def roll(self) -> None:
        """The Deployment controller: old pods go, new ones come, counts are published."""
        template = self.deployment["spec"]["template"]
        mark = json.dumps(template, sort_keys=True)
        wanted = self.deployment["spec"]["replicas"]
        self.pods = [pod for pod in self.pods if pod["template"] == mark][:wanted]
        while len(self.pods) < wanted:
            self.made += 1
            self.pods.append(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {
                        "name": f"pod-{self.made}",
                        "uid": f"uid-pod-{self.made}",
                        "labels": copy.deepcopy(template["metadata"]["labels"]),
                        "creationTimestamp": rfc3339(self.now),
                    },
                    "spec": {
                        "nodeName": self.nodes[0]["metadata"]["name"],
                        "containers": copy.deepcopy(template["spec"]["containers"]),
                        "terminationGracePeriodSeconds": template["spec"][
                            "terminationGracePeriodSeconds"
                        ],
                    },
                    "status": {"phase": "Pending", "conditions": []},
                    "template": mark,
                }
            )
        self.count()

    def count(self) -> None:
        live = self.deployment
        serving = sum(
            any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"]["conditions"])
            for p in self.pods
        )
        wanted = live["spec"]["replicas"]
        old = live.get("status", {})
        fresh = old.get("observedGeneration") != live["metadata"]["generation"]
        reason = "ReplicaSetUpdated" if fresh else old["conditions"][0]["reason"]
        if serving >= wanted:
            reason = "NewReplicaSetAvailable"
        live["status"] = {
            "observedGeneration": live["metadata"]["generation"],
            "replicas": len(self.pods),
            "updatedReplicas": len(self.pods),
            "readyReplicas": serving,
            "availableReplicas": serving,
            "conditions": [{"type": "Progressing", "status": "True", "reason": reason}],
        }

    def serve(self) -> None:
        """The kubelet: every engine is up."""
        for pod in self.pods:
            status = self._container(pod)
            status["state"] = {"running": {"startedAt": rfc3339(self.now)}}
            pod["status"]["phase"] = "Running"
            if not any(c["status"] == "True" for c in pod["status"]["conditions"]):
                since = rfc3339(self.now)
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": since}
                pod["status"]["conditions"] = [ready]
        self.count()

    def tell(self, **figures: Any) -> None:
        """The supervisors: what each pod's engine measured, asked just now."""
        for pod in self.pods:
            self.runtime[pod["metadata"]["uid"]] = EngineFigures(
                **{
                    "plan_hash": pod["metadata"]["labels"][LABEL_PLAN],
                    "restarts": self._container(pod)["restartCount"],
                    "fetched": self.now,
                    "start_seconds": 47,
                    "host_peak_bytes": 5 << 30,
                    "start_vram_peak_bytes": 9 << 30,
                    "vram_peak_bytes": 9 << 30,
                    "figures": {"weights_bytes": 4 << 30, "gpu_blocks": 20405},
                    **figures,
                }
            )

    def fail(self, report: Report | None = None, *, index: int = 0, **terminated: Any) -> None:
        """The kubelet: an engine ended, and is restarted after a back-off."""
        pod = self.pods[index]
        status = self._container(pod)
        began = self.now - 30
        if "running" in status["state"]:
            began = self.now - 5
        if "terminated" in status.get("lastState", {}) or "terminated" in status["state"]:
            status["restartCount"] += 1
        end = {
            "exitCode": 1,
            "reason": "Error",
            "startedAt": rfc3339(began),
            "finishedAt": rfc3339(self.now),
            **terminated,
        }
        if report is not None:
            end["message"] = encode(report).decode()
        status["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
        status["lastState"] = {"terminated": end}
        pod["status"]["phase"] = "Running"
        pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
        self.count()

    @staticmethod
    def _container(pod: dict[str, Any]) -> dict[str, Any]:
        statuses = pod["status"].setdefault(
            "containerStatuses", [{"name": "engine", "restartCount": 0, "state": {}}]
        )
        found: dict[str, Any] = statuses[0]
        return found

    # -- what a user sees -----------------------------------------------------------------------

    def condition(self, kind: str) -> tuple[str, str] | None:
        found = [c for c in self.llmd["status"]["conditions"] if c["type"] == kind]
        return (found[0]["status"], found[0]["reason"]) if found else None

    def message(self, kind: str = "Ready") -> str:
        return next(
            str(c["message"]) for c in self.llmd["status"]["conditions"] if c["type"] == kind
        )

    def flags(self) -> dict[str, str]:
        """The engine's arguments in the Deployment, as name → value ("" for bare ones)."""
        args = self.deployment["spec"]["template"]["spec"]["containers"][0]["args"]
        named = [i for i, arg in enumerate(args) if arg.startswith("--") and arg != "--"]
        return {
            args[i]: args[i + 1] if i + 1 < len(args) and i + 1 not in named else "" for i in named
        }

    def plan_hash(self) -> str:
        labels: dict[str, str] = self.deployment["spec"]["template"]["metadata"]["labels"]
        return labels[LABEL_PLAN]

    def attempt(self) -> int:
        return int(self.deployment["metadata"]["annotations"]["xpullm.io/attempt"])


def rolled(**spec: Any) -> World:
    """Applied, planned and rolled out; the pods start."""
    world = World(manifest(**spec))
    world.settle()
    world.roll()
    return world


def failed_once(**spec: Any) -> World:
    """Rolled out; the engine ran out of memory at start, and that was answered."""
    world = rolled(**spec)
    world.fail(oom(world.plan_hash()))
    world.settle()
    return world


def running(**spec: Any) -> World:
    """Rolled out and serving."""
    world = rolled(**spec)
    world.settle()
    world.serve()
    world.settle()
    return world
