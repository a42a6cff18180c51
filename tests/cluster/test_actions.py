"""From what a pod leaves behind to what the operator does about it, for every kind of action.

The logs are public failures; the runtime's own classifier makes the termination message of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hack.cluster import Cluster
from tests.cluster.kwok_world import World, last_word, nodes, public_log, world

from xpullm.api import parse_quantity
from xpullm_runtime.cgroup import HostMemory
from xpullm_runtime.config import ENV as RUNTIME_ENV
from xpullm_runtime.watch import Verdict

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

GIB = 1 << 30
OOM = public_log("F037")  # an XPU out-of-memory while it generates
GATED = public_log("F133")
BUSY = public_log("F085")
LOST = public_log("F008")


@pytest.fixture(scope="module")
def live(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    log = tmp_path_factory.mktemp("actions") / "log"
    with nodes(cluster, "actions", {"a": 32}), world(cluster, log) as w:
        yield w
        text = log.read_text()
        assert "Traceback" not in text
        assert "orbidden" not in text


def facets(template: dict[str, Any]) -> dict[str, str]:
    """What healing may move, as the pod template has it."""
    spec, engine = template["spec"], template["spec"]["containers"][0]
    args = engine["args"]
    found = {
        arg: args[i + 1] if i + 1 < len(args) and not args[i + 1].startswith("--") else ""
        for i, arg in enumerate(args)
        if arg.startswith("--") and arg != "--"
    }
    environment = {item["name"]: item.get("value", "") for item in engine["env"]}
    runtime = json.loads(environment.pop(RUNTIME_ENV))
    found |= {f"environment:{name}": value for name, value in environment.items()}
    found["startup-deadline"] = str(runtime["startup_deadline_seconds"])
    found["memory-limit"] = engine["resources"]["limits"]["memory"]
    found["shm-size"] = next(
        v["emptyDir"]["sizeLimit"] for v in spec["volumes"] if v["name"] == "shm"
    )
    found["node"] = json.dumps(spec["affinity"])
    return found


def changes(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    names = sorted({*before, *after})
    pairs = {name: (before.get(name, ""), after.get(name, "")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@dataclass(frozen=True)
class Case:
    """A failure and the one step that answers it. `rises`: None where it is no number."""

    name: str
    log: str
    cause: str
    phase: str
    lever: str
    rises: bool | None = None
    exit_code: int = 1
    reason: str = "Error"
    verdict: Verdict | None = None
    host: HostMemory | None = None
    follows: frozenset[str] = frozenset()
    spec: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("tighten", OOM, "device_oom_runtime", "runtime", "num-gpu-blocks-override", False),
    Case(
        "raise", public_log("F019"), "kv_cache_no_memory", "kv_alloc",
        "gpu-memory-utilization", True,
        spec={
            "engine": {"args": [{"name": "gpu-memory-utilization", "value": "0.55"}]},
            "healing": {"mayChange": ["Arguments", "UserArguments"]},
        },
    ),
    Case(
        "memory", public_log("F090"), "host_oom", "starting", "memory-limit", True,
        exit_code=137, reason="OOMKilled", host=HostMemory(limit_bytes=31 * GIB, oom_kills=1),
    ),
    Case(
        "environment", public_log("F026"), "device_oom_single_alloc", "starting",
        "environment:UR_L0_ENABLE_RELAXED_ALLOCATION_LIMITS", True,
    ),
    Case("shm", public_log("F099"), "shm_exhausted", "starting", "shm-size", True,
         follows=frozenset({"memory-limit"})),
    Case(
        "deadline", "INFO 01-01 00:00:00 [gpu_model_runner.py:1] Starting to load model m...\n",
        "startup_killed", "weights", "startup-deadline", True, exit_code=143,
        verdict=Verdict("startup_killed", "no progress for 3600 s in phase weights"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_lever_moves(live: World, case: Case) -> None:
    with live.deployed(case.name, **case.spec) as name:
        before, plan = facets(live.template(name)), live.plan_hash(name)
        word = last_word(
            case.log, case.exit_code, plan_hash=plan, verdict=case.verdict, host=case.host
        )
        failed = live.end(name, word, case.exit_code, case.reason)
        told = live.until(name, "Healing")
        after, healing = facets(live.template(name)), live.healing(name)
        (step,) = healing["history"]
        moved = changes(before, after)
        flag = case.lever if case.lever in after else f"--{case.lever}"
        assert {flag} <= set(moved) <= {flag, *case.follows}
        assert (step["argument"], step["cause"], step["phase"]) == (
            case.lever, case.cause, case.phase,
        )  # fmt: skip
        assert (healing["lastCause"], healing["lastPhase"], healing["attempt"]) == (
            case.cause, case.phase, 1,
        )  # fmt: skip
        assert step["evidence"] in word or case.reason in step["evidence"] != ""
        assert (step["planHash"], step["result"]) == (plan, "Pending")
        assert step["node"] == "actions-a"
        if flag.startswith("--"):
            assert (step["from"], step["to"]) == moved[flag]
        if case.rises is not None:
            raised = parse_quantity(step["to"]) > parse_quantity(step.get("from") or "0")
            assert raised is case.rises
        events = live.events(name)
        for text in (told, events["ArgumentChanged"]):
            assert case.cause in text
            assert f"{case.lever} " in text
            if flag.startswith("--"):
                assert f"{case.lever} {step['from']} → {step['to']}" in text
        assert case.cause in events["EngineFailed"]
        assert live.condition(name, "Stalled")["status"] == ""
        assert live.running(name)["metadata"]["name"] != failed


def test_healed_it_is_ready_and_says_what_helped(live: World) -> None:
    with live.deployed("healed") as name:
        live.end(name, last_word(OOM))
        live.until(name, "Healing")
        live.serve(name)
        (step,) = live.healing(name)["history"]
        assert step["result"] == "Helped"
        assert live.condition(name, "Reconciling")["message"] == ""
        note = live.wait(lambda: live.events(name).get("Healed"))
        assert "num-gpu-blocks-override" in note
        outcomes = {
            entry["outcome"]
            for record in records_of(live, name)
            for entry in record["status"]["entries"]
        }
        assert outcomes == {"Failed", "Healthy"}


def records_of(live: World, name: str) -> list[dict[str, Any]]:
    """What was learned of a deployment's image, which is its own."""
    records = live.list("TuningRecord")
    return [r for r in records if r.get("status", {}).get("engineImage") == f"test/{name}:1"]


