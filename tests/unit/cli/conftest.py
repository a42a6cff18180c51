"""A shell for each test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.cli.shell import SEED, Shell

from xpullm.cli import plan
from xpullm.cli.manifests import load
from xpullm.planner import PlanRequest, resolve


@pytest.fixture(scope="session", autouse=True)
def warm() -> None:
    """The first plan of a process reads the catalogue and builds validators."""
    parsed = plan.parsed(*load([SEED]))
    assert isinstance(resolve(parsed.spec), PlanRequest)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(capsys, monkeypatch)


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[..., str]:
    """`manifest(quantization="fp16")`: a file with one LLMDeployment of that spec."""

    def written(name: str = "demo", model: str = "Qwen/Qwen2-7B-Instruct", **spec: Any) -> str:
        document = {
            "apiVersion": "xpullm.io/v1alpha1",
            "kind": "LLMDeployment",
            "metadata": {"name": name},
            "spec": {"model": {"id": model}, **spec},
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document))
        return str(path)

    return written
