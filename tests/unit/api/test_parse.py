"""`parse` refuses what the API server refuses: the same table, without a server."""

from __future__ import annotations

from typing import Any

import pytest
from tests.contract.manifests import llmdeployment, tuning_record, with_value
from tests.contract.rows import Row
from tests.contract.table import NAME_RULE, TABLE

from xpullm.api import (
    Argument,
    LLMDeployment,
    ManifestError,
    Problem,
    TuningRecord,
    parse,
    parse_tuning_record,
)
from xpullm.api.schema import schema_problems

PARSERS = {"LLMDeployment": parse, "TuningRecord": parse_tuning_record}
# Transitions need the stored object; types that Kubernetes defines are `schema_problems`' matter.
OFFLINE = [
    (kind, row)
    for kind, row in TABLE
    if row.path.startswith("spec") and row.before is None and row.rule != "kubernetes"
]
EMBEDDED = [(kind, row) for kind, row in TABLE if row.rule == "kubernetes"]
rows = pytest.mark.parametrize(("kind", "row"), OFFLINE, ids=lambda value: str(value))


def problems(manifest: Any) -> list[Problem]:
    with pytest.raises(ManifestError) as caught:
        parse(manifest)
    return list(caught.value.problems)


@rows
def test_rule(kind: str, row: Row) -> None:
    PARSERS[kind](with_value(kind, row.where, row.accepted))
    with pytest.raises(ManifestError) as caught:
        PARSERS[kind](with_value(kind, row.where, row.rejected))
    if row.rule.startswith("cel:"):
        assert row.rule.removeprefix("cel:") in [p.message for p in caught.value.problems]


@pytest.mark.parametrize(("kind", "row"), EMBEDDED, ids=lambda value: str(value))
def test_embedded_kubernetes_type(kind: str, row: Row) -> None:
    assert schema_problems(with_value(kind, row.where, row.accepted)) == ()
    assert len(schema_problems(with_value(kind, row.where, row.rejected))) == 1


@pytest.mark.parametrize(("kind", "row"), TABLE, ids=lambda value: str(value))
def test_schema_finds_nothing_in_what_is_accepted(kind: str, row: Row) -> None:
    manifest = with_value(kind, row.where, row.accepted)
    assert schema_problems(manifest, ("spec", "status")) == ()


def test_minimal_manifest() -> None:
    deployment = parse(llmdeployment())
    assert isinstance(deployment, LLMDeployment)
    spec = deployment.spec
    assert spec.model.id == "Qwen/Qwen2-7B-Instruct"
    assert (spec.replicas, spec.suspend, spec.quantization) == (1, False, None)
    assert (spec.gpu.type, spec.gpu.count, spec.gpu.allocation) == (None, None, "Auto")
    assert (spec.healing.mode, spec.healing.max_attempts) == ("Auto", 6)
    assert spec.healing.may_change == ("Arguments",)
    growth = spec.healing.growth
    assert (growth.mode, growth.after_healthy_seconds, growth.target_utilization_percent) == (
        "Disabled", 3600, 80,
    )  # fmt: skip
    assert (spec.service.type, spec.service.port) == ("ClusterIP", 8000)


def test_attributes_are_snake_case() -> None:
    deployment = parse(
        llmdeployment(
            serving={"contextLength": 8192, "minConcurrency": 2},
            engine={"args": [{"name": "max-num-seqs", "value": "4"}, {"name": "enforce-eager"}]},
        )
    )
    assert deployment.spec.serving.context_length == 8192
    assert deployment.spec.serving.min_concurrency == 2
    assert deployment.spec.engine.args == (
        Argument(name="max-num-seqs", value="4"),
        Argument(name="enforce-eager"),
    )


def test_facts_keep_names_and_everything_unknown() -> None:
    manifest = llmdeployment()
    manifest["spec"]["model"]["facts"] = {
        "num_hidden_layers": 28,
        "rope_theta": 1e6,
        "sliding_window": None,
        "text_config": {"hidden_size": 64},
    }
    facts = parse(manifest).spec.model.facts
    assert facts is not None
    assert facts.num_hidden_layers == 28
    assert facts.as_config() == {
        "num_hidden_layers": 28,
        "rope_theta": 1e6,
        "text_config": {"hidden_size": 64},
    }


def test_models_are_frozen() -> None:
    spec = parse(llmdeployment()).spec
    with pytest.raises(ValueError, match="frozen"):
        spec.replicas = 2  # type: ignore[misc]


