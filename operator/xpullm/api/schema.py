"""What the API server's structural schema refuses and the models let pass: unknown fields under
strict validation, and wrong values inside the types that Kubernetes itself defines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from xpullm.api.crd import Schema, openapi
from xpullm.api.llmdeployment import LLMDeployment
from xpullm.api.parse import Problem, join, show
from xpullm.api.tuningrecord import TuningRecord

_KINDS = {"LLMDeployment": LLMDeployment, "TuningRecord": TuningRecord}
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (Mapping,),
    "array": (list, tuple),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
}


@cache
def schema_of(kind: str) -> Schema:
    """The structural schema of a kind of ours. Raises KeyError for another."""
    return openapi(_KINDS[kind])


def schema_problems(
    manifest: Mapping[str, Any], parts: Sequence[str] = ("spec",)
) -> tuple[Problem, ...]:
    """Unknown fields, wrong types, missing fields and unknown enum values in `parts`."""
    schema = schema_of(str(manifest.get("kind")))["properties"]
    return tuple(
        problem
        for part in parts
        if part in manifest
        for problem in _check(schema[part], manifest[part], part)
    )


def _check(schema: Schema, value: Any, path: str) -> Iterator[Problem]:
    if value is None or schema.get("x-kubernetes-int-or-string"):
        return  # null is the same as absent; quantities are the models' matter
    kind = schema["type"]
    if not _is(kind, value):
        yield Problem(path, show(value), f"must be of type {kind}")
    elif "enum" in schema and value not in schema["enum"]:
        yield Problem(path, show(value), f"must be one of {', '.join(schema['enum'])}")
    elif kind == "array":
        for index, item in enumerate(value):
            yield from _check(schema["items"], item, f"{path}[{index}]")
    elif kind == "object":
        yield from _check_object(schema, value, path)


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])


def _check_object(schema: Schema, value: Mapping[str, Any], path: str) -> Iterator[Problem]:
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if value.get(name) is None:
            yield Problem(join(path, name), "", "is required")
    for name, below in value.items():
        here = join(path, str(name))
        if name in properties:
            yield from _check(properties[name], below, here)
        elif "additionalProperties" in schema:
            yield from _check(schema["additionalProperties"], below, here)
        elif not schema.get("x-kubernetes-preserve-unknown-fields"):
            yield Problem(here, show(below), _unknown(str(name), properties))


def _unknown(name: str, properties: Mapping[str, Any]) -> str:
    import difflib

    near = difflib.get_close_matches(name, properties, n=1)
    if near:
        return f"unknown field: did you mean `{near[0]}`?"
    return f"unknown field: must be one of {', '.join(sorted(properties))}"
