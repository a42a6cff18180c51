"""The CRDs, made from the pydantic models: structural schemas with bounds, list types and CEL.

What pydantic says that a structural schema cannot (`$ref`, `title`, `null`, numeric
`exclusiveMinimum`, `propertyNames`) is resolved or dropped here. Descriptions are the models'
attribute docstrings, read from their source only when a CRD is made.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from xpullm.api.llmdeployment import LLMDeployment
from xpullm.api.meta import GROUP, VERSION, ApiModel
from xpullm.api.tuningrecord import TuningRecord

Schema = dict[str, Any]

DROPPED = frozenset({"title", "propertyNames", "x-kubernetes-patch-merge-key"}) | {
    "x-kubernetes-patch-strategy", "additionalProperties", "default", "x-xpullm-no-default",
}  # fmt: skip
CORE = "io.k8s.api.core.v1."


def attribute_docs(model: type) -> dict[str, str]:
    """Docstrings of a class's own and inherited attributes, as one line each."""
    docs: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, ApiModel) or base is ApiModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)  # noqa: S101 - the source of a class
        for field, doc in zip(body.body, body.body[1:], strict=False):
            match field, doc:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    docs[name] = " ".join(text.split())
    return docs


class _Described(GenerateJsonSchema):
    """Adds the rules and the descriptions that pydantic does not know of."""

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        model: type[ApiModel] = schema["cls"]
        result = super().model_schema(schema)
        result["description"] = " ".join((inspect.getdoc(model) or "").split())
        docs = attribute_docs(model)
        for name, info in model.model_fields.items():
            field = result["properties"].get(info.alias or name)
            if field is not None and name in docs:
                field["description"] = docs[name]
        if model.rules:
            result["x-kubernetes-validations"] = [
                {"rule": rule.cel, "message": rule.message}
                | ({"fieldPath": "." + rule.field} if "." not in rule.field and rule.field else {})
                for rule in model.rules
            ]
        if model.model_config.get("extra") == "allow":
            result["x-kubernetes-preserve-unknown-fields"] = True
        return result


