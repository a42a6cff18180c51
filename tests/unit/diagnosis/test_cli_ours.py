"""`xpullm diagnose` of the operator's own pods says what the operator does."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from tests.unit.decide.world import World, oom, rolled
from tests.unit.diagnosis.logs import SEED_OOM, core, log
from typer.testing import CliRunner

from xpullm.cli import seen
from xpullm.cli.main import build
from xpullm.resources import names
from xpullm_runtime.report import Report


def run(*args: str, stdin: str = "") -> Any:
    return CliRunner().invoke(build(["diagnose"]), ["diagnose", *args], input=stdin)


def answer(*objects: dict[str, Any]) -> dict[str, Any]:
    done = run("-f", "-", "-o", "json", stdin=yaml.safe_dump({"kind": "List", "items": objects}))
    assert done.exit_code == 3, done.output
    answered: dict[str, Any] = json.loads(done.stdout)
    return answered


def failed(report: Report, **spec: Any) -> World:
    """A deployment whose only pod failed so, and the operator did not look yet."""
    world = rolled(**spec)
    world.fail(report)
    return world


def pod_of(world: World) -> dict[str, Any]:
    return {key: value for key, value in world.pods[0].items() if key != "template"}


REPORTS = [
    oom(),
    Report(
        cause="device_oom_kv_alloc", phase="kv_alloc", helps="arguments", actionable=True,
        ended=True, exit_code=1, figures={"tried_bytes": 2 << 30},
    ),
    Report(
        cause="host_oom", phase="weights", helps="resources", actionable=True, ended=True,
        exit_code=137, oom_kills=1, host_limit_bytes=31 << 30, host_peak_bytes=31 << 30,
    ),
    Report(
        cause="ccl_error", phase="starting", helps="environment", actionable=True, ended=True,
        exit_code=1,
    ),
    Report(
        cause="startup_killed", phase="weights", helps="deadline", actionable=True, ended=True,
        exit_code=1,
    ),
]  # fmt: skip


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.cause)
def test_with_its_objects_the_very_step_of_the_operator(report: Report) -> None:
    world = failed(report)
    told = answer(pod_of(world), world.deployment, world.llmd)
    world.settle()
    (step,) = world.llmd["status"]["healing"]["history"]
    assert told["change"] == {key: step.get(key, "") for key in ("argument", "from", "to")}
    assert told["operator"].startswith("would change ")


def test_the_step_for_people() -> None:
    world = failed(oom())
    done = run("-f", "-", stdin=yaml.safe_dump_all([pod_of(world), world.deployment, world.llmd]))
    assert "would change num-gpu-blocks-override 20460 → 14035" in done.stdout


def test_a_second_failure_goes_on_from_the_first_step() -> None:
    world = failed(oom())
    world.settle()
    world.roll()
    world.fail(oom())
    told = answer(pod_of(world), world.deployment, world.llmd)
    world.settle()
    step = world.llmd["status"]["healing"]["history"][-1]
    assert step["attempt"] == 2
    assert told["change"] == {"argument": step["argument"], "from": step["from"], "to": step["to"]}


def test_a_failure_that_was_answered_names_what_was_changed() -> None:
    world = failed(oom())
    world.settle()
    told = answer(pod_of(world), world.deployment, world.llmd)
    assert told["operator"] == "has changed num-gpu-blocks-override 20460 → 14035 since"


def test_observing_changes_nothing_and_says_what_it_would() -> None:
    world = failed(oom(), healing={"mode": "Observe"})
    told = answer(pod_of(world), world.deployment, world.llmd)
    assert told["change"] is None
    assert told["operator"].startswith(
        "changes nothing: healing.mode is Observe; proposed: num-gpu-blocks-override 20460 → "
    )


def test_an_engine_that_has_served_is_restarted_first() -> None:
    world = rolled()
    world.serve()
    world.settle()
    world.fail(oom(was_ready=True))
    told = answer(pod_of(world), world.deployment, world.llmd)
    assert told["operator"].endswith(
        "if it fails again: an engine that has served is first restarted as it is"
    )
    world.settle()
    assert world.attempt() == 0


def test_moving_away_depends_on_what_is_not_seen_here() -> None:
    wrong = Report(
        cause="wrong_gpu", phase="starting", helps="reschedule", actionable=True, ended=True
    )
    world = failed(wrong)
    told = answer(pod_of(world), world.deployment, world.llmd)
    assert told["operator"].startswith(
        "would move to another matching node where one has room; else changes nothing: the card is"
    )
    assert told["change"] is None


def engine(*args: str, image: str = "intel/vllm:0.14.1-xpu", **env: str) -> dict[str, Any]:
    """Anybody's pod that ran out of memory under load."""
    message = Report(
        cause="device_oom_runtime", phase="runtime", helps="arguments", actionable=True, ended=True
    )
    world = failed(message)
    pod = pod_of(world)
    container = pod["spec"]["containers"][0]
    container |= {
        "image": image,
        "command": [],
        "args": list(args),
        "env": [{"name": name, "value": value} for name, value in env.items()],
    }
    pod["metadata"]["labels"] = {}
    return pod


