"""What users of the API server rely on: strict validation, server-side apply, scale, status."""

from __future__ import annotations

import copy
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.cluster.cluster import Cluster
from tests.contract.api_client import ApiClient
from tests.contract.manifests import RECORD, llmdeployment, tuning_record
from tests.kstatus import compute

pytestmark = pytest.mark.cluster

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


@pytest.fixture
def name() -> str:
    return f"llm-{uuid.uuid4().hex[:8]}"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_valid(crds: Cluster, namespace: str, example: Path) -> None:
    said = crds.kubectl(
        "apply", "--server-side", "--validate=strict", "--dry-run=server", "-n", namespace,
        "-f", str(example),
    ).stdout  # fmt: skip
    documents = list(yaml.safe_load_all(example.read_text()))
    assert said.count("serverside-applied (server dry run)") == len(documents)


@pytest.mark.parametrize(
    ("path", "spec"),
    [
        ("spec.gpus", {"gpus": {"count": 1}}),
        ("spec.serving.maxModelLen", {"serving": {"maxModelLen": 4096}}),
        ("spec.pod.hostNetwork", {"pod": {"hostNetwork": True}}),
        ("spec.pod.serviceAccountName", {"pod": {"serviceAccountName": "admin"}}),
        ("spec.pod.securityContext", {"pod": {"securityContext": {"privileged": True}}}),
        ("spec.pod.affinity.gpuAffinity", {"pod": {"affinity": {"gpuAffinity": {}}}}),
        ("spec.engine.args[0].flag", {"engine": {"args": [{"name": "x", "flag": "y"}]}}),
    ],
)
def test_unknown_field_is_refused(
    api: ApiClient, namespace: str, path: str, spec: dict[str, Any]
) -> None:
    answer = api.create(llmdeployment(**spec), namespace, dry_run=True)
    assert answer.code == 400
    assert f'unknown field "{path}"' in answer.message


@pytest.mark.parametrize("spec", [{"quantization": None}, {"replicas": None, "service": None}])
def test_null_is_the_same_as_absent(api: ApiClient, namespace: str, spec: dict[str, Any]) -> None:
    with_null = api.create(llmdeployment(**spec), namespace, dry_run=True)
    without = api.create(llmdeployment(), namespace, dry_run=True)
    assert with_null.code == 201
    assert with_null.body["spec"] == without.body["spec"]


def test_null_for_a_required_field_is_refused(api: ApiClient, namespace: str) -> None:
    answer = api.create(llmdeployment(model=None), namespace, dry_run=True)
    assert answer.code == 422
    assert "spec.model: Required value" in answer.message


def test_facts_keep_what_the_api_does_not_know(api: ApiClient, namespace: str, name: str) -> None:
    facts = {"num_hidden_layers": 28, "rope_theta": 1000000.5, "text_config": {"hidden_size": 64}}
    manifest = llmdeployment(name)
    manifest["spec"]["model"]["facts"] = facts
    assert api.create(manifest, namespace).code == 201
    assert api.get("LLMDeployment", namespace, name)["spec"]["model"]["facts"] == facts


def test_never_seen_object_is_in_progress(api: ApiClient, namespace: str, name: str) -> None:
    api.create(llmdeployment(name), namespace)
    stored = api.get("LLMDeployment", namespace, name)
    assert stored["status"] == {"observedGeneration": -1}
    assert compute(stored) == "InProgress"


def test_schema_adds_structure_and_nothing_that_a_plan_depends_on(
    api: ApiClient, namespace: str, name: str
) -> None:
    api.create(llmdeployment(name), namespace)
    assert api.get("LLMDeployment", namespace, name)["spec"] == {
        "model": {"id": "Qwen/Qwen2-7B-Instruct"},
        "gpu": {"allocation": "Auto"},
        "replicas": 1,
        "suspend": False,
        "healing": {"mode": "Auto", "growth": {"mode": "Disabled"}},
        "verification": {"mode": "BurnIn"},
        "service": {"type": "ClusterIP", "port": 8000},
    }


def test_scale_subresource(api: ApiClient, namespace: str, name: str) -> None:
    api.create(llmdeployment(name), namespace)
    status = {"replicas": 1, "readyReplicas": 1, "selector": f"xpullm.io/llmd={name}"}
    api.merge("LLMDeployment", namespace, f"{name}/status", {"status": status})
    scale = api.get("LLMDeployment", namespace, name, "/scale")
    assert scale["spec"] == {"replicas": 1}
    assert scale["status"] == {"replicas": 1, "selector": f"xpullm.io/llmd={name}"}

    answer = api.merge("LLMDeployment", namespace, f"{name}/scale", {"spec": {"replicas": 3}})
    assert answer.code == 200
    stored = api.get("LLMDeployment", namespace, name)
    assert stored["spec"]["replicas"] == 3
    assert stored["metadata"]["generation"] == 2


