"""A real API server takes everything that the chart renders, strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.cluster import Cluster
from tests.chart.test_values import CHART, POD
from tests.cluster.controller_world import install_crds

pytestmark = [pytest.mark.cluster]

EVERYTHING = {
    **POD,
    "replicaCount": 2,
    "networkPolicy": {"enabled": True},
    "extraEnv": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    "podLabels": {"team": "a"},
    "podAnnotations": {"note": "b"},
    "serviceAccount": {"name": "mine", "annotations": {"note": "c"}},
    "image": {"digest": "sha256:" + "0" * 64},
}


@pytest.mark.parametrize("all_on", [False, True], ids=["defaults", "everything on"])
def test_the_api_server_accepts_it(
    cluster: Cluster, namespace: str, tmp_path: Path, all_on: bool
) -> None:
    values: dict[str, Any] = EVERYTHING | {"watchNamespaces": [namespace]} if all_on else {}
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    text = cluster.helm("template", "xpullm", str(CHART), "-n", namespace, "-f", str(file)).stdout
    count = sum(1 for document in yaml.safe_load_all(text) if document)
    dry_run = ("--dry-run=server", "--validate=strict", "--force-conflicts", "-f", "-")
    done = cluster.kubectl("apply", "--server-side", *dry_run, stdin=text)
    assert len(done.stdout.splitlines()) == count
    assert "warning" not in done.stderr.lower()


def test_crds_applied_by_hand_are_taken_over_where_asked(cluster: Cluster, namespace: str) -> None:
    install_crds(cluster)
    install = ("install", "mine", str(CHART), "-n", namespace, "--dry-run=server")
    refused = cluster.helm(*install, check=False)
    assert refused.returncode != 0
    assert "invalid ownership metadata" in refused.stderr
    cluster.helm(*install, "--take-ownership")
    cluster.helm(*install, "--set=crds.enabled=false")