def test_a_data_type_that_the_card_lacks_is_changed(cluster: Cluster, live: World) -> None:
    spec = {"gpu": {"type": "arc-pro-b60"}, "quantization": "fp8", "engine": {"name": "vllm"}}
    with (
        nodes(cluster, "actions-b60", {"a": 4}, "arc-pro-b60"),
        live.deployed("dtype", **spec) as name,
    ):
        before = facets(live.template(name))
        live.end(name, last_word(public_log("F023")))
        live.until(name, "Healing")
        assert changes(before, facets(live.template(name))) == {"--dtype": ("", "float16")}


def test_a_failing_node_is_left_where_another_has_room(cluster: Cluster, live: World) -> None:
    spec = {"gpu": {"type": "arc-b580"}, "quantization": "fp8", "engine": {"name": "vllm"}}
    with (
        nodes(cluster, "actions-b580", {"a": 1, "b": 1}, "arc-b580"),
        live.deployed("moved", **spec) as name,
    ):
        before = facets(live.template(name))
        first = live.running(name)["spec"]["nodeName"]
        live.end(name, last_word(LOST), times=2)  # once more after a wait, then away
        live.until(name, "Healing")
        assert set(changes(before, facets(live.template(name)))) == {"node"}
        (step,) = live.healing(name)["history"]
        assert (step["argument"], step["cause"], step["node"]) == ("node", "device_lost", first)
        assert live.running(name)["spec"]["nodeName"] != first