def test_kubectl_scales_and_lists(crds: Cluster, namespace: str, name: str) -> None:
    crds.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(llmdeployment(name)))
    crds.kubectl("scale", "-n", namespace, f"llmd/{name}", "--replicas=2")
    wide = crds.kubectl("get", "llm", "-n", namespace, "-o", "wide").stdout
    assert wide.splitlines()[0].split() == [
        "NAME", "MODEL", "GPU", "CONTEXT", "READY", "REASON", "AGE", "QUANTIZATION", "ENGINE",
        "ATTEMPTS",
    ]  # fmt: skip
    assert f"{name} " in wide


def test_printer_columns_of_both_parts_of_a_tuning_record(
    api: ApiClient, crds: Cluster, namespace: str, name: str
) -> None:
    api.create(tuning_record(f"{name}-user", spec=RECORD), namespace)
    api.create(tuning_record(f"{name}-learned"), namespace)
    api.merge("TuningRecord", namespace, f"{name}-learned/status", {"status": RECORD})
    rows = crds.kubectl("get", "tr", "-n", namespace, "--no-headers").stdout.splitlines()
    shown = {row.split()[0]: row.split()[1:3] for row in rows}
    assert shown[f"{name}-user"] == ["a/b", "arc-a770-16g"]
    assert shown[f"{name}-learned"] == ["a/b", "arc-a770-16g"]


def test_two_appliers_share_a_list_by_name(api: ApiClient, namespace: str, name: str) -> None:
    """Server-side apply merges `engine.args` item by item; what one drops, the other keeps."""
    first = llmdeployment(name, engine={"args": [{"name": "max-num-seqs", "value": "4"}]})
    second = {**first, "spec": {"engine": {"args": [{"name": "enforce-eager"}]}}}
    assert api.apply(first, namespace, manager="git").code == 201
    assert api.apply(second, namespace, manager="person").code == 200
    stored = api.get("LLMDeployment", namespace, name)["spec"]["engine"]["args"]
    assert stored == [{"name": "max-num-seqs", "value": "4"}, {"name": "enforce-eager"}]

    without = llmdeployment(name, engine={})
    assert api.apply(without, namespace, manager="git").code == 200
    stored = api.get("LLMDeployment", namespace, name)["spec"]["engine"]["args"]
    assert stored == [{"name": "enforce-eager"}]


def test_apply_conflicts_name_the_field_and_the_owner(
    api: ApiClient, namespace: str, name: str
) -> None:
    api.apply(llmdeployment(name, quantization="fp8"), namespace, manager="git")
    other = llmdeployment(name, quantization="sym_int4")
    answer = api.apply(other, namespace, manager="person", force=False)
    assert answer.code == 409
    assert ".spec.quantization" in answer.message
    assert 'conflict with "git"' in answer.message


def test_source_can_be_switched_by_apply(api: ApiClient, namespace: str, name: str) -> None:
    """A union without a default: the old member goes when its only owner drops it."""
    manifest = llmdeployment(name)
    manifest["spec"]["model"]["source"] = {"modelScope": {}}
    assert api.apply(manifest, namespace).code == 201
    switched = copy.deepcopy(manifest)
    switched["spec"]["model"]["source"] = {"persistentVolumeClaim": {"claimName": "c"}}
    assert api.apply(switched, namespace).code == 200
    stored = api.get("LLMDeployment", namespace, name)["spec"]["model"]["source"]
    assert stored == {"persistentVolumeClaim": {"claimName": "c"}}


def test_applying_the_same_again_changes_nothing(api: ApiClient, namespace: str, name: str) -> None:
    manifest = yaml.safe_load(EXAMPLES[0].read_text())
    manifest["metadata"]["name"] = name
    api.apply(manifest, namespace)
    # Until a first status is written, the status default exists only in what is read.
    status = {"observedGeneration": 1}
    api.merge("LLMDeployment", namespace, f"{name}/status", {"status": status})
    before = api.get("LLMDeployment", namespace, name)["metadata"]["resourceVersion"]
    api.apply(manifest, namespace)
    assert api.get("LLMDeployment", namespace, name)["metadata"]["resourceVersion"] == before


def test_status_is_not_written_with_the_spec(api: ApiClient, namespace: str, name: str) -> None:
    api.create({**llmdeployment(name), "status": {"endpoint": "http://forged"}}, namespace)
    assert api.get("LLMDeployment", namespace, name)["status"] == {"observedGeneration": -1}
    patch = {"status": {"observedGeneration": 1}, "spec": {"replicas": 9}}
    api.merge("LLMDeployment", namespace, f"{name}/status", patch)
    stored = api.get("LLMDeployment", namespace, name)
    assert (stored["spec"]["replicas"], stored["status"]["observedGeneration"]) == (1, 1)
    assert stored["metadata"]["generation"] == 1
