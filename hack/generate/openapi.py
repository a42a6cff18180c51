"""Cut the Kubernetes types that our API embeds out of Kubernetes' own OpenAPI document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOTS = ("Affinity", "Toleration", "TopologySpreadConstraint")
CORE = "io.k8s.api.core.v1."


def excerpt(swagger: dict[str, Any], roots: tuple[str, ...] = ROOTS) -> dict[str, Any]:
    """The definitions of `roots` and of everything they refer to, unchanged."""
    found: dict[str, Any] = {}
    todo = [CORE + root for root in roots]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found[name] = swagger["definitions"][name]
        todo += references(found[name])
    return {
        "source": f"kubernetes {swagger['info']['version']}, api/openapi-spec/swagger.json",
        "definitions": dict(sorted(found.items())),
    }


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        here = [node["$ref"].rpartition("/")[2]] if "$ref" in node else []
        return here + [name for below in node.values() for name in references(below)]
    return []


def write(swagger_path: Path, target: Path, version: str) -> None:
    swagger = json.loads(swagger_path.read_text())
    swagger["info"]["version"] = version
    target.write_text(json.dumps(excerpt(swagger), indent=1, ensure_ascii=False) + "\n")
