"""Every example is valid and has a safe plan."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from xpullm.api import parse
from xpullm.api.schema import schema_problems
from xpullm.healing.tuning import Key, learned_for
from xpullm.planner import plan, resolve
from xpullm.planner.learned import binds
from xpullm.planner.types import Plan, Refusal

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
MANIFESTS = [
    pytest.param(manifest, id=path.stem)
    for path in EXAMPLES
    for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]


def test_there_is_one_for_each_way_to_say_where_a_model_is() -> None:
    assert {path.stem for path in EXAMPLES} >= {
        "minimal",
        "model-from-a-mirror",
        "model-in-an-image",
        "model-on-a-claim",
        "private-model-facts",
        "qwen2-7b-a770",
        "qwen2.5-32b-two-b60",
    }


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_example_is_valid(manifest: dict[str, Any]) -> None:
    assert schema_problems(manifest) == ()
    parse(manifest)


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_example_has_a_plan_that_meets_its_floors(manifest: dict[str, Any]) -> None:
    serving = parse(manifest).spec.serving
    request = resolve(parse(manifest).spec)
    assert not isinstance(request, Refusal)
    result = plan(request)
    assert isinstance(result, Plan)
    assert result.context_length >= (serving.min_context_length or 2048)


def test_the_record_in_the_documentation_binds() -> None:
    text = (Path(__file__).parents[3] / "docs" / "healing.md").read_text(encoding="utf-8")
    shown = [yaml.safe_load(part.partition("```")[0]) for part in text.split("```yaml\n")[1:]]
    (record,) = (one for one in shown if one.get("kind") == "TuningRecord")
    assert schema_problems(record) == ()
    spec = record["spec"]
    key = Key(*(spec[name] for name in ("model", "quantization", "engineImage", "gpu", "gpuCount")))
    (entry,) = learned_for([record], key, datetime(2026, 1, 1, tzinfo=UTC)).entries
    assert binds(entry)
