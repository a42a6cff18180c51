"""The CRD generator: what is checked in is current, and each transformation does what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
import yaml
from hack.generate.__main__ import KUBERNETES_SCHEMA, generated
from hack.generate.openapi import references
from pydantic import Field

from xpullm.api.crd import (
    _Described,
    attribute_docs,
    custom_resource_definitions,
    structural,
    to_yaml,
)
from xpullm.api.meta import NOT_IN_SCHEMA, ApiModel, Rule, SchemaOnly, int_range, text
from xpullm.api.quantity import Quantity

CRDS = Path(__file__).parents[3] / "crds"


def test_checked_in_files_are_current() -> None:
    """Renew with `make generate`."""
    stale = [str(path) for path, text in generated().items() if path.read_text("utf-8") != text]
    assert stale == []


def test_checked_in_crds_are_the_generated_ones() -> None:
    checked_in = {path.name for path in CRDS.glob("*.yaml")}
    assert checked_in == {
        f"{crd['metadata']['name']}.yaml" for crd in custom_resource_definitions()
    }


def test_yaml_has_no_aliases_and_reads_back() -> None:
    for crd in custom_resource_definitions():
        text = to_yaml(crd)
        assert "&id" not in text
        assert yaml.load(text, yaml.CSafeLoader) == json.loads(json.dumps(crd))
        assert len(text) < 256 * 1024  # the limit of an annotation, for client-side apply


class Inner(ApiModel):
    """Inside."""

    count: Annotated[int, int_range(1, 9)] = 3
    """How many."""
    limit: Annotated[int, int_range(1, 9, **NOT_IN_SCHEMA)] = 4
    """A default of behaviour."""


class Outer(ApiModel):
    """Outside, over
    two lines."""

    rules: ClassVar = (Rule("self.size != ''", "`size` must not be empty", None, "size"),)

    size_limit: Annotated[str, text(5)]
    """Text of
    two lines."""
    mode: Literal["A", "B"] = "A"
    """A word."""
    only: Literal["X"] | None = None
    """One word."""
    inner: Inner = Field(default_factory=Inner)
    """An object."""
    maybe: Inner | None = None
    """May be absent."""
    names: Annotated[
        tuple[str, ...], Field(max_length=2, json_schema_extra=SchemaOnly.LIST_SET)
    ] = ()
    """A set."""
    memory: Quantity | None = None
    """A quantity."""


def outer() -> dict[str, Any]:
    raw = Outer.model_json_schema()
    return structural(raw, raw["$defs"])


def test_plain_pydantic_schema_becomes_structural() -> None:
    inner = {
        "type": "object",
        "properties": {
            "count": {"type": "integer", "format": "int32", "default": 3, "maximum": 9,
                      "minimum": 1},
            "limit": {"type": "integer", "format": "int32", "maximum": 9, "minimum": 1},
        },
    }  # fmt: skip
    schema = outer()
    assert schema["required"] == ["sizeLimit"]
    properties = {
        name: {key: value for key, value in field.items() if key != "description"}
        for name, field in schema["properties"].items()
    }
    for name in ("inner", "maybe"):
        assert properties[name].pop("default") == {}
        for member in properties[name]["properties"].values():
            member.pop("description", None)
    assert properties == {
        "sizeLimit": {"type": "string", "maxLength": 5, "minLength": 1},
        "mode": {"type": "string", "enum": ["A", "B"], "default": "A"},
        "only": {"type": "string", "enum": ["X"]},
        "inner": inner,
        "maybe": inner,
        "names": {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": 2,
            "x-kubernetes-list-type": "set",
        },
        "memory": {
            "maxLength": 64,
            "pattern": properties["memory"]["pattern"],
            "x-kubernetes-int-or-string": True,
        },
    }


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ({"type": "integer", "exclusiveMinimum": 0},
         {"type": "integer", "exclusiveMinimum": True, "minimum": 0}),
        ({"const": "A", "type": "string"}, {"type": "string", "enum": ["A"]}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}, {"type": "string"}),
        ({"type": "string", "title": "T"}, {"type": "string"}),
        ({"type": "object", "additionalProperties": False}, {"type": "object"}),
        ({"type": "object", "additionalProperties": {"type": "string", "title": "T"}},
         {"type": "object", "additionalProperties": {"type": "string"}}),
        ({"$ref": "#/$defs/D", "description": "here"}, {"type": "string", "description": "here"}),
    ],
)  # fmt: skip
def test_structural(plain: dict[str, Any], expected: dict[str, Any]) -> None:
    definitions = {"D": {"type": "string", "description": "there"}}
    assert structural(plain, definitions) == expected


def test_docstrings_of_attributes_become_descriptions() -> None:
    assert attribute_docs(Outer)["size_limit"] == "Text of two lines."


def test_rules_become_cel() -> None:
    schema = openapi_of(Outer)
    assert schema["x-kubernetes-validations"] == [
        {"rule": "self.size != ''", "message": "`size` must not be empty", "fieldPath": ".size"}
    ]
    assert schema["description"] == "Outside, over two lines."
    assert schema["properties"]["sizeLimit"]["description"] == "Text of two lines."


def openapi_of(model: type[ApiModel]) -> dict[str, Any]:
    raw = model.model_json_schema(schema_generator=_Described)
    return structural(raw, raw.get("$defs", {}))


def test_embedded_kubernetes_types_are_complete() -> None:
    definitions = json.loads(KUBERNETES_SCHEMA.read_text())["definitions"]
    assert set(references(definitions)) <= set(definitions)


def test_nothing_unknown_to_structural_schemas_is_left() -> None:
    """No `$ref`, `title`, `anyOf` or marker of ours anywhere."""
    for crd in custom_resource_definitions():
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        assert set(keywords(schema)) <= {
            "type", "format", "description", "properties", "items", "additionalProperties",
            "required", "enum", "default", "pattern", "minLength", "maxLength", "minItems",
            "maxItems", "maxProperties", "minimum", "maximum", "x-kubernetes-validations",
            "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
            "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields",
        }  # fmt: skip


def keywords(schema: dict[str, Any]) -> list[str]:
    below = [*schema.get("properties", {}).values()]
    below += [schema[key] for key in ("items", "additionalProperties") if key in schema]
    return [*schema, *(word for part in below for word in keywords(part))]


def test_reading_the_api_needs_no_cluster_libraries() -> None:
    code = (
        "import sys, xpullm.api; "
        "print(sorted({'kopf', 'kubernetes', 'yaml', 'typer'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