def test_every_problem_is_told_with_path_and_value() -> None:
    manifest = llmdeployment(
        replicas=-1,
        service={"port": 0, "type": "Public"},
        engine={"args": [{"name": "max-num-seqs", "value": 4}]},
    )
    assert [(p.path, p.value, p.message) for p in problems(manifest)] == [
        ("spec.engine.args[0].value", "4", "must be a string: write it in quotes"),
        ("spec.replicas", "-1", "must be at least 0"),
        ("spec.service.type", "Public", "must be 'ClusterIP', 'NodePort' or 'LoadBalancer'"),
        ("spec.service.port", "0", "must be at least 1"),
    ]


def test_rules_are_told_with_the_field_they_are_about() -> None:
    manifest = llmdeployment(
        serving={"contextLength": 4096, "minContextLength": 8192},
        engine={"args": [{"name": "port", "value": "1"}, {"name": "port"}]},
    )
    assert [(p.path, p.value) for p in problems(manifest)] == [
        ("spec.engine.args[1]", "port"),
        ("spec.engine.args[0].name", "port"),
        ("spec.engine.args[1].name", "port"),
        ("spec.serving.minContextLength", "8192"),
    ]


@pytest.mark.parametrize("name", ["qwen2.5", "7b", "Upper", "-a", "a" * 51, ""])
def test_name_must_be_a_label(name: str) -> None:
    assert problems(llmdeployment(name)) == [Problem("metadata.name", name, NAME_RULE)]


@pytest.mark.parametrize("manifest", [None, [], "text", 3])
def test_no_mapping(manifest: Any) -> None:
    assert [p.message for p in problems(manifest)] == ["must be a mapping"]


def test_wrong_kind() -> None:
    assert problems({"kind": "Pod", "apiVersion": "v1"}) == [
        Problem("apiVersion", "v1", "must be xpullm.io/v1alpha1"),
        Problem("kind", "Pod", "must be LLMDeployment"),
    ]


def test_missing_spec() -> None:
    manifest = llmdeployment()
    del manifest["spec"]
    assert problems(manifest) == [Problem("spec", "", "is required")]


def test_values_are_shown_short_and_harmless() -> None:
    (problem,) = problems(llmdeployment(quantization="\x1b[31m" + "x" * 200))
    assert problem.value == "?[31m" + "x" * 74 + "…"


def test_a_status_that_cannot_be_read_is_no_status() -> None:
    manifest = llmdeployment() | {"status": {"replicas": "many"}}
    assert parse(manifest).status.replicas is None
    assert parse(llmdeployment() | {"status": {"replicas": 2}}).status.replicas == 2


def test_stored_objects_are_not_checked_again() -> None:
    manifest = llmdeployment("a.b")
    assert parse(manifest, check=False).metadata.name == "a.b"


def test_tuning_record_round_trip() -> None:
    entry = {
        "arguments": [{"name": "max-num-seqs", "value": "4"}],
        "outcome": "Failed",
        "cause": "device_oom",
        "plannedBytes": 12_000_000_000,
    }
    status = {
        "model": "a/b", "engineImage": "x/y:z", "gpu": "arc-b580", "gpuCount": 1,
        "entries": [entry],
    }  # fmt: skip
    record = parse_tuning_record(tuning_record("tr-1", status=status))
    assert isinstance(record, TuningRecord)
    assert record.status is not None
    assert record.status.to_manifest() == status


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        ({"quantisation": "fp8"}, "spec.quantisation",
         "unknown field: did you mean `quantization`?"),
        ({"gpu": {"kind": "a"}}, "spec.gpu.kind",
         "unknown field: must be one of allocation, count, type"),
        ({"pod": {"affinity": {"podAfinity": {}}}}, "spec.pod.affinity.podAfinity",
         "unknown field: did you mean `podAffinity`?"),
        ({"suspend": 1}, "spec.suspend", "must be of type boolean"),
        ({"replicas": True}, "spec.replicas", "must be of type integer"),
        ({"gpu": {"allocation": "Manual"}}, "spec.gpu.allocation",
         "must be one of Auto, DevicePlugin, ResourceClaim"),
        ({"engine": {"args": [{}]}}, "spec.engine.args[0].name", "is required"),
    ],
)  # fmt: skip
def test_schema_problems(spec: dict[str, Any], path: str, message: str) -> None:
    (problem,) = schema_problems(llmdeployment(**spec))
    assert (problem.path, problem.message) == (path, message)
