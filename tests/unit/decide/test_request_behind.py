"""The request behind a plan in force is what was chosen then, whatever the catalogue says today."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.planner.requests import planned, seed_spec

from xpullm.api import parse
from xpullm.controller.decide_plan import request_behind
from xpullm.planner import PlanRequest


def test_a_version_that_left_the_catalogue_keeps_its_image() -> None:
    manifest = {
        "apiVersion": "xpullm.io/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "demo", "namespace": "default", "uid": "u"},
        "spec": seed_spec().to_manifest(),
    }
    old = replace(planned(seed_spec()), engine_version="0.8.3-b17", image="me/serving:0.8.3-b17")
    request = request_behind(parse(manifest), old)
    assert isinstance(request, PlanRequest)
    assert request.image == "me/serving:0.8.3-b17"
    assert request.choices[0].engine.version == "0.8.3-b17"
