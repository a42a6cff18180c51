"""API conventions on the generated CRDs; names in brackets are kube-api-linter's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.contract.schema_walk import KUBERNETES, Schema, fields

from xpullm.api.crd import custom_resource_definitions

CRDS = {crd["spec"]["names"]["kind"]: crd for crd in custom_resource_definitions()}
# The only booleans: a switch that is named so everywhere in the field, and a fact of config.json.
BOOLEANS = {"spec.suspend", "spec.model.facts.tie_word_embeddings"}
# Maps whose keys are the user's: labels and resource names, as in Kubernetes itself.
MAPS = {
    "spec.pod.labels",
    "spec.pod.annotations",
    "spec.pod.nodeSelector",
    "spec.pod.resources.requests",
    "spec.pod.resources.limits",
}
CAMEL = re.compile(r"^[a-z][a-zA-Z0-9]*$")
SNAKE = re.compile(r"^[a-z][a-z0-9_]*$")


def version(kind: str) -> dict[str, Any]:
    (only,) = CRDS[kind]["spec"]["versions"]
    return dict(only)


def schema(kind: str) -> Schema:
    return dict(version(kind)["schema"]["openAPIV3Schema"])


def ours() -> list[tuple[str, str, Schema]]:
    """(kind, path, field) of every field that we define."""
    return [
        (kind, path, field)
        for kind in CRDS
        for part in ("spec", "status")
        for path, field in fields(schema(kind)["properties"][part], part)
        if path not in KUBERNETES
    ]


FIELDS = ours()


def offending(breaks: Callable[[str, Schema], bool]) -> list[str]:
    return [f"{kind} {path}" for kind, path, field in FIELDS if breaks(path, field)]


def name_of(path: str) -> str:
    return path.rpartition(".")[2]


def is_named(path: str) -> bool:
    return not path.endswith(("[]", "{}"))


def test_the_walk_reaches_the_leaves() -> None:
    paths = {path for _, path, _ in FIELDS}
    assert "spec.pod.env[].valueFrom.secretKeyRef.key" in paths
    assert "spec.pod.labels{}" in paths
    assert "status.entries[].arguments[].value" in paths


def test_commentstart() -> None:
    assert offending(lambda p, f: is_named(p) and not f.get("description")) == []


def test_names_are_camel_case_and_facts_are_as_in_config_json() -> None:
    def breaks(path: str, _: Schema) -> bool:
        style = SNAKE if path.startswith("spec.model.facts.") else CAMEL
        return is_named(path) and not style.match(name_of(path))

    assert offending(breaks) == []


def test_nonullable() -> None:
    assert offending(lambda _, f: "nullable" in f) == []


def test_nofloats() -> None:
    assert offending(lambda _, f: f.get("type") == "number") == []


def test_nobools() -> None:
    assert {p for _, p, f in FIELDS if f.get("type") == "boolean"} == BOOLEANS


def test_nomaps() -> None:
    assert {p for _, p, f in FIELDS if "additionalProperties" in f} == MAPS


def test_nophase() -> None:
    """A failure has a phase of the engine's life; an object has conditions."""
    assert {p for _, p, _ in FIELDS if name_of(p) == "phase"} == {
        "status.healing.history[].phase",
        "spec.entries[].phase",
        "status.entries[].phase",
    }


def test_nodurations_and_notimestamp() -> None:
    bad = ("timestamp", "duration", "interval", "timeout", "period")
    assert offending(lambda p, _: name_of(p).lower().endswith(bad)) == []


def test_maxlength() -> None:
    """Every string, list and map has a bound."""

    def breaks(_: str, field: Schema) -> bool:
        bounds = {"string": "maxLength", "array": "maxItems"}
        bound = bounds.get(field.get("type", ""))
        if "additionalProperties" in field:
            bound = "maxProperties"
        return bound is not None and bound not in field and "enum" not in field

    assert offending(breaks) == []


def test_ssatags() -> None:
    """Every list says how server-side apply merges it, by keys that its items must have."""

    def breaks(_: str, field: Schema) -> bool:
        if field.get("type") != "array":
            return False
        if field.get("x-kubernetes-list-type") == "map":
            keys = set(field["x-kubernetes-list-map-keys"])
            return not keys <= set(field["items"].get("required", ()))
        return field.get("x-kubernetes-list-type") not in ("set", "atomic")

    assert offending(breaks) == []


def test_integers() -> None:
    """int32 or int64, bounded on both sides within it."""
    limits = {"int32": 2**31 - 1, "int64": 2**63 - 1}

    def breaks(_: str, field: Schema) -> bool:
        if field.get("type") != "integer":
            return False
        limit = limits.get(field.get("format", ""), 0)
        return not -limit <= field["minimum"] < field["maximum"] <= limit

    assert offending(breaks) == []