def test_a_failing_node_is_kept_where_no_other_has_room(cluster: Cluster, live: World) -> None:
    spec = {"gpu": {"type": "arc-b580"}, "quantization": "fp8", "engine": {"name": "vllm"}}
    alone = {"nodeSelector": {"test.xpullm.io/nodes": "actions-one"}}
    with (
        nodes(cluster, "actions-one", {"a": 1}, "arc-b580"),
        live.deployed("kept", **spec, pod=alone) as name,
    ):
        before = live.template(name)
        live.end(name, last_word(LOST), times=2)
        assert "no other matching node has room" in live.until(name, "NotHealable")
        assert live.template(name) == before


@pytest.mark.parametrize(
    ("name", "log", "cause", "seconds"),
    [
        ("busy", BUSY, "device_memory_busy", "in 30 s (1 of 3)"),
        ("offline", public_log("F140"), "model_offline", "in 30 s (1 of 5)"),
    ],
)
def test_waiting_changes_nothing_and_says_how_long(
    live: World, name: str, log: str, cause: str, seconds: str
) -> None:
    with live.deployed(name):
        before = live.get("Deployment", name)["metadata"]
        live.end(name, last_word(log))
        message = live.until(name, "BackingOff")
        assert cause in message
        assert seconds in message
        assert live.condition(name, "Reconciling")["status"] == "True"
        assert live.condition(name, "Stalled")["status"] == ""
        after = live.get("Deployment", name)["metadata"]
        assert after["generation"] == before["generation"]
        assert live.healing(name)["lastCause"] == cause


def test_waiting_backs_off_and_ends(live: World) -> None:
    with live.deployed("corrupt") as name:
        live.end(name, last_word(public_log("F148")), times=2)
        message = live.until(name, "NotHealable")
        assert "delete it from the cache volume" in message
        assert live.condition(name, "Stalled")["message"] == message


@pytest.mark.parametrize(
    ("name", "log", "advice"),
    [
        ("gated", GATED, "spec.model.source.huggingFace.tokenSecretRef"),
        ("missing", public_log("F137"), "check spec.model.id"),
        ("disk", public_log("F143"), "make spec.model.cache larger"),
        ("own-code", public_log("F151"), "add trust-remote-code to spec.engine.args"),
    ],
)
def test_what_no_argument_helps_stops_with_advice(
    live: World, name: str, log: str, advice: str
) -> None:
    with live.deployed(name):
        before = live.template(name)
        live.end(name, last_word(log))
        message = live.until(name, "NotHealable")
        assert advice in message
        assert live.condition(name, "Stalled") == {
            "status": "True", "reason": "NotHealable", "message": message,
        }  # fmt: skip
        assert live.template(name) == before
        assert live.events(name)["HealingStopped"] == message[:1024]


def unmoved(live: World, name: str) -> dict[str, Any]:
    """All of the Deployment that anybody but its own controller writes, annotations included, and
    which pods there are."""
    found = live.get("Deployment", name)
    metadata = found["metadata"]
    ours = {
        key: note
        for key, note in metadata["annotations"].items()
        if not key.startswith("deployment.kubernetes.io/")
    }
    pods = {pod["metadata"]["uid"] for pod in live.list("Pod", f"xpullm.io/deployment={name}")}
    whole = (metadata["uid"], metadata["generation"], metadata["labels"], ours)
    return {"metadata": whole, "spec": found["spec"], "pods": pods}


