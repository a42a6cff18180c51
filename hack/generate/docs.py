"""docs/api.md from the CRDs: every field with type, bounds and rules, and every reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xpullm.api.parse import join
from xpullm.api.reasons import EVENT_REASON_TEXT, REASON_TEXT

Schema = dict[str, Any]

HEAD = """\
# API reference

Made from the API's models by `make generate`; do not edit.

Group `xpullm.io`, version `v1alpha1`. A field without "required" is optional. Defaults shown here
are set by the API server; what the planner chooses for absent fields is recorded in
`status.plan`. Lists of named objects are merged by name, so server-side apply works item by item.
Names of cards, engines, quantizations and models are in the [catalogue](catalogue.md).

Whoever may create an LLMDeployment may in effect create pods in that namespace, with its Secrets
and PersistentVolumeClaims.
"""
KUBERNETES = {"affinity": "Affinity", "tolerations": "Toleration",
              "topologySpreadConstraints": "TopologySpreadConstraint"}  # fmt: skip


def api_reference(crds: Sequence[Schema]) -> str:
    parts = [HEAD]
    for crd in crds:
        names = crd["spec"]["names"]
        version = crd["spec"]["versions"][0]
        schema = version["schema"]["openAPIV3Schema"]
        short = ", ".join(f"`{name}`" for name in names["shortNames"])
        parts.append(f"\n## {names['kind']}\n\n{schema['description']} Short name: {short}.\n")
        parts += [f"- Rule: {_cell(rule)}\n" for rule in _messages(schema)]
        for part in ("spec", "status"):
            parts.append(f"\n### {names['kind']} {part}\n\n")
            parts.append("| Field | Type | Meaning |\n|---|---|---|\n")
            parts += [
                f"| `{path}` | {_cell(kind)} | {_cell(text)} |\n"
                for path, kind, text in rows(schema["properties"][part], part)
            ]
    parts.append("\n## Condition reasons\n\n| Reason | Meaning |\n|---|---|\n")
    parts += [f"| `{reason}` | {_cell(text)} |\n" for reason, text in REASON_TEXT.items()]
    parts.append("\n## Event reasons\n\n| Reason | Meaning |\n|---|---|\n")
    parts += [f"| `{reason}` | {_cell(text)} |\n" for reason, text in EVENT_REASON_TEXT.items()]
    return "".join(parts)


def rows(schema: Schema, path: str) -> Iterator[tuple[str, str, str]]:
    """(field path, type, meaning) of everything below an object."""
    for name, field in schema.get("properties", {}).items():
        here = join(path, name)
        items = field.get("items", {})
        kind = _type(field) + (", required" if name in schema.get("required", ()) else "")
        text = [field.get("description", ""), *_messages(field), *_messages(items)]
        if name in KUBERNETES:
            yield here, f"Kubernetes `{KUBERNETES[name]}`{_list(field)}", field["description"]
            continue
        yield here, kind, " ".join(text)
        if "properties" in items:
            yield from rows(items, here + "[]")
        yield from rows(field, here)


def _messages(schema: Schema) -> list[str]:
    return [f"{rule['message']}." for rule in schema.get("x-kubernetes-validations", ())]


def _type(field: Schema) -> str:
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "items" in field:
        return f"{_type(field['items'])}{_list(field)}"
    if "additionalProperties" in field:
        return f"map of {_type(field['additionalProperties'])}, ≤ {field['maxProperties']}"
    parts = [" \\| ".join(field["enum"]) if "enum" in field else field["type"]]
    if "minimum" in field:
        parts.append(f"{field['minimum']}…{field['maximum']}")
    if "maxLength" in field:
        parts.append(f"≤ {field['maxLength']} characters")
    if "pattern" in field:
        parts.append(f"`{field['pattern']}`")
    if "default" in field and field["type"] != "object":
        value = field["default"]
        parts.append(f"default {str(value).lower() if isinstance(value, bool) else value}")
    return ", ".join(parts)


def _list(field: Schema) -> str:
    if "items" not in field:
        return ""
    kind = field["x-kubernetes-list-type"]
    keys = f" by {', '.join(field['x-kubernetes-list-map-keys'])}" if kind == "map" else ""
    bounds = f"≤ {field['maxItems']}" if "maxItems" in field else "unbounded"
    return f" list ({kind}{keys}, {bounds})"


def _cell(text: str) -> str:
    return text.replace("\\|", "\0").replace("|", "\\|").replace("\0", "\\|")
