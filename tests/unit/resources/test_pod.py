"""What single fields of the spec do to the pod."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.resources import builders

from xpullm import catalog
from xpullm.healing.ladder import rules
from xpullm.planner.types import Plan
from xpullm.resources.pod import pod_template
from xpullm.resources.settings import PodSettings
from xpullm_runtime.config import RuntimeConfig
from xpullm_runtime.watch import DEAD_SECONDS


def template(plan: Plan | None = None, **spec: Any) -> dict[str, Any]:
    plan = plan or builders.plan()
    return pod_template(
        builders.llmd(**spec),
        plan,
        catalog.gpus()[plan.gpu],
        allocation="DevicePlugin",
        model_positional=plan.command == ("vllm", "serve"),
        settings=PodSettings(),
    )


def engine(plan: Plan | None = None, **spec: Any) -> dict[str, Any]:
    container: dict[str, Any] = template(plan, **spec)["spec"]["containers"][0]
    return container


def env(container: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}


def test_the_kubelet_never_ends_a_start_before_the_supervisor_does() -> None:
    """Its kill leaves no cause behind: the longest deadline and two burn-ins must fit."""
    deadlines = [move.data.get("limit_seconds", 0) for rule in rules() for move in rule.moves]
    probe = engine()["startupProbe"]
    burn_in = 2 * (RuntimeConfig().burn_in_seconds + DEAD_SECONDS)
    assert max(deadlines) == 7200
    assert probe["periodSeconds"] * probe["failureThreshold"] > 7200 + burn_in


def test_a_serve_command_takes_the_model_first() -> None:
    args = engine(builders.plan(command=("vllm", "serve")))["args"]
    assert args[:5] == ["run", "--", "vllm", "serve", "Qwen/Qwen2-7B-Instruct"]


def test_dollars_reach_the_engine_as_written() -> None:
    flags = (("override-generation-config", '{"x": "$(HF_TOKEN) $$"}'),)
    assert engine(builders.plan(flags=flags))["args"][-1] == '{"x": "$$(HF_TOKEN) $$$$"}'


def test_a_value_that_looks_like_a_flag_stays_a_value() -> None:
    assert engine(builders.plan(flags=(("seed", "-1"),)))["args"][-1] == "--seed=-1"


def test_no_shell_is_between_the_user_and_the_engine() -> None:
    nasty = "; rm -rf / #`id`"
    container = engine(builders.plan(flags=(("served", nasty),)))
    assert nasty in container["args"]
    assert not {"sh", "bash", "-c", "/bin/sh"} & {*container["command"], *container["args"]}


def test_a_claims_model_is_mounted_read_only_and_nothing_is_downloaded() -> None:
    source = {"persistentVolumeClaim": {"claimName": "models", "path": "qwen/7b/"}}
    pod = template(model={"id": "Qwen/Qwen2-7B-Instruct", "source": source})["spec"]
    container = pod["containers"][0]
    assert {
        "name": "model",
        "persistentVolumeClaim": {"claimName": "models", "readOnly": True},
    } in (pod["volumes"])
    assert {"name": "model", "mountPath": "/model", "readOnly": True} in container["volumeMounts"]
    args = container["args"]
    assert args[args.index("--model") + 1] == "/model/qwen/7b"
    assert args[args.index("--served-model-name") + 1] == "Qwen/Qwen2-7B-Instruct"
    assert "--revision" not in args
    assert env(container)["HF_HUB_OFFLINE"] == "1"


def test_an_image_volume_holds_the_model() -> None:
    source = {"image": {"reference": "example.org/qwen2@sha256:abc", "pullPolicy": "IfNotPresent"}}
    pod = template(model={"id": "Qwen/Qwen2-7B-Instruct", "source": source})["spec"]
    image = {"reference": "example.org/qwen2@sha256:abc", "pullPolicy": "IfNotPresent"}
    assert {"name": "model", "image": image} in pod["volumes"]


@pytest.mark.parametrize(
    ("source", "variables"),
    [
        (
            {
                "huggingFace": {
                    "endpoint": "https://hub.example.org",
                    "tokenSecretRef": {"name": "hub", "key": "token"},
                }
            },
            {
                "HF_ENDPOINT": "https://hub.example.org",
                "HF_TOKEN": {"secretKeyRef": {"name": "hub", "key": "token"}},
            },
        ),
        (
            {"modelScope": {"tokenSecretRef": {"name": "ms", "key": "token"}}},
            {
                "VLLM_USE_MODELSCOPE": "True",
                "MODELSCOPE_API_TOKEN": {"secretKeyRef": {"name": "ms", "key": "token"}},
            },
        ),
    ],
)
def test_hubs_get_their_endpoint_and_token(source: Any, variables: dict[str, Any]) -> None:
    found = env(engine(model={"id": "Qwen/Qwen2-7B-Instruct", "source": source}))
    assert variables.items() <= found.items()


def test_a_hub_chooses_where_the_plan_names_no_revision() -> None:
    source = {"modelScope": {}}
    model = {"id": "Qwen/Qwen2-7B-Instruct", "source": source}
    args = engine(builders.plan(revision=""), model=model)["args"]
    assert "--revision" not in args
    assert model["id"] in args


def test_the_api_key_comes_from_its_secret_whatever_the_environment_says() -> None:
    found = env(
        engine(
            serving={"apiKeySecretRef": {"name": "keys", "key": "k"}},
            engine={"env": [{"name": "VLLM_API_KEY", "value": "open"}]},
        )
    )
    assert found["VLLM_API_KEY"] == {"secretKeyRef": {"name": "keys", "key": "k"}}


def test_engine_env_wins_over_pod_env_over_the_plan() -> None:
    found = env(
        engine(
            pod={"env": [{"name": "USE_XETLA", "value": "pod"}, {"name": "A", "value": "pod"}]},
            engine={"env": [{"name": "USE_XETLA", "value": "engine"}]},
        )
    )
    assert (found["USE_XETLA"], found["A"]) == ("engine", "pod")


def test_the_users_host_resources_are_kept_and_spelled_as_stored() -> None:
    resources = engine(
        pod={"resources": {"requests": {"cpu": "4000m"}, "limits": {"ephemeral-storage": "1024Mi"}}}
    )["resources"]
    assert resources == {
        "requests": {"cpu": "4", "memory": "20Gi", "gpu.intel.com/i915": "1"},
        "limits": {"ephemeral-storage": "1Gi", "memory": "24Gi", "gpu.intel.com/i915": "1"},
    }


def test_scheduling_fields_are_passed_on_and_reserved_labels_stay_ours() -> None:
    built = template(
        pod={
            "labels": {"team": "a"},
            "annotations": {"note": "b"},
            "nodeSelector": {"zone": "1"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "priorityClassName": "high",
            "runtimeClassName": "kata",
            "imagePullSecrets": [{"name": "pull"}],
            "terminationGracePeriodSeconds": 10,
        }
    )
    assert built["metadata"]["labels"]["team"] == "a"
    assert built["metadata"]["labels"]["xpullm.io/deployment"] == "qwen2-7b"
    assert built["metadata"]["annotations"]["note"] == "b"
    spec = built["spec"]
    assert spec["nodeSelector"] == {"zone": "1"}
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert spec["priorityClassName"] == "high"
    assert spec["runtimeClassName"] == "kata"
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["terminationGracePeriodSeconds"] == 10
    assert '"grace_seconds":5.0' in env(spec["containers"][0])["XPULLM_RUNTIME"]


def test_burn_in_can_be_left_out() -> None:
    assert "burn_in" not in env(engine(verification={"mode": "None"}))["XPULLM_RUNTIME"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({}, True),
        ({"huggingFace": {"endpoint": "https://hf-mirror.com"}}, True),
        ({"modelScope": {}}, False),
        ({"persistentVolumeClaim": {"claimName": "models"}}, False),
        ({"image": {"reference": "models/qwen2:1"}}, False),
    ],
)
def test_the_supervisor_knows_what_is_loaded_from_the_hub(
    source: dict[str, Any], told: bool
) -> None:
    model = {"id": "Qwen/Qwen2-7B-Instruct", "revision": "v2", "source": source}
    plan = builders.plan(revision="v2")
    config = json.loads(env(engine(plan, model=model))["XPULLM_RUNTIME"])
    named = (config.get("model_id"), config.get("model_revision"))
    assert named == (("Qwen/Qwen2-7B-Instruct", "v2") if told else (None, None))


def test_the_users_affinity_is_multiplied_with_ours_and_avoided_nodes_are_left_out() -> None:
    mine = {"key": "zone", "operator": "In", "values": ["a"]}
    other = {"key": "zone", "operator": "In", "values": ["b"]}
    affinity = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [mine]}, {"matchExpressions": [other]}]
            },
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "preference": {"matchExpressions": [mine]}}
            ],
        },
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []},
    }
    plan = builders.plan(avoid_nodes=("node-b", "node-a"))
    built = template(plan, pod={"affinity": affinity})["spec"]["affinity"]
    terms = built["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert len(terms) == 3 * 2
    shun = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["node-a", "node-b"]}
    label = {"key": "xpullm.io/gpu-type", "operator": "In", "values": ["arc-a770-16g"]}
    assert terms[0] == {"matchExpressions": [label, mine, shun]}
    assert terms[1] == {"matchExpressions": [label, other, shun]}
    assert "preferredDuringSchedulingIgnoredDuringExecution" in built["nodeAffinity"]
    assert "podAntiAffinity" in built


def test_a_claim_replaces_the_device_plugins_resource() -> None:
    card = catalog.gpus()["arc-a770-16g"]
    built = pod_template(
        builders.llmd(),
        builders.plan(),
        card,
        allocation="ResourceClaim",
        model_positional=False,
        settings=PodSettings(),
        claim_template="qwen2-7b-gpu-12345678",
    )
    assert built["spec"]["resourceClaims"] == [
        {"name": "gpu", "resourceClaimTemplateName": "qwen2-7b-gpu-12345678"}
    ]
    assert built["spec"]["containers"][0]["resources"] == {
        "requests": {"memory": "20Gi"},
        "limits": {"memory": "24Gi"},
        "claims": [{"name": "gpu"}],
    }
