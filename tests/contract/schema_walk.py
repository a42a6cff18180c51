"""Every rule that a structural schema states, as (path, rule) pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

BOUNDS = (
    "pattern", "minLength", "maxLength", "minItems", "maxItems", "maxProperties",
    "minimum", "maximum",
)  # fmt: skip
# Types that Kubernetes defines: their rules are Kubernetes' own, tried as a whole.
KUBERNETES = frozenset(
    {
        "spec.pod.affinity",
        "spec.pod.tolerations[]",
        "spec.pod.topologySpreadConstraints[]",
    }
)


def fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """The field at `path` and all below it; `[]` marks list items, `{}` values of maps."""
    yield path, schema
    if path in KUBERNETES:
        return
    for name, below in schema.get("properties", {}).items():
        yield from fields(below, f"{path}.{name}")
    if "items" in schema:
        yield from fields(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from fields(schema["additionalProperties"], f"{path}{{}}")


def rules(schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    for here, field in fields(schema, path):
        if here in KUBERNETES:
            yield here, "kubernetes"
            continue
        yield from ((here, bound) for bound in BOUNDS if bound in field)
        yield from ((here, f"enum:{value}") for value in field.get("enum", ()))
        yield from ((f"{here}.{name}", "required") for name in field.get("required", ()))
        yield from (
            (here, f"cel:{rule['message']}") for rule in field.get("x-kubernetes-validations", ())
        )
        if field.get("x-kubernetes-list-type") in ("set", "map"):
            yield here, "unique"
        if field.get("format") == "date-time":
            yield here, "format"