IPEX = ("python3", "-m", "ipex_llm.vllm.xpu.entrypoints.openai.api_server", "--model", "m")


@pytest.mark.parametrize(
    ("pod", "move"),
    [
        (engine(*IPEX, "--num-gpu-blocks-override", "20405"), "lower num-gpu-blocks-override"),
        (engine(*IPEX), "lower max-num-batched-tokens"),
        (engine("serve", "m"), "lower gpu-memory-utilization"),
        (engine("serve", "m", "--kv-cache-memory-bytes=9G"), "lower kv-cache-memory-bytes"),
        (engine("serve", "m", "--num_gpu_blocks_override", "9"), "lower num-gpu-blocks-override"),
        (engine("--model", "m", VLLM_USE_V1="0"), "lower max-num-batched-tokens"),
        (engine("/start.sh", image="intelanalytics/ipex-llm-serving-xpu:0.8.3"),
         "lower max-num-batched-tokens"),
        (engine("/start.sh"), "lower kv-cache-memory-bytes"),
    ],
)  # fmt: skip
def test_a_pod_alone_is_answered_in_the_words_of_its_command(
    pod: dict[str, Any], move: str
) -> None:
    told = answer(pod)
    assert (told["first_move"], told["change"]) == (move, None)
    row = {"id": 1, "pod": pod}
    done = run("--batch", stdin=json.dumps(row))
    assert json.loads(done.stdout)["first_move"] == move


def test_a_pod_of_ours_alone_names_the_argument_that_it_has() -> None:
    told = answer(pod_of(failed(oom())))
    assert told["first_move"] == "lower num-gpu-blocks-override"


def test_a_log_shows_its_generation_by_itself() -> None:
    v0 = log("INFO 07-01 10:00:00 worker.py:1] # GPU blocks: 9", core(SEED_OOM))
    done = run("-", "--exit-code", "1", "-o", "json", stdin=v0)
    assert (
        json.loads(done.stdout)["first_move"]
        == json.loads(run("--batch", stdin=json.dumps({"log": v0, "exit_code": 1})).stdout)[
            "first_move"
        ]
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda w: w.deployment["metadata"]["annotations"].update(
            {names.ANNOTATION_PLAN: "rubbish"}
        ),
        lambda w: w.deployment["metadata"].update(annotations=5),
        lambda w: w.deployment["metadata"]["annotations"].update({names.ANNOTATION_PLAN: 5}),
        lambda w: w.llmd.update(spec={"model": 5}),
        lambda w: w.pods[0]["spec"].update(nodeName=7),
        lambda w: w.pods[0]["status"]["containerStatuses"][0].update(restartCount="x"),
    ],
)
def test_damaged_objects_still_get_an_answer(damage: Any) -> None:
    world = failed(oom())
    damage(world)
    told = answer(pod_of(world), world.deployment, world.llmd)
    assert "num-gpu-blocks-override" in told["operator"]


def test_the_labels_are_those_of_the_operator() -> None:
    assert (seen.LABEL_DEPLOYMENT, seen.LABEL_MANAGED_BY, seen.MANAGER) == (
        names.LABEL_DEPLOYMENT, names.LABEL_MANAGED_BY, names.MANAGER,
    )  # fmt: skip


@pytest.mark.timeout(30)  # the client library's import
@pytest.mark.parametrize(("may", "text"), [(True, "20460 → 14035"), (False, "would lower num-gpu")])
def test_a_live_pod_of_ours(monkeypatch: pytest.MonkeyPatch, may: bool, text: str) -> None:
    from kubernetes import client, config
    from kubernetes.client.exceptions import ApiException

    world = failed(oom())

    def told(value: Any) -> Any:
        return SimpleNamespace(data=json.dumps(value).encode())

    def deployment(name: str, namespace: str, **_: Any) -> Any:
        assert (name, namespace) == (world.llmd["metadata"]["name"], "ns")
        if not may:
            raise ApiException(status=403, reason="Forbidden")
        return told(world.deployment)

    def custom(group: str, version: str, namespace: str, plural: str, name: str, **_: Any) -> Any:
        assert (group, version, plural) == ("xpullm.io", "v1alpha1", "llmdeployments")
        return told(world.llmd)

    core_api = SimpleNamespace(
        read_namespaced_pod=lambda name, namespace, **_: told(pod_of(world)),
        list_namespaced_event=lambda namespace, **_: told({"items": []}),
        read_namespaced_pod_log=lambda *_, **__: SimpleNamespace(data=b""),
    )
    monkeypatch.setattr(config, "load_kube_config", lambda: None)
    monkeypatch.setattr(client, "CoreV1Api", lambda: core_api)
    monkeypatch.setattr(
        client, "AppsV1Api", lambda: SimpleNamespace(read_namespaced_deployment=deployment)
    )
    monkeypatch.setattr(
        client, "CustomObjectsApi", lambda: SimpleNamespace(get_namespaced_custom_object=custom)
    )
    done = run("-n", "ns", "qwen-0", "-o", "json")
    assert done.exit_code == 3
    assert text in json.loads(done.stdout)["operator"]
