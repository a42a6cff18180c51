"""`xpullm crd` prints what is checked in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xpullm.cli.crd import CrdOutput, crd

CRDS = Path(__file__).parents[3] / "crds"


def test_yaml_is_what_is_checked_in(capsys: pytest.CaptureFixture[str]) -> None:
    crd()
    documents = capsys.readouterr().out.split("---\n")
    assert documents == [path.read_text() for path in sorted(CRDS.glob("*.yaml"))]


def test_json_is_one_list(capsys: pytest.CaptureFixture[str]) -> None:
    crd(CrdOutput.JSON)
    printed = json.loads(capsys.readouterr().out)
    assert printed["kind"] == "List"
    assert [item["spec"]["names"]["kind"] for item in printed["items"]] == [
        "LLMDeployment",
        "TuningRecord",
    ]