def test_requiredfields() -> None:
    assert (
        offending(lambda _, f: not set(f.get("required", ())) <= set(f.get("properties", ()))) == []
    )


def test_optionalorrequired() -> None:
    """What has a default is not required."""
    assert (
        offending(
            lambda _, f: any("default" in f["properties"][name] for name in f.get("required", ()))
        )
        == []
    )


def test_enums_are_words_and_uniquemarkers() -> None:
    def breaks(_: str, field: Schema) -> bool:
        values = field.get("enum", ())
        words = all(re.match(r"^[A-Z][A-Za-z0-9]*$", value) for value in values)
        return not words or len(set(values)) != len(values)

    assert offending(breaks) == []


@pytest.mark.parametrize("kind", CRDS)
def test_top_level(kind: str) -> None:
    assert list(schema(kind)["properties"]) == ["apiVersion", "kind", "metadata", "spec", "status"]
    assert "status" not in schema(kind).get("required", ()), "[statusoptional]"
    assert "required" not in schema(kind)["properties"]["status"] or kind == "TuningRecord"
    assert "status" in version(kind)["subresources"], "[statussubresource]"
    assert CRDS[kind]["spec"]["group"] == "xpullm.io"
    assert CRDS[kind]["spec"]["scope"] == "Namespaced"
    assert "conversion" not in CRDS[kind]["spec"]


def test_conditions() -> None:
    conditions = schema("LLMDeployment")["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    item = conditions["items"]
    assert sorted(item["required"]) == ["lastTransitionTime", "message", "reason", "status", "type"]
    assert item["properties"]["status"]["enum"] == ["True", "False", "Unknown"]
    limits = {name: field.get("maxLength") for name, field in item["properties"].items()}
    assert (limits["type"], limits["reason"], limits["message"]) == (316, 1024, 32768)


def test_defaults_are_structure_only() -> None:
    """A changed default would rewrite stored objects: none here may matter to a plan."""
    defaults = {
        path: field["default"]
        for kind, path, field in FIELDS
        if "default" in field and field.get("type") != "object"
    }
    assert defaults == {
        "spec.gpu.allocation": "Auto",
        "spec.replicas": 1,
        "spec.suspend": False,
        "spec.healing.mode": "Auto",
        "spec.healing.growth.mode": "Disabled",
        "spec.verification.mode": "BurnIn",
        "spec.service.type": "ClusterIP",
        "spec.service.port": 8000,
    }
    status = schema("LLMDeployment")["properties"]["status"]
    assert status["default"] == {"observedGeneration": -1}


def test_unions_have_no_default() -> None:
    model = schema("LLMDeployment")["properties"]["spec"]["properties"]["model"]["properties"]
    for union in ("source", "cache"):
        assert "default" not in model[union]


def test_pod_gives_no_more_rights_than_scheduling() -> None:
    pod = schema("LLMDeployment")["properties"]["spec"]["properties"]["pod"]["properties"]
    assert sorted(pod) == [
        "affinity", "annotations", "env", "imagePullSecrets", "labels", "nodeSelector",
        "priorityClassName", "resources", "runtimeClassName", "terminationGracePeriodSeconds",
        "tolerations", "topologySpreadConstraints",
    ]  # fmt: skip


def test_printer_columns() -> None:
    columns = version("LLMDeployment")["additionalPrinterColumns"]
    assert [c["name"] for c in columns if not c.get("priority")] == [
        "Model", "GPU", "Context", "Ready", "Reason", "Age",
    ]  # fmt: skip
    assert [c["name"] for c in columns if c.get("priority")] == [
        "Quantization", "Engine", "Attempts",
    ]  # fmt: skip


def test_names() -> None:
    names = {kind: crd["spec"]["names"] for kind, crd in CRDS.items()}
    assert names["LLMDeployment"]["plural"] == "llmdeployments"
    assert names["LLMDeployment"]["shortNames"] == ["llmd"]
    assert names["TuningRecord"]["shortNames"] == ["tr"]


@pytest.mark.parametrize("kind", CRDS)
def test_rules_have_messages_of_their_own(kind: str) -> None:
    """[duplicatemarkers, conflictingmarkers]"""
    for _, field in fields(schema(kind), ""):
        rules = field.get("x-kubernetes-validations", ())
        messages = [rule["message"] for rule in rules]
        assert len(set(messages)) == len(messages)
        assert all(set(rule) <= {"rule", "message", "fieldPath"} for rule in rules)
