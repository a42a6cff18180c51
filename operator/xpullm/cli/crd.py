"""`xpullm crd`: the CustomResourceDefinitions, as they are checked in under crds/."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer


class CrdOutput(StrEnum):
    YAML = "yaml"
    JSON = "json"


def crd(
    output: Annotated[
        CrdOutput, typer.Option("--output", "-o", help="YAML documents, or one v1 List as JSON.")
    ] = CrdOutput.YAML,
) -> None:
    """Print the CRDs, for `kubectl apply --server-side -f -`."""
    from xpullm.api.crd import custom_resource_definitions, to_yaml

    crds = custom_resource_definitions()
    if output is CrdOutput.JSON:
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": crds}, indent=2))
    else:
        print("---\n".join(map(to_yaml, crds)), end="")
