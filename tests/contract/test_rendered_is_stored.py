"""What is rendered comes back from the API server with the same leaves, in the same spelling.

Else every pass would see drift and write for ever.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.contract.api_client import ApiClient
from tests.contract.manifests import with_value
from tests.contract.rows import Row
from tests.contract.test_rendered_objects import ACCEPTED, COLLECTIONS, children
from tests.unit.resources import builders

from xpullm.controller.canonical import holds

pytestmark = pytest.mark.cluster


def respelled(wanted: Any, live: Any, path: str = "") -> list[str]:
    """Leaves that the server holds in another spelling, or not at all."""
    if isinstance(wanted, dict):
        known = live if isinstance(live, dict) else {}
        return [p for k, v in wanted.items() for p in respelled(v, known.get(k), f"{path}.{k}")]
    if isinstance(wanted, list):
        known_list = live if isinstance(live, list) else []
        if len(known_list) != len(wanted):
            return [f"{path}: {live!r} for {wanted!r}"] if wanted else []
        pairs = enumerate(zip(wanted, known_list, strict=True))
        return [p for i, (a, b) in pairs for p in respelled(a, b, f"{path}[{i}]")]
    return [] if wanted == live else [f"{path}: {live!r} for {wanted!r}"]


def stored(api: ApiClient, namespace: str, child: dict[str, Any]) -> dict[str, Any]:
    path = COLLECTIONS[child["kind"]].format(namespace)
    answer = api.request("POST", f"{path}?dryRun=All&fieldValidation=Strict", child)
    assert answer.code == 201, answer.message
    return answer.body


@pytest.mark.parametrize("row", ACCEPTED, ids=str)
def test_every_field_comes_back_as_rendered(api: ApiClient, namespace: str, row: Row) -> None:
    manifest = with_value("LLMDeployment", row.where, row.accepted)
    manifest["metadata"] |= {"namespace": namespace, "uid": "11111111-2222-3333-4444-555555555555"}
    for child in children(manifest):
        live = stored(api, namespace, child)
        assert respelled(child, live) == []
        assert holds(child, live)


def test_what_users_write_loosely_is_rendered_as_stored(api: ApiClient, namespace: str) -> None:
    manifest = builders.manifest(
        engine={"env": [{"name": "EMPTY", "value": ""}]},
        model={
            "id": "Qwen/Qwen2-7B-Instruct",
            "cache": {"persistentVolumeClaim": {"size": "20480Mi"}},
        },
        pod={
            "tolerations": [{"key": "", "operator": "Exists", "value": "", "effect": ""}],
            "affinity": {
                "podAntiAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "weight": 1,
                            "podAffinityTerm": {
                                "topologyKey": "kubernetes.io/hostname",
                                "labelSelector": {},
                            },
                        }
                    ]
                }
            },
            "resources": {
                "requests": {"cpu": "2000m", "ephemeral-storage": "1.5Gi"},
                "limits": {"cpu": 4, "ephemeral-storage": "1e10"},
            },
            "terminationGracePeriodSeconds": 0,
        },
    )
    manifest["metadata"]["namespace"] = namespace
    for child in children(manifest):
        live = stored(api, namespace, child)
        assert respelled(child, live) == []
        assert holds(child, live)
