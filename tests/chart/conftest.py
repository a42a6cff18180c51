"""The chart, rendered by the real Helm."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.cluster.build import CONTROL_PLANE, build

CHART = Path(__file__).parents[2] / "charts" / "xpullm"
Render = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def helm() -> Callable[..., subprocess.CompletedProcess[str]]:
    program = build(CONTROL_PLANE)["helm"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def render(helm: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """Objects of `helm template` with the given --set expressions."""

    def objects(*settings: str) -> list[dict[str, Any]]:
        sets = [word for setting in settings for word in ("--set", setting)]
        done = helm("template", "xpullm", str(CHART), "--namespace", "xpullm-system", *sets)
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    return objects