@cache
def kubernetes_definitions() -> Mapping[str, Any]:
    """Kubernetes' own OpenAPI definitions of the types that `spec.pod` embeds."""
    file = resources.files("xpullm.api").joinpath("kubernetes_schema/core-v1.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["definitions"]
    return found


def structural(node: Schema, definitions: Mapping[str, Any]) -> Schema:
    """A JSON schema as Kubernetes wants it: everything inline, no null, defaults on scalars."""
    node = _resolved(dict(node), definitions)
    if kind := node.pop("x-xpullm-kubernetes", None):
        own = node.get("description")
        node = structural({"$ref": f"#/definitions/{CORE}{kind}"}, kubernetes_definitions())
        return node | ({"description": own} if own else {})
    out = {key: value for key, value in node.items() if key not in DROPPED}
    default = node.get("default")
    if isinstance(default, (str, int)) and "x-xpullm-no-default" not in node:
        out["default"] = default
    if "const" in out:
        out["enum"] = [out.pop("const")]
    for bound, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in out:
            out[plain], out[bound] = out[bound], True
    if "items" in out:
        out["items"] = structural(out["items"], definitions)
    if isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = structural(node["additionalProperties"], definitions)
    if "properties" in out:
        out["properties"] = {
            name: _defaulted(structural(below, definitions))
            for name, below in out["properties"].items()
        }
    return _ordered(out)


def _resolved(node: Schema, definitions: Mapping[str, Any]) -> Schema:
    """Follow references and take the one branch of `X | None`; what stands beside them wins."""
    while True:
        if "$ref" in node:
            target = definitions[node.pop("$ref").rpartition("/")[2]]
        elif "anyOf" in node or "allOf" in node:
            branches = node.pop("anyOf", None) or node.pop("allOf")
            (target,) = [branch for branch in branches if branch.get("type") != "null"]
        else:
            return node
        node = {**target, **node}


def _defaulted(node: Schema) -> Schema:
    """An optional object whose members have defaults must itself exist for them to apply."""
    has_default = any("default" in below for below in node.get("properties", {}).values())
    if has_default and not node.get("required") and node.get("type") == "object":
        return _ordered(node | {"default": {}})
    return node


def _ordered(node: Schema) -> Schema:
    first = ("description", "type", "format", "enum", "default")
    return {k: node[k] for k in first if k in node} | {
        k: v for k, v in sorted(node.items()) if k not in first
    }


def _column(
    name: str, path: str, kind: str = "string", wide: bool = False, text: str = ""
) -> Schema:
    column = {"name": name, "type": kind, "jsonPath": path}
    return column | ({"description": text} if text else {}) | ({"priority": 1} if wide else {})


def _ready(field: str) -> str:
    return f'.status.conditions[?(@.type=="Ready")].{field}'


AGE = _column("Age", ".metadata.creationTimestamp", "date")
LLMDEPLOYMENT_COLUMNS = [
    _column("Model", ".spec.model.id"),
    _column("GPU", ".status.plan.gpu", text="Card of the plan"),
    _column("Context", ".status.plan.contextLength", "integer", text="Longest request, tokens"),
    _column("Ready", _ready("status")),
    _column("Reason", _ready("reason")),
    AGE,
    _column("Quantization", ".status.plan.quantization", wide=True),
    _column("Engine", ".status.plan.engine", wide=True),
    _column("Attempts", ".status.healing.attempt", "integer", wide=True),
]
TUNINGRECORD_COLUMNS = [
    _column("Model", ".*.model"),
    _column("Quantization", ".*.quantization"),
    _column("GPU", ".*.gpu"),
    _column("Count", ".*.gpuCount", "integer"),
    AGE,
    _column("Image", ".*.engineImage", wide=True),
    _column("Kernel", ".*.kernel", wide=True),
]
SCALE = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".status.selector",
}


def openapi(model: type[ApiModel]) -> Schema:
    """The structural schema of one kind."""
    raw = model.model_json_schema(by_alias=True, schema_generator=_Described, mode="validation")
    raw["properties"]["metadata"] = {"type": "object"}
    for name, text in (("apiVersion", f"{GROUP}/{VERSION}."), ("kind", f"{model.__name__}.")):
        raw["properties"][name] = {"type": "string", "description": text}
    schema = structural(raw, raw.get("$defs", {}))
    schema.pop("$defs", None)
    return schema


def _crd(
    model: type[ApiModel], names: Schema, columns: list[Schema], subresources: Schema
) -> Schema:
    schema = openapi(model)
    if "observedGeneration" in schema["properties"]["status"]["properties"]:
        # A never-seen object must read as "in progress" (kstatus), not as healthy.
        schema["properties"]["status"]["default"] = {"observedGeneration": -1}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {"kind": model.__name__, "listKind": f"{model.__name__}List", **names},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": columns,
                    "subresources": {"status": {}, **subresources},
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def custom_resource_definitions() -> tuple[Schema, ...]:
    """Both CRDs, as plain dicts."""
    return (
        _crd(
            LLMDeployment,
            {
                "plural": "llmdeployments",
                "singular": "llmdeployment",
                "shortNames": ["llmd"],
                "categories": ["llm"],
            },
            LLMDEPLOYMENT_COLUMNS,
            {"scale": SCALE},
        ),
        _crd(
            TuningRecord,
            {
                "plural": "tuningrecords",
                "singular": "tuningrecord",
                "shortNames": ["tr"],
                "categories": ["llm"],
            },
            TUNINGRECORD_COLUMNS,
            {},
        ),
    )


def to_yaml(manifest: Schema) -> str:
    """Stable YAML, as it is checked in."""
    import yaml

    # Parsed back, so that no part is shared and nothing becomes an alias.
    tree = json.loads(json.dumps(manifest))
    return yaml.safe_dump(tree, sort_keys=False, width=100, allow_unicode=True)