def test_observe_proposes_and_changes_nothing(live: World) -> None:
    with live.deployed("observed", healing={"mode": "Observe"}) as name:
        before = unmoved(live, name)
        live.end(name, last_word(OOM))
        live.until(name, "ObserveOnly")
        healing = live.healing(name)
        proposal = healing["proposal"]
        assert proposal["argument"] == "num-gpu-blocks-override"
        assert int(proposal["to"]) < int(proposal["from"])
        assert healing["attempt"] == 0
        events = live.events(name)
        assert f"{proposal['from']} → {proposal['to']}" in events["ChangeProposed"]
        assert "ArgumentChanged" not in events
        # Status is written last: whatever else this pass writes is there by now.
        assert unmoved(live, name) == before
        assert records_of(live, name) == []
        # What was proposed is what Auto does.
        live.patch("LLMDeployment", name, {"spec": {"healing": {"mode": "Auto"}}})
        live.until(name, "Healing")
        (step,) = live.healing(name)["history"]
        assert (step["from"], step["to"]) == (proposal["from"], proposal["to"])
        assert "proposal" not in live.healing(name)


def test_off_names_the_cause_and_nothing_else(live: World) -> None:
    with live.deployed("off", healing={"mode": "Off"}) as name:
        before = live.template(name)
        live.end(name, last_word(OOM))
        assert "device_oom_runtime" in live.until(name, "HealingOff")
        assert live.healing(name) == {
            "attempt": 0, "lastCause": "device_oom_runtime", "lastPhase": "runtime",
        }  # fmt: skip
        assert live.template(name) == before


def test_attempts_end_and_only_an_edit_of_the_plans_inputs_refills_them(live: World) -> None:
    with live.deployed("exhausted", healing={"maxAttempts": 1}) as name:
        live.end(name, last_word(OOM))
        live.until(name, "Healing")
        failed = live.end(name, last_word(OOM))
        # Scaling down again, the ReplicaSet controller is to keep the pod that tells of it.
        cost = {"controller.kubernetes.io/pod-deletion-cost": "1"}
        assert live.patch("Pod", failed, {"metadata": {"annotations": cost}}).code == 200
        message = live.until(name, "AttemptsExhausted")
        (step,) = live.healing(name)["history"]
        assert f"{step['argument']} {step['from']} → {step['to']}" in message
        assert live.condition(name, "Stalled")["message"] == message
        stopped = live.template(name)
        # An autoscaler's write raises metadata.generation, and must not refill the attempts.
        assert live.patch("LLMDeployment", name, {"spec": {"replicas": 2}}, "scale").code == 200
        live.wait(lambda: live.get("Deployment", name)["spec"]["replicas"] == 2)
        assert live.patch("LLMDeployment", name, {"spec": {"replicas": 1}}, "scale").code == 200
        live.wait(lambda: live.get("Deployment", name)["spec"]["replicas"] == 1)
        live.until(name, "AttemptsExhausted")
        assert live.template(name) == stopped
        assert live.healing(name)["attempt"] == 1
        # What the plan is made from starts anew.
        live.patch("LLMDeployment", name, {"spec": {"serving": {"contextLength": 4096}}})
        live.wait(lambda: live.healing(name) == {"attempt": 0})
        assert live.get("LLMDeployment", name)["status"]["plan"]["contextLength"] == 4096
        live.running(name)
        live.end(name, last_word(OOM))
        live.until(name, "Healing")
        assert live.healing(name)["attempt"] == 1


def test_a_users_own_argument_is_left_alone(live: World) -> None:
    args = [{"name": "max-model-len", "value": "16384"}]
    with live.deployed("owned", engine={"args": args}) as name:
        before = live.template(name)
        live.end(name, last_word(public_log("F079")))
        message = live.until(name, "UserArgumentInTheWay")
        assert "max-model-len 16384 is yours: change it in spec.engine.args" in message
        assert "UserArguments to spec.healing.mayChange" in message
        assert live.template(name) == before


def test_what_has_settled_is_left_in_peace(live: World) -> None:
    with live.deployed("peace") as name:
        live.end(name, last_word(GATED))
        live.until(name, "NotHealable")
        before = live.quiet(name)
        assert {key.partition("/")[0] for key in before} == {
            "LLMDeployment", "Deployment", "Service", "Event",
        }  # fmt: skip
        time.sleep(4)
        assert live.versions(name) == before
