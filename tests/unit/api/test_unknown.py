"""The quick look for unknown fields agrees with the whole schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from xpullm.api import LLMDeploymentSpec
from xpullm.api.schema import schema_problems
from xpullm.api.unknown import has_unknown_fields

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


def unknown(spec: Any) -> bool:
    found = has_unknown_fields(LLMDeploymentSpec, spec)
    manifest = {"kind": "LLMDeployment", "spec": {"model": {"id": "m"}} | spec}
    named = [p for p in schema_problems(manifest) if p.message.startswith("unknown field")]
    assert found is bool(named)
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_have_none(path: Path) -> None:
    assert not unknown(yaml.safe_load(path.read_text())["spec"])


@pytest.mark.parametrize(
    "spec",
    [
        {"quantisation": "fp8"},
        {"serving": {"context_length": 8}},  # the name inside, not the API's
        {"gpu": {"typ": "a"}},
        {"engine": {"args": [{"name": "a"}, {"nane": "b"}]}},
        {"model": {"id": "m", "source": {"huggingFace": {"tokenSecretRef": {"nme": "x"}}}}},
    ],
)
def test_a_field_that_nobody_knows(spec: dict[str, Any]) -> None:
    assert unknown(spec)


@pytest.mark.parametrize(
    "spec",
    [
        {"model": {"id": "m", "facts": {"anything": 1}}},  # config.json fields are preserved
        {"pod": {"labels": {"a/b": "c"}, "nodeSelector": {"x": "y"}}},
        {"gpu": None},
    ],
)
def test_what_is_open_by_design(spec: dict[str, Any]) -> None:
    assert not unknown(spec)


def test_what_is_of_the_wrong_type_is_left_to_the_models() -> None:
    assert not has_unknown_fields(LLMDeploymentSpec, "text")
    assert not has_unknown_fields(LLMDeploymentSpec, {"gpu": 3, "engine": {"args": "x"}})
