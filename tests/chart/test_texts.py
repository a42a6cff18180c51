"""What people and Artifact Hub read of the chart."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from tests.chart.test_chart import CHART, ROOT, Helm

from xpullm.api import parse

METADATA = yaml.safe_load((CHART / "Chart.yaml").read_text())
NOTES = METADATA["annotations"]


def notes(helm: Helm, *settings: str) -> str:
    sets = [word for setting in settings for word in ("--set", setting)]
    where = ("install", "mine", str(CHART), "--dry-run=client", "-n", "here")
    done = helm(*where, *sets)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("\nNOTES:\n")[2]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((), "The CRDs, and every LLMDeployment, stay"),
        (("crds.keep=false",), "deletes the CRDs and EVERY LLMDeployment"),
        (("crds.enabled=false",), "install the CRDs yourself"),
    ],
)
def test_the_notes_say_what_happens_to_crds(
    helm: Helm, settings: tuple[str, ...], said: str
) -> None:
    text = notes(helm, *settings)
    assert said in text
    assert "kubectl -n here rollout status deployment/mine-xpullm" in text
    assert "<no value>" not in text


def test_the_notes_example_is_a_valid_deployment(helm: Helm) -> None:
    manifest = notes(helm).partition("<<'YAML'\n")[2].partition("\n  YAML")[0]
    assert parse(yaml.safe_load(manifest)).metadata.name == "qwen2-7b"


def annotation(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(NOTES[f"artifacthub.io/{name}"])
    return found


def test_the_listed_crds_are_those_of_the_repository() -> None:
    ours = []
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        crd = yaml.safe_load(path.read_text())
        versions = [v["name"] for v in crd["spec"]["versions"]]
        ours += [(crd["metadata"]["name"], crd["spec"]["names"]["kind"], v) for v in versions]
    assert [(c["name"], c["kind"], c["version"]) for c in annotation("crds")] == ours
    assert all(c["displayName"] and c["description"] for c in annotation("crds"))


def test_the_examples_are_valid() -> None:
    examples = annotation("crdsExamples")
    assert examples
    for example in examples:
        assert parse(example).spec.model.id


def test_annotations_are_text_of_artifact_hubs_own_words() -> None:
    """https://artifacthub.io/docs/topics/annotations/helm"""
    assert all(isinstance(value, str) for value in NOTES.values())
    assert NOTES["artifacthub.io/category"] == "ai-machine-learning"
    assert NOTES["artifacthub.io/operatorCapabilities"] in (
        "Basic Install", "Seamless Upgrades", "Full Lifecycle", "Deep Insights", "Auto Pilot",
    )  # fmt: skip
    assert NOTES["artifacthub.io/operator"] in ("true", "false")
