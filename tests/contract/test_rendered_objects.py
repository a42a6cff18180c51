"""What our schema accepts must render into objects that the API server accepts too: a refused
child would be a spec that looks fine and never runs."""

from __future__ import annotations

from typing import Any

import pytest
from tests.contract.api_client import ApiClient
from tests.contract.manifests import with_value
from tests.contract.rows import Row
from tests.contract.table import TABLE
from tests.unit.resources import builders

from xpullm import catalog
from xpullm.api import parse
from xpullm.resources import others
from xpullm.resources.deployment import deployment, truth_of
from xpullm.resources.pod import pod_template
from xpullm.resources.settings import PodSettings

pytestmark = pytest.mark.cluster

ACCEPTED = [row for kind, row in TABLE if kind == "LLMDeployment" and row.path.startswith("spec")]
COLLECTIONS = {
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Service": "/api/v1/namespaces/{}/services",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "ResourceClaimTemplate": "/apis/resource.k8s.io/v1/namespaces/{}/resourceclaimtemplates",
}


def children(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Every object that one LLMDeployment renders into."""
    llmd = parse(manifest)
    cards = catalog.gpus()
    card = cards["arc-a770-16g"]
    allocation = llmd.spec.gpu.allocation.replace("Auto", "DevicePlugin")
    claim = others.claim_template_name(llmd.metadata.name, card, 1, cards.values())
    template = pod_template(
        llmd, builders.plan(), card, allocation=allocation, model_positional=False,
        settings=PodSettings(), claim_template=claim,
    )  # fmt: skip
    truth = truth_of("inputs", "plan", "[]", 0, template)
    objects = [
        deployment(manifest, truth, replicas=llmd.spec.replicas, all_at_once=False),
        others.service(manifest, llmd),
        others.claim_template(manifest, claim, card, 1, cards.values()),
    ]
    cache = others.cache_claim(manifest, llmd, None)
    return objects if cache is None else [*objects, cache]


@pytest.mark.parametrize("row", ACCEPTED, ids=str)
def test_children_are_accepted(api: ApiClient, namespace: str, row: Row) -> None:
    manifest = with_value("LLMDeployment", row.where, row.accepted)
    manifest["metadata"] |= {"namespace": namespace, "uid": "11111111-2222-3333-4444-555555555555"}
    refused = []
    for child in children(manifest):
        path = COLLECTIONS[child["kind"]].format(namespace)
        answer = api.request("POST", f"{path}?dryRun=All&fieldValidation=Strict", child)
        if answer.code != 201:
            refused.append(answer.message)
    assert refused == []
